"""Sigmoid and tanh of 16-bit fixed-point numbers, bit for bit as gemmlowp computes them, on NumPy arrays.

Qm.n is a number of m integer and n = 15 - m fraction bits. The constants are those of 32 bits, rounded.
Source: gemmlowp `fixedpoint.h`.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import Array
from runtime.quantized import EXP_OF_POWERS

ONE = 2**15 - 1
"""The largest number of Q0.15, which stands for 1."""
FRACTION_2 = 13
"""Fraction bits of Q2.13, in which reciprocals are found."""


def _constant(number: int) -> int:
    """Of 32 bits, rounded to 16."""
    return (number + 2**15) >> 16


def _product(a: Array, b: Array | int) -> Array:
    """The high half of 2ab, rounded to nearest, ties up, and saturating."""
    rounded: Array = (a * np.asarray(b) + 2**14) >> 15
    return np.minimum(rounded, ONE)


def _shifted(x: Array, power: int) -> Array:
    """x 2^power: to the left saturating, to the right to nearest, ties away from zero."""
    if power >= 0:
        return np.clip(x << power, -ONE - 1, ONE)
    mask = (1 << -power) - 1
    return (x >> -power) + ((x & mask) > (mask >> 1) + (x < 0))


def _exp_within_quarter(a: Array) -> Array:
    """exp on [-1/4, 0) in Q0.15, by the Taylor polynomial of degree 4 around -1/8."""
    at_eighth, third = _constant(1895147668), _constant(715827883)  # exp(-1/8), 1/3
    x = a + 2**12
    x2 = _product(x, x)
    cubic = _product(_shifted(_product(x2, x2), -2) + _product(x2, x), third)
    tail = _shifted(cubic + x2, -1)
    return np.minimum(at_eighth + _product(x + tail, at_eighth), ONE)


def _exp(a: Array, integer_bits: int) -> Array:
    """exp of arguments <= 0 of so many integer bits, in Q0.15: one factor per bit above the last quarter."""
    fraction = 15 - integer_bits
    quarter = 1 << (fraction - 2)
    within = (a & (quarter - 1)) - quarter
    result = _exp_within_quarter(_shifted(within, integer_bits))
    remainder = within - a
    for power, factor in zip(range(-2, integer_bits), EXP_OF_POWERS, strict=False):
        there = remainder & (1 << (fraction + power))
        result = np.where(there, _product(result, _constant(factor)), result)
    if integer_bits > 5:
        result = np.where(a < -(32 << fraction), 0, result)
    return np.where(a == 0, ONE, result)


def _reciprocal(a: Array) -> Array:
    """2 / (1 + a) in Q2.13 of a in Q0.15, within 0..1, by three of Newton's x' = x + x(1 - dx)."""
    half = (a + ONE + 1) >> 1
    x = _constant(1515870810) + _product(half, _constant(-1010580540))  # 48/17, -32/17
    for _ in range(3):
        x = x + _shifted(_product(x, (1 << FRACTION_2) - _product(half, x)), 2)
    return x


def logistic(x: Array) -> Array:
    """Sigmoid of Q3.12 in Q0.15."""
    a = x.astype(np.int32)
    positive = _shifted(_reciprocal(_exp(-np.abs(a), 3)), 1)
    result = np.where(a > 0, positive, ONE - positive)
    return np.where(a == 0, 2**14, result).astype(np.int16)


def tanh(x: Array, integer_bits: int) -> Array:
    """Of numbers of so many integer bits, 0..6, in Q0.15."""
    a = x.astype(np.int32)
    positive = _shifted(_reciprocal(_exp(-np.abs(a), integer_bits + 1)) - (1 << FRACTION_2), 2)
    return np.where(a == 0, 0, np.where(a < 0, -positive, positive)).astype(np.int16)
