"""Non-maximum suppression: one step after another takes the best box and lowers the scores around it.

Source: TFLite's non_max_suppression.h, which looks at a candidate's neighbours only once it is the best; the
order in which soft weights multiply differs. Of equal scores the first box is taken, TFLite leaves it open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from runtime.atoms import Gather, Map, Reduce, View
from runtime.decompose.index import compute_type, expect_types
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.decompose.steps import over_time
from runtime.graph import DType
from runtime.strides import dense

IOU, SCORE, SIGMA = 3, 4, 5
"""Inputs: the two thresholds, and the parameter of soft suppression."""
GONE = const(-math.inf)
"""The score of what is no candidate."""
Suppress = Callable[[Lowering, int, int, int], int]
"""(where the atoms go, scores, overlaps, places of the boxes taken) -> the scores after that."""


def non_max_suppression(low: Lowering) -> None:
    """Selected indices, with V5 also their scores, and how many there are; 0 after those."""
    _check_types(low)
    (boxes,), scores, inputs = low.x.shape(1), low.node.inputs[1], low.node.inputs
    steps = min(low.out.shape[0], boxes)
    above = call("gt", load(0), load(1))
    live = low.map(above, [scores, inputs[SCORE]], low.temp((boxes,), DType.I32))
    candidates = low.emit(Reduce("sum", 1, boxes, 1), [live], low.temp((1,), DType.I32))
    left = low.map(
        call("select", above, load(0), GONE), [scores, inputs[SCORE]], low.temp((boxes,), DType.F32)
    )
    places, bests = greedy(low, inputs[0], left, 1, steps, _suppress)
    _select(low, places, bests, candidates, steps)


def greedy(
    low: Lowering, corners: int, left: int, rows: int, steps: int, suppress: Suppress
) -> tuple[int, int]:
    """The boxes that each row of scores takes, one a step: their places and scores, (steps, rows) each.

    `corners` is (boxes, 4), `left` (rows, boxes) with GONE for what may not be taken; a row without
    candidates takes GONE.
    """
    boxes = low.values[left].elements // rows

    def step(body: Lowering, _: Sequence[int], states: Sequence[int]) -> tuple[list[int], list[int]]:
        place = body.emit(Reduce("argmax", rows, boxes, 1), states, body.temp((rows,), DType.I32))
        best = body.emit(Reduce("max", rows, boxes, 1), states, body.temp((rows,), DType.F32))
        overlap = _overlap(body, body.use(corners), (rows, boxes), place)
        return [place, best], [suppress(body, states[0], overlap, place)]

    final = low.temp(low.values[left].shape, DType.F32)
    places, bests = over_time(low, steps, [], [left], [final], step)
    return places, bests


def _check_types(low: Lowering) -> None:
    for i in (0, 1, *range(3, len(low.x.values))):
        expect_types(low, i, DType.F32)
    first, *scores, last = (low.values[i].dtype for i in low.node.outputs)
    if first is not DType.I32 or last is not DType.I32 or any(dtype is not DType.F32 for dtype in scores):
        low.types()


def _overlap(low: Lowering, corners: int, shape: tuple[int, int], place: int) -> int:
    """(rows, boxes): the area that a box shares with the row's over that of both, 0 without area."""
    rows, boxes = shape
    picked = low.emit(Gather(boxes, 4, rows), [corners, place], low.temp((rows, 4), DType.F32))
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
    views = *(View(i, (0, 4)) for i in range(4)), *(View(i, (4, 0)) for i in range(4))
    atom = Map(shape, views, dense(shape), program)
    return low.emit(atom, [corners] * 4 + [picked] * 4, low.temp(shape, DType.F32))


def _ends(first: int) -> tuple[Program, Program]:
    """The lower and the higher of two corners, which are two loads apart."""
    return call("min", load(first), load(first + 2)), call("max", load(first), load(first + 2))


def _area(lows: Sequence[Program], highs: Sequence[Program]) -> Program:
    return call("mul", *(call("sub", high, low) for low, high in zip(lows, highs, strict=True)))


def _suppress(low: Lowering, left: int, overlap: int, _: int) -> int:
    """The box itself overlaps with all of itself, unless it has no area: TFLite takes such a one again."""
    inputs, score = [left, overlap, *map(low.use, low.x.node.inputs[IOU:])], load(0)
    if len(inputs) > 4:
        decay = call("exp", call("mul", call("mul", call("div", const(-0.5), load(4)), load(1)), load(1)))
        score = call("select", call("gt", load(4), const(0.0)), call("mul", score, decay), score)
    out = call("or", call("ge", load(1), load(2)), call("not", call("gt", score, load(3))))
    line, same = dense(low.values[left].shape), View(0, (0,))
    views = line, line, *(same for _ in inputs[2:])
    atom = Map(low.values[left].shape, views, line, call("select", out, GONE, score))
    return low.emit(atom, inputs, low.temp(low.values[left].shape, DType.F32))


def _select(low: Lowering, places: int, bests: int, candidates: int, steps: int) -> None:
    """What the steps found, as long as there were candidates."""
    outputs, rest = low.node.outputs, [(0, low.out.shape[0] - steps)]
    order = low.constant(np.arange(steps, dtype=np.int32))
    within = call("and", load(0), call("lt", load(1), load(2)))
    inputs = [found(low, bests, steps), order, candidates]
    taken = low.map(within, inputs, low.temp((steps,), DType.I32), "i32")
    for output, value in zip(outputs[:-1], (places, bests), strict=False):
        dtype = low.values[output].dtype
        kept = flat(low, call("select", load(0), load(1), const(0)), [taken, value], steps, dtype)
        low.padded(kept, rest, 0, output)
    low.emit(Reduce("sum", 1, steps, 1), [taken], outputs[-1])


def found(low: Lowering, bests: int, count: int) -> int:
    """(count,) of i32: 1 where the score is that of a candidate."""
    line = dense((count,))
    atom = Map((count,), (line,), line, call("gt", load(0), GONE))
    return low.emit(atom, [bests], low.temp((count,), DType.I32))


def flat(low: Lowering, program: Program, inputs: Sequence[int], count: int, dtype: DType) -> int:
    """Element-wise over values of `count` elements, whatever their shapes: (count,)."""
    line = dense((count,))
    atom = Map((count,), (line,) * len(inputs), line, program, compute_type(dtype))
    return low.emit(atom, inputs, low.temp((count,), dtype))


RULES = dict.fromkeys(("NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"), non_max_suppression)
