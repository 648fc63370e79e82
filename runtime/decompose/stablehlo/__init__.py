"""StableHLO's operators: those that TFLite has under another name go by its rules."""

from __future__ import annotations

from runtime.decompose.rule import Rule
from runtime.decompose.stablehlo import elementwise, index, product, reduce, sort, views

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **index.RULES,
    **product.RULES,
    **reduce.RULES,
    **sort.RULES,
    **views.RULES,
}
