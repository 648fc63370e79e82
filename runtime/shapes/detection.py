"""Shapes of operators that choose among boxes."""

from __future__ import annotations

from runtime.errors import UnsupportedError
from runtime.graph import Shape
from runtime.shapes.index import single
from runtime.shapes.operands import Operands, Rule

MOST = 4096
"""Boxes that non-maximum suppression may choose, one a step."""
MAX_BOXES = 2**24
"""Boxes to choose from: their numbers are exact in float32."""


def _non_max_suppression(x: Operands) -> list[Shape]:
    """Boxes (n, 4), scores (n,), a constant count, one threshold or parameter each."""
    boxes, scores, most = x.shape(0, rank=2), x.shape(1, rank=1), single(x, 2)
    if boxes != (*scores, 4):
        raise x.bad(f"boxes of shape {boxes} for {scores[0]} scores, expected 4 corners for each")
    if scores[0] > MAX_BOXES:
        raise UnsupportedError(f"{x.node.source}: {scores[0]} boxes, at most {MAX_BOXES}")
    for i in range(3, len(x.values)):
        if x.shape(i):
            raise x.bad(f"input {i} has shape {x.shape(i)}, expected a scalar")
    if most < 0:
        raise x.bad(f"at most {most} boxes, expected 0 or more")
    if not 1 <= most <= MOST:
        raise UnsupportedError(f"{x.node.source}: at most {most} boxes, supported are 1..{MOST}")
    return [(most,)] * (len(x.node.outputs) - 1) + [()]


def class_offset(x: Operands) -> int:
    """1 where scores begin with those of the background, 0 otherwise."""
    return x.shape(1)[2] - int(x.attr("num_classes"))


def _detection_postprocess(x: Operands) -> list[Shape]:
    """Encoded boxes (1, n, 4 or more), scores (1, n, classes), anchors (n, 4)."""
    boxes, scores, anchors = x.shape(0, rank=3), x.shape(1, rank=3), x.shape(2, rank=2)
    count, classes = boxes[1], x.positive("num_classes")
    if boxes[2] < 4 or (boxes[0], *scores[:2], *anchors) != (1, 1, count, count, 4):
        raise x.bad(
            f"boxes {boxes}, scores {scores} and anchors {anchors}, expected (1, n, 4), (1, n, c), (n, 4)"
        )
    if class_offset(x) not in (0, 1):
        raise x.bad(f"scores of {scores[2]} classes for num_classes = {classes}, expected it or one more")
    if not 0 < x.attr("nms_iou_threshold") <= 1:
        raise x.bad(f"nms_iou_threshold = {x.attr('nms_iou_threshold')}, expected more than 0 and at most 1")
    for name in ("y_scale", "x_scale", "h_scale", "w_scale"):
        if not x.attr(name):
            raise x.bad(f"{name} = 0, expected a number to divide by")
    most = x.positive("max_detections")
    x.positive("detections_per_class")
    if count > MAX_BOXES or min(most, count) > MOST:
        raise UnsupportedError(
            f"{x.node.source}: {most} of {count} boxes, supported are {MOST} of {MAX_BOXES}"
        )
    detections = most * x.positive("max_classes_per_detection")
    return [(1, detections, 4), (1, detections), (1, detections), (1,)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), _non_max_suppression),
    "TFLite_Detection_PostProcess": _detection_postprocess,
}
