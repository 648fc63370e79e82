"""Convolutions in three dimensions."""

from __future__ import annotations

from itertools import product

from tests.conformance.case import FLOAT, RELU, RELU6, B, Case, W, X, ints
from tests.conformance.conv import SAME, VALID

UNIT = {
    f"{name}{axis}{end}": 1 for axis in "dhw" for name, end in (("stride_", ""), ("dilation_", "_factor"))
}
STRIDED = {"stride_d": 2, "stride_h": 3, "stride_w": 2}
DILATED = {"dilation_d_factor": 2, "dilation_h_factor": 2, "dilation_w_factor": 3}

CASES = [
    *(
        Case(
            "CONV_3D",
            (X((2, 5, 6, 7, channels)), W((*kernel, channels, 4)), *bias),
            {**UNIT, **padding, **sliding, **fused},
            FLOAT,
            builtin=FLOAT,
        )
        for channels, (kernel, sliding), padding, (bias, fused) in product(
            (1, 3),
            (((1, 1, 1), {}), ((2, 3, 2), {}), ((3, 2, 3), STRIDED), ((2, 2, 2), DILATED)),
            (SAME, VALID),
            (((B(4),), RELU), ((), RELU6), ((B(4),), {})),
        )
    ),
    *(
        Case(
            "CONV_3D_TRANSPOSE",
            (ints(*out, 4), W((*kernel, 4, channels)), X((2, *size, channels)), *bias),
            {**UNIT, **padding, **sliding, **fused},
            FLOAT,
            builtin=FLOAT,
        )
        for channels, (out, size, kernel, sliding, padding), (bias, fused) in product(
            (1, 3),
            (
                ((2, 3, 4, 5), (3, 4, 5), (1, 1, 1), {}, VALID),
                ((2, 3, 4, 5), (3, 4, 5), (2, 3, 2), {}, SAME),
                ((2, 4, 6, 5), (2, 2, 3), (3, 2, 3), STRIDED, SAME),
                ((2, 5, 7, 7), (2, 2, 3), (3, 4, 2), STRIDED, VALID),
                ((2, 5, 6, 7), (3, 4, 4), (2, 2, 2), DILATED, VALID),
            ),
            (((B(4),), RELU), ((B(4),), {})),
        )
    ),
]  # fmt: skip
