"""Fixed-point arithmetic with the rounding of TFLite's reference kernels, on NumPy arrays.

Source: gemmlowp `fixedpoint.h` and TFLite `kernels/internal/common.h`, the build without single rounding. The
C kernels repeat these functions; what a rule does with them is in `runtime.decompose`. Exponents are held
within 0..31, so that every function is defined for every operand.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Ties
from runtime.graph import Array

I32_MIN, I32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with real ≈ multiplier · 2^(shift - 31), the multiplier in [2^30, 2^31) or zero."""
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift + 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def reduced_multiplier(multiplier: int, shift: int) -> tuple[int, int]:
    """The same real number for s64 sums: (a multiplier of 15 bits, the right shift that follows)."""
    return min((multiplier + 2**15) >> 16, 2**15 - 1), 15 - shift


def round_half_away(real: float) -> int:
    """C's `round`: to the nearest integer, ties away from zero."""
    floor = math.floor(abs(real))
    return int(math.copysign(floor + (abs(real) - floor >= 0.5), real))


def round_away(x: Array) -> Array:
    """`round_half_away` of every float, exactly, in its own type."""
    whole = np.trunc(x)
    return np.where(np.abs(x - whole) >= 0.5, whole + np.copysign(x.dtype.type(1), x), whole)


def float32_product(*factors: float, over: float = 1.0) -> float:
    """The product of the factors over `over`, each step rounded to float32; infinite where it overflows."""
    with np.errstate(all="ignore"):
        product = np.float32(1)
        for factor in factors:
            product = product * np.float32(factor)
        return float(product / np.float32(over))


def wrap_i32(x: Array) -> Array:
    """The low 32 bits as a signed number: what C's `(int32_t)` makes of an i64."""
    return x.astype(np.int64).astype(np.int32)


def doubling_high_multiply(a: Array, b: Array) -> Array:
    """SaturatingRoundingDoublingHighMul: the high half of 2·a·b as s32, rounded to nearest, ties up.

    gemmlowp adds a nudge that depends on the sign and divides with truncation: the same as this floor.
    """
    product = a.astype(np.int64) * np.asarray(b).astype(np.int64)
    return np.minimum((product + 2**30) >> 31, I32_MAX).astype(np.int32)


def rounding_shift_right(x: Array, exponent: Array | int, ties: Ties = "away") -> Array:
    """x / 2^exponent rounded to nearest; ties go away from zero (gemmlowp's RoundingDivideByPOT) or up."""
    wide, bits = x.astype(np.int64), _bits(exponent)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + ((wide < 0) & (ties == "away"))
    return ((wide >> bits) + ((wide & mask) > threshold)).astype(np.int32)


def saturating_shift_left(x: Array, exponent: Array | int) -> Array:
    """SaturatingRoundingMultiplyByPOT: x · 2^exponent, held within s32."""
    return np.clip(x.astype(np.int64) << _bits(exponent), I32_MIN, I32_MAX).astype(np.int32)


def multiply_by_quantized_multiplier(
    x: Array, multiplier: Array | int, shift: Array | int, ties: Ties = "away"
) -> Array:
    """x · multiplier · 2^(shift - 31): wrapping left shift, doubling high product, rounding right shift."""
    power = np.asarray(shift, np.int64)
    shifted = wrap_i32(x.astype(np.int64) << _bits(power))
    return rounding_shift_right(doubling_high_multiply(shifted, np.asarray(multiplier)), -power, ties)


def _bits(exponent: Array | int) -> Array:
    return np.clip(np.asarray(exponent, np.int64), 0, 31)


# ---------------------------------------------------------------- gemmlowp's exponential

EXP_INTEGER_BITS = 5
"""Of the argument, Q5.26; the result is Q0.31."""
_EXP_FRACTION_BITS = 31 - EXP_INTEGER_BITS
EXP_OF_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-2^k) for k = -2..4 in Q0.31."""


def exp_on_negative_values(a: Array) -> Array:
    """exp of Q5.26 arguments <= 0 in Q0.31: Taylor within the last quarter, one factor per higher bit."""
    quarter = 1 << (_EXP_FRACTION_BITS - 2)
    within = (a & (quarter - 1)) - quarter
    result = _exp_within_quarter(saturating_shift_left(within, EXP_INTEGER_BITS))
    remainder = within - a
    for power, factor in enumerate(EXP_OF_POWERS):
        bit = 1 << (_EXP_FRACTION_BITS - 2 + power)
        result = np.where(remainder & bit, doubling_high_multiply(result, np.array(factor)), result)
    return np.where(a == 0, I32_MAX, result).astype(np.int32)


def _exp_within_quarter(a: Array) -> Array:
    """exp on [-1/4, 0) in Q0.31, by the Taylor polynomial of degree 4 around -1/8."""
    at_eighth, third = np.array(1895147668), np.array(715827883)  # exp(-1/8), 1/3
    x = wrap_i32(a.astype(np.int64) + (1 << 28))
    x2 = doubling_high_multiply(x, x)
    x3, x4 = doubling_high_multiply(x2, x), doubling_high_multiply(x2, x2)
    cubic = doubling_high_multiply(rounding_shift_right(x4, 2) + x3, third)
    tail = rounding_shift_right(cubic + x2, 1)
    return wrap_i32(at_eighth + doubling_high_multiply(at_eighth, x + tail).astype(np.int64))
