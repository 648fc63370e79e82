"""Operators that take a part of a tensor, take it apart or write into it: views where the place is known,
GATHER and SCATTER of rows where it is known only at run time.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Gather, Map, Scatter, View
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import DType, Shape
from runtime.shapes.slices import cuts
from runtime.strides import dense


def slice_(low: Lowering) -> None:
    if low.x.value(1).data is None:
        slice_at(low)
        return
    strides = dense(low.x.listed(0)).strides
    start = sum(b * stride for b, stride in zip(low.x.constant(1), strides, strict=True))
    low.copy(View(start, strides), low.out.shape)


def slice_at(low: Lowering, starts: list[Program] | None = None) -> None:
    """From a begin of run time; one that leaves the input gives row -1, which GATHER refuses.

    `starts` are begins of which none does.
    """
    shape, sizes = low.x.shape(0), low.out.shape
    inside: Program = const(1)
    for axis, (size, whole) in enumerate(zip(sizes, shape, strict=True)):
        inside = call("and", inside, within(load(axis), 0, whole - size)) if starts is None else inside
    starts = [load(axis) for axis in range(len(shape))] if starts is None else starts
    index, width = rows_from(low, 1, sizes, shape, starts, inside)
    count = low.values[index].elements
    low.emit(Gather(math.prod(shape) // width, width, count), [low.node.inputs[0], index])


def within(number: Program, least: int, most: int) -> Program:
    return call("and", call("ge", number, const(least)), call("le", number, const(most)))


def held(sizes: Shape, shape: Shape) -> list[Program]:
    """Start indices, held where the whole part fits."""
    return [
        call("clamp", load(axis), args=(0, whole - size))
        for axis, (size, whole) in enumerate(zip(sizes, shape, strict=True))
    ]


def dynamic_update_slice(low: Lowering) -> None:
    """Start indices are held where the whole update fits."""
    shape, sizes = low.x.shape(0), low.x.shape(1)
    index, width = rows_from(low, 2, sizes, shape, held(sizes, shape), const(1))
    count = low.values[index].elements
    operands = [low.node.inputs[0], index, low.node.inputs[1]]
    low.emit(Scatter("set", math.prod(shape) // width, width, count), operands)


def rows_from(
    low: Lowering, place: int, sizes: Shape, shape: Shape, starts: list[Program], inside: Program
) -> tuple[int, int]:
    """(numbers of rows, width of a row): the rows of `shape` that a part of `sizes` has, from `starts` on.

    Programs load the numbers of operand `place` in order. The last axes, of which the part takes all, are
    a row; where `inside` gives 0 the row is -1.
    """
    value, rank, numbers = low.x.value(place), len(shape), low.x.value(place).elements
    if value.dtype not in (DType.I32, DType.I64):
        low.types()
    axes = max((axis + 1 for axis in range(rank) if sizes[axis] != shape[axis]), default=0)
    width, strides = math.prod(shape[axes:]), dense(shape[:axes]).strides
    count = math.prod(sizes[:axes])
    rows = sum(
        (i * stride for i, stride in zip(np.indices(sizes[:axes]), strides, strict=True)),
        start=np.zeros(sizes[:axes], np.int64),
    )
    row = load(numbers)
    for start, stride in zip(starts, strides, strict=False):
        row = call("add", row, call("mul", start, const(stride)))
    views = (*(View(i, (0,)) for i in range(numbers)), View(0, (1,)))
    inputs = [low.node.inputs[place]] * numbers + [low.constant(rows.reshape(-1).astype(np.int32))]
    compute = "i32" if value.dtype is DType.I32 else "i64"
    atom = Map((count,), views, View(0, (1,)), call("select", inside, row, const(-1)), compute)  # type: ignore[arg-type]
    return low.emit(atom, inputs, low.temp((count,), DType.I32)), width


def strided_slice(low: Lowering) -> None:
    """Axes that the output drops have one element: they only move the start."""
    taken, strides = cuts(low.x), dense(low.x.listed(0)).strides
    if any(cut.place is not None for cut in taken):
        strided_slice_at(low)
        return
    steps = [0 if cut.axis is None else strides[cut.axis] for cut in taken]
    start = sum(cut.start * step for cut, step in zip(taken, steps, strict=True))
    kept = tuple(cut.step * step for cut, step in zip(taken, steps, strict=True) if cut.kept)
    low.copy(View(start, kept), low.out.shape)


def strided_slice_at(low: Lowering) -> None:
    """Where axes that the output drops start at numbers of run time, which may count from the end."""
    shape, taken = low.x.shape(0), [cut for cut in cuts(low.x) if cut.axis is not None]
    if any(cut.step != 1 for cut in taken):
        raise low.lacking("no rule for steps other than 1 beside a begin of run time")
    starts, inside = list[Program](), const(1)
    for cut, size in zip(taken, shape, strict=True):
        if cut.place is None:
            starts.append(const(cut.start))
            continue
        number, behind = load(cut.place), call("add", load(cut.place), const(size))
        starts.append(call("select", call("lt", number, const(0)), behind, number))
        inside = call("and", inside, within(number, -size, size - 1))
    index, width = rows_from(low, 1, tuple(cut.count for cut in taken), shape, starts, inside)
    count = low.values[index].elements
    low.emit(Gather(math.prod(shape) // width, width, count), [low.node.inputs[0], index])


def split(low: Lowering) -> None:
    parts(low, 1, low.x.axis((low.x.constant(0) or (0,))[0], len(low.x.shape(1))))


def split_v(low: Lowering) -> None:
    parts(low, 0, low.x.axis(low.x.constant(2)[0], len(low.x.shape(0))))


def parts(low: Lowering, operand: int, axis: int) -> None:
    """One output after the other along an axis."""
    strides, at = dense(low.x.shape(operand)).strides, 0
    for output in low.node.outputs:
        sizes = low.values[output].shape
        low.copy(View(at * strides[axis], strides), sizes, output, operand)
        at += sizes[axis]


def unpack(low: Lowering) -> None:
    shape = low.x.shape(0)
    axis, strides = low.x.axis(low.x.attr("axis"), len(shape)), dense(shape).strides
    for i, output in enumerate(low.node.outputs):
        view = View(i * strides[axis], strides[:axis] + strides[axis + 1 :])
        low.copy(view, low.values[output].shape, output)


RULES = {
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "SPLIT": split,
    "SPLIT_V": split_v,
    "UNPACK": unpack,
    "DYNAMIC_UPDATE_SLICE": dynamic_update_slice,
}
