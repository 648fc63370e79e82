"""Reductions over segments."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import Array, Case, X, ints


def segment_sum(data: Array, ids: Array) -> list[Array]:
    """TFLite's reference resolver does not have this operator."""
    out = np.zeros((ids[-1] + 1, *data.shape[1:]), data.dtype)
    np.add.at(out, ids, data)
    return [out]


TYPES = ("float32", "int32")
CASES = [
    *(
        Case("SEGMENT_SUM", (X((len(ids), *row)), ints(*ids)), types=TYPES, expect=segment_sum)
        for ids in ((0, 0, 1), (0, 1, 2, 2), (0, 2, 2, 4), (0,))
        for row in ((), (3,), (2, 2))
    ),
    *(
        Case(f"UNSORTED_SEGMENT_{op}", (X((*np.shape(ids), *row)), operand, ints(count)), types=TYPES)
        for op in ("SUM", "PROD", "MAX", "MIN")
        for ids, count in (((1, 0, 1), 2), ((2, 0, 0, 2), 4), ((-1, 1, 0, -1), 2), (((0, 1), (1, 0)), 3))
        for row in ((), (3,))
        for operand in (np.array(ids, np.int32), X(np.shape(ids), (-1, count - 1), "int32"))
    ),
]  # fmt: skip
