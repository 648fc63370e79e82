"""Normalisation over rows: softmax as the row's maximum, exponentials below it, their sum, and a division.

On 8-bit integers it is TFLite's reference kernel bit for bit: exponentials from a table of 256, in fixed
point, and the reciprocal of their sum by three steps of Newton.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Gather, Reduce
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.decompose.tables import interpolated, samples, symmetric
from runtime.graph import Array, DType, Shape
from runtime.quantized import (
    EXP_INTEGER_BITS,
    exp_on_negative_values,
    float32_product,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
)

SUM_INTEGER_BITS = 12
"""Of the sum of exponentials: rows of up to 4095 elements."""


def softmax(low: Lowering) -> None:
    x, out = low.x.value(0), low.out
    if x.dtype is out.dtype is DType.F32:
        float_softmax(low)
    elif x.dtype is out.dtype and x.dtype in BYTES:
        integer_softmax(low)
    elif x.dtype is out.dtype is DType.I16:
        wide_softmax(low)
    else:
        low.types()


def rows_of(low: Lowering) -> tuple[int, int, Shape]:
    """(rows, elements of a row, the shape of one number per row)."""
    shape = low.x.shape(0)
    depth = shape[-1] if shape else 1
    return math.prod(shape) // depth, depth, (*shape[:-1], 1)


def highest_of(low: Lowering) -> int:
    rows, depth, per_row = rows_of(low)
    return low.emit(Reduce("max", rows, depth, 1), low.node.inputs, low.temp(per_row, low.x.value(0).dtype))


def float_softmax(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    below = call("mul", call("sub", load(0), load(1)), const(float(low.x.attr("beta"))))
    shares = low.temp(low.out.shape, DType.F32)
    low.map(call("exp", below), [low.node.inputs[0], highest_of(low)], shares)
    sums = low.emit(Reduce("sum", rows, depth, 1), [shares], low.temp(per_row, DType.F32))
    low.map(call("div", load(0), load(1)), [shares, sums])


def integer_softmax(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    least = int(np.iinfo(low.out.dtype.numpy).min)
    if low.quantized(low.out) != (1 / 256, least) or depth >= 1 << SUM_INTEGER_BITS:
        raise low.lacking(f"the output must be on scale 1/256 from {least}, of less than 4096 elements a row")
    index, shares = low.temp(low.out.shape, DType.I32), low.temp(low.out.shape, DType.I32)
    from_highest = call("add", call("sub", load(0), load(1)), const(255))
    low.map(from_highest, [low.node.inputs[0], highest_of(low)], index, "i32")
    low.emit(Gather(256, 1, rows * depth), [low.constant(exponentials(low)), index], shares)
    addends = low.temp(low.out.shape, DType.I32)
    low.map(call("shift_right", load(0), const(SUM_INTEGER_BITS)), [shares], addends, "i32")
    sums = low.emit(Reduce("sum", rows, depth, 1), [addends], low.temp(per_row, DType.I32))
    product = call("mulq_high", call("shift_left", load(1), const(1)), load(0))
    places = call("sub", const(SUM_INTEGER_BITS + 31 - 8), call("leading_zeros", load(2)))
    program = call("add", call("shift_right", product, places), const(least))
    low.map(program, [shares, reciprocals(low, sums), sums], compute="i32")


def beta_of(low: Lowering) -> float:
    if not 0.0 <= (beta := float(low.x.attr("beta"))) < math.inf:
        raise low.x.bad(f"beta = {beta}, expected a number from 0")
    return beta


def exponentials(low: Lowering) -> Array:
    """exp(beta · scale · d) in Q0.31 for d = -255..0; zero where the argument needs more than five bits."""
    real = beta_of(low) * low.quantized(low.x.value(0))[0] * (1 << (31 - EXP_INTEGER_BITS))
    multiplier, shift = quantize_multiplier(min(real, 2.0**31 - 1))
    if shift < 0 or multiplier < 0:
        raise low.lacking("beta times the scale of the input must be at least 2^-26")
    reach = math.floor(((1 << EXP_INTEGER_BITS) - 1) * 2.0 ** (31 - EXP_INTEGER_BITS - shift))
    below = np.arange(-255, 1)
    arguments = multiply_by_quantized_multiplier(np.maximum(below, -reach), multiplier, shift)
    return np.where(below >= -reach, exp_on_negative_values(arguments), 0).astype(np.int32)


def reciprocals(low: Lowering, sums: int) -> int:
    """1 / (the sums shifted left until they lie in 1..2), in Q1.30: gemmlowp's one_over_one_plus_x.

    Newton's x' = x + x(1 - dx) in Q2.29 on half the shifted sum d in Q0.31, from 48/17 - 32/17 d.
    """
    shape = low.values[sums].shape
    shifted = call("shift_left", load(0), call("sub", call("leading_zeros", load(0)), const(1)))
    half = low.map(shifted, [sums], low.temp(shape, DType.I32), "i32")
    first: Program = call("add", const(1515870810), call("mulq_high", load(0), const(-1010580540)))
    x = low.map(first, [half], low.temp(shape, DType.I32), "i32")
    error = call("sub", const(1 << 29), call("mulq_high", load(0), load(1)))
    better = call("add", load(1), call("shift_left", call("mulq_high", load(1), error), const(2)))
    for _ in range(3):
        x = low.map(better, [half, x], low.temp(shape, DType.I32), "i32")
    return x


EXP_RANGE, WIDE_RANGE = 10.0, 65535.0
"""Exponentials of less than -10 count as zero; 16 bits hold that range of arguments."""


def wide_softmax(low: Lowering) -> None:
    """On 16 bits, between samples of exp(x) on -10..0 and of 1 / (1 + x) on 0..1."""
    rows, depth, per_row = rows_of(low)
    scale, out_scale = symmetric(low)
    if abs(out_scale * 2**15 - 1) > 1e-3 or depth >= 1 << 16:
        raise low.lacking("the output must be on scale 2^-15, of less than 65536 elements a row")
    factor = low.factor(float32_product(scale, beta_of(low)) / (EXP_RANGE / WIDE_RANGE))
    scaled = call("mulq", call("sub", load(0), load(1)), args=factor)
    held = call("clamp", call("add", scaled, const(2**15 - 1)), args=(-(2**15), 2**15 - 1))
    operands = [low.node.inputs[0], highest_of(low)]
    places = low.map(held, operands, low.temp(low.out.shape, DType.I32), "i32")
    exponential = samples(np.exp, (EXP_RANGE / WIDE_RANGE, 2 / WIDE_RANGE), 2**15 - 1, np.float64)
    shares = interpolated(low, exponential, places, low.temp(low.out.shape, DType.I32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [shares], low.temp(per_row, DType.I32))
    product = call("mul", load(0), load(1))
    program = call("shift_right", product, call("sub", const(31), call("leading_zeros", load(2))))
    low.map(
        call("clamp", program, args=(0, 2**15 - 1)),
        [shares, _wide_reciprocals(low, sums), sums],
        compute="i32",
    )


def _wide_reciprocals(low: Lowering, sums: int) -> int:
    """1 / (the sums shifted left until they lie in 1..2), in Q0.15."""
    shifted = call("shift_left", load(0), call("sub", call("leading_zeros", load(0)), const(1)))
    less_one = call("sub", call("shift_right", shifted, const(14)), const(2**15 + 2**16))
    held = call("clamp", less_one, args=(-(2**15), 2**15 - 1))
    places = low.map(held, [sums], low.temp(low.values[sums].shape, DType.I32), "i32")
    table = samples(lambda x: 1 / (1 + x), (1 / WIDE_RANGE, 2 / WIDE_RANGE), -(2**15), np.float64)
    return interpolated(low, table, places, low.temp(low.values[sums].shape, DType.I32))


def log_softmax(low: Lowering) -> None:
    if not low.x.value(0).dtype is low.out.dtype is DType.F32:
        low.types()
    rows, depth, per_row = rows_of(low)
    below = low.temp(low.out.shape, DType.F32)
    low.map(call("sub", load(0), load(1)), [low.node.inputs[0], highest_of(low)], below)
    shares = low.map(call("exp", load(0)), [below], low.temp(low.out.shape, DType.F32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [shares], low.temp(per_row, DType.F32))
    low.map(call("sub", load(0), call("log", load(1))), [below, sums])


LEAST_NORM = 1e-6
"""What L2_NORMALIZATION divides by at least."""


def l2_normalization(low: Lowering) -> None:
    if (
        not low.x.value(0).dtype is low.out.dtype is DType.F32
        or low.x.attr("fused_activation_function") != "NONE"
    ):
        low.types()
    rows, depth, per_row = rows_of(low)
    squares = low.map(call("square", load(0)), low.node.inputs, low.temp(low.out.shape, DType.F32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [squares], low.temp(per_row, DType.F32))
    length = call("max", call("sqrt", load(1)), const(LEAST_NORM))
    low.map(call("div", load(0), length), [low.node.inputs[0], sums])


RULES = {"SOFTMAX": softmax, "LOG_SOFTMAX": log_softmax, "L2_NORMALIZATION": l2_normalization}
