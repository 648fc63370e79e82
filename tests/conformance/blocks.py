"""Operators that move blocks of pixels into another axis and back."""

from __future__ import annotations

from tests.conformance.case import Array, Case, X, ints, without

NUMBERS = without("bool")


def margins(*numbers: int) -> Array:
    return ints(*numbers).reshape(-1, 2)


CASES = [
    *(
        Case("SPACE_TO_DEPTH", (X(shape),), {"block_size": block}, without("int16", "bool"), same=True)
        for shape, block in (((2, 4, 6, 3), 2), ((1, 6, 3, 2), 3), ((2, 2, 3, 1), 1))
    ),
    *(
        Case("DEPTH_TO_SPACE", (X(shape),), {"block_size": block}, without("int16", "bool"), same=True)
        for shape, block in (((2, 2, 3, 8), 2), ((1, 2, 1, 18), 3), ((2, 2, 3, 1), 1))
    ),
    *(
        Case("SPACE_TO_BATCH_ND", (X(shape), ints(*block), margins(*pads)), types=NUMBERS, same=True)
        for shape, block, pads in (
            ((2, 4, 6, 3), (2, 3), (0, 0, 1, 2)),
            ((1, 3, 3, 1), (2, 2), (1, 0, 0, 1)),
            ((2, 4, 3), (2,), (1, 3)),
            ((3, 2, 4, 2), (1, 2), (0, 0, 0, 0)),
        )
    ),
    *(
        Case("BATCH_TO_SPACE_ND", (X(shape), ints(*block), margins(*crops)), types=NUMBERS, same=True)
        for shape, block, crops in (
            ((12, 4, 6, 3), (2, 3), (0, 1, 1, 2)),
            ((4, 2, 3, 1), (2, 2), (0, 0, 0, 0)),
            ((6, 4, 3), (2,), (1, 0)),
            ((2, 2, 4, 2), (1, 2), (0, 1, 3, 3)),
        )
    ),
]  # fmt: skip
