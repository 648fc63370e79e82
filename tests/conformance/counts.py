"""Operators that make tensors of a shape, or of a sequence of numbers."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import EVERY, FLOAT, Case, X, ints, without

CASES = [
    *(
        Case("SHAPE", (X(shape),), {"out_type": number}, EVERY, out_type=dtype)
        for shape in ((2, 3, 4), (5,))
        for number, dtype in ((2, "int32"), (4, "int64"))
    ),
    *(Case("RANK", (X(shape),), types=EVERY, out_type="int32") for shape in ((2, 3, 4), (), (1, 1, 1, 1, 2))),
    *(
        Case("FILL", (np.array(shape, index), X(())), types=without("uint8"), same=True)
        for shape, index in (((2, 3), np.int32), ((4,), np.int64), ((), np.int32), ((1, 2, 3, 2), np.int32))
    ),
    *(
        Case("RANGE", tuple(np.array(number, dtype) for number in numbers), types=(dtype,))
        for dtype in ("int32", "float32")
        for numbers in ((0, 7, 1), (5, -6, -2), (-3, 4, 3), (2, 3, 9))
    ),
    *(
        Case("RANGE", tuple(np.array(number, np.float32) for number in numbers), types=FLOAT)
        for numbers in ((0, 1, 0.1), (0.3, -2.2, -0.7), (1, 10, 0.333))
    ),
    *(
        Case("BROADCAST_ARGS", (X((m,), a, dtype), X((n,), b, dtype)), types=(dtype,), out_type=dtype)
        for m, n, a, b in ((2, 4, (1, 1), (2, 5)), (3, 3, (4, 4), (1, 1)), (5, 1, (3, 3), (3, 3)))
        for dtype in ("int32", "int64")
    ),
    Case("BROADCAST_ARGS", (ints(3, 1), ints(5, 1, 2)), types=("int32",)),
]  # fmt: skip
