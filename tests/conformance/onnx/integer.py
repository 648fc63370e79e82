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
        Case("QLinearMatMul", quantised(x, bytes_(d, 40, 5), x.dtype))
        for x in (U8, S8)
        for d in (x.dtype, "int8")
    ),
    *(
        Case(
            "QLinearConv",
            quantised(X((1, 4, 6, 7), span, dtype), bytes_(w, 4, 4 // group, 3, 3), dtype),
            {"group": group, "pads": [1, 1, 0, 2]},
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
        )
        for scales in (0.02, np.array([0.01, 0.02, 0.03, 0.005]))
        for bias in (np.array([100, -2000, 30000, 7], np.int32),)
    ),
]
