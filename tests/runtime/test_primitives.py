"""The rows of PRIMITIVES: values at the corners, one table."""

import numpy as np
import pytest

from runtime.primitives import COMPUTE_TYPES, PRIMITIVES

MIN, MAX = -(2**31), 2**31 - 1
INTEGER_CASES = [
    ("add", ([MAX], [1]), (), [MIN]),
    ("div", ([-7, 7, 7, MIN], [2, -2, 0, -1]), (), [-3, -3, 0, MIN]),
    ("floor_div", ([-7, 7, -8, 5], [2, -2, 2, 0]), (), [-4, -4, -4, 0]),
    ("floor_mod", ([-7, 7, -8, 5], [3, -3, 2, 0]), (), [2, -2, 0, 0]),
    ("div_round", ([5, -5, 7, -7, 3, MIN, 5], [2, 2, 4, 4, 9, -1, 0]), (), [3, -3, 2, -2, 0, 0, 0]),
    ("mulq", ([1000, -1000, 3, -3], ), (2**30, 0), [500, -500, 2, -1]),
    ("mulq", ([1000, -1000], ), (2**30, -2), [125, -125]),
    ("mulq", ([5], ), (2**30, 3), [20]),
    ("mulq_high", ([MIN, 2**30], [MIN, 2**30]), (), [MAX, 2**29]),
    ("shift_right", ([5, -5, 6, -6, 7], [1, 1, 2, 2, 0]), (), [3, -3, 2, -2, 7]),
    ("shift_left", ([1, MAX, -MAX], [4, 1, 1]), (), [16, MAX, MIN]),
    ("leading_zeros", ([0, 1, MAX, -1, 2**24 - 1], ), (), [32, 31, 1, 0, 8]),
    ("pow", ([-3, 2, 7, MIN], [3, 31, 0, -1]), (), [-27, MIN, 1, 1]),
    ("xor", ([5, -1, MIN], [3, MAX, -1]), (), [6, MIN, MAX]),
    ("bit_and", ([5, -1, MIN], [3, MAX, -1]), (), [1, MAX, MIN]),
    ("shift_floor", ([-7, 7, -1, MAX], [1, 1, 40, -2]), (), [-4, 3, -1, MAX]),
    ("clamp", ([-9, 3, 9], ), (-2, 5), [-2, 3, 5]),
    ("and", ([0, 2, 3], [1, 0, 4]), (), [0, 0, 1]),
    ("select", ([0, 2], [10, 20], [30, 40]), (), [30, 20]),
    ("ge", ([1, 2], [2, 2]), (), [0, 1]),
]  # fmt: skip
FLOAT_CASES = [
    ("round", ([0.5, 1.5, -2.5], ), (), [0, 2, -2]),
    ("round_away", ([0.5, 1.5, -2.5, 0.49999997, 8388609.0], ), (), [1, 2, -3, 0, 8388609.0]),
    ("logistic", ([0, 100, -1000], ), (), [0.5, 1, 0]),
    ("erf", ([0, 0.5, -9],), (), [0, 0.5204998778, -1]),
    ("atan2", ([0, 1, -0.0], [1, 0, -1]), (), [0, np.pi / 2, -np.pi]),
    ("min", ([np.nan, 1], [1, np.nan]), (), [np.nan, 1]),
    ("max", ([np.nan, 1], [1, np.nan]), (), [np.nan, 1]),
    ("clamp", ([np.nan, -9, 9], ), (0, 6), [np.nan, 0, 6]),
    ("floor_mod", ([-1, 5.5], [3, -2]), (), [2, -0.5]),
    ("rsqrt", ([4, 0], ), (), [0.5, np.inf]),
    ("div", ([1, -1], [0, 4]), (), [np.inf, -0.25]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operands", "args", "expected"), INTEGER_CASES)
def test_integer(name, operands, args, expected):
    check(name, np.int32, operands, args, expected)


@pytest.mark.parametrize(("name", "operands", "args", "expected"), FLOAT_CASES)
def test_float(name, operands, args, expected):
    check(name, np.float32, operands, args, expected)


def check(name, dtype, operands, args, expected):
    row = PRIMITIVES[name]
    assert (row.arity, row.args) == (len(operands), len(args))
    with np.errstate(all="ignore"):
        got = row.function(*(np.array(x, dtype) for x in operands), *(np.asarray(x, dtype) for x in args))
    np.testing.assert_array_equal(np.asarray(got).astype(dtype), np.array(expected, dtype))


ROWS_AND_TYPES = [(row, compute) for row in PRIMITIVES.values() for compute in row.computes]


@pytest.mark.parametrize(("row", "compute"), ROWS_AND_TYPES, ids=str)
def test_every_row_keeps_the_shape(row, compute):
    dtype = COMPUTE_TYPES[compute]
    operands = [np.array([[1, 2, 3]], dtype)] * row.arity
    assert np.asarray(row.function(*operands, *(np.asarray(1, dtype),) * row.args)).shape == (1, 3)
