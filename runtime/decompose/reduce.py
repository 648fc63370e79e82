"""Reductions over any axes: RASTER brings the axes together, REDUCE takes them, MAP rescales."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.atoms import Map, Reduce, View
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.graph import DType
from runtime.primitives import Compute
from runtime.quantized import (
    I32_MAX,
    I32_MIN,
    float32_product,
    quantize_multiplier,
    reduced_multiplier,
    round_half_away,
)
from runtime.strides import dense

WIDE: dict[DType, Compute] = {DType.F32: "f32", DType.I32: "i32", DType.I64: "i64"}
"""Types that are summed as themselves."""
SMALL = (*BYTES, DType.I16)
NUMBERS = (*WIDE, *SMALL)
MAX_SUMMED = {DType.I8: 1 << 22, DType.U8: 1 << 22, DType.I16: 1 << 15}
"""Elements whose sum, less as many zero points, stays within s32."""
MAX_MULTIPLIED = 1024
"""Quantised elements of one product: each is a step of a MAP program."""


def together(low: Lowering, axes: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(value, outer, axis, inner): reducing `axis` of [outer, axis, inner] reduces `axes` of operand 0."""
    shape, strides = low.x.listed(0), dense(low.x.listed(0)).strides
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


def over_axes(low: Lowering) -> tuple[int, int, int, int]:
    """`together` for the axes that operand 1 lists, of an operand of the output's type."""
    if low.x.value(0).dtype is not low.out.dtype:
        low.types()
    return together(low, low.x.axes(1, len(low.x.listed(0))))


# ---------------------------------------------------------------- sums and means


def sum_or_mean(low: Lowering) -> None:
    """Small integers are summed in s32, s32 for its mean in s64; a mean of integers truncates."""
    dtype, mean = low.x.value(0).dtype, low.node.op == "MEAN"
    if dtype is DType.BOOL and not mean:
        extreme(low)
        return
    if dtype not in NUMBERS:
        low.types()
    value, outer, axis, inner = over_axes(low)
    if axis > MAX_SUMMED.get(dtype, axis):
        raise low.lacking(f"{axis} elements to sum in s32, at most {MAX_SUMMED[dtype]}")
    atom = Reduce("sum", outer, axis, inner)
    if dtype in SMALL:
        sums = low.emit(atom, [value], low.temp(low.out.shape, DType.I32))
        rescaling(low)(low, sums, axis)
    elif mean:
        wide = DType.I64 if dtype is DType.I32 else dtype
        sums = low.emit(atom, [value], low.temp(low.out.shape, wide))
        low.map(call("div", load(0), const(axis)), [sums], compute=WIDE[wide])
    else:
        low.emit(atom, [value])


def rescaling(low: Lowering) -> Callable[[Lowering, int, int], None]:
    """Which arithmetic takes sums of small integers to the output: TFLite has three."""
    if low.kernels == "reference" or low.out.dtype is DType.I16:
        return rescaled
    if low.node.op == "SUM":
        return rescaled_in_floats
    images = len(low.x.shape(0)) == 4 and low.x.axes(1, 4) == (1, 2) and low.x.attr("keep_dims")
    return rescaled_images if images else rescaled


def rescaled(low: Lowering, sums: int, count: int) -> None:
    """TFLite's QuantizedMeanOrSum: a mean has 1/count in its multiplier, with all the bits that fit."""
    (scale, zero), (out_scale, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    multiplier, shift = low.factor(scale / out_scale)
    if low.node.op == "MEAN":
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        multiplier, shift = (multiplier << bits) // count, shift - bits
    centred = call("sub", load(0), const(zero * count))
    scaled = call("add", call("mulq", centred, args=(multiplier, shift)), const(out_zero))
    low.map(scaled, [sums], compute="i32")


def rescaled_in_floats(low: Lowering, sums: int, count: int) -> None:
    """The builtin kernels' sum: the scale and the zero points of all elements in float32."""
    (scale, zero), (out_scale, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    ratio = float32_product(scale, over=out_scale)
    real = call("add", call("mul", load(0), const(ratio)), const(float32_product(-zero, ratio, count)))
    low.map(call("add", call("round_away", real), const(out_zero)), [sums])


def rescaled_images(low: Lowering, sums: int, count: int) -> None:
    """The builtin kernels' mean over height and width: one multiplier and one bias, both from float32."""
    (scale, zero), (out_scale, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    multiplier = low.factor(float32_product(scale, over=float32_product(count, out_scale)))
    bias = out_zero - round_half_away(float32_product(zero, scale, over=out_scale))
    if not I32_MIN <= bias <= I32_MAX:
        raise low.lacking(f"scales {scale} and {out_scale} are too far apart for a zero point of {zero}")
    low.map(call("add", call("mulq", load(0), args=multiplier), const(bias)), [sums], compute="i32")


# ---------------------------------------------------------------- other reductions

OPS = {
    "REDUCE_MAX": "max",
    "REDUCE_MIN": "min",
    "REDUCE_PROD": "prod",
    "REDUCE_ANY": "any",
    "REDUCE_ALL": "all",
}
BOOL_OPS = {**OPS, "SUM": "any", "REDUCE_MAX": "any", "REDUCE_MIN": "all", "REDUCE_PROD": "all"}


def extreme(low: Lowering) -> None:
    """The greatest or least element, under one quantisation; of booleans whether any or all are true.

    The reference kernels begin with the extreme finite float, which stays where they meet nothing but NaN.
    """
    dtype = low.out.dtype
    if dtype is not DType.BOOL and (low.node.op in ("REDUCE_ANY", "REDUCE_ALL") or dtype not in NUMBERS):
        low.types()
    if dtype in SMALL and low.x.value(0).quantization != low.out.quantization:
        raise low.lacking("operand and output are quantised differently")
    value, outer, axis, inner = over_axes(low)
    op = (BOOL_OPS if dtype is DType.BOOL else OPS)[low.node.op]
    atom = Reduce(op, outer, axis, inner)  # type: ignore[arg-type]
    if dtype is not DType.F32 or low.kernels != "reference":
        low.emit(atom, [value])
        return
    limit = float(np.finfo(np.float32).min if op == "max" else np.finfo(np.float32).max)
    found = low.emit(atom, [value], low.temp(low.out.shape, dtype))
    low.map(call(op, const(limit), load(0)), [found])


def product(low: Lowering) -> None:
    dtype = low.out.dtype
    if dtype in (DType.I8, DType.I16):
        quantized_product(low)
    elif dtype is DType.BOOL:
        extreme(low)
    elif dtype in WIDE:
        value, outer, axis, inner = over_axes(low)
        low.emit(Reduce("prod", outer, axis, inner), [value])
    else:
        low.types()


def quantized_product(low: Lowering) -> None:
    """One factor after the other, each followed by a scale whose power is that of the whole product.

    TFLite's QuantizedReduceProd, whose multiplier has 15 bits and whose products so far wrap in s32.
    """
    value, outer, axis, inner = over_axes(low)
    if axis > MAX_MULTIPLIED:
        raise low.lacking(f"{axis} quantised elements to multiply, at most {MAX_MULTIPLIED}")
    (scale, zero), (out_scale, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    factor, shift = reduced_multiplier(*quantize_multiplier(scale / math.pow(out_scale, 1 / axis)))
    if not 1 <= shift <= 46:
        raise low.x.bad(f"scales {scale} and {out_scale} are too far apart for a product of {axis} elements")
    product = call("sub", load(0), const(zero))
    for i in range(1, axis):
        product = scaled(call("mul", product, call("sub", load(i), const(zero))), factor, shift)
    product = scaled(product, factor, shift)
    views = tuple(View(i * inner, (axis * inner, 1)) for i in range(axis))
    sizes = (outer, inner)
    limits = np.iinfo(low.out.dtype.numpy)
    program = call("clamp", call("add", product, const(out_zero)), args=(int(limits.min), int(limits.max)))
    low.emit(Map(sizes, views, dense(sizes), program, "i64"), [value] * axis)


def scaled(product: Program, factor: int, shift: int) -> Program:
    """product * factor / 2^shift, halves up, of which the low 32 bits count."""
    wide = call("add", call("mul", product, const(factor)), const(1 << (shift - 1)))
    raised = call("add", call("floor_div", wide, const(1 << shift)), const(1 << 31))
    return call("sub", call("floor_mod", raised, const(1 << 32)), const(1 << 31))


def arg(low: Lowering) -> None:
    """The place of the greatest or least element along one axis, the first of equals."""
    if low.out.dtype not in (DType.I32, DType.I64) or low.x.value(0).dtype not in (*NUMBERS, DType.BOOL):
        low.types()
    value, outer, axis, inner = together(low, low.x.axes(1, len(low.x.listed(0))))
    low.emit(Reduce("argmax" if low.node.op == "ARG_MAX" else "argmin", outer, axis, inner), [value])


RULES = {
    "SUM": sum_or_mean,
    "MEAN": sum_or_mean,
    **dict.fromkeys(("REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL"), extreme),
    "REDUCE_PROD": product,
    "ARG_MAX": arg,
    "ARG_MIN": arg,
}
