"""The shape of every output from those of the operands: one rule per TFLite operator, one file per family.

A rule also refuses operands whose shapes do not fit together, which is what the rules of `runtime.decompose`
rely on. The pass that applies them is `runtime.infer`.
"""

from __future__ import annotations

from runtime.shapes import (
    blocks,
    compare,
    conv,
    counts,
    detection,
    elementwise,
    index,
    lstm,
    matrix,
    pads,
    random,
    reduce,
    resize,
    rnn,
    scan,
    segment,
    slices,
    stablehlo,
    svdf,
    views,
)
from runtime.shapes.operands import Rule

RULES: dict[str, Rule] = {
    **blocks.RULES,
    **compare.RULES,
    **conv.RULES,
    **counts.RULES,
    **detection.RULES,
    **elementwise.RULES,
    **index.RULES,
    **lstm.RULES,
    **matrix.RULES,
    **pads.RULES,
    **reduce.RULES,
    **resize.RULES,
    **rnn.RULES,
    **scan.RULES,
    **slices.RULES,
    **svdf.RULES,
    **stablehlo.RULES,
    **random.RULES,
    **segment.RULES,
    **views.RULES,
}
