"""Shapes of random numbers: a constant says how many."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.index import single
from runtime.shapes.operands import Operands, Rule


def _random(x: Operands) -> list[Shape]:
    return [x.constant(0)]


def _multinomial(x: Operands) -> list[Shape]:
    batch, _ = x.shape(0, rank=2)
    return [(batch, single(x, 1))]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL"), _random),
    "MULTINOMIAL": _multinomial,
}
