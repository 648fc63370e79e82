"""StableHLO's operators at places that only the run knows: GATHER and SCATTER of rows.

The number of a row is computed by MAP for every place of the tensor that holds the windows: the start of its
window, and where in the window it stands. Source: StableHLO's specification, and TFLite's
`stablehlo_gather.cc` and `stablehlo_scatter.cc`, which hold the starts of what is read inside the operand,
and leave out what is written beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from runtime.atoms import Gather, Map, Region, Scatter, View
from runtime.decompose.index import INDEX, NUMBERS, compute_type, expect_same, expect_types
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.decompose.segment import mirror
from runtime.decompose.segment import product as segment_product
from runtime.decompose.slices import dynamic_update_slice, held, slice_at, within
from runtime.graph import DType
from runtime.shapes.stablehlo.index import Windows, gathered, scattered
from runtime.strides import collapse, dense


def gather(low: Lowering) -> None:
    expect_types(low, 1, *INDEX)
    expect_same(low, 0)
    windows, shape = gathered(low.x), low.x.shape(0)
    starts = [
        call("clamp", load(number), args=(0, shape[axis] - low.x.attr("slice_sizes")[axis]))
        for number, axis in enumerate(windows.mapped)
    ]
    index, width = numbered(low, windows, starts)
    count = low.values[index].elements
    low.emit(Gather(math.prod(shape) // width, width, count), [low.node.inputs[0], index])


def scatter(low: Lowering) -> None:
    """What falls outside goes to one row more, which is not copied out."""
    expect_types(low, 1, *INDEX)
    expect_same(low, 0)
    expect_same(low, 2)
    windows, shape, how = scattered(low.x), low.x.shape(0), low.x.attr("computation")
    index, width = numbered(low, windows, [load(i) for i in range(len(windows.mapped))], outside=True)
    count, rows = low.values[index].elements, math.prod(shape) // width
    if how == "mul":
        multiplied(low, index, (rows, width, count))
        return
    if how not in MODES or (low.out.dtype not in NUMBERS and how != "set"):
        raise low.lacking(f"no rule for {how} of {low.out.dtype.value}")
    base, updates = low.node.inputs[0], low.node.inputs[2]
    if how == "min":
        base, updates = (
            mirror(low, i, low.temp(low.values[i].shape, low.out.dtype)) for i in (base, updates)
        )
    longer = low.temp((rows + 1, width), low.out.dtype)
    flat = dense((rows * width,))
    low.raster([Region(0, flat, flat, (rows * width,))], [base], longer, 0)
    written = low.temp((rows + 1, width), low.out.dtype)
    low.emit(Scatter(MODES[how], rows + 1, width, count), [longer, index, updates], written)
    if how == "min":
        written = mirror(low, written, low.temp((rows + 1, width), low.out.dtype))
    low.raster([Region(0, flat, flat, (rows * width,))], [written])


MODES: dict[str, Literal["set", "add", "max"]] = {"set": "set", "add": "add", "max": "max", "min": "max"}
"""How SCATTER does it; the least of numbers is the greatest of them mirrored."""


def multiplied(low: Lowering, index: int, sizes: tuple[int, int, int]) -> None:
    """The operand times the product of all updates of each (rows, width)."""
    rows, width, count = sizes
    if low.out.dtype not in (DType.F32, DType.I32):
        raise low.lacking(f"no rule for mul of {low.out.dtype.value}")
    flat = dense((count * width,))
    updates = low.raster(
        [Region(0, flat, flat, (count * width,))],
        [low.node.inputs[2]],
        low.temp((count, width), low.out.dtype),
    )
    products = low.temp((rows, width), low.out.dtype)
    low.by(segment_product, "UNSORTED_SEGMENT_PROD", [updates, index], output=products)
    sizes_ = (rows * width,)
    view = dense(sizes_)
    program = call("mul", load(0), load(1))
    low.emit(
        Map(sizes_, (view, view), view, program, compute_type(low.out.dtype)), [low.node.inputs[0], products]
    )


def numbered(
    low: Lowering, windows: Windows, starts: Sequence[Program], outside: bool = False
) -> tuple[int, int]:
    """(numbers of rows of operand 0, width of a row) for every place of a tensor of windows.

    `starts` load the numbers of the index in operand 1; where a place can be `outside` of the operand it gets
    the number after the last row. The last dimensions, along which windows take all of the operand's last
    axes, are a row.
    """
    shape, sizes, axes = low.x.shape(0), list(windows.sizes), list(windows.axes)
    last = len(shape)
    while axes and axes[-1] == last - 1 and sizes[-1] == shape[last - 1] and last - 1 not in windows.mapped:
        last -= 1
        del axes[-1], sizes[-1]
    views = index_views(low, windows, axes)
    inputs, row, inside = [low.node.inputs[1]] * len(views), const(0), const(1)
    for axis, step in enumerate(dense(shape[:last]).strides):
        at = starts[windows.mapped.index(axis)] if axis in windows.mapped else const(0)
        if axis in axes:
            dimension = axes.index(axis)
            at = call("add", at, load(len(views)))
            views.append(View(0, tuple(int(i == dimension) for i in range(len(axes)))))
            inputs.append(low.constant(np.arange(sizes[dimension], dtype=np.int32)))
        if outside and axis in windows.mapped:
            inside = call("and", inside, within(at, 0, shape[axis] - 1))
        row = call("add", row, call("mul", at, const(step)))
    program = call("select", inside, row, const(math.prod(shape[:last]))) if outside else row
    simple, (out, *loads) = collapse(tuple(sizes), dense(tuple(sizes)), *views)
    atom = Map(simple, tuple(loads), out, program, compute_type(low.x.value(1).dtype))
    index = low.emit(atom, inputs, low.temp((math.prod(sizes),), DType.I32))
    return index, math.prod(shape[last:])


def index_views(low: Lowering, windows: Windows, axes: Sequence[int | None]) -> list[View]:
    """Where operand 1 holds each number of an index, for every place of the dimensions `axes`."""
    strides = list(dense(low.x.shape(1)).strides)
    between = strides.pop(windows.vector) if windows.vector < len(strides) else 0
    steps = tuple(strides.pop(0) if axis is None else 0 for axis in axes)
    return [View(number * between, steps) for number in range(len(windows.mapped))]


# ---------------------------------------------------------------- slices


def dynamic_slice(low: Lowering) -> None:
    low.by(held_slice, "SLICE", [low.node.inputs[0], starts(low, 1)])


def held_slice(low: Lowering) -> None:
    slice_at(low, held(low.out.shape, low.x.shape(0)))


def dynamic_update(low: Lowering) -> None:
    low.by(dynamic_update_slice, "DYNAMIC_UPDATE_SLICE", [*low.node.inputs[:2], starts(low, 2)])


def starts(low: Lowering, first: int) -> int:
    """The scalars from an operand on as one list."""
    scalars = low.node.inputs[first:]
    regions = [Region(i, View(0, (1,)), View(i, (1,)), (1,)) for i in range(len(scalars))]
    return low.raster(regions, scalars, low.temp((len(scalars),), low.x.value(first).dtype))


RULES = {
    "STABLEHLO_GATHER": gather,
    "STABLEHLO_SCATTER": scatter,
    "STABLEHLO_DYNAMIC_SLICE": dynamic_slice,
    "STABLEHLO_DYNAMIC_UPDATE_SLICE": dynamic_update,
}
