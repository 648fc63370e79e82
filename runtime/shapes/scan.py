"""Shapes of running sums."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def axis(x: Operands) -> int:
    """Along which CUMSUM adds up."""
    axes = x.axes(1, len(x.shape(0)))
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    return axes[0]


def _cumsum(x: Operands) -> list[Shape]:
    axis(x)
    return [x.shape(0)]


RULES: dict[str, Rule] = {"CUMSUM": _cumsum}
