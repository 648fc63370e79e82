"""Convolutions."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import RELU, RELU6, RELU_N1, B, Case, W, X

SAME, VALID = {"padding": "SAME"}, {"padding": "VALID"}
STRIDED, DILATED = {"stride_h": 2, "stride_w": 3}, {"dilation_h_factor": 2, "dilation_w_factor": 3}
IMAGE = X((2, 7, 9, 4))


def conv(x: X, w: W, **options: Any) -> Case:
    return Case("CONV_2D", (x, w, B(w.shape[0])), options)


def depthwise(x: X, w: W, **options: Any) -> Case:
    return Case("DEPTHWISE_CONV_2D", (x, w, B(w.shape[3])), options)


CASES = [
    conv(IMAGE, W((5, 3, 3, 4)), **SAME),
    conv(IMAGE, W((5, 3, 3, 4)), **VALID, **RELU),
    conv(IMAGE, W((5, 1, 1, 4)), **VALID, **RELU6),
    conv(IMAGE, W((5, 1, 1, 4)), **SAME, **STRIDED),
    conv(IMAGE, W((5, 2, 3, 4), None), **SAME, **STRIDED, **RELU_N1),
    conv(IMAGE, W((5, 3, 2, 4)), **VALID, **DILATED),
    conv(IMAGE, W((5, 3, 2, 4)), **SAME, **DILATED),
    conv(X((1, 3, 3, 2)), W((3, 5, 5, 2)), **SAME),
    Case("CONV_2D", (IMAGE, W((6, 3, 3, 2)), B(6)), {**SAME, **RELU}, types=("float32", "int8")),
    depthwise(IMAGE, W((1, 3, 3, 4), 3), **SAME, depth_multiplier=1),
    depthwise(IMAGE, W((1, 3, 3, 4), 3), **VALID, **RELU6, depth_multiplier=1),
    depthwise(IMAGE, W((1, 3, 3, 8), 3), **SAME, stride_h=2, stride_w=2, depth_multiplier=2),
    depthwise(IMAGE, W((1, 3, 2, 4), 3), **SAME, **DILATED, depth_multiplier=1),
    depthwise(X((2, 5, 5, 1)), W((1, 3, 3, 6), 3), **SAME, **RELU, depth_multiplier=6),
]  # fmt: skip
