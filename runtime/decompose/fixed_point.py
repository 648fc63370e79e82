"""gemmlowp's and TFLite's fixed-point functions of numbers that only a run knows, as steps of MAP on s32.

Qm.n is a number of m integer and n fraction bits: its integer times 2^-n. Each function takes the id of a
value and gives ids of values of its shape. Source: gemmlowp `fixedpoint.h`, TFLite `internal/common.h`.
"""

from __future__ import annotations

from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import DType
from runtime.quantized import I32_MAX


def _high(a: Program, b: Program) -> Program:
    return call("mulq_high", a, b)


def _step(low: Lowering, program: Program, *operands: int) -> int:
    return low.map(program, operands, low.temp(low.values[operands[0]].shape, DType.I32), "i32")


def normal(low: Lowering, x: int) -> int:
    """x > 0 shifted left until it lies in 2^30..2^31."""
    return _step(low, call("shift_left", load(0), call("sub", call("leading_zeros", load(0)), const(1))), x)


def reciprocals(low: Lowering, half: int) -> int:
    """1 / 2d in Q2.29 for d in Q0.31, within 1/2..1: gemmlowp's one_over_one_plus_x.

    Newton's x' = x + x(1 - dx), from 48/17 - 32/17 d.
    """
    x = _step(low, call("add", const(1515870810), _high(load(0), const(-1010580540))), half)
    error = call("sub", const(1 << 29), _high(load(0), load(1)))
    better = call("add", load(1), call("shift_left", _high(load(1), error), const(2)))
    for _ in range(3):
        x = _step(low, better, half, x)
    return x


def inverse_square_roots(low: Lowering, x: int) -> tuple[int, int]:
    """1 / sqrt(x) of integers x >= 0 as (multiplier, shift) of `mulq_by`; 0 counts as 1.

    Five of Newton's x' = 1.5x - dx^3 / 2 in Q3.28 from 1, for x shifted by pairs of bits into 2^27..2^29.
    """
    zeros = call("sub", call("leading_zeros", load(0)), const(1))
    pairs = _step(low, call("sub", call("floor_div", zeros, const(2)), const(1)), x)
    raised = call("shift_left", load(0), call("mul", load(1), const(2)))
    held = call("select", call("lt", load(1), const(0)), call("floor_div", load(0), const(4)), raised)
    half = _step(low, call("shift_right", call("floor_div", held, const(2)), const(1)), x, pairs)
    cube = call("shift_left", _high(_high(load(1), load(1)), load(1)), const(6))
    product = call("sub", _high(const((1 << 28) + (1 << 27)), load(1)), _high(load(0), cube))
    root = _step(low, const(1 << 28), x)
    for _ in range(5):
        root = _step(low, call("shift_left", product, const(3)), half, root)
    right = call("sub", const(11), load(1))
    excess = call("max", call("neg", right), const(0))
    multiplier = call("shift_left", _high(load(2), const(1518500250)), excess)  # by sqrt(1/2)
    least = call("le", load(0), const(1))
    return (
        _step(low, call("select", least, const(I32_MAX), multiplier), x, pairs, root),
        _step(low, call("select", least, const(0), call("min", call("neg", right), const(0))), x, pairs),
    )


SQRT_HALF, SQRT_SQRT_HALF, LOG_2 = 1518500250, 1805811301, 1488522236
ALPHA_N, ALPHA_D, ALPHA_I, ALPHA_F = 117049297, 127690142, 1057819769, 638450708
"""Of the rational approximation of log around (1/2)^(1/4), in Q0.31."""


def logs(low: Lowering, x: int) -> int:
    """Natural logarithms in Q5.26 of x >= 1 in Q12.19 (log_x_for_x_greater_than_or_equal_to_1).

    A power of two plus the logarithm of what is left, r; of two ways to split x, the one with the smaller r.
    """
    raised = normal(low, x)
    r_a = call("shift_left", _high(load(1), const(SQRT_HALF)), const(1))
    zeros_b = call("sub", call("leading_zeros", _high(load(0), const(SQRT_HALF))), const(1))
    r = _step(low, call("min", r_a, call("shift_left", load(0), zeros_b)), x, raised)
    power_a = call("mul", call("sub", const(12), call("leading_zeros", load(0))), const(1 << 25))
    power_b = call("mul", call("sub", const(12), zeros_b), const(1 << 25))
    quarter = const(1 << 23)
    power = _step(low, call("max", call("add", power_a, quarter), call("sub", power_b, quarter)), x)
    q = _step(low, call("mul", call("sub", load(0), const(SQRT_SQRT_HALF)), const(2)), r)
    square = _step(low, _high(load(0), load(0)), q)
    cubic = _high(_high(load(0), load(2)), const(ALPHA_N))
    numerator = _step(low, call("add", _high(load(0), load(1)), cubic), q, r, square)
    p = call("add", call("floor_div", load(1), const(2)), const((SQRT_SQRT_HALF + 1) // 2))
    inner = call("add", call("add", const(ALPHA_I), load(0)), _high(const(ALPHA_D), load(2)))
    denominator = call("add", _high(p, inner), _high(const(ALPHA_F), load(0)))
    half = call("add", call("floor_div", denominator, const(2)), const(1 << 30))
    inverse = reciprocals(low, _step(low, half, q, r, square))
    share = _high(call("shift_right", load(1), const(6)), call("shift_left", load(2), const(1)))
    total = call("add", _high(load(0), const(LOG_2)), share)
    return _step(low, call("shift_left", total, const(1)), power, numerator, inverse)
