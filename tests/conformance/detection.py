"""Non-maximum suppression, over random boxes and over some that overlap by much."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import FLOAT, Array, Case, X, ints

ROWS = (
    (0, 0, 1, 1),
    (0, 0.1, 1, 1.1),
    (0, -0.1, 1, 0.9),
    (0, 10, 1, 11),
    (0, 10.1, 1, 11.1),
    (0, 100, 1, 101),
)
NEAR = np.array(ROWS, np.float32)
FLIPPED = NEAR[:, [2, 1, 0, 3]]
NUMBERS = np.array((0.9, 0.75, 0.6, 0.95, 0.5, 0.3), np.float32)


def scalar(number: float) -> Array:
    return np.array(number, np.float32)


CASES = [
    *(
        Case(
            "NON_MAX_SUPPRESSION_V4", (boxes, scores, ints(most).reshape(()), scalar(iou), scalar(lowest)),
            outputs=2, out_type="int32", types=FLOAT,
        )
        for boxes, scores in ((NEAR, NUMBERS), (FLIPPED, X((6,))), (X((20, 4)), X((20,))))
        for most in (1, 3, 10)
        for iou in (0.2, 0.5)
        for lowest in (-5.0, 0.0, 0.55)
    ),
    *(
        Case(
            "NON_MAX_SUPPRESSION_V5",
            (boxes, scores, ints(most).reshape(()), scalar(iou), scalar(lowest), scalar(sigma)),
            outputs=3, out_type=("int32", "float32", "int32"), types=FLOAT,
        )
        for boxes, scores in ((NEAR, NUMBERS), (X((20, 4)), X((20,), (0.0, 1.0))))
        for most in (2, 8)
        for iou in (0.5, 1.0)
        for lowest in (0.0, 0.4)
        for sigma in (0.0, 0.5)
    ),
]  # fmt: skip
