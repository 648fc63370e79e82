"""Shapes of StableHLO's operators, which broadcast nothing by themselves."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.operators import STABLEHLO_BINARY, STABLEHLO_UNARY
from runtime.shapes.elementwise import same
from runtime.shapes.operands import Operands, Rule


def alike(x: Operands) -> list[Shape]:
    shapes = [x.shape(i) for i in range(len(x.values))]
    if len(set(shapes)) > 1:
        raise x.bad(f"shapes {shapes}: expected all the same")
    return shapes[:1]


RULES: dict[str, Rule] = {
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_BINARY), alike),
    **dict.fromkeys(map("STABLEHLO_{}".format, STABLEHLO_UNARY), same),
}
