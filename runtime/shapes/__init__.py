"""The shape of every output from those of the operands: one rule per TFLite operator, one file per family.

A rule also refuses operands whose shapes do not fit together, which is what the rules of `runtime.decompose`
rely on. The pass that applies them is `runtime.infer`.
"""

from __future__ import annotations

from runtime.shapes import conv, elementwise, matrix, reduce, views
from runtime.shapes.operands import Rule

RULES: dict[str, Rule] = {
    **conv.RULES,
    **elementwise.RULES,
    **matrix.RULES,
    **reduce.RULES,
    **views.RULES,
}
