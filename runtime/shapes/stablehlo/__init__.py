"""Shapes of StableHLO's operators: what its specification says, and one shape rule per operator."""

from __future__ import annotations

from runtime.shapes.operands import Rule
from runtime.shapes.stablehlo import elementwise, index, product, views, windows

RULES: dict[str, Rule] = {**elementwise.RULES, **index.RULES, **product.RULES, **views.RULES, **windows.RULES}
