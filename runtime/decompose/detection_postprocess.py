"""TFLite_Detection_PostProcess: boxes from their encodings, then the best by non-maximum suppression.

Source: TFLite's detection_postprocess.cc, which decodes boxes in float64. It leaves what it does not fill to
chance, here it is 0. Of equal scores the first box and the lower class come first; TFLite leaves open which
of the equal classes of one box comes first, and so did its releases of 2023 for different boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.atoms import Gather, Map, Reduce, Region, Sort, View
from runtime.decompose.detection import GONE, flat, found, greedy
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.decompose.steps import turned
from runtime.graph import DType, Node
from runtime.shapes.detection import class_offset
from runtime.strides import dense

BOXES, SCORES, ANCHORS = range(3)


def detection_postprocess(low: Lowering) -> None:
    """By falling score: corners ymin, xmin, ymax, xmax (1, n, 4), classes (1, n), scores (1, n); how many."""
    _check_types(low)
    rule = _regular if low.x.attr("use_regular_nms") else _fast
    rule(low, _corners(low), _scores(low))


def _check_types(low: Lowering) -> None:
    boxes, scores, anchors = (low.x.value(i).dtype for i in range(3))
    known = {DType.F32, DType.U8}
    if boxes is not anchors or not {boxes, scores} <= known or _output_types(low) != {DType.F32}:
        low.types()


def _output_types(low: Lowering) -> set[DType]:
    return {low.values[i].dtype for i in low.node.outputs}


def _real(low: Lowering, i: int, stored: Program) -> Program:
    """Input i as a real number."""
    if low.x.value(i).dtype is DType.F32:
        return stored
    scale, zero_point = low.quantized(low.x.value(i))
    return call("mul", call("sub", stored, const(zero_point)), const(scale))


def _corners(low: Lowering) -> int:
    """(n, 4): for each box both ends of y and of x, from centres and sizes in units of its anchor."""
    _, count, width = low.x.shape(BOXES)
    names = ("y_scale", "x_scale", "h_scale", "w_scale")
    scales = low.constant(np.array([low.x.attr(name) for name in names], np.float32))
    sides = low.constant(np.array([-0.5, 0.5], np.float32))
    place, size = _real(low, BOXES, load(0)), _real(low, BOXES, load(1))
    anchor, extent = _real(low, ANCHORS, load(2)), _real(low, ANCHORS, load(3))
    centre = call("add", call("mul", call("div", place, load(4)), extent), anchor)
    half = call("mul", call("mul", load(6), call("exp", call("div", size, load(5)))), extent)
    views = [View(first, (stride, 0, 1)) for stride in (width, 4, 0) for first in (0, 2)]
    sizes = (count, 2, 2)
    atom = Map(sizes, (*views, View(0, (0, 1, 0))), dense(sizes), call("add", centre, half))
    boxes, anchors = low.node.inputs[BOXES], low.node.inputs[ANCHORS]
    inputs = [boxes, boxes, anchors, anchors, scales, scales, sides]
    return low.emit(atom, inputs, low.temp((count, 4), DType.F32))


def _scores(low: Lowering) -> int:
    """(n, classes) without those of the background."""
    _, count, width = low.x.shape(SCORES)
    sizes = (count, int(low.x.attr("num_classes")))
    atom = Map(sizes, (View(class_offset(low.x), (width, 1)),), dense(sizes), _real(low, SCORES, load(0)))
    return low.emit(atom, [low.node.inputs[SCORES]], low.temp(sizes, DType.F32))


def _candidates(low: Lowering, scores: int, rows: int, view: View) -> int:
    """(rows, n) scores through a view; GONE below the threshold."""
    sizes = (rows, low.x.shape(SCORES)[1])
    enough = call("ge", load(0), const(low.x.attr("nms_score_threshold")))
    atom = Map(sizes, (view,), dense(sizes), call("select", enough, load(0), GONE))
    return low.emit(atom, [scores], low.temp(sizes, DType.F32))


def _suppress(low: Lowering, left: int, overlap: int, place: int) -> int:
    """Without the box taken and those that overlap with it by more than the threshold."""
    shape = rows, boxes = low.values[overlap].shape
    order = low.constant(np.arange(boxes, dtype=np.int32))
    out = call(
        "or", call("gt", load(1), const(low.x.attr("nms_iou_threshold"))), call("eq", load(2), load(3))
    )
    views = dense(shape), dense(shape), View(0, (0, 1)), View(0, (1, 0))
    atom = Map(shape, views, dense(shape), call("select", out, GONE, load(0)))
    return low.emit(atom, [left, overlap, order, place], low.temp((rows, boxes), DType.F32))


def _fast(low: Lowering, corners: int, scores: int) -> None:
    """A box counts by its best class, and each one taken brings its best classes."""
    count, classes = low.values[scores].shape
    most = int(low.x.attr("max_classes_per_detection"))
    k, steps = min(most, classes), min(int(low.x.attr("max_detections")), count)
    best, order = low.temp((count, k), DType.F32), low.temp((count, k), DType.I32)
    if k == 1:
        low.emit(Reduce("max", count, classes, 1), [scores], best)
        low.emit(Reduce("argmax", count, classes, 1), [scores], order)
    else:
        _sort(low, Sort(count, classes, k), scores, best, order)
    left = _candidates(low, best, 1, View(0, (0, k)))
    places, bests = greedy(low, corners, left, 1, steps, _suppress)
    taken, index = found(low, bests, steps), _sound(low, corners, places, steps)
    picked = [
        low.emit(Gather(count, k, steps), [value, index], low.temp((steps, k), low.values[value].dtype))
        for value in (order, best)
    ]
    _write(low, taken, _boxes(low, corners, index, steps), picked, most)


def _regular(low: Lowering, corners: int, scores: int) -> None:
    """Every class by itself, then the best of all; of equal scores the lower class comes first."""
    count, classes = low.values[scores].shape
    most = int(low.x.attr("max_detections"))
    steps = min(int(low.x.attr("detections_per_class")), most, count)
    left = _candidates(low, scores, classes, View(0, (1, classes)))
    each = [turned(low, v, (steps, classes)) for v in greedy(low, corners, left, classes, steps, _suppress)]
    total = min(most, classes * steps)
    best, order = low.temp((total,), DType.F32), low.temp((total,), DType.I32)
    _sort(low, Sort(1, classes * steps, total), each[1], best, order)
    places = low.emit(Gather(classes * steps, 1, total), [each[0], order], low.temp((total,), DType.I32))
    taken, index = found(low, best, total), _sound(low, corners, places, total)
    number = flat(low, call("floor_div", load(0), const(steps)), [order], total, DType.I32)
    _write(low, taken, _boxes(low, corners, index, total), [number, best], 1)


def _sort(low: Lowering, atom: Sort, values: int, best: int, order: int) -> None:
    low.nodes.append(Node(atom.NAME, (values,), (best, order), atom, low.node.source))


def _sound(low: Lowering, corners: int, places: int, count: int) -> int:
    """The places; -1, which stops the run, where TFLite refuses to: a box that ends before it begins."""
    sizes = (low.values[corners].shape[0], 2)
    views, less = (View(0, (4, 1)), View(2, (4, 1))), call("gt", load(0), load(1))
    atom = Map(sizes, views, dense(sizes), less)
    turned_over = low.emit(atom, [corners, corners], low.temp(sizes, DType.I32))
    worst = low.emit(Reduce("max", 1, sizes[0] * 2, 1), [turned_over], low.temp((1,), DType.I32))
    views, program = (View(0, (0,)), View(0, (1,))), call("select", load(0), const(-1), load(1))
    atom = Map((count,), views, dense((count,)), program, "i32")
    return low.emit(atom, [worst, places], low.temp((count,), DType.I32))


def _boxes(low: Lowering, corners: int, index: int, count: int) -> int:
    atom = Gather(low.values[corners].shape[0], 4, count)
    return low.emit(atom, [corners, index], low.temp((count, 4), DType.F32))


def _write(low: Lowering, taken: int, boxes: int, picked: Sequence[int], stride: int) -> None:
    """Boxes (n, 4), classes and scores (n, k), `stride` places for each box; zeros where none was taken."""
    (count,) = low.values[taken].shape
    k = low.values[picked[0]].elements // count
    outputs, kept = low.node.outputs, call("select", load(0), load(1), const(0))
    for output, value, view, width in (
        (outputs[0], boxes, View(0, (4, 0, 1)), 4),
        *((output, value, View(0, (k, 1, 0)), 1) for output, value in zip(outputs[1:], picked, strict=False)),
    ):
        sizes = (count, k, width)
        atom = Map(sizes, (View(0, (1, 0, 0)), view), dense(sizes), kept)
        block = low.emit(atom, [taken, value], low.temp(sizes, DType.F32))
        region = Region(0, dense(sizes), View(0, (stride * width, width, 1)), sizes)
        low.raster([region], [block], output, 0)
    number = low.emit(Reduce("sum", 1, count, 1), [taken], low.temp((1,), DType.I32))
    low.map(load(0), [number], low.node.outputs[3])


RULES = {"TFLite_Detection_PostProcess": detection_postprocess}
