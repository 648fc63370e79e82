"""Element-wise operators."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import ALL, FLOAT, RELU, RELU6, RELU_N1, Array, Case, X

SIGMOID_SCALE, TANH_SCALE = (1 / 256, -128), (1 / 128, 0)


def elu(x: Array) -> list[Array]:
    """On the scales that the cases have."""
    real = x if x.dtype == np.float32 else np.float32(0.05) * (x.astype(np.float32) - 3)
    out = np.where(real < 0, np.expm1(real), real)
    if x.dtype == np.float32:
        return [out]
    return [np.clip(np.rint(out / np.float32(0.043)) - 7, -128, 127).astype(np.int8)]


CASES = [
    *(
        Case(op, (X(a), X(b)), options, types)
        for op, types in (("ADD", (*ALL, "int32")), ("SUB", (*ALL, "int32")), ("MUL", (*ALL, "int32")))
        for a, b, options in (
            ((2, 5, 3), (2, 5, 3), {}),
            ((2, 5, 3), (3,), RELU),
            ((2, 1, 3), (5, 1), RELU6),
            ((1,), (2, 3), RELU_N1),
        )
    ),
    Case("DIV", (X((2, 5)), X((2, 1), (0.5, 2.0))), RELU, types=FLOAT),
    Case("MAXIMUM", (X((2, 5)), X((2, 1))), types=(*ALL, "int32"), same=True),
    Case("MINIMUM", (X((2, 5)), X((5,))), types=(*ALL, "int32"), same=True),
    Case("SQUARED_DIFFERENCE", (X((2, 5)), X((2, 1))), types=("float32", "int32")),
    *(Case(op, (X((4, 64)),)) for op in ("RELU", "RELU6", "LEAKY_RELU")),
    Case("RELU_N1_TO_1", (X((4, 64)),), types=FLOAT),
    Case("HARD_SWISH", (X((4, 64)),), steps=1),
    Case("LOGISTIC", (X((4, 64), (-9, 9)),), out_scale=SIGMOID_SCALE),
    Case("TANH", (X((4, 64)),), out_scale=TANH_SCALE),
    Case("ABS", (X((4, 64)),), types=("float32", "int8")),
    Case("NEG", (X((4, 64)),), types=("float32", "int32")),
    Case("EXP", (X((4, 64)),), types=FLOAT),
    Case("SQRT", (X((4, 64), (0.0, 9.0)),), types=FLOAT),
    Case("RSQRT", (X((4, 64), (0.1, 9.0)),), types=FLOAT),
    *(
        Case(op, (X(shape, span),), types=FLOAT)
        for op, span in (
            ("FLOOR", (-3, 3)),  ("SIN", (-9, 9)), ("COS", (-9, 9)),
            ("LOG", (0.01, 9)), ("SQUARE", (-3, 3)), ("RELU_0_TO_1", (-2, 2)), ("ZEROS_LIKE", (-3, 3)),
            ("LOG_SOFTMAX", (-9, 9)), ("L2_NORMALIZATION", (-3, 3)),
        )
        for shape in ((4, 64), (2, 3, 5), (7,))
    ),
    *(Case("SIGN", (X(shape),), types=("float32", "int32")) for shape in ((4, 64), (2, 3, 5), (7,))),
    # the reference kernels lack these
    *(
        Case(op, (X(shape),), types=types, expect=expect, builtin=types)
        for op, types, expect in (
            ("CEIL", FLOAT, lambda x: [np.ceil(x)]),
            ("ROUND", FLOAT, lambda x: [np.rint(x)]),
            ("ELU", ("float32", "int8"), elu),
        )
        for shape in ((4, 64), (2, 3, 5), (7,))
    ),
    *(
        Case("GELU", (X(shape),), {"approximate": approximate})
        for approximate in (False, True)
        for shape in ((4, 64), (2, 3, 5))
    ),
    *(
        Case(op, (X(a, (0.2, 3)), X(b, (-2, 3))), types=FLOAT)
        for op in ("POW", "FLOOR_DIV", "FLOOR_MOD")
        for a, b in (((4, 6), (4, 6)), ((2, 1, 3), (5, 1)), ((3,), (2, 3)))
    ),
    *(
        Case(op, (X(a, (-20, 20)), X(b, (1, 9))), types=types)
        for op, types in (("FLOOR_DIV", ("int32",)), ("FLOOR_MOD", ("int32", "int64")))
        for a, b in (((4, 6), (4, 6)), ((2, 1, 3), (5, 1)), ((3,), (2, 3)))
    ),
    *(Case("PRELU", (X(a), X(b))) for a, b in (((2, 4, 6), (4, 6)), ((2, 3, 4), (1, 1, 4)), ((5,), (5,)))),
    *(Case("ADD_N", (X((2, 3)),) * n, types=("float32", "int32")) for n in (2, 3, 5)),
]  # fmt: skip
