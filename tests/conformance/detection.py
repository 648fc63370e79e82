"""Non-maximum suppression, over random boxes and over some that overlap by much."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.exporters.tflite import TensorSpec
from tests.conformance.case import FLOAT, Array, Case, Operand, X, ints

ROWS = (
    (0, 0, 1, 1),
    (0, 0.1, 1, 1.1),
    (0, -0.1, 1, 0.9),
    (0, 10, 1, 11),
    (0, 10.1, 1, 11.1),
    (0, 100, 1, 101),
)
NEAR = np.array(ROWS, np.float32)
THIN = NEAR * np.array((1, 0, 1, 0), np.float32)
FLIPPED = NEAR[:, [2, 1, 0, 3]]
NUMBERS = np.array((0.9, 0.75, 0.6, 0.95, 0.5, 0.3), np.float32)


def scalar(number: float) -> Array:
    return np.array(number, np.float32)


def priors(count: int) -> Array:
    """Anchors as y, x, h, w all over the unit square."""
    rng = np.random.default_rng(count)
    return np.concatenate([rng.uniform(0, 1, (count, 2)), rng.uniform(0.2, 0.6, (count, 2))], 1).astype("f4")


def apart(*shape: int) -> Array:
    """Scores of which no two are the same, nor one next to a threshold."""
    numbers = np.random.default_rng(len(shape)).permutation(int(np.prod(shape))) + 0.5
    return (numbers / numbers.size).astype(np.float32).reshape(shape)


DECODING = {"y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0}


def stored(numbers: Array, most: float) -> TensorSpec:
    """Numbers of 0..`most` in uint8."""
    data = np.round(numbers / most * 255).astype(np.uint8)
    return TensorSpec("", data.shape, "uint8", data, (most / 255,), (0,))


def post_process(boxes: Operand, scores: Array | X | TensorSpec, anchors: Operand, **options: Any) -> Case:
    """Of 4 classes, or 3 and the background. With more than one class a box, every box of the output is one
    that TFLite fills in, and no box has two scores that are equal."""
    number = 3 if options.pop("background") else 4
    types = ("uint8",) if isinstance(anchors, TensorSpec) else FLOAT
    return Case(
        "TFLite_Detection_PostProcess",
        (boxes, scores, anchors),
        {"num_classes": number, **DECODING, **options},
        types=types,
        outputs=4,
        out_type="float32",
    )


BOXES, LEVELS = (
    X((1, 16, 4), (-1.0, 1.0)),
    np.round(4 * apart(1, 16, 4)) / 4 + np.arange(4, dtype=np.float32) / 64,
)
IN_BYTES = X((1, 16, 4)), stored(apart(1, 16, 4), 1.0), stored(priors(16), 1.0)


CASES = [
    *(
        Case(
            "NON_MAX_SUPPRESSION_V4", (boxes, scores, ints(most).reshape(()), scalar(iou), scalar(lowest)),
            outputs=2, out_type="int32", types=FLOAT,
        )
        for boxes, scores in (
            (NEAR, NUMBERS), (FLIPPED, X((6,))), (X((20, 4)), X((20,))), (THIN, NUMBERS),
        )
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
    # every class by itself: TFLite fills the rest with zeros
    *(
        post_process(
            *operands, background=background, max_detections=most, max_classes_per_detection=1,
            use_regular_nms=True, **each, nms_score_threshold=least, nms_iou_threshold=iou,
        )
        for operands in ((BOXES, apart(1, 16, 4), priors(16)), (BOXES, LEVELS, priors(16)), IN_BYTES)
        for background in (0, 1)
        for most in (1, 5, 20)
        for each in ({}, {"detections_per_class": 1}, {"detections_per_class": 3})
        for least in (0.0, 0.6)
        for iou in (0.3, 0.6)
    ),
    # the best class of each box
    *(
        post_process(
            *operands, background=background, max_detections=most, max_classes_per_detection=k,
            nms_score_threshold=0.0, nms_iou_threshold=iou,
        )
        for operands in (
            (BOXES, apart(1, 16, 4), priors(16)),
            (X((1, 16, 7), (-1.0, 1.0)), apart(1, 16, 4), priors(16)),
            (BOXES, X((1, 16, 4), (0.0, 1.0)), X((16, 4), (0.2, 0.9))),
            (BOXES, stored(apart(1, 16, 4), 1.0), priors(16)),
            IN_BYTES,
        )
        for background in (0, 1)
        for most in (1, 3)
        for k in (1, 2, 3)
        for iou in (0.5, 0.9, 1.0)
    ),
    *(
        post_process(
            BOXES, LEVELS, priors(16), background=background, max_detections=4, max_classes_per_detection=1,
            nms_score_threshold=0.0, nms_iou_threshold=iou,
        )
        for background in (0, 1)
        for iou in (0.7, 1.0)
    ),
]  # fmt: skip
