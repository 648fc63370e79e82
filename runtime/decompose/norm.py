"""Normalisation over rows: softmax as the row's maximum, exponentials below it, their sum, and a division.

On 8-bit integers it is TFLite's reference kernel bit for bit: exponentials from a table of 256, in fixed
point, and the reciprocal of their sum by three steps of Newton.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Raster, Reduce, Region, View
from runtime.decompose.fixed_point import inverse_square_roots, logs, normal, reciprocals
from runtime.decompose.rule import BYTES, MAX_REGIONS, Lowering, call, const, load
from runtime.decompose.tables import entries, interpolated, samples, symmetric
from runtime.graph import Array, DType, Shape
from runtime.quantized import (
    EXP_INTEGER_BITS,
    I32_MIN,
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
    return math.prod(shape) // depth, depth, (*shape[:-1], *(1 for _ in shape[-1:]))


def highest_of(low: Lowering) -> int:
    rows, depth, per_row = rows_of(low)
    return low.emit(Reduce("max", rows, depth, 1), low.node.inputs, low.temp(per_row, low.x.value(0).dtype))


_RECIPROCAL = call("div", const(1.0), load(0))
"""Once for each row, for divisions are slow."""


def float_softmax(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    below, beta = call("sub", load(0), load(1)), float(low.x.attr("beta"))
    if beta != 1:
        below = call("mul", below, const(beta))
    shares = low.temp(low.out.shape, DType.F32)
    low.map(call("exp", below), [low.node.inputs[0], highest_of(low)], shares)
    sums = low.emit(Reduce("sum", rows, depth, 1), [shares], low.temp(per_row, DType.F32))
    low.map(
        call("mul", load(0), load(1)), [shares, low.map(_RECIPROCAL, [sums], low.temp(per_row, DType.F32))]
    )


def integer_softmax(low: Lowering) -> None:
    _, depth, _ = rows_of(low)
    least = int(np.iinfo(low.out.dtype.numpy).min)
    if low.quantized(low.out) != (1 / 256, least) or depth >= 1 << SUM_INTEGER_BITS:
        raise low.lacking(f"the output must be on scale 1/256 from {least}, of less than 4096 elements a row")
    operands = [low.node.inputs[0], highest_of(low)]
    below = low.map(call("sub", load(0), load(1)), operands, low.temp(low.out.shape, DType.I32), "i32")
    shares, sums = shares_of(low, below, exponentials(*argument(low, beta_of(low))))
    product = call("mulq_high", call("shift_left", load(1), const(1)), load(0))
    places = call("sub", const(SUM_INTEGER_BITS + 31 - 8), call("leading_zeros", load(2)))
    program = call("add", call("shift_right", product, places), const(least))
    low.map(program, [shares, reciprocals(low, normal(low, sums)), sums], compute="i32")


def beta_of(low: Lowering) -> float:
    if (beta := float(low.x.attr("beta"))) < 0:
        raise low.x.bad(f"beta = {beta}, expected a number from 0")
    return beta


def shares_of(low: Lowering, below: int, table: Array) -> tuple[int, int]:
    """Exponentials in Q0.31 of what is 0..255 below the row's highest, and their sums in Q12.19."""
    rows, depth, per_row = rows_of(low)
    (shares,) = entries(low, [table], call("add", load(0), const(255)), below)
    addends = low.temp(low.out.shape, DType.I32)
    low.map(call("shift_right", load(0), const(SUM_INTEGER_BITS)), [shares], addends, "i32")
    return shares, low.emit(Reduce("sum", rows, depth, 1), [addends], low.temp(per_row, DType.I32))


def argument(low: Lowering, beta: float) -> tuple[int, int, int]:
    """(multiplier, shift) from stored integers to arguments of exp in Q5.26, and the largest that fits."""
    real = beta * low.quantized(low.x.value(0))[0] * (1 << (31 - EXP_INTEGER_BITS))
    multiplier, shift = quantize_multiplier(min(real, 2.0**31 - 1))
    if shift < 0:
        raise low.lacking("beta times the scale of the input must be at least 2^-26")
    reach = ((1 << EXP_INTEGER_BITS) - 1) * 2.0 ** (31 - EXP_INTEGER_BITS - shift)
    return multiplier, shift, math.floor(reach)


def exponentials(multiplier: int, shift: int, reach: int) -> Array:
    """exp of the arguments -255..0 in Q0.31; zero beyond the reach."""
    below = np.arange(-255, 1)
    arguments = multiply_by_quantized_multiplier(np.maximum(below, -reach), multiplier, shift)
    return np.where(below >= -reach, exp_on_negative_values(arguments), 0).astype(np.int32)


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
    less_one = call("sub", call("shift_right", load(0), const(14)), const(2**15 + 2**16))
    held = call("clamp", less_one, args=(-(2**15), 2**15 - 1))
    places = low.map(held, [normal(low, sums)], low.temp(low.values[sums].shape, DType.I32), "i32")
    table = samples(lambda x: 1 / (1 + x), (1 / WIDE_RANGE, 2 / WIDE_RANGE), -(2**15), np.float64)
    return interpolated(low, table, places, low.temp(low.values[sums].shape, DType.I32))


def log_softmax(low: Lowering) -> None:
    x, out = low.x.value(0), low.out
    if x.dtype is out.dtype is DType.F32:
        float_log_softmax(low)
    elif x.dtype is out.dtype and x.dtype in BYTES:
        integer_log_softmax(low)
    else:
        low.types()


def integer_log_softmax(low: Lowering) -> None:
    """d - log(sum) in Q5.26 for d below the row's highest, and the least number where that may overflow."""
    limits, depth = np.iinfo(low.out.dtype.numpy), rows_of(low)[1]
    multiplier, shift, reach = argument(low, 1.0)
    if (
        low.quantized(low.out) != (1 / 16, limits.max)
        or depth >= 1 << SUM_INTEGER_BITS
        or not 1 <= shift <= 30
    ):
        raise low.lacking(
            f"the output must be on scale 1/16 from {limits.max}, of less than 4096 elements a row, and the "
            "scale of the input between 2^-26 and 2^4"
        )
    operands = [low.node.inputs[0], highest_of(low)]
    below = low.map(call("sub", load(0), load(1)), operands, low.temp(low.out.shape, DType.I32), "i32")
    log = logs(low, shares_of(low, below, exponentials(multiplier, shift, reach))[1])
    back = quantize_multiplier((1 << (31 - shift)) / multiplier)
    lowest = call("mulq", call("add", load(1), const(I32_MIN)), args=back)
    fits = call("gt", load(0), call("max", lowest, const(-reach - 1)))
    number = call("sub", call("mulq", load(0), args=(multiplier, shift)), load(1))
    stored = call("add", call("shift_right", number, const(31 - EXP_INTEGER_BITS - 4)), const(limits.max))
    program = call("select", fits, stored, const(limits.min))
    low.map(call("clamp", program, args=(limits.min, limits.max)), [below, log], compute="i32")


def float_log_softmax(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    below = low.temp(low.out.shape, DType.F32)
    low.map(call("sub", load(0), load(1)), [low.node.inputs[0], highest_of(low)], below)
    shares = low.map(call("exp", load(0)), [below], low.temp(low.out.shape, DType.F32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [shares], low.temp(per_row, DType.F32))
    low.map(call("sub", load(0), call("log", load(1))), [below, sums])


LEAST_NORM = 1e-6
"""What L2_NORMALIZATION divides by at least."""


def l2_normalization(low: Lowering) -> None:
    x, out = low.x.value(0), low.out
    if x.dtype is not out.dtype or low.x.attr("fused_activation_function") != "NONE":
        low.types()
    if x.dtype is DType.F32:
        float_l2_normalization(low)
    elif x.dtype in BYTES:
        integer_l2_normalization(low)
    else:
        low.types()


def float_l2_normalization(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    squares = low.map(call("square", load(0)), low.node.inputs, low.temp(low.out.shape, DType.F32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [squares], low.temp(per_row, DType.F32))
    length = call("max", call("sqrt", load(1)), const(LEAST_NORM))
    low.map(call("div", load(0), length), [low.node.inputs[0], sums])


def integer_l2_normalization(low: Lowering) -> None:
    rows, depth, per_row = rows_of(low)
    limits, zero = np.iinfo(low.out.dtype.numpy), 128 if low.out.dtype is DType.U8 else 0
    if low.quantized(low.out) != (1 / 128, zero) or depth > 1 << 15:
        raise low.lacking(f"the output must be on scale 1/128 from {zero}, of at most 32768 elements a row")
    centred = call("sub", load(0), const(low.quantized(low.x.value(0))[1]))
    squares = low.temp(low.out.shape, DType.I32)
    low.map(call("square", centred), low.node.inputs, squares, "i32")
    sums = low.emit(Reduce("sum", rows, depth, 1), [squares], low.temp(per_row, DType.I32))
    operands = [low.node.inputs[0], *inverse_square_roots(low, sums)]
    if low.out.dtype is DType.U8:
        scaled = call("mulq_by", call("mul", centred, const(128)), load(1), load(2))
    else:
        scaled = call("mulq_by", centred, load(1), call("add", load(2), const(7)))
    stored = call("clamp", call("add", scaled, const(zero)), args=(limits.min, limits.max))
    low.map(stored, operands, compute="i32")


def local_response(low: Lowering) -> None:
    """x (bias + alpha s)^-beta for s the sum of squares in radius channels before and as many from x on."""
    if not low.x.value(0).dtype is low.out.dtype is DType.F32:
        low.types()
    rows, depth, _ = rows_of(low)
    radius = min(max(int(low.x.attr("radius")), 0), depth)
    if 2 * radius > MAX_REGIONS:
        raise low.lacking(f"a radius of {radius} channels, at most {MAX_REGIONS // 2}")
    squares = low.map(call("square", load(0)), low.node.inputs, low.temp(low.out.shape, DType.F32))
    regions = []
    for offset in range(-radius, radius):
        first, count = max(0, -offset), depth - abs(offset)
        source, target = View(first + offset, (depth, 1)), View(first, (depth, 1))
        if count > 0:
            regions.append(Region(0, source, target, (rows, count)))
    sums = low.temp(low.out.shape, DType.F32)
    low.emit(Raster(tuple(regions), fill=0, mode="add"), [squares], sums)
    bias, alpha, beta = (float(low.x.attr(name)) for name in ("bias", "alpha", "beta"))
    base = call("add", const(bias), call("mul", const(alpha), load(1)))
    low.map(call("mul", load(0), call("pow", base, const(-beta))), [low.node.inputs[0], sums])


RULES = {
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": log_softmax,
    "L2_NORMALIZATION": l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": local_response,
}
