"""Pools over one, two and three axes."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import X
from tests.conformance.onnx.case import Case

GEOMETRIES: tuple[dict[str, Any], ...] = (
    {"kernel_shape": [2, 2]},
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 1, 0]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "VALID"},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
)
LINES: tuple[dict[str, Any], ...] = (
    {"kernel_shape": [3]},
    {"kernel_shape": [3], "strides": [2], "pads": [1, 1]},
    {"kernel_shape": [2], "strides": [2], "ceil_mode": 1},
)
VOLUME = {"kernel_shape": [2, 3, 2], "strides": [1, 2, 2], "pads": [0, 1, 0, 0, 1, 1]}
DILATED = {"kernel_shape": [2, 3], "dilations": [2, 2], "pads": [1, 1, 0, 1]}

CASES = [
    *(Case("MaxPool", (X((2, 3, 9, 10)),), attrs) for attrs in GEOMETRIES),
    *(Case("MaxPool", (X((1, 2, 7, 8), dtype=dtype),), GEOMETRIES[2]) for dtype in ("int8", "uint8")),
    *(
        Case("AveragePool", (X((2, 3, 9, 10)),), {**attrs, "count_include_pad": flag}, (19, 22))
        for attrs in GEOMETRIES
        for flag in (0, 1)
    ),
    *(Case("AveragePool", (X((2, 3, 9, 10)),), GEOMETRIES[i], (13,)) for i in range(4)),
    *(Case(op, (X((2, 3, 9)),), attrs, (19, 22)) for op in ("MaxPool", "AveragePool") for attrs in LINES),
    Case("MaxPool", (X((1, 2, 4, 6, 5)),), VOLUME),
    *(Case("AveragePool", (X((1, 2, 4, 6, 5)),), {**VOLUME, "count_include_pad": flag}) for flag in (0, 1)),
    Case("MaxPool", (X((1, 2, 7, 8)),), DILATED),
    *(
        Case("AveragePool", (X((1, 2, 7, 8)),), {**DILATED, "count_include_pad": flag}, (19, 22))
        for flag in (0, 1)
    ),
    *(
        Case(op, (X(shape),))
        for op in ("GlobalMaxPool", "GlobalAveragePool")
        for shape in ((2, 3, 5), (2, 3, 4, 5), (1, 2, 3, 4, 2))
    ),
    *(
        Case("LpPool", (X((2, 3, 9, 10)),), {**attrs, "p": p}, (13, 22))
        for attrs in GEOMETRIES
        for p in (1, 2, 3)
        if "ceil_mode" not in attrs
    ),
    *(Case("GlobalLpPool", (X((2, 3, 4, 5)),), {"p": p}, (13, 21)) for p in (1, 2, 3)),
]
