"""Shapes of operators that choose among boxes."""

from __future__ import annotations

from runtime.errors import UnsupportedError
from runtime.graph import Shape
from runtime.shapes.index import single
from runtime.shapes.operands import Operands, Rule

MOST = 256
"""Boxes that non-maximum suppression may choose: each is a step of its own in the program."""


def _non_max_suppression(x: Operands) -> list[Shape]:
    """Boxes (n, 4), scores (n,), a constant count, one threshold or parameter each."""
    boxes, scores, most = x.shape(0, rank=2), x.shape(1, rank=1), single(x, 2)
    if boxes != (*scores, 4):
        raise x.bad(f"boxes of shape {boxes} for {scores[0]} scores, expected 4 corners for each")
    for i in range(3, len(x.values)):
        if x.shape(i):
            raise x.bad(f"input {i} has shape {x.shape(i)}, expected a scalar")
    if most < 0:
        raise x.bad(f"at most {most} boxes, expected 0 or more")
    if not 1 <= most <= MOST:
        raise UnsupportedError(f"{x.node.source}: at most {most} boxes, supported are 1..{MOST}")
    return [(most,)] * (len(x.node.outputs) - 1) + [()]


RULES: dict[str, Rule] = dict.fromkeys(
    ("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), _non_max_suppression
)
