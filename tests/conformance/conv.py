"""Convolutions."""

from __future__ import annotations

from itertools import product
from typing import Any

from runtime.backends.tflite import interpreter_module
from tests.conformance.case import RELU, RELU6, RELU_N1, B, Case, W, X

SAME, VALID = {"padding": "SAME"}, {"padding": "VALID"}
STRIDED, DILATED = {"stride_h": 2, "stride_w": 3}, {"dilation_h_factor": 2, "dilation_w_factor": 3}
IMAGE = X((2, 7, 9, 4))
INT16 = ("int16",)
NARROW = {"quantized_bias_type": 2}
SAME_ROUNDING = ("float32", "int8", "int16")
"""Types whose builtin kernels round alike in the releases of TFLite: uint8 went from gemmlowp to ruy."""
TYPES = ("float32", "int8", "uint8", "int16")

REFINED = int(not interpreter_module().__name__.startswith("tflite_runtime"))
"""Steps by which LiteRT 2 may differ from TFLite 2.14, which ours follows: on int16 it scales the sums of
FULLY_CONNECTED in double, and adds up in s64 where TRANSPOSE_CONV has no bias. Its BATCH_MATMUL on int8
rounds as the reference in both sets of kernels."""


def conv(x: X, w: W, types: tuple[str, ...] = TYPES, **options: Any) -> Case:
    return Case("CONV_2D", (x, w, B(w.shape[0])), options, types, builtin=SAME_ROUNDING)


def depthwise(x: X, w: W, **options: Any) -> Case:
    options["depth_multiplier"] = w.shape[3] // x.shape[3]
    return Case("DEPTHWISE_CONV_2D", (x, w, B(w.shape[3])), options, TYPES, builtin=SAME_ROUNDING)


CASES = [
    *(
        conv(x, W((5, *kernel, x.shape[3]), axis), **padding, **sliding, **fused)
        for x, (kernel, axis, sliding, fused), padding in product(
            (IMAGE, X((1, 8, 6, 3))),
            (
                ((3, 3), 0, {}, RELU),
                ((1, 1), 0, {}, RELU6),
                ((1, 1), 0, STRIDED, {}),
                ((2, 3), None, STRIDED, RELU_N1),
                ((3, 2), 0, DILATED, {}),
                ((3, 2), 0, {**DILATED, "stride_h": 2}, RELU6),
            ),
            (SAME, VALID),
        )
    ),
    conv(X((1, 3, 3, 2)), W((3, 5, 5, 2)), **SAME),
    *(
        conv(IMAGE, W((8, *kernel, depth)), ("float32", "int8", "int16"), **padding, **RELU)
        for kernel, depth, padding in product(((3, 3), (1, 1)), (1, 2), (SAME, VALID))
    ),
    *(
        Case("CONV_2D", (IMAGE, W((5, *k, 4), axis), B(5, "int32")), {**SAME, **NARROW}, INT16, builtin=INT16)
        for axis, k in product((0, None), ((3, 3), (1, 1)))
    ),
    *(
        depthwise(X((2, 7, 9, channels)), W((1, *kernel, channels * multiplier), axis), **padding, **options)
        for (channels, multiplier), (kernel, axis, options), padding in product(
            ((4, 1), (3, 2), (1, 6)),
            (
                ((3, 3), 3, RELU6),
                ((1, 1), 3, {}),
                ((3, 2), 3, {"stride_h": 2, "stride_w": 2, **RELU}),
                ((2, 2), None, RELU_N1),
                ((3, 2), 3, DILATED),
            ),
            (SAME, VALID),
        )
    ),
    Case("DEPTHWISE_CONV_2D", (IMAGE, W((1, 3, 3, 4), 3)), {**SAME, "depth_multiplier": 1}, TYPES),
]  # fmt: skip
