"""Shapes of operators that compare, combine truths, or choose by them."""

from __future__ import annotations

import numpy as np

from runtime.graph import DType, Shape
from runtime.shapes.elementwise import broadcast, same
from runtime.shapes.operands import Operands, Rule

COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")


def _select(x: Operands) -> list[Shape]:
    """SELECT: a truth for each element, for each slice along the first axis, or one for all."""
    truth, a = x.shape(0), x.shape(1)
    truths(x)
    if x.shape(2) != a or truth not in (a, (), (1,), a[:1]):
        raise x.bad(
            f"shapes {truth}, {a} and {x.shape(2)}: expected one for both values, or their first axis"
        )
    return [a]


def _select_v2(x: Operands) -> list[Shape]:
    truths(x)
    try:
        return [np.broadcast_shapes(x.shape(0), x.shape(1), x.shape(2))]
    except ValueError:
        shapes = [x.shape(i) for i in range(3)]
        raise x.bad(f"shapes {shapes} do not broadcast together") from None


def truths(x: Operands) -> None:
    if x.value(0).dtype is not DType.BOOL:
        raise x.bad(f"the condition is {x.value(0).dtype.value}, expected bool")


RULES: dict[str, Rule] = {
    **dict.fromkeys((*COMPARISONS, "LOGICAL_AND", "LOGICAL_OR"), broadcast),
    "LOGICAL_NOT": same,
    "SELECT": _select,
    "SELECT_V2": _select_v2,
}
