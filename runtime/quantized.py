"""Fixed-point arithmetic with the rounding of TFLite's reference kernels, on NumPy arrays.

Source: gemmlowp `fixedpoint.h` and TFLite `kernels/internal/common.h`, the build without single rounding. The
C kernels repeat these functions; what a rule does with them is in `runtime.decompose`. Exponents are held within
0..31, so that every function is defined for every operand.
"""

from __future__ import annotations

import math

import numpy as np

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


def round_half_away(real: float) -> int:
    """C's `round`: to the nearest integer, ties away from zero."""
    floor = math.floor(abs(real))
    return int(math.copysign(floor + (abs(real) - floor >= 0.5), real))


def wrap_i32(x: Array) -> Array:
    """The low 32 bits as a signed number: what C's `(int32_t)` makes of an i64."""
    return x.astype(np.int64).astype(np.int32)


def doubling_high_multiply(a: Array, b: Array) -> Array:
    """SaturatingRoundingDoublingHighMul: the high half of 2·a·b as s32, rounded to nearest, ties up.

    gemmlowp adds a nudge that depends on the sign and divides with truncation: the same as this floor.
    """
    product = a.astype(np.int64) * np.asarray(b).astype(np.int64)
    return np.minimum((product + 2**30) >> 31, I32_MAX).astype(np.int32)


def rounding_shift_right(x: Array, exponent: Array | int) -> Array:
    """RoundingDivideByPOT: x / 2^exponent rounded to nearest, ties away from zero."""
    wide, bits = x.astype(np.int64), _bits(exponent)
    mask = (np.int64(1) << bits) - 1
    threshold = (mask >> 1) + (wide < 0)
    return ((wide >> bits) + ((wide & mask) > threshold)).astype(np.int32)


def saturating_shift_left(x: Array, exponent: Array | int) -> Array:
    """SaturatingRoundingMultiplyByPOT: x · 2^exponent, held within s32."""
    return np.clip(x.astype(np.int64) << _bits(exponent), I32_MIN, I32_MAX).astype(np.int32)


def multiply_by_quantized_multiplier(x: Array, multiplier: Array | int, shift: Array | int) -> Array:
    """x · multiplier · 2^(shift - 31): wrapping left shift, doubling high product, rounding right shift."""
    power = np.asarray(shift, np.int64)
    shifted = wrap_i32(x.astype(np.int64) << _bits(power))
    return rounding_shift_right(doubling_high_multiply(shifted, np.asarray(multiplier)), -power)


def _bits(exponent: Array | int) -> Array:
    return np.clip(np.asarray(exponent, np.int64), 0, 31)
