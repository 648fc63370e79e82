"""Operators of one quantised operand: 8 bits look their result up, 16 bits interpolate between 513 of them.

Both are TFLite's reference kernels value by value: a table holds what they compute for each operand that
there is (`LUTPopulate`, `relu`, `leaky_relu.h`, `hard_swish.h`, `elementwise.cc`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from runtime.atoms import Gather
from runtime.decompose.fixed_point import inverse_square_roots
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import Array, DType
from runtime.primitives import evaluate
from runtime.quantized import (
    I32_MAX,
    I32_MIN,
    float32_product,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    round_away,
    rounding_shift_right,
)

# ---------------------------------------------------------------- 8 bits


def lookup(low: Lowering, table: int) -> None:
    """out = table[x - least]: a value of 256 results, worked out once, for a single 8-bit operand."""
    x = low.x.value(0)
    index = low.temp(x.shape, DType.I32)
    least = int(np.iinfo(x.dtype.numpy).min)
    low.map(call("sub", load(0), const(least)), low.node.inputs, index, "i32")
    low.emit(Gather(256, 1, x.elements), [table, index])


def table(low: Lowering, program: Program) -> Array:
    """What the operator stores for every value that its operand can hold; `program` is it on floats."""
    return TABLES[low.node.op](low) if low.node.op in TABLES else _rounded(low, program)


def _centred(low: Lowering) -> Array:
    """Every value that the operand can hold, in order, less its zero point."""
    limits = np.iinfo(low.x.value(0).dtype.numpy)
    return np.arange(limits.min, limits.max + 1) - low.quantized(low.x.value(0))[1]


def _store(low: Lowering, numbers: Array) -> Array:
    """Integers around zero -> what the output stores."""
    limits = np.iinfo(low.out.dtype.numpy)
    return np.clip(numbers + low.quantized(low.out)[1], limits.min, limits.max).astype(low.out.dtype.numpy)


def _rounded(low: Lowering, program: Program) -> Array:
    """The float operator between dequantising and rounding (TFLite's LUTPopulate)."""
    real = np.float32(low.quantized(low.x.value(0))[0]) * _centred(low).astype(np.float32)
    inverse = float32_product(over=low.quantized(low.out)[0])
    scaled = evaluate(call("round_away", call("mul", program, const(inverse))), [real])
    return _store(low, np.nan_to_num(scaled.astype(np.float64)).clip(I32_MIN, I32_MAX).astype(np.int64))


def _rescaled(low: Lowering, numbers: Array, factor: float = 1.0) -> Array:
    """From the operand's scale to the output's, in fixed point; a factor may be negative."""
    scale, out = low.quantized(low.x.value(0))[0], low.quantized(low.out)[0]
    real = float32_product(scale, factor, over=out)
    sign = -1 if real < 0 else 1
    return sign * multiply_by_quantized_multiplier(numbers, *low.factor(abs(real))).astype(np.int64)


def _relu(low: Lowering) -> Array:
    """Rescaled in fixed point, then clamped on the output's scale (TFLite's ReluQuantized)."""
    least, most = relu_range(low)
    out = _store(low, _rescaled(low, _centred(low))).astype(np.int64)
    return np.minimum(np.maximum(out, least), most).astype(low.out.dtype.numpy)


def relu_range(low: Lowering) -> tuple[int, int]:
    """The bounds of a RELU operator on what its output stores."""
    limits, (lower, upper) = np.iinfo(low.out.dtype.numpy), RELU_BOUNDS[low.node.op]
    most = limits.max if math.isinf(upper) else min(low.stored(upper, low.out), limits.max)
    return max(low.stored(lower, low.out), limits.min), most


RELU_BOUNDS = {
    "RELU_0_TO_1": (0.0, 1.0),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}


def _leaky_relu(low: Lowering) -> Array:
    centred = _centred(low)
    slope = _rescaled(low, centred, float(low.x.attr("alpha")))
    return _store(low, np.where(centred >= 0, _rescaled(low, centred), slope))


def _abs(low: Lowering) -> Array:
    magnitudes = np.abs(_centred(low))
    same = low.quantized(low.x.value(0))[0] == low.quantized(low.out)[0]
    return _store(low, magnitudes if same else _rescaled(low, magnitudes))


HIRES = 7
"""Bits by which HARD_SWISH shifts its operand to the left."""


def _hard_swish(low: Lowering) -> Array:
    """In 16 bits: x on the output's scale times a share of 0..1, which is x on the scale of 3 / 2^15."""
    scale = float32_product(low.quantized(low.x.value(0))[0], 2.0**-HIRES)
    by_out, out_shift = _multiplier_of_16_bits(low, float32_product(scale, over=low.quantized(low.out)[0]))
    by_share, shift = _multiplier_of_16_bits(low, float32_product(scale, over=3 / 2**15))
    if out_shift > 0:
        raise low.x.bad(f"the output's scale is below 1/{1 << HIRES} of the input's")
    raised = _centred(low) << HIRES
    before = _high_product(raised, by_out)
    share = _high_product(_saturated(raised << max(shift - 1, 0)), by_share)
    share = _saturated(share << 1) if shift > 0 else rounding_shift_right(share, -shift).astype(np.int64)
    product = ((share + 2**15) >> 1) * before
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _store(low, rounding_shift_right(truncated, -out_shift).astype(np.int64))


def _multiplier_of_16_bits(low: Lowering, real: float) -> tuple[int, int]:
    if not 2.0**-16 <= real < 2.0**15:
        raise low.lacking(f"its scales are too far apart: a ratio of {real:.3g}, expected 2^-16..2^15")
    multiplier, shift = quantize_multiplier(real)
    return min((multiplier + 2**15) >> 16, 2**15 - 1), shift


def _high_product(a: Array, b: int) -> Array:
    """The high half of 2ab in 16 bits, rounded; b is below 2^15."""
    return (a * b + 2**14) >> 15


def _saturated(a: Array) -> Array:
    return np.clip(a, -(2**15), 2**15 - 1)


ROOT_BITS = 20
"""Fraction bits of an inverse square root on its way to the output's scale."""


def rsqrt(low: Lowering) -> None:
    """By the fixed-point root of every operand above the zero point; at it, and below, the largest number."""
    centred = _centred(low).astype(np.int32)
    held = low.constant(np.maximum(centred, 1))
    scale, out = (np.float32(low.quantized(value)[0]) for value in (low.x.value(0), low.out))
    with np.errstate(all="ignore"):
        multiplier, shift = low.factor(float(1 / np.float64(np.sqrt(scale) * out)))
    root = call("mulq_by", const(1), load(0), call("add", load(1), const(ROOT_BITS)))
    stored = call(
        "add", call("mulq", root, args=(multiplier, shift - ROOT_BITS)), const(low.quantized(low.out)[1])
    )
    program = call("select", call("gt", load(2), const(0)), stored, const(I32_MAX))
    table = low.temp(centred.shape, low.out.dtype)
    low.map(program, [*inverse_square_roots(low, held), low.constant(centred)], table, "i32")
    lookup(low, table)


TABLES: dict[str, Callable[[Lowering], Array]] = {
    **dict.fromkeys(RELU_BOUNDS, _relu),
    "LEAKY_RELU": _leaky_relu,
    "ABS": _abs,
    "HARD_SWISH": _hard_swish,
}

# ---------------------------------------------------------------- 16 bits

STEPS = 512
"""Between the entries of a table over 16 bits: 9 bits choose the step, 7 the place within it."""


def samples(
    function: Callable[[Array], Array],
    scales: tuple[float, float],
    zero: int = 0,
    real: type[np.floating[Any]] = np.float32,
) -> Array:
    """A function of real numbers at the 513 borders of the steps, as 16-bit integers (TFLite's LUTPopulate).

    `scales` are the operand's and the result's, `zero` is the operand's zero point. A sample is moved by half
    of the error that interpolation has in the middle of its step, each number rounded as it arises.
    """
    least, most, steps = real(-(2**15)), real(2**15 - 1), np.arange(STEPS + 1).astype(real)
    first, last = (real(scales[0]) * (limit - real(zero)) for limit in (least, most))
    step = (last - first) / real(STEPS)
    inverse = real(2**16) / (real(scales[1]) * most - real(scales[1]) * least)
    with np.errstate(all="ignore"):
        borders = function(np.append(first + steps[:-1] * step, last)) * inverse
        following = function(first + steps[1:] * step) * inverse
        middles = round_away(function(first + steps[:-1] * step + step / real(2)) * inverse)
        whole = round_away(borders)
        error = round_away((following + whole[:-1]) / real(2)) - middles
        whole[:-1] -= round_away(error / real(2))
    return np.nan_to_num(whole).clip(least, most).astype(np.int32)


def interpolated(low: Lowering, table: Array, index: int, output: int | None = None) -> int:
    """`samples` at the value `index` of integers of 16 bits: the step's base and its slope, which wraps."""
    step = call("add", call("floor_div", load(0), const(2**7)), const(STEPS // 2))
    slopes = np.diff(table).astype(np.int16).astype(np.int32)
    base, slope = entries(low, [table[:-1], slopes], step, index)
    part = call("mul", load(2), call("floor_mod", load(0), const(2**7)))
    program = call("add", load(1), call("floor_div", call("add", part, const(2**6)), const(2**7)))
    return low.map(program, [index, base, slope], output, "i32")


def entries(low: Lowering, tables: Sequence[Array], place: Program, of: int) -> list[int]:
    """What each table of i32 has at a place that is computed from the value `of`."""
    shape = low.values[of].shape
    index = low.map(place, [of], low.temp(shape, DType.I32), "i32")
    gather = Gather(len(tables[0]), 1, low.values[of].elements)
    return [low.emit(gather, [low.constant(t), index], low.temp(shape, DType.I32)) for t in tables]


def symmetric(low: Lowering) -> tuple[float, float]:
    """Scales of the operand and the output of 16 bits, whose zero points have to be 0."""
    (scale, zero), (out, out_zero) = low.quantized(low.x.value(0)), low.quantized(low.out)
    if (zero, out_zero) != (0, 0):
        raise low.x.bad(f"zero points {zero} and {out_zero}, expected 0 for 16-bit integers")
    return scale, out


def _rescaling(low: Lowering, numbers: Program, factor: float = 1.0) -> Program:
    """As `_rescaled`, at run time."""
    scale, out = symmetric(low)
    real = float32_product(scale, factor, over=out)
    scaled = call("mulq", numbers, args=low.factor(abs(real)))
    return call("neg", scaled) if real < 0 else scaled


def _wide_relu(low: Lowering) -> None:
    low.map(call("clamp", _rescaling(low, load(0)), args=relu_range(low)), low.node.inputs, compute="i32")


def _wide_leaky_relu(low: Lowering) -> None:
    slope = _rescaling(low, load(0), float(low.x.attr("alpha")))
    program = call("select", call("lt", load(0), const(0)), slope, _rescaling(low, load(0)))
    low.map(program, low.node.inputs, compute="i32")


def _wide_abs(low: Lowering) -> None:
    scale, out = symmetric(low)
    magnitude = call("abs", load(0))
    low.map(magnitude if scale == out else _rescaling(low, magnitude), low.node.inputs, compute="i32")


def _wide_exp(low: Lowering) -> None:
    interpolated(low, samples(np.exp, symmetric(low)), low.node.inputs[0])


SIGMOID_STEPS = 24
"""In 1, of the table of sigmoid; beyond 255 of them the result is its largest one."""


def sigmoid_samples() -> Array:
    """Sigmoid at i / 24 for i in 0..255 in Q0.16, moved by half of the error of interpolation."""

    def sigmoid(i: Array) -> Array:
        return np.asarray(2**16 / (1 + np.exp(-i / SIGMOID_STEPS)))

    i = np.arange(256.0)
    error = (sigmoid(i) + sigmoid(i + 1)) / 2 - sigmoid(i + 0.5)
    return np.append(np.floor(sigmoid(i) - error / 2 + 0.5)[:-1], 2**16 - 1).astype(np.int32)


SIGMOIDS = {"LOGISTIC": (9, 2**16 - 2, 0, 2**25, 10), "TANH": (8, 2**16 - 1, 2**23, 2**23, 8)}
"""(bits between two samples, the largest sample, what is taken off, from what negative operands are
taken off, bits that the result loses): TANH is 2 sigmoid(2x) - 1."""


def _wide_sigmoid(low: Lowering) -> None:
    """Between samples for |x|, mirrored for negative x."""
    bits, most, off, mirror, excess = SIGMOIDS[low.node.op]
    x = low.map(_in_samples(low), low.node.inputs, low.temp(low.out.shape, DType.I32), "i32")
    table, magnitude = sigmoid_samples(), call("abs", load(0))
    tables = [
        np.append(part, end).astype(np.int32) for part, end in ((table[:-1], most), (np.diff(table), 0))
    ]
    place = call("min", call("floor_div", magnitude, const(2**bits)), const(255))
    part = call("mul", load(2), call("floor_mod", magnitude, const(2**bits)))
    inner = call("add", call("mul", load(1), const(2**bits)), part)
    negative = call("sub", const(mirror - 1), inner)
    signed = call("select", call("lt", load(0), const(0)), negative, call("sub", inner, const(off)))
    half = call("add", signed, const(2 ** (excess - 1)))
    program = call("floor_div", half, const(2**excess))
    low.map(program, [x, *entries(low, tables, place, x)], compute="i32")


def _in_samples(low: Lowering) -> Program:
    """The operand on the scale of 1/3 of 2^-12, of which the table's steps are a power of two."""
    scale, out = symmetric(low)
    if abs(math.log2(out) + 15) >= 1e-3:
        raise low.x.bad(f"the output's scale is {out:.6g}, expected 2^-15")
    power = math.log2(scale) + 12
    if abs(power - round(power)) < 1e-3 and round(power) in ((0, 1) if low.node.op == "TANH" else (0,)):
        return call("mul", load(0), const(3 << round(power)))
    multiplier, shift = scale * 3 * 2**12, 0
    while multiplier <= (2**15 - 1) / 2 and shift < 31:
        multiplier, shift = multiplier * 2, shift + 1
    if shift > 30 or multiplier >= 2**16:
        raise low.lacking(f"the operand's scale is {scale:.6g}, expected 2^-30..5")
    product = call("mul", load(0), const(int(multiplier)))
    if shift == 0:
        return product
    return call("floor_div", call("add", product, const(1 << (shift - 1))), const(1 << shift))


WIDE_RULES: dict[str, Callable[[Lowering], Any]] = {
    **dict.fromkeys(("RELU", "RELU6"), _wide_relu),
    **dict.fromkeys(SIGMOIDS, _wide_sigmoid),
    "LEAKY_RELU": _wide_leaky_relu,
    "ABS": _wide_abs,
    "EXP": _wide_exp,
}
"""On 16 bits."""
