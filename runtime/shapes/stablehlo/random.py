"""Shapes of what random bits are made of."""

from __future__ import annotations

import math

from runtime.graph import Shape
from runtime.shapes.operands import MAX_MADE, Operands, Rule


def _bit_generator(x: Operands) -> list[Shape]:
    """As many bits as the model declares."""
    if len(x.declared) != 2:
        raise x.bad(f"{len(x.declared)} outputs, expected 2: the state, the bits")
    algorithm, state = x.attr("algorithm"), x.shape(0, rank=1)
    if state[0] != 2 and (state[0] != 3 or algorithm == "THREEFRY"):
        raise x.bad(f"a state of {state[0]} numbers for {algorithm}: expected 2, or 3 for Philox")
    if math.prod(x.declared[1]) > MAX_MADE:
        raise x.bad(f"random bits of shape {x.declared[1]}: at most {MAX_MADE} numbers")
    return [state, x.declared[1]]


RULES: dict[str, Rule] = {"STABLEHLO_RNG_BIT_GENERATOR": _bit_generator}
