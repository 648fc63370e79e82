"""Non-maximum suppression: one step after another takes the best box and lowers the scores around it.

Source: TFLite's non_max_suppression.h, which looks at a candidate's neighbours only once it is the best; the
order in which soft weights multiply differs. Of equal scores the first box is taken, TFLite leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.atoms import Gather, Map, Reduce, Region, View
from runtime.decompose.index import expect_types
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import DType

IOU, SCORE, SIGMA = 3, 4, 5
"""Inputs: the two thresholds, and the parameter of soft suppression."""
GONE = const(-math.inf)


def non_max_suppression(low: Lowering) -> None:
    """Selected indices, with V5 also their scores, and how many there are; 0 after those."""
    _check_types(low)
    boxes, scores, inputs = low.x.shape(0)[0], low.node.inputs[1], low.node.inputs
    above = call("gt", load(0), load(1))
    live = low.map(above, [scores, inputs[SCORE]], low.temp((boxes,), DType.I32))
    candidates = low.emit(Reduce("sum", 1, boxes, 1), [live], low.temp((1,), DType.I32))
    left = low.map(
        call("select", above, load(0), GONE), [scores, inputs[SCORE]], low.temp((boxes,), DType.F32)
    )
    places, bests = list[int](), list[int]()
    for _ in range(low.out.shape[0]):
        places.append(low.emit(Reduce("argmax", 1, boxes, 1), [left], low.temp((1,), DType.I32)))
        bests.append(low.emit(Reduce("max", 1, boxes, 1), [left], low.temp((1,), DType.F32)))
        overlap = _overlap(low, boxes, places[-1])
        left = _suppress(low, left, overlap)
    _select(low, places, bests, candidates)


def _check_types(low: Lowering) -> None:
    for i in (0, 1, *range(3, len(low.x.values))):
        expect_types(low, i, DType.F32)
    first, *scores, last = (low.values[i].dtype for i in low.node.outputs)
    if first is not DType.I32 or last is not DType.I32 or any(dtype is not DType.F32 for dtype in scores):
        low.types()


def _overlap(low: Lowering, boxes: int, place: int) -> int:
    """(boxes,) areas of the intersection with one box over those of the union, 0 of boxes without area."""
    corners = low.node.inputs[0]
    picked = low.emit(Gather(boxes, 4, 1), [corners, place], low.temp((4,), DType.F32))
    low_1, high_1 = zip(*(_ends(axis) for axis in (0, 1)), strict=True)
    low_2, high_2 = zip(*(_ends(4 + axis) for axis in (0, 1)), strict=True)
    shared = [
        call("max", call("sub", call("min", a, b), call("max", c, d)), const(0.0))
        for a, b, c, d in zip(high_1, high_2, low_1, low_2, strict=True)
    ]
    common = call("mul", *shared)
    area, other = _area(low_1, high_1), _area(low_2, high_2)
    union = call("sub", call("add", area, other), common)
    empty = call("or", call("le", area, const(0.0)), call("le", other, const(0.0)))
    program = call("select", empty, const(0.0), call("div", common, union))
    views = *(View(i, (4,)) for i in range(4)), *(View(i, (0,)) for i in range(4))
    atom = Map((boxes,), views, View(0, (1,)), program)
    return low.emit(atom, [corners] * 4 + [picked] * 4, low.temp((boxes,), DType.F32))


def _ends(first: int) -> tuple[Program, Program]:
    """The lower and the higher of two corners, which are two loads apart."""
    return call("min", load(first), load(first + 2)), call("max", load(first), load(first + 2))


def _area(lows: Sequence[Program], highs: Sequence[Program]) -> Program:
    return call("mul", *(call("sub", high, low) for low, high in zip(lows, highs, strict=True)))


def _suppress(low: Lowering, left: int, overlap: int) -> int:
    """Scores after a box is taken; that box itself overlaps with all of itself."""
    inputs, score = [left, overlap, low.node.inputs[IOU], low.node.inputs[SCORE]], load(0)
    if len(low.node.inputs) > SIGMA:
        inputs.append(low.node.inputs[SIGMA])
        decay = call("exp", call("mul", call("mul", call("div", const(-0.5), load(4)), load(1)), load(1)))
        score = call("select", call("gt", load(4), const(0.0)), call("mul", score, decay), score)
    out = call("or", call("ge", load(1), load(2)), call("not", call("gt", score, load(3))))
    return low.map(call("select", out, GONE, score), inputs, low.temp(low.values[left].shape, DType.F32))


def _select(low: Lowering, places: list[int], bests: list[int], candidates: int) -> None:
    """What the steps found, as long as there were candidates."""
    most, threshold, *outputs = len(places), low.node.inputs[SCORE], *low.node.outputs
    order = low.constant(np.arange(most, dtype=np.int32))
    regions = [Region(i, View(0, (1,)), View(i, (1,)), (1,)) for i in range(most)]
    place = low.raster(regions, places, low.temp((most,), DType.I32))
    best = low.raster(regions, bests, low.temp((most,), DType.F32))
    found = low.map(call("gt", load(0), load(1)), [best, threshold], low.temp((most,), DType.I32))
    within = call("and", load(0), call("lt", load(1), load(2)))
    taken = low.map(within, [found, order, candidates], low.temp((most,), DType.I32), "i32")
    kept = call("select", load(0), load(1), const(0))
    low.map(kept, [taken, place], outputs[0], "i32")
    if len(outputs) == 3:
        low.map(kept, [taken, best], outputs[1])
    low.emit(Reduce("sum", 1, most, 1), [taken], outputs[-1])


RULES = dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), non_max_suppression)
