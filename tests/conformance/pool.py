"""Pooling."""

from __future__ import annotations

from itertools import product

from tests.conformance.case import FLOAT, RELU, RELU6, RELU_N1, Case, X
from tests.conformance.conv import IMAGE, SAME, STRIDED, TYPES, VALID

CASES = [
    *(
        Case(op, (X(shape),), {**window, **padding}, types, same=True, builtin=types)
        for op, shape, window, padding in product(
            ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"),
            ((2, 7, 9, 4), (1, 5, 6, 3), (3, 8, 8, 1)),
            (
                {"filter_height": 3, "filter_width": 4, **STRIDED, **RELU_N1},
                {"filter_height": 2, "filter_width": 2, "stride_h": 2, "stride_w": 2},
                {"filter_height": 1, "filter_width": 5, "stride_h": 1, "stride_w": 1, **RELU},
                {"filter_height": 5, "filter_width": 6, "stride_h": 3, "stride_w": 1, **RELU6},
            ),
            (SAME, VALID),
        )
        for types in (FLOAT if op == "L2_POOL_2D" else TYPES,)
    ),
    Case("AVERAGE_POOL_2D", (IMAGE,), {**VALID, **RELU6, "filter_height": 7, "filter_width": 9}, same=True),
]  # fmt: skip
