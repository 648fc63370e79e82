"""Element-wise operators."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, number

ONE = X((2, 3, 4))
NEAR = X((2, 3, 4), (0.1, 3.0))
UNARY = (
    "Relu",
    "Sigmoid",
    "Tanh",
    "Abs",
    "Neg",
    "Exp",
    "Sin",
    "Cos",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "HardSwish",
)
ACTIVATIONS: dict[str, tuple[dict[str, float], ...]] = {
    "LeakyRelu": ({}, {"alpha": 0.3}),
    "Elu": ({}, {"alpha": 0.4}),
    "Celu": ({}, {"alpha": 0.7}),
    "Selu": ({}, {"alpha": 1.1, "gamma": 2.0}),
    "HardSigmoid": ({}, {"alpha": 0.3, "beta": 0.4}),
    "ThresholdedRelu": ({}, {"alpha": 0.5}),
    "Shrink": ({}, {"bias": 0.2, "lambd": 1.0}),
}
PAIRS = (((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 1, 4), (3, 1)), ((), (2, 3)))
INTEGERS = ("int32", "int64")

CASES = [
    *(Case(op, (ONE,), opsets=(14, 22) if op == "HardSwish" else (13, 22)) for op in UNARY),
    *(Case(op, (NEAR,)) for op in ("Log", "Sqrt", "Reciprocal", "Tan")),
    *(Case(op, (ONE,)) for op in ("Softplus", "Softsign", "Erf", "Sinh", "Cosh", "Identity", "Dropout")),
    *(Case(op, (X((5, 7)),), attrs) for op, choices in ACTIVATIONS.items() for attrs in choices),
    *(Case(op, (X((5, 7), (-0.99, 0.99)),)) for op in ("Asin", "Acos", "Atanh")),
    *(Case(op, (X((5, 7)),)) for op in ("Atan", "Asinh")),
    Case("Acosh", (X((5, 7), (1, 9)),)),
    Case("Mish", (ONE,), opsets=(18, 22)),
    *(Case("Gelu", (ONE,), attrs, (20, 22)) for attrs in ({}, {"approximate": "tanh"})),
    *(Case(op, (X((3, 4), dtype=dtype),)) for op in ("Abs", "Neg", "Sign") for dtype in INTEGERS),
    Case("Relu", (X((3, 4), dtype="int32"),), opsets=(14, 22)),
    *(Case(op, (X((3, 4), (-128, 127), "int8"),)) for op in ("Abs", "Neg", "Sign")),
    Case("Not", (X((3, 4), dtype="bool"),)),
    *(Case("PRelu", (X((2, 3, 4)), slope)) for slope in (X((3, 1)), np.full((4,), 0.2, np.float32))),
    *(
        Case("Clip", (X((3, 4), (-9, 9)), low, high))
        for low in (None, number(-1), number(0))
        for high in (None, number(1), number(6))
    ),
    Case("Clip", (X((3, 4)), X((), (-1, -1)), X((), (2, 2)))),
    Case("Clip", (X((3, 4), dtype="int32"), number(-5, "int32"), number(9, "int32"))),
    Case("IsNaN", (X((3, 4)),)),
    *(
        Case("IsInf", (X((3, 4)),), {"detect_negative": low, "detect_positive": high})
        for low in (0, 1)
        for high in (0, 1)
    ),
    # two operands
    *(
        Case(op, (X(a), X(b, (0.5, 3.0))))
        for op in ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum", "Mean")
        for a, b in PAIRS
        if op != "Pow"
    ),
    *(Case("Pow", (X(a, (0.1, 3)), X(b)), opsets=(13, 15)) for a, b in PAIRS),
    *(Case("Pow", (X((3, 4)), number(n))) for n in (2, 3)),
    Case("Pow", (X((3, 4), (0.1, 3)), number(0.5))),
    *(
        Case(op, (X((3, 4), dtype=dtype), X((4,), (1, 9), dtype)))
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Mod")
        for dtype in INTEGERS
    ),
    Case("Mod", (X((3, 4)), X((4,), (0.5, 2))), {"fmod": 1}),
    Case("Mod", (X((3, 4), dtype="int32"), X((4,), (1, 9), "int32")), {"fmod": 1}),
    *(Case(op, (X((3, 4), dtype="bool"), X((4,), dtype="bool"))) for op in ("And", "Or", "Xor", "Equal")),
    *(
        Case(op, (X((3, 4), (0, 3), dtype), X((4,), (0, 3), dtype)))
        for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
        for dtype in ("float32", *INTEGERS)
    ),
    *(
        Case("Where", (X((3, 4), dtype="bool"), X((4,), dtype=dtype), X((3, 1), dtype=dtype)))
        for dtype in ("float32", *INTEGERS)
    ),
    *(Case(op, (X((3, 4)), X((4,)), X((3, 1)))) for op in ("Min", "Max", "Sum", "Mean")),
    # doubles
    *(
        Case(op, (X((3, 4), dtype="float64"),), tolerance=1e-12)
        for op in ("Abs", "Neg", "Exp", "Relu", "Sigmoid", "Tanh", "Sin", "Floor", "Sign")
    ),
    *(
        Case(op, (X((3, 4), dtype="float64"), X((4,), (0.5, 3), "float64")), tolerance=1e-12)
        for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Less", "Equal")
    ),
    Case("Add", (X((3, 4), dtype="float64"), np.linspace(0, 1, 4))),
    # types
    *(
        Case("Cast", (X((3, 4), dtype=source),), {"to": to})
        for source in ("float32", "int32", "int64", "uint8", "int8", "bool", "float64", "uint16", "uint32")
        for to in (1, 6, 7, 9, 11)
    ),
    *(
        Case("Cast", (X((3, 4), (0, 100), source),), {"to": to})
        for source in INTEGERS
        for to in (2, 3, 4, 12, 13)
    ),
    Case("CastLike", (X((3, 4)), number(0, "int32")), opsets=(15, 22)),
    *(
        Case(f"Bitwise{op}", (X((3, 4), dtype=dtype), b), opsets=(18, 22))
        for op in ("And", "Or", "Xor")
        for dtype in ("int8", "uint8", "int32", "int64")
        for b in (X((4,), dtype=dtype), X((3, 4), dtype=dtype))
    ),
    *(
        Case("BitwiseNot", (X((3, 4), dtype=dtype),), opsets=(18, 22))
        for dtype in ("int8", "uint8", "int32", "int64")
    ),
    *(
        Case("BitShift", (X((3, 4), (0, 255), "uint8"), X((4,), (0, 7), "uint8")), {"direction": way})
        for way in ("LEFT", "RIGHT")
    ),
    Case("com.microsoft.Gelu", (X((3, 4)),)),
]
