"""Fixed-point arithmetic against exact rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import quantized

S32 = st.integers(quantized.I32_MIN, quantized.I32_MAX)


@pytest.mark.parametrize(
    ("real", "expected"),
    [
        (0.0, (0, 0)),
        (1.0, (2**30, 1)),
        (0.5, (2**30, 0)),
        (0.1, (1717986918, -3)),
        (1 - 2.0**-40, (2**30, 1)),
        (3e-20, (0, 0)),
        (1000.0, (2097152000, 10)),
    ],
)
def test_quantize_multiplier(real, expected):
    assert quantized.quantize_multiplier(real) == expected


def nearest_away(value: Fraction) -> int:
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole


@given(S32, S32)
def test_doubling_high_multiply_is_the_nearest_integer(a, b):
    got = int(quantized.doubling_high_multiply(np.array([a], np.int32), np.array([b], np.int32))[0])
    nudge = 2**30 if a * b >= 0 else 1 - 2**30
    expected = int(Fraction(a * b + nudge, 2**31))  # gemmlowp's text: a division that truncates
    assert got == min(expected, quantized.I32_MAX)


@given(S32, st.integers(0, 31))
def test_rounding_shift_right(x, exponent):
    got = int(quantized.rounding_shift_right(np.array([x], np.int32), exponent)[0])
    assert got == nearest_away(Fraction(x, 2**exponent))


@given(st.integers(-(2**20), 2**20), st.floats(1e-6, 100))
def test_the_product_is_within_one_of_the_real_one(x, real):
    multiplier, shift = quantized.quantize_multiplier(real)
    got = int(quantized.multiply_by_quantized_multiplier(np.array([x]), multiplier, shift)[0])
    assert abs(got - x * real) <= 1.01
