"""Transform operators: each is one RASTER, whose regions say where every element goes."""

from __future__ import annotations

import math

from runtime.atoms import Gather, Region, View
from runtime.decompose.rule import BYTES, Lowering, call, const, load
from runtime.graph import DType, Shape
from runtime.quantized import float32_product
from runtime.shapes.views import cuts, paddings
from runtime.strides import dense


def alias(low: Lowering) -> None:
    """The same elements under another shape: an identity copy, which `runtime.simplify` makes disappear."""
    elements = (low.x.value(0).elements,)
    low.copy(dense(elements), elements)


def transpose(low: Lowering) -> None:
    strides, axes = dense(low.x.shape(0)).strides, low.x.constant(1)
    low.copy(View(0, tuple(strides[axis] for axis in axes)), low.out.shape)


def slice_(low: Lowering) -> None:
    strides = dense(low.x.shape(0)).strides
    start = sum(b * stride for b, stride in zip(low.x.constant(1), strides, strict=True))
    low.copy(View(start, strides), low.out.shape)


def strided_slice(low: Lowering) -> None:
    """Axes that the output drops have one element: they only move the start."""
    taken, strides = cuts(low.x), dense(low.x.shape(0)).strides
    start = sum(cut.start * stride for cut, stride in zip(taken, strides, strict=True))
    kept = tuple(cut.step * stride for cut, stride in zip(taken, strides, strict=True) if cut.kept)
    low.copy(View(start, kept), low.out.shape)


def split(low: Lowering) -> None:
    shape = low.x.shape(1)
    axis, strides = low.x.axis((low.x.constant(0) or (0,))[0], len(shape)), dense(shape).strides
    for part, output in enumerate(low.node.outputs):
        sizes = low.values[output].shape
        low.copy(View(part * sizes[axis] * strides[axis], strides), sizes, output, operand=1)


def pad(low: Lowering) -> None:
    """Pads with zero: the output's zero point where zero is stored as something else."""
    fill = low.quantized(low.out)[1] if low.out.quantization else 0
    low.padded(low.node.inputs[0], paddings(low.x), fill, low.node.outputs[0])


def pad_with(low: Lowering) -> None:
    value, fill = low.x.value(0), low.x.value(2)
    if fill.data is None or fill.elements != 1 or fill.dtype is not value.dtype:
        raise low.lacking(f"the value to pad with must be one constant of {value.dtype.value}")
    low.padded(low.node.inputs[0], paddings(low.x), fill.data.reshape(-1)[0].item(), low.node.outputs[0])


def concatenation(low: Lowering) -> None:
    axis = low.x.axis(low.x.attr("axis"), len(low.out.shape))
    if low.float_range() != (-math.inf, math.inf):
        raise low.lacking("no rule for a fused activation")
    sources = [rescaled(low, i) for i in range(len(low.node.inputs))]
    join(low, sources, [low.x.shape(i) for i in range(len(sources))], low.out.shape, axis)


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


def gather(low: Lowering) -> None:
    shape, index = low.x.shape(0), low.x.value(1)
    if index.dtype not in (DType.I32, DType.I64) or low.x.value(0).dtype is not low.out.dtype:
        low.types()
    low.emit(Gather(shape[0], math.prod(shape[1:]), index.elements), low.node.inputs)


RULES = {
    "RESHAPE": alias,
    "SQUEEZE": alias,
    "EXPAND_DIMS": alias,
    "TRANSPOSE": transpose,
    "SLICE": slice_,
    "STRIDED_SLICE": strided_slice,
    "SPLIT": split,
    "PAD": pad,
    "PADV2": pad_with,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "GATHER": gather,
}
