"""Reductions over any axes: RASTER brings the axes together, REDUCE takes them, MAP rescales."""

from __future__ import annotations

import math

from runtime.atoms import Reduce, View
from runtime.decompose.elementwise import WIDE
from runtime.decompose.rule import BYTES, Lowering, call, const, load
from runtime.graph import DType
from runtime.strides import dense

MAX_BYTES_SUMMED = 1 << 22
"""8-bit elements whose sum, less as many zero points, stays within s32."""


def together(low: Lowering, axes: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(value, outer, axis, inner): reducing `axis` of [outer, axis, inner] reduces `axes` of operand 0."""
    shape, strides = low.x.shape(0), dense(low.x.shape(0)).strides
    first, last = (axes[0], axes[-1] + 1) if axes else (len(shape), len(shape))
    if math.prod(shape[i] for i in range(first, last) if i not in axes) == 1:
        return (
            low.node.inputs[0],
            math.prod(shape[:first]),
            math.prod(shape[first:last]),
            math.prod(shape[last:]),
        )
    order = [i for i in range(len(shape)) if i not in axes] + list(axes)
    sizes = tuple(shape[i] for i in order)
    moved = low.copy(View(0, tuple(strides[i] for i in order)), sizes, low.temp(sizes, low.x.value(0).dtype))
    count = math.prod(shape[i] for i in axes)
    return moved, math.prod(shape) // count, count, 1


def summed(low: Lowering) -> tuple[int, int]:
    """(value of the sums, how many elements went into each); 8-bit integers are summed in s32."""
    value, outer, axis, inner = together(low, low.x.axes(1, len(low.x.shape(0))))
    wide = DType.I32 if low.x.value(0).dtype in BYTES else low.x.value(0).dtype
    if wide is not low.x.value(0).dtype and axis > MAX_BYTES_SUMMED:
        raise low.lacking(f"{axis} elements to sum in s32, at most {MAX_BYTES_SUMMED}")
    direct = low.node.op == "SUM" and wide is low.out.dtype
    target = low.node.outputs[0] if direct else low.temp(low.out.shape, wide)
    return low.emit(Reduce("sum", outer, axis, inner), [value], target), axis


def sum_or_mean(low: Lowering) -> None:
    dtype = low.x.value(0).dtype
    if dtype is not low.out.dtype or dtype not in (*WIDE, *BYTES):
        low.types()
    sums, count = summed(low)
    if dtype in BYTES:
        rescaled_sums(low, sums, count)
    elif low.node.op == "MEAN":
        low.map(call("div", load(0), const(count)), [sums], compute=WIDE[dtype])  # type: ignore[arg-type]


def rescaled_sums(low: Lowering, sums: int, count: int) -> None:
    """TFLite's QuantizedMeanOrSum: a mean has 1/count in its multiplier, with all the bits that fit."""
    (scale, zero), (out_scale, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    multiplier, shift = low.factor(scale / out_scale)
    if low.node.op == "MEAN":
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // count, shift - bits
    centred = call("sub", load(0), const(zero * count))
    scaled = call("add", call("mulq", centred, args=(multiplier, shift)), const(out_zero))
    low.map(scaled, [sums], compute="i32")


def reduce_max(low: Lowering) -> None:
    x = low.x.value(0)
    if (
        x.dtype not in (*WIDE, *BYTES)
        or x.dtype is not low.out.dtype
        or x.quantization != low.out.quantization
    ):
        low.types()
    value, outer, axis, inner = together(low, low.x.axes(1, len(x.shape)))
    low.emit(Reduce("max", outer, axis, inner), [value])


def arg_max(low: Lowering) -> None:
    if low.out.dtype not in (DType.I32, DType.I64) or low.x.value(0).dtype not in (*WIDE, *BYTES):
        low.types()
    value, outer, axis, inner = together(low, low.x.axes(1, len(low.x.shape(0))))
    low.emit(Reduce("argmax", outer, axis, inner), [value])


RULES = {"SUM": sum_or_mean, "MEAN": sum_or_mean, "REDUCE_MAX": reduce_max, "ARG_MAX": arg_max}
