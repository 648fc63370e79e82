"""Operators that put something around elements, or between them."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import EVERY, FLOAT, Array, Case, X, ints, without

PADDINGS = (
    ((2, 3, 4), ints(0, 0, 1, 2, 3, 0).reshape(3, 2)),
    ((5,), ints(4, 0).reshape(1, 2)),
    ((2, 3, 2, 3), ints(1, 0, 0, 2, 1, 1, 2, 0).reshape(4, 2)),
    ((3, 4), ints(0, 0, 0, 0).reshape(2, 2)),
)


def dilated(x: Array, dilations: Array, background: Array) -> list[Array]:
    out = np.full((np.array(x.shape) - 1) * dilations + 1, background)
    out[tuple(slice(None, None, step) for step in dilations)] = x
    return [out]


def diagonal(x: Array) -> list[Array]:
    return [x[..., None] & np.eye(x.shape[-1], dtype=bool)]


NUMBERS = without("bool")

CASES = [
    *(
        Case("PAD", (X(shape), pads.astype(index)), types=NUMBERS, same=True)
        for shape, pads in PADDINGS
        for index in (np.int32, np.int64)
    ),
    Case("PAD", (X((1, 2, 1, 2, 2)), ints(1, 0, 0, 1, 1, 1, 0, 0, 2, 1).reshape(5, 2)), types=FLOAT),
    *(
        Case("PADV2", (X(shape), pads, X(())), types=NUMBERS, same=True)
        for shape, pads in PADDINGS
    ),
    Case("PADV2", (X((2, 3)), PADDINGS[3][1] + 1, np.array(7.5, np.float32)), types=FLOAT),
    Case("PADV2", (X((2, 3)), PADDINGS[3][1] + 1, ints(-7)), types=("int32",)),
    *(
        Case("MIRROR_PAD", (X(shape), ints(*pads).reshape(-1, 2)), {"mode": mode}, without("bool"), same=True)
        for shape, pads in (
            ((2, 3, 4), (1, 0, 2, 1, 0, 3)),
            ((5,), (4, 3)),
            ((3, 4), (0, 0, 3, 2)),
            ((2, 3, 3, 2), (0, 0, 1, 2, 2, 1, 0, 0)),
        )
        for mode in (0, 1)
    ),
    Case("MIRROR_PAD", (X((2, 3)), ints(2, 1, 3, 3).reshape(2, 2)), {"mode": 1}, without("bool"), same=True),
    *(
        Case("DILATE", (X(shape), ints(*steps), X(())), types=EVERY, same=True, expect=dilated)
        for shape, steps in (((2, 3, 4), (2, 1, 3)), ((5,), (4,)), ((2, 3), (1, 1)), ((1, 3, 3), (1, 2, 2)))
    ),  # tflite-runtime 2.14 is older than the operator
    *(Case("MATRIX_DIAG", (X(shape),), types=NUMBERS, same=True) for shape in ((4,), (2, 3), (2, 1, 3))),
    Case("MATRIX_DIAG", (X((2, 3)),), types=("bool",), expect=diagonal),  # no kernel, and no error
    *(
        Case("MATRIX_SET_DIAG", (X(shape), X((*shape[:-2], min(shape[-2:])))), types=NUMBERS, same=True)
        for shape in ((3, 3), (2, 3, 4), (2, 2, 4, 2))
    ),
]  # fmt: skip
