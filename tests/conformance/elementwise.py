"""Element-wise operators."""

from __future__ import annotations

from tests.conformance.case import ALL, FLOAT, RELU, RELU6, RELU_N1, Case, X

SIGMOID_SCALE, TANH_SCALE = (1 / 256, -128), (1 / 128, 0)

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
]  # fmt: skip
