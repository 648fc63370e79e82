"""Reductions over axes."""

from __future__ import annotations

from tests.conformance.case import ALL, Case, X, ints

CASES = [
    *(
        Case(op, (X(shape), ints(*axes)), {"keep_dims": keep}, types)
        for op, types in (("MEAN", ALL), ("SUM", ("float32", "uint8", "int32")))
        for shape, axes, keep in (
            ((2, 3, 4, 5), (1, 2), True),
            ((2, 3, 4, 5), (1, 2), False),
            ((2, 3, 4, 5), (-1, 0), False),
            ((6, 7), (1,), True),
        )
    ),
    Case("REDUCE_MAX", (X((2, 3, 4)), ints(2, 0)), {"keep_dims": True}, same=True),
    Case("ARG_MAX", (X((2, 3, 4)), ints(1)), {"output_type": 2}, out_type="int32"),
]  # fmt: skip
