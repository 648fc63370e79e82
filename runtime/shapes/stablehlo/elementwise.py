"""Shapes of StableHLO's element-wise operators, which broadcast scalars of SELECT and CLAMP alone."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.operators import STABLEHLO_BINARY, STABLEHLO_UNARY
from runtime.shapes.compare import truths
from runtime.shapes.elementwise import same
from runtime.shapes.operands import Operands, Rule


def _alike(x: Operands) -> list[Shape]:
    shapes = [x.shape(i) for i in range(len(x.values))]
    if len(set(shapes)) > 1:
        raise x.bad(f"shapes {shapes}: expected all the same")
    return shapes[:1]


def _select(x: Operands) -> list[Shape]:
    truths(x)
    shape = x.shape(1)
    if x.shape(2) != shape or x.shape(0) not in ((), shape):
        raise x.bad(f"shapes {x.shape(0)}, {shape} and {x.shape(2)}: expected a scalar and two the same")
    return [shape]


def _clamp(x: Operands) -> list[Shape]:
    shape = x.shape(1)
    if any(x.shape(i) not in ((), shape) for i in (0, 2)):
        raise x.bad(f"bounds of shapes {x.shape(0)} and {x.shape(2)}, expected scalars or {shape}")
    return [shape]


RULES: dict[str, Rule] = {
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_BINARY), _alike),
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_UNARY), same),
    "STABLEHLO_COMPARE": _alike,
    "STABLEHLO_CONVERT": same,
    "STABLEHLO_SELECT": _select,
    "STABLEHLO_CLAMP": _clamp,
}
