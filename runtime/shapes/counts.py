"""Shapes of operators that make tensors of a shape, or of a sequence of numbers."""

from __future__ import annotations

import math

import numpy as np

from runtime.errors import UnsupportedError
from runtime.graph import Array, Shape
from runtime.shapes.operands import MAX_MADE, Operands, Rule


def _shape(x: Operands) -> list[Shape]:
    return [(len(x.shape(0)),)]


def _rank(x: Operands) -> list[Shape]:
    x.shape(0)
    return [()]


def _fill(x: Operands) -> list[Shape]:
    if x.value(1).elements != 1:
        raise x.bad(f"{x.value(1).elements} elements to fill with, expected 1")
    return [x.constant(0)]


def sequence(x: Operands) -> Array:
    """The numbers of RANGE, each the one before plus the delta, as TFLite adds them up.

    The count is ceil(|limit - start| / |delta|), of floats in float32.
    """
    start, limit, delta = (_number(x, i) for i in range(3))
    if not start.dtype == limit.dtype == delta.dtype:
        raise x.bad(f"start, limit and delta are {start.dtype}, {limit.dtype} and {delta.dtype}")
    if not ((delta > 0 and start <= limit) or (delta < 0 and start >= limit)):
        raise x.bad(f"from {start} to {limit} by {delta}: expected a delta that leads from one to the other")
    if start.dtype.kind == "f":
        with np.errstate(all="ignore"):
            steps = float(np.ceil(np.abs((limit - start) / delta)))
    else:
        steps = -(-abs(int(limit) - int(start)) // abs(int(delta)))
    if not steps <= MAX_MADE:
        raise x.bad(f"from {start} to {limit} by {delta}: at most {MAX_MADE} numbers")
    numbers = np.full(int(steps), delta)
    numbers[:1] = start
    return np.cumsum(numbers, dtype=start.dtype)


def _number(x: Operands, i: int) -> Array:
    value = x.value(i)
    if value.data is None:
        raise UnsupportedError(f"{x.node.source}: input {i} ({value.name!r}) must be a constant")
    number = value.data.reshape(-1)
    if number.size != 1 or number.dtype.kind not in "if" or not math.isfinite(number[0]):
        raise x.bad(f"input {i} is {value.elements} of {value.dtype.value}, expected one finite number")
    return number[0]  # type: ignore[no-any-return]


def _range(x: Operands) -> list[Shape]:
    return [sequence(x).shape]


def _broadcast_args(x: Operands) -> list[Shape]:
    """Of the shape that two shapes broadcast to, which is no longer than the longer one."""
    ranks = [x.listed(i, rank=1)[0] for i in (0, 1)]
    if all(x.value(i).data is not None for i in (0, 1)):
        a, b = x.constant(0), x.constant(1)
        if any(m != n and 1 not in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False)):
            raise x.bad(f"shapes {a} and {b} do not broadcast together")
    return [(max(ranks),)]


RULES: dict[str, Rule] = {
    "SHAPE": _shape,
    "RANK": _rank,
    "FILL": _fill,
    "RANGE": _range,
    "BROADCAST_ARGS": _broadcast_args,
}
