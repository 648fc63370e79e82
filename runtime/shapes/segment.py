"""Shapes of reductions over segments: rows that share an id."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.index import known, single
from runtime.shapes.operands import Operands, Rule


def _segment_sum(x: Operands) -> list[Shape]:
    shape, ids = x.shape(0), known(x, 1)
    if ids.shape != shape[:1] or ids.dtype.kind != "i":
        raise x.bad(f"{ids.dtype} segment ids of shape {ids.shape} for rows of {shape}")
    if ids[0] < 0 or (ids[1:] < ids[:-1]).any():
        raise x.bad("segment ids must not be negative, and in ascending order")
    return [(int(ids[-1]) + 1, *shape[1:])]


def _unsorted(x: Operands) -> list[Shape]:
    shape, ids = x.shape(0), x.shape(1)
    if shape[: len(ids)] != ids:
        raise x.bad(f"segment ids of shape {ids} for data of shape {shape}: expected its first axes")
    return [(single(x, 2), *shape[len(ids) :])]


UNSORTED = ("UNSORTED_SEGMENT_SUM", "UNSORTED_SEGMENT_PROD", "UNSORTED_SEGMENT_MAX", "UNSORTED_SEGMENT_MIN")
RULES: dict[str, Rule] = {"SEGMENT_SUM": _segment_sum, **dict.fromkeys(UNSORTED, _unsorted)}
