"""Shape of SVDF: the output, then the next content of its variable tensor."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def _svdf(x: Operands) -> list[Shape]:
    (batch, depth), (filters, width), (rows, memory) = x.shape(0, 2), x.shape(1, 2), x.shape(2, 2)
    if len(x.values) != 5:
        raise x.bad(f"{len(x.values)} inputs, expected 5, of which the bias may be left out")
    rank = x.positive("rank")
    if width != depth or rows != filters or filters % rank:
        raise x.bad(f"weights ({filters}, {width}) and ({rows}, {memory}) for inputs of {depth}, rank {rank}")
    if x.values[3] is not None and x.shape(3) != (filters // rank,):
        raise x.bad(f"bias of shape {x.shape(3)}, expected ({filters // rank},)")
    if x.shape(4) != (batch, memory * filters):
        raise x.bad(f"state of shape {x.shape(4)}, expected {(batch, memory * filters)}")
    return [(batch, filters // rank), (batch, memory * filters)]


RULES: dict[str, Rule] = {"SVDF": _svdf}
