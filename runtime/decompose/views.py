"""Transform operators: nearly each is one RASTER, whose regions say where every element goes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.atoms import Gather, Map, Region, View
from runtime.decompose.rule import BYTES, Lowering, call, const, load
from runtime.graph import DType, Shape
from runtime.pairs import seen
from runtime.quantized import float32_product
from runtime.shapes.views import sequence_axes
from runtime.strides import broadcast, collapse, dense


def alias(low: Lowering) -> None:
    """The same elements under another shape: an identity copy, which `runtime.simplify` makes disappear."""
    elements, types = (low.x.value(0).elements,), [seen(value)[1] for value in (low.x.value(0), low.out)]
    if types[0] is not types[1]:
        low.types()
    low.copy(dense(elements), elements)


def transpose(low: Lowering) -> None:
    permute(low, low.x.constant(1))


def permute(low: Lowering, axes: Sequence[int]) -> None:
    strides = dense(low.x.shape(0)).strides
    low.copy(View(0, tuple(strides[axis] for axis in axes)), low.out.shape)


def concatenation(low: Lowering) -> None:
    axis = low.x.axis(low.x.attr("axis"), len(low.out.shape))
    if low.float_range() != (-math.inf, math.inf):
        raise low.lacking("no rule for a fused activation")
    sources = [rescaled(low, i) for i in range(len(low.node.inputs))]
    join(low, sources, [low.x.listed(i) for i in range(len(sources))], low.out.shape, axis)


def rescaled(low: Lowering, i: int) -> int:
    """An operand on the scale of the output (TFLite's ConcatenationWithScaling); itself where they agree."""
    value, out = low.x.value(i), low.out
    if value.dtype not in BYTES or value.quantization == out.quantization:
        return low.node.inputs[i]
    (scale, zero), (out_scale, out_zero) = low.quantized(value), low.quantized(out)
    ratio = float32_product(scale, float32_product(over=out_scale))
    real = call("add", call("mul", load(0), const(ratio)), const(float32_product(-zero, ratio)))
    program = call("add", call("round_away", real), const(out_zero))
    return low.map(program, [low.node.inputs[i]], low.temp(value.shape, value.dtype))


def pack(low: Lowering) -> None:
    axis = low.x.axis(low.x.attr("axis"), len(low.out.shape))
    shape = (*low.out.shape[:axis], 1, *low.out.shape[axis + 1 :])
    join(low, list(low.node.inputs), [shape] * len(low.node.inputs), low.out.shape, axis)


def join(low: Lowering, sources: list[int], shapes: list[Shape], out: Shape, axis: int) -> None:
    """Tensors one after the other along an axis: a region each."""
    strides, regions, at = dense(out).strides, [], 0
    for i, shape in enumerate(shapes):
        regions.append(Region(i, dense(shape), View(at * strides[axis], strides), shape))
        at += shape[axis]
    low.raster(regions, sources)


def tile(low: Lowering) -> None:
    """Every axis twice: how often, and along it."""
    shape, multiples = low.x.shape(0), low.x.constant(1)
    sizes = tuple(size for pair in zip(multiples, shape, strict=True) for size in pair)
    strides = tuple(stride for each in dense(shape).strides for stride in (0, each))
    low.copy(View(0, strides), sizes)


def broadcast_to(low: Lowering) -> None:
    low.copy(broadcast(low.x.shape(0), low.out.shape), low.out.shape)


def reverse(low: Lowering) -> None:
    shape, axes = low.x.shape(0), low.x.axes(1, len(low.x.shape(0)))
    strides = dense(shape).strides
    start = sum((shape[axis] - 1) * strides[axis] for axis in axes)
    low.copy(View(start, tuple(-s if i in axes else s for i, s in enumerate(strides))), shape)


def reverse_sequence(low: Lowering) -> None:
    """GATHER of rows: of a sequence of length n, element i < n is number n - 1 - i, the others stay.

    A length that the axis does not have gives row -1, which GATHER refuses.
    """
    shape, (batch, sequence) = low.x.shape(0), sequence_axes(low.x)
    lengths = low.x.value(1)
    if lengths.dtype not in (DType.I32, DType.I64):
        low.types()
    sizes = shape[: max(batch, sequence) + 1]
    count, width = math.prod(sizes), math.prod(shape[len(sizes) :])
    rows = np.arange(count, dtype=np.int32)
    step = dense(sizes).strides[sequence]
    along = rows // step % shape[sequence]
    operands = [low.constant(rows - along * step), low.constant(along), low.node.inputs[1]]
    views = (dense(sizes), dense(sizes), View(0, tuple(int(axis == batch) for axis in range(len(sizes)))))
    mirrored = call("sub", call("sub", load(2), const(1)), load(1))
    place = call("select", call("lt", load(1), load(2)), mirrored, load(1))
    row = call("add", load(0), call("mul", place, const(step)))
    within = call("and", call("ge", load(2), const(0)), call("le", load(2), const(shape[sequence])))
    merged, (out, *loads) = collapse(sizes, dense(sizes), *views)
    program = call("select", within, row, const(-1))
    atom = Map(merged, tuple(loads), out, program, "i32" if lengths.dtype is DType.I32 else "i64")
    index = low.emit(atom, operands, low.temp((count,), DType.I32))
    low.emit(Gather(count, width, count), [low.node.inputs[0], index])


RULES = {
    "RESHAPE": alias,
    "SQUEEZE": alias,
    "EXPAND_DIMS": alias,
    "TRANSPOSE": transpose,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "REVERSE_V2": reverse,
    "REVERSE_SEQUENCE": reverse_sequence,
}
