"""Integer products, and quantised operators with their scales as operands."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Array, Case, number

U8, S8 = X((3, 40), (0, 255), "uint8"), X((3, 40), (-128, 127), "int8")


def bytes_(dtype: str, *shape: int) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng(3).integers(limits.min, limits.max + 1, shape).astype(dtype)


def quantised(x: X, w: Array, out: str, scales: Array | float = 0.01) -> tuple[X | Array, ...]:
    """Operands of QLinearConv and QLinearMatMul."""
    zero_w = np.full(np.shape(scales), 0 if w.dtype == np.int8 else 120, w.dtype)
    scale_w = np.array(scales, np.float32)
    return (x, number(0.02), number(9, x.dtype), w, scale_w, zero_w, number(0.9), number(5, out))


def scaled(x: X) -> tuple[X | Array, ...]:
    """An operand with its scale and zero point."""
    return x, number(0.02), number(9, x.dtype)


def zeros(scale: Array, dtype: str) -> Array:
    """As many zero points as scales."""
    return np.zeros(scale.shape, dtype)


CASES = [
    *(Case("MatMulInteger", (a, bytes_(dtype, 40, 5))) for a in (U8, S8) for dtype in ("uint8", "int8")),
    *(
        Case("MatMulInteger", (U8, bytes_(d, 40, 5), number(7, "uint8"), number(3, d)))
        for d in ("uint8", "int8")
    ),
    Case("MatMulInteger", (X((2, 900), (0, 255), "uint8"), bytes_("uint8", 900, 3), number(0, "uint8"))),
    Case("MatMulInteger", (U8, X((40, 5), (0, 255), "uint8"), number(9, "uint8"))),
    *(
        Case(
            "ConvInteger",
            (X((1, channels, 6, 7), (0, 255), "uint8"), bytes_(dtype, 4, channels, 3, 3), number(9, "uint8")),
            attrs,
        )
        for channels in (3, 80)
        for dtype in ("uint8", "int8")
        for attrs in ({}, {"pads": [1, 1, 1, 1], "strides": [2, 2]})
    ),
    *(
        Case("QLinearMatMul", quantised(x, bytes_(d, 40, 5), x.dtype), steps=1)
        for x in (U8, S8)
        for d in (x.dtype, "int8")
    ),
    *(
        Case(
            "QLinearConv",
            quantised(X((1, 4, 6, 7), span, dtype), bytes_(w, 4, 4 // group, 3, 3), dtype),
            {"group": group, "pads": [1, 1, 0, 2]},
            steps=1,
        )
        for span, dtype in (((0, 255), "uint8"), ((-128, 127), "int8"))
        for w in (dtype, "int8")
        for group in (1, 2, 4)
    ),
    *(
        Case(
            "QLinearConv",
            (
                *quantised(X((1, 3, 6, 7), (0, 255), "uint8"), bytes_("int8", 4, 3, 3, 3), "uint8", scales),
                bias,
            ),
            steps=1,
        )
        for scales in (0.02, np.array([0.01, 0.02, 0.03, 0.005]))
        for bias in (np.array([100, -2000, 30000, 7], np.int32),)
    ),
    *(
        Case(
            "ConvInteger",
            (X((1, 4, 6, 7), span, x), bytes_(w, 4, 4 // group, 3, 3), number(9, x), number(zero, w)),
            {"group": group, "pads": [1, 0, 1, 2]},
        )
        for x, span in (("uint8", (0, 255)),)
        for w, zero in (("uint8", 120), ("uint8", 3))
        for group in (1, 2, 4)
    ),
    *(
        Case("MatMulInteger", (x, bytes_(w, *shape), zero, number(3, w)))
        for w in ("uint8", "int8")
        for x, shape, zero in (
            (U8, (40, 5), X((), (0, 255), "uint8")),
            (X((2, 3, 40), (0, 255), "uint8"), (40, 5), X((), (0, 255), "uint8")),
            (X((2, 3, 4), (0, 255), "uint8"), (2, 4, 5), X((), (0, 255), "uint8")),
        )
    ),
    *(
        Case(
            f"com.microsoft.QLinear{op}",
            (
                x,
                number(0.02),
                number(9, x.dtype),
                y,
                number(0.03),
                number(20, x.dtype),
                number(out),
                number(5, x.dtype),
            ),
            steps=1,
        )
        for op, out in (("Add", 0.04), ("Mul", 0.06))
        for x in (U8, S8)
        for y in (x, X((1, 40), x.span, x.dtype), bytes_(x.dtype, 3, 40))
    ),
    *(
        Case(f"com.microsoft.QLinear{op}", (*scaled(x), number(scale), number(zero, x.dtype)), attrs, steps=1)
        for op, scale, zero, attrs in (
            ("Sigmoid", 1 / 256, 0, {}),
            ("Sigmoid", 0.01, 7, {}),
            ("LeakyRelu", 0.02, 9, {"alpha": 0.1}),
            ("LeakyRelu", 0.05, 3, {}),
            ("Softmax", 1 / 256, 0, {"opset": 13, "axis": -1}),
            ("Softmax", 1 / 256, 0, {"opset": 13, "axis": 0}),
        )
        for x in (U8, S8)
    ),
    *(
        Case(f"com.microsoft.QLinear{op}", (*scaled(x), number(scale), number(9, x.dtype)), attrs, steps=1)
        for x in (X((1, 4, 6, 7), (0, 255), "uint8"), X((1, 4, 6, 7), (-128, 127), "int8"))
        for scale in (0.02, 0.03)
        for op, attrs in (
            ("AveragePool", {"kernel_shape": [2, 2]}),
            ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
            ("GlobalAveragePool", {"channels_last": 0}),
        )
    ),
    *(
        Case(
            "com.microsoft.QLinearConcat",
            (number(0.03), number(4, x.dtype), *scaled(x), x, number(0.03), number(4, x.dtype)),
            {"axis": axis},
            steps=1,
        )
        for x in (U8, S8)
        for axis in (0, 1)
    ),
    *(
        Case(
            "com.microsoft.QGemm",
            (*scaled(x), bytes_(w, *shape), scale, zeros(scale, w), bias, *out),
            {"transB": turned},
            steps=1,
        )
        for x, w in ((U8, "uint8"), (U8, "int8"), (S8, "int8"))
        for turned, shape in ((0, (40, 5)), (1, (5, 40)))
        for scale in (number(0.01), np.linspace(0.01, 0.02, 5, dtype=np.float32))
        for bias in (None, np.arange(5, dtype=np.int32) * 100)
        for out in ((), (number(0.5), number(9, x.dtype)))
        if w == "int8" or not scale.ndim
    ),
    *(
        Case("MatMulInteger", (U8, bytes_("int8", 40, 5), zero, np.full(5, 3, np.int8)))
        for zero in (number(7, "uint8"), X((), (0, 255), "uint8"))
    ),
]
