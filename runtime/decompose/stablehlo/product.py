"""StableHLO's products: RASTER puts the axes in order where no view does, GEMM multiplies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.atoms import Clamp, Gemm, Region, View
from runtime.decompose.conv import MAX_GROUPS
from runtime.decompose.rule import Lowering
from runtime.decompose.stablehlo.views import pad
from runtime.graph import DType
from runtime.shapes.stablehlo.product import Convolution, convolution, dots
from runtime.shapes.stablehlo.views import PADS
from runtime.strides import collapse, dense


def epilogue(low: Lowering) -> Clamp | None:
    """Floats, or bare sums of int8 as they are stored."""
    types = low.x.value(0).dtype, low.x.value(1).dtype, low.out.dtype
    if types not in ((DType.F32,) * 3, (DType.I8, DType.I8, DType.I32)):
        low.types()
    return Clamp() if low.out.dtype is DType.F32 else None


def dot_general(low: Lowering) -> None:
    left, right = dots(low.x)
    last, (a_shape, b_shape) = epilogue(low), (low.x.shape(0), low.x.shape(1))
    a, a_view = grouped(low, 0, (left.batch, left.free, left.inner))
    b, b_view = grouped(low, 1, (right.batch, right.inner, right.free))
    batch, m, k = (math.prod(a_shape[axis] for axis in axes) for axes in (left.batch, left.free, left.inner))
    n = math.prod(b_shape[axis] for axis in right.free)
    low.emit(Gemm(batch, m, n, k, a_view, b_view, dense((batch, m, n)), last), [a, b])


def grouped(low: Lowering, operand: int, groups: Sequence[Sequence[int]]) -> tuple[int, View]:
    """(value, view of rank 3) of an operand whose axes fall into three groups, each taken as one axis.

    The operand itself, where one stride runs through each group; else a copy in that order.
    """
    shape, strides = low.x.shape(operand), dense(low.x.shape(operand)).strides
    steps = list[int]()
    for group in groups:
        view = View(0, tuple(strides[axis] for axis in group))
        merged, (simple,) = collapse(tuple(shape[axis] for axis in group), view)
        steps += simple.strides if len(merged) == 1 else ()
    if len(steps) == len(groups):
        return low.node.inputs[operand], View(0, tuple(steps))
    order = [axis for group in groups for axis in group]
    sizes = tuple(shape[axis] for axis in order)
    view = View(0, tuple(strides[axis] for axis in order))
    copied = low.copy(view, sizes, low.temp(sizes, low.x.value(operand).dtype), operand)
    return copied, dense(tuple(math.prod(shape[axis] for axis in group) for group in groups))


def convolve(low: Lowering) -> None:
    """GEMM of patches (groups, m, k) and weights (k, units), as CONV_2D in any number of dimensions."""
    conv, last, shape = convolution(low.x), epilogue(low), low.x.shape(0)
    if conv.groups > MAX_GROUPS:
        raise low.lacking(f"{conv.groups} groups, at most {MAX_GROUPS}")
    depth, units = low.x.shape(1)[conv.kernel.feature], low.x.shape(1)[conv.kernel.batch]
    out = (shape[conv.data.batch], *(axis.out for axis in conv.axes), units)
    m, k, n = math.prod(out[:-1]), math.prod(axis.window for axis in conv.axes) * depth, units // conv.groups
    views = View(0, (m * k, k, 1)), View(0, (n, units, 1)), View(0, (n, units, 1))
    operands = [patches(low, conv, (conv.groups, m, k)), weights(low, conv, (k, units))]
    gemm = Gemm(conv.groups, m, n, k, *views, last)
    places = [conv.out.order.index(axis) for axis in range(len(out))]
    if places == list(range(len(out))):
        low.emit(gemm, operands)
        return
    sums = low.emit(gemm, operands, low.temp(out, low.out.dtype))
    strides = dense(out).strides
    view = View(0, tuple(strides[place] for place in places))
    low.raster([Region(0, view, dense(low.out.shape), low.out.shape)], [sums])


def patches(low: Lowering, conv: Convolution, shape: tuple[int, int, int]) -> int:
    """Every window: a region for each group, with the axes of the kernel before the channels."""
    value, rank, layout = low.node.inputs[0], len(low.x.shape(0)), conv.data
    if any(any(axis.pads) for axis in conv.axes):
        sizes, pads = list(low.x.shape(0)), [(0, 0, 0)] * rank
        for place, axis in zip(layout.spatial, conv.axes, strict=True):
            sizes[place], pads[place] = axis.padded, axis.pads
        zero = low.constant(np.zeros((), low.x.value(0).dtype.numpy))
        value = low.temp(tuple(sizes), low.x.value(0).dtype)
        attrs = dict(zip(PADS, zip(*pads, strict=True), strict=True))
        low.by(pad, "STABLEHLO_PAD", [low.node.inputs[0], zero], attrs, value)
    strides, depth = dense(low.values[value].shape).strides, low.x.shape(1)[conv.kernel.feature]
    spatial = [strides[axis] for axis in layout.spatial]
    steps = (
        strides[layout.batch],
        *(axis.stride * step for axis, step in zip(conv.axes, spatial, strict=True)),
        *(axis.dilation * step for axis, step in zip(conv.axes, spatial, strict=True)),
        strides[layout.feature],
    )
    windows = tuple(axis.window for axis in conv.axes)
    taken = (low.x.shape(0)[layout.batch], *(axis.out for axis in conv.axes), *windows, depth)
    regions = [
        Region(
            0,
            View(group * depth * strides[layout.feature], steps),
            dense(taken, offset=group * math.prod(taken)),
            taken,
        )
        for group in range(conv.groups)
    ]
    return low.raster(regions, [value], low.temp(shape, low.x.value(0).dtype))


def weights(low: Lowering, conv: Convolution, shape: tuple[int, int]) -> int:
    """The kernel with its spatial axes first, reversed where they are, and its output features last."""
    sizes, strides, layout = low.x.shape(1), dense(low.x.shape(1)).strides, conv.kernel
    start, steps = 0, list[int]()
    for axis, turned in zip(layout.spatial, conv.reversed, strict=True):
        start += (sizes[axis] - 1) * strides[axis] if turned else 0
        steps.append(-strides[axis] if turned else strides[axis])
    view = View(start, (*steps, strides[layout.feature], strides[layout.batch]))
    order = (*layout.spatial, layout.feature, layout.batch)
    taken = tuple(sizes[axis] for axis in order)
    return low.copy(view, taken, low.temp(shape, low.x.value(1).dtype), 1)


RULES = {"STABLEHLO_DOT_GENERAL": dot_general, "STABLEHLO_CONVOLUTION": convolve}
