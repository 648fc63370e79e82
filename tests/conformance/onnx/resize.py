"""Resize by scales and by sizes, in every mode."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, longs

PLACES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
IMAGE = X((2, 3, 5, 6))


def scales(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(numbers, np.float32)


CASES = [
    *(
        Case(
            "Resize",
            (IMAGE, None, scales(1, 1, *by)),
            {"mode": mode, "coordinate_transformation_mode": place},
        )
        for mode in ("nearest", "linear", "cubic")
        for place in PLACES
        for by in ((2, 2), (1.5, 0.6))
    ),
    *(
        Case(
            "Resize",
            (IMAGE, None, None, longs(2, 3, *to)),
            {"mode": mode, "coordinate_transformation_mode": place},
        )
        for mode in ("nearest", "linear")
        for place in PLACES
        for to in ((7, 3), (1, 12))
    ),
    *(
        Case(
            "Resize",
            (IMAGE, None, scales(1, 1, 2.5, 0.5)),
            {"nearest_mode": rounding, "coordinate_transformation_mode": place},
        )
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for place in ("half_pixel", "asymmetric")
    ),
    *(
        Case(
            "Resize",
            (IMAGE, None, scales(1, 1, 1.7, 2.2)),
            {"mode": "cubic", "cubic_coeff_a": a, "exclude_outside": flag},
        )
        for a in (-0.5, -0.75)
        for flag in (0, 1)
    ),
    Case("Resize", (IMAGE, None, scales(2, 3)), {"axes": [2, 3], "mode": "linear"}, (18, 22)),
    *(
        Case(
            "Resize",
            (IMAGE, None, scales(1, 1, 1.3, 2)),
            {"mode": mode, "coordinate_transformation_mode": "half_pixel_symmetric"},
            (19, 22),
        )
        for mode in ("nearest", "linear")
    ),
    *(
        Case("Resize", (X((1, 2, 4, 3), dtype=dtype), None, scales(1, 1, 2, 2)))
        for dtype in ("uint8", "int8", "int32")
    ),
]
