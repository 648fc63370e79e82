"""Element-wise operators."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import ALL, FLOAT, RELU, RELU6, RELU_N1, Array, Case, X

SIGMOID_SCALE, TANH_SCALE = (1 / 256, -128), (1 / 128, 0)
WIDE_SCALE, POWER = (1 / 128, 0), (1 / 64, 0)
"""Under 16 bits 256 times finer."""
SQUARES = ("float32", "int8", "int32")
WIDE = (*ALL, "int16")
ODD = (np.nan, np.inf, -np.inf)


def elu(x: Array) -> list[Array]:
    """On the scales that the cases have."""
    real = x if x.dtype == np.float32 else np.float32(0.05) * (x.astype(np.float32) - 3)
    out = np.where(real < 0, np.expm1(real), real)
    if x.dtype == np.float32:
        return [out]
    return [np.clip(np.rint(out / np.float32(0.043)) - 7, -128, 127).astype(np.int8)]


CASES = [
    *(
        Case(op, (X(a), X(b)), options, (*WIDE, "int32", "int64"))
        for op in ("ADD", "SUB", "MUL")
        for a, b, options in (
            ((2, 5, 3), (2, 5, 3), {}),
            ((2, 5, 3), (3,), RELU),
            ((2, 1, 3), (5, 1), RELU6),
            ((1,), (2, 3), RELU_N1),
        )
    ),
    *(
        Case(op, (X((2, 6), stored=(a, 0)), X((2, 6), stored=(b, 0))), options, ("int16",), out_scale=POWER)
        for op in ("ADD", "SUB")
        for a, b in ((1 / 64, 1 / 64), (1 / 64, 1 / 256), (1 / 256, 1 / 64), (1 / 64, 0.03))
        for options in ({"pot_scale_int16": True}, {"pot_scale_int16": True, **RELU6})
    ),
    *(
        Case("DIV", (X(a), X(b, (0.5, 2.0))), fused, types=FLOAT)
        for a, b in (((2, 5), (2, 1)), ((4, 3), (4, 3)), ((2, 1, 3), (5, 1)))
        for fused in ({}, RELU, RELU6, RELU_N1)
    ),
    *(Case("DIV", (X((4, 6), (-90, 90)), X(b, (1, 9))), types=("int32",)) for b in ((4, 6), (6,), (4, 1))),
    *(
        Case(op, (X(a), X(b)), types=(*WIDE, "int32", "int64"), same=True)
        for op in ("MAXIMUM", "MINIMUM")
        for a, b in (((2, 5), (2, 1)), ((4, 3), (4, 3)), ((2, 1, 3), (5, 1)), ((2, 3), ()))
    ),
    *(
        Case(op, (X(a, among=ODD), X(b, among=ODD)), types=FLOAT, tolerance=0)
        for op in ("MAXIMUM", "MINIMUM")
        for a, b in (((2, 5), (2, 1)), ((40, 3), (40, 3)))
    ),
    *(
        Case("SQUARED_DIFFERENCE", (X(a, stored=left), X(b)), {}, SQUARES, out_scale=(0.2, -99))
        for a, b in (((2, 5), (2, 1)), ((4, 6), (4, 6)), ((2, 1, 3), (5, 1)))
        for left in (None, (0.02, -20), (0.1, 100))
    ),
    *(
        Case(op, (X(a, span), X(b, (0, 9))), types=types)
        for op, span, types in (
            ("BITWISE_XOR", (-90, 90), ("int8", "uint8", "int16", "int32")),
            ("RIGHT_SHIFT", (-9000, 9000), ("int8", "uint8", "int16", "int32")),
            ("POW", (-7, 7), ("int32",)),
        )
        for a, b in (((4, 6), (4, 6)), ((2, 1, 3), (5, 1)), ((3,), (2, 3)), ((2, 3), ()))
    ),
    *(Case("ATAN2", (X(shape), X(shape)), types=FLOAT) for shape in ((4, 64), (2, 3, 5), (7,))),
    *(
        Case("FAKE_QUANT", (X(shape),), {"min": low, "max": high, "num_bits": bits}, FLOAT)
        for shape in ((4, 64), (2, 3, 5))
        for low, high in ((-1.0, 1.0), (0.0, 6.0), (-2.3, 0.0), (-0.7, 2.9))
        for bits in (2, 4, 8, 16)
    ),
    *(
        Case("RSQRT", (X((4, 64), stored=(scale, -128)),), types=("int8",), out_scale=out)
        for scale in (0.05, 0.3, 1.0)
        for out in ((0.043, -7), (0.01, -128), (0.1, 50))
    ),
    *(
        Case(op, (X((4, 64), stored=stored),), types=WIDE)
        for op in ("RELU", "RELU6")
        for stored in (None, (0.02, -20), (0.1, 100))
    ),
    *(
        Case(op, (X((4, 64), stored=stored),))
        for op in ("RELU_N1_TO_1", "RELU_0_TO_1")
        for stored in (None, (0.02, -20), (0.1, 100))
    ),
    *(
        Case("LEAKY_RELU", (X((4, 64), stored=stored),), {"alpha": alpha}, types=WIDE)
        for stored in (None, (0.02, -20))
        for alpha in (0.0, 0.1, 0.3, 1.0)
    ),
    *(
        Case("HARD_SWISH", (X((4, 64), stored=stored),), out_scale=out)
        for stored in (None, (0.02, -20), (0.1, 100), (0.7, 0))
        for out in (None, (0.02, -110), (0.3, 20))
    ),
    *(
        Case("LOGISTIC", (X((4, 64), (-9, 9), stored=stored),), out_scale=SIGMOID_SCALE)
        for stored in ((0.05, 3), (0.1, -100), (1 / 16, 0))
    ),
    *(
        Case("TANH", (X((4, 64), stored=stored),), out_scale=TANH_SCALE)
        for stored in (None, (0.02, -20), (0.1, 100))
    ),
    *(
        Case(op, (X((4, 64), stored=(scale, 0)),), types=("int16",), out_scale=WIDE_SCALE)
        for op in ("LOGISTIC", "TANH")
        for scale in (1 / 16, 1 / 8, 1 / 4, 0.05, 0.0123, 0.5)
    ),
    *(
        Case("ABS", (X(shape, stored=stored),), types=("float32", "int8", "int16", "int32"), out_scale=out)
        for shape in ((4, 64), (5,))
        for stored, out in ((None, None), ((0.043, 20), None), ((0.02, 0), (0.03, -128)))
    ),
    *(Case("NEG", (X(shape),), types=("float32", "int32", "int64")) for shape in ((4, 64), (2, 3, 5), ())),
    *(
        Case("EXP", (X((4, 64), stored=stored),), types=("float32", "int8", "int16"), out_scale=out)
        for stored, out in ((None, None), ((0.02, 0), (0.1, -128)), ((0.03, 0), (0.2, -128)))
    ),
    Case("SQRT", (X((4, 64), (0.0, 9.0)),), types=FLOAT),
    Case("RSQRT", (X((4, 64), (0.1, 9.0)),), types=FLOAT),
    *(
        Case(op, (X(shape, span),), types=FLOAT)
        for op, span in (
            ("FLOOR", (-3, 3)),  ("SIN", (-9, 9)), ("COS", (-9, 9)),
            ("LOG", (0.01, 9)), ("SQUARE", (-3, 3)),
                   )
        for shape in ((4, 64), (2, 3, 5), (7,))
    ),
    *(
        Case(op, (X(shape),), types=types)
        for op, types in (("ZEROS_LIKE", ("float32", "int32", "int64")), ("SIGN", ("float32", "int32")))
        for shape in ((4, 64), (2, 3, 5), (7,))
    ),
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
        Case(op, (X(a, (-20, 20), dtype), X(b, (1, 9), dtype)), types=(dtype,))
        for op, types in (
            ("FLOOR_DIV", ("int8", "int16", "int32")),
            ("FLOOR_MOD", ("int8", "int16", "int32", "int64")),
        )
        for dtype in types
        for a, b in (((4, 6), (4, 6)), ((2, 1, 3), (5, 1)), ((3,), (2, 3)))
    ),
    *(Case("PRELU", (X(a), X(b))) for a, b in (((2, 4, 6), (4, 6)), ((2, 3, 4), (1, 1, 4)), ((5,), (5,)))),
    *(Case("ADD_N", (X((2, 3)),) * n, types=("float32", "int32")) for n in (2, 3, 5)),
]  # fmt: skip
