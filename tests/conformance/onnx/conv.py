"""Convolutions over one and two axes, in groups, and their transposes."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, weights

GEOMETRIES: tuple[dict[str, Any], ...] = (
    {},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 2, 0]},
    {"strides": [2, 2]},
    {"strides": [2, 1], "pads": [1, 0, 1, 1]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"dilations": [2, 2]},
    {"dilations": [1, 2], "pads": [1, 2, 1, 2]},
    *({"auto_pad": mode, "strides": [1, 1]} for mode in ("VALID", "SAME_UPPER", "SAME_LOWER")),
    *({"auto_pad": mode, "strides": [2, 3]} for mode in ("VALID", "SAME_UPPER", "SAME_LOWER")),
)
LINES: tuple[dict[str, Any], ...] = (
    {},
    {"pads": [1, 1]},
    {"strides": [2], "pads": [0, 2]},
    {"dilations": [3]},
)
TRANSPOSED: tuple[dict[str, Any], ...] = (
    {},
    {"strides": [2, 2]},
    {"pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "pads": [1, 0, 1, 2]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"strides": [3, 2], "output_padding": [2, 1]},
    {"dilations": [2, 2]},
    {"strides": [2, 2], "output_shape": [12, 13]},
    *({"auto_pad": mode, "strides": [2, 2]} for mode in ("SAME_UPPER", "SAME_LOWER")),
)

CASES = [
    *(Case("Conv", (X((2, 3, 9, 10)), weights(4, 3, 3, 3), weights(4)), attrs) for attrs in GEOMETRIES),
    *(
        Case("Conv", (X((1, 4, 7, 8)), weights(4, 1, 3, 2), weights(4)), {**attrs, "group": 4})
        for attrs in GEOMETRIES
    ),
    *(
        Case(
            "Conv",
            (X((1, 4, 7, 8)), weights(units, 4 // group, 3, 3)),
            {"group": group, "pads": [1, 1, 1, 1]},
        )
        for units, group in ((6, 2), (8, 4), (4, 2), (12, 4))
    ),
    *(Case("Conv", (X((2, 3, 11)), weights(4, 3, 3), weights(4)), attrs) for attrs in LINES),
    *(Case("Conv", (X((2, 3, 11)), weights(6, 1, 3)), {**attrs, "group": 3}) for attrs in LINES),
    *(
        Case("Conv", (X((2, 3, 5, 6, 7)), weights(4, 3, 2, 3, 3), weights(4)), attrs)
        for attrs in (
            {},
            {"pads": [1, 0, 1, 0, 1, 1], "strides": [1, 2, 2]},
            {"dilations": [2, 1, 2]},
            {"auto_pad": "SAME_UPPER"},
        )
    ),
    *(
        Case("ConvTranspose", (X((1, 3, 3, 4, 3)), weights(3, 2, 2, 3, 2)), attrs)
        for attrs in ({}, {"strides": [2, 1, 2], "pads": [0, 1, 1, 1, 0, 0]})
    ),
    Case("Conv", (X((1, 3, 5, 5)), weights(2, 3, 1, 1)), {"kernel_shape": [1, 1]}),
    Case("Conv", (X((1, 3, 5, 5)), X((2, 3, 3, 3)), X((2,)))),
    *(
        Case("ConvTranspose", (X((2, 3, 5, 6)), weights(3, 4, 3, 3), weights(4)), attrs)
        for attrs in TRANSPOSED
    ),
    *(
        Case("ConvTranspose", (X((1, 4, 4, 5)), weights(4, units, 2, 3)), {"group": group, "strides": [2, 2]})
        for units, group in ((3, 2), (1, 4), (2, 4))
    ),
    *(
        Case("ConvTranspose", (X((1, 3, 6)), weights(3, 2, 4)), attrs)
        for attrs in ({}, {"strides": [2], "pads": [1, 1]}, {"strides": [3]}, {"pads": [4, 4]})
    ),
]
