"""StableHLO's reductions: REDUCE over axes that RASTER brings together, MAP takes the initial value in."""

from __future__ import annotations

import math
from typing import Literal

from runtime.atoms import Reduce, Region, View
from runtime.decompose.elementwise import NARROW
from runtime.decompose.index import compute_type, expect_same
from runtime.decompose.quantize import low_bits
from runtime.decompose.reduce import WIDE, together
from runtime.decompose.rule import Lowering, call, load
from runtime.decompose.stablehlo.views import pad
from runtime.graph import DType
from runtime.shapes.stablehlo.views import PADS
from runtime.shapes.stablehlo.windows import listed, sliding
from runtime.strides import dense

Reduction = Literal["sum", "prod", "max", "min", "any", "all"]
REDUCTIONS: dict[str, Reduction] = {"add": "sum", "mul": "prod", "max": "max", "min": "min"}
TRUTHS: dict[str, Reduction] = {"or": "any", "max": "any", "and": "all", "min": "all", "mul": "all"}


def reduce(low: Lowering) -> None:
    expect_same(low, 0)
    folded(low, *together(low, tuple(sorted(low.x.attr("dimensions")))))


def reduce_window(low: Lowering) -> None:
    """Padding is the initial value. RASTER puts axes of the window before those along which it is 1 wide."""
    expect_same(low, 0)
    axes, value = sliding(low.x), low.node.inputs[0]
    if any(any(axis.pads) for axis in axes):
        attrs = dict(zip(PADS, zip(*(axis.pads for axis in axes), strict=True), strict=True))
        value = low.temp(tuple(axis.padded for axis in axes), low.out.dtype)
        low.by(pad, "STABLEHLO_PAD", low.node.inputs, attrs, value)
    strides = dense(low.values[value].shape).strides
    moving = max((i + 1 for i, axis in enumerate(axes) if axis.window > 1), default=0)
    moves = [axis.stride * stride for axis, stride in zip(axes, strides, strict=True)]
    within = [axis.dilation * stride for axis, stride in zip(axes, strides, strict=True)]
    out, window = [axis.out for axis in axes], [axis.window for axis in axes]
    sizes = (*out[:moving], *window[:moving], *out[moving:])
    view = View(0, (*moves[:moving], *within[:moving], *moves[moving:]))
    region = Region(0, view, dense(sizes), sizes)
    patches = low.raster([region], [value], low.temp((math.prod(sizes),), low.out.dtype))
    folded(low, patches, math.prod(out[:moving]), math.prod(window), math.prod(out[moving:]))


def reduce_window_of_lists(low: Lowering) -> None:
    attrs = {**listed(low.x), "computation": low.x.attr("reduce_function")}
    low.by(reduce_window, "STABLEHLO_REDUCE_WINDOW", low.node.inputs[:2], attrs)


def folded(low: Lowering, value: int, outer: int, axis: int, inner: int) -> None:
    """The computation over `axis` of [outer, axis, inner] of a value, and of that and the initial value."""
    dtype, how, count = low.out.dtype, low.x.attr("computation"), (low.out.elements,)
    if how not in (TRUTHS if dtype is DType.BOOL else REDUCTIONS) or dtype not in (
        *WIDE,
        *NARROW,
        DType.BOOL,
    ):
        raise low.lacking(f"no rule for a reduction of {dtype.value} by {how}")
    op, between = REDUCTIONS.get(how, "sum"), dtype
    program = call(how, load(0), load(1))
    if dtype is DType.BOOL:
        op = TRUTHS[how]
        program = call("or" if op == "any" else "and", load(0), load(1))
    elif dtype in NARROW and op in ("sum", "prod"):
        program, between = low_bits(program, dtype), DType.I32
        if op == "prod":
            value = low.map(load(0), [value], low.temp(low.values[value].shape, between), "i32")
    reduced = low.emit(Reduce(op, outer, axis, inner), [value], low.temp(count, between))
    first = low.node.inputs[1]
    low.map(program, [reduced, first], compute=compute_type(dtype), sizes=count)


RULES = {
    "STABLEHLO_REDUCE": reduce,
    "STABLEHLO_REDUCE_WINDOW": reduce_window,
    "REDUCE_WINDOW": reduce_window_of_lists,
}
