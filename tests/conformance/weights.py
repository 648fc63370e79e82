"""Weights as files pack them: four bits each, or sparse in rows and in blocks."""

from __future__ import annotations

from itertools import product

from tests.conformance.case import RELU, RELU6, B, Case, W, X
from tests.conformance.conv import DILATED, IMAGE, SAME, STRIDED, VALID

ROWS = ((0, 1), (), frozenset({1}))
COLUMNS = ((1, 0), (), frozenset({1}))
BOTH = ((0, 1), (), frozenset({0, 1}))
BLOCKS = ((0, 1, 2), ((1, 4),), frozenset({1}))
TILES = ((0, 1, 2, 3), ((0, 2), (1, 4)), frozenset({1}))
LATE = ((0, 3, 1, 2, 4), ((3, 2),), frozenset({1, 3}))

CASES = [
    *(
        Case("CONV_2D", (IMAGE, W((5, *size, 4), axis, "int4"), B(5)), {**padding, **options}, ("int8",))
        for axis, (size, options), padding in product(
            (0, None), (((3, 3), RELU), ((1, 1), {}), ((3, 2), DILATED)), (SAME, VALID)
        )
    ),
    *(
        Case(
            "DEPTHWISE_CONV_2D",
            (X((2, 7, 9, 3)), W((1, *kernel, 3), 3, "int4"), B(3)),
            {**padding, **options, "depth_multiplier": 1},
            ("int8",),
        )
        for (kernel, options), padding in product((((3, 3), RELU6), ((1, 3), STRIDED)), (SAME, VALID))
    ),
    *(
        Case("FULLY_CONNECTED", (X((3, k)), W((units, k), None, "int4"), B(units)), RELU, ("int8",))
        for k, units in ((8, 5), (7, 3), (1, 1))
    ),
    *(
        Case("DENSIFY", (W(shape, None, dtype, sparse),), types=types, out_type=dtype)
        for (types, dtype), (shape, sparse) in product(
            ((("float32",), "float32"), (("int8",), "int8"), (("float32",), "float16")),
            (
                ((5, 8), ROWS),
                ((5, 8), COLUMNS),
                ((5, 8), BOTH),
                ((5, 8), BLOCKS),
                ((4, 8), TILES),
                ((3, 2, 4, 6), LATE),
            ),
        )
    ),
    *(
        Case("FULLY_CONNECTED", (X((3, 16)), W((8, 16), None, "", sparse), B(8)), RELU, types)
        for types, sparse in ((("float32",), ROWS), (("float32",), BLOCKS))
    ),
]  # fmt: skip
