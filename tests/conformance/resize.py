"""Images in another size."""

from __future__ import annotations

from tests.conformance.case import ALL, Case, X, ints

TYPES = (*ALL, "int16")
SIZES = (
    ((2, 3, 4, 2), (6, 8)),
    ((2, 3, 4, 2), (5, 7)),
    ((1, 7, 9, 3), (4, 3)),
    ((1, 8, 6, 1), (4, 3)),
    ((1, 4, 4, 2), (1, 1)),
    ((1, 1, 1, 3), (3, 2)),
    ((2, 3, 5, 1), (3, 5)),
    ((1, 5, 4, 2), (10, 12)),
    ((1, 2, 3, 2), (9, 10)),
)
ALIGNED, CENTRED = {"align_corners": True}, {"half_pixel_centers": True}

CASES = [
    *(
        Case("RESIZE_BILINEAR", (X(shape), ints(*size)), options, TYPES, same=True, builtin=TYPES)
        for shape, size in SIZES
        for options in ({}, ALIGNED, CENTRED)
    ),
    *(
        Case("RESIZE_NEAREST_NEIGHBOR", (X(shape), ints(*size)), options, TYPES, same=True, builtin=TYPES)
        for shape, size in SIZES
        for options in ({}, ALIGNED, CENTRED, {**ALIGNED, **CENTRED})
    ),
]
