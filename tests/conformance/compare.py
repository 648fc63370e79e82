"""Operators that compare, combine truths, or choose by them."""

from __future__ import annotations

from tests.conformance.case import ALL, EVERY, Case, X

SHAPES = (((2, 5, 3), (2, 5, 3)), ((2, 5, 3), (3,)), ((2, 1, 3), (5, 1)), ((1,), (2, 3)))
TRUTHS = ("bool",)
SMALL = (-3, 3)
"""Integers of which many are equal."""

CASES = [
    *(
        Case(op, (X(a, SMALL), X(b, SMALL)), types=(*ALL, "int32", "int64"), same=same, out_type="bool")
        for op in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
        for a, b in SHAPES
        for same in (False, True)
    ),
    *(Case(op, (X(a), X(b)), types=TRUTHS) for op in ("EQUAL", "NOT_EQUAL") for a, b in SHAPES),
    *(Case(op, (X(a), X(b)), types=TRUTHS) for op in ("LOGICAL_AND", "LOGICAL_OR") for a, b in SHAPES),
    *(Case("LOGICAL_NOT", (X(shape),), types=TRUTHS) for shape in ((2, 3), (5,), (2, 1, 4))),
    *(
        Case("SELECT", (X(truth, dtype="bool"), X(shape), X(shape)), types=EVERY, same=True)
        for truth, shape in (((2, 3), (2, 3)), ((4,), (4, 3, 2)), ((5,), (5,)), ((), (2, 3)))
    ),
    *(
        Case("SELECT_V2", (X(truth, dtype="bool"), X(a), X(b)), types=EVERY, same=True)
        for truth, a, b in (
            ((2, 3), (2, 3), (2, 3)),
            ((2, 1), (1, 3), (2, 3)),
            ((3,), (2, 3), (1,)),
            ((2, 1, 1), (3, 1), (4,)),
        )
    ),
]
