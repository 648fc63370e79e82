"""The scalar primitives of MAP: one row each, and in each row the NumPy function that defines it.

A function takes arrays of the compute type in the order in which they were pushed, then the instruction's
args; its result is converted to the compute type. Kernels list the same names in `ckernels/map.inc`; what a
program means is in `runtime.atoms.Map`. Integers wrap; dividing an integer by zero gives 0. min and max are
C++'s: with a NaN they return the first operand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from runtime import quantized
from runtime.atoms import Instruction
from runtime.graph import Array

Compute = Literal["f32", "f64", "i32", "i64"]
COMPUTE_TYPES: dict[str, type[np.generic]] = {
    "f32": np.float32,
    "f64": np.float64,
    "i32": np.int32,
    "i64": np.int64,
}
FLOAT: tuple[Compute, ...] = ("f32", "f64")
INTEGER: tuple[Compute, ...] = ("i32", "i64")
EVERY: tuple[Compute, ...] = ("f32", "f64", "i32", "i64")
NARROW: tuple[Compute, ...] = ("i32",)
MAX_STACK = 32
"""Scalars that a MAP program may hold at once; kernels keep that many."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """Pops `arity` operands, takes `args` constants from the instruction, pushes one result."""

    name: str
    arity: int
    computes: tuple[Compute, ...]
    function: Callable[..., Array]
    doc: str
    args: int = 0


def _div(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.true_divide(a, b)
    quotient = _floor_div(a, b)
    return np.add(quotient, (quotient < 0) & (quotient * b != a))


def _floor_div(a: Array, b: Array) -> Array:
    return np.floor_divide(a, b) if a.dtype.kind == "f" else np.where(b == 0, 0, a // np.where(b == 0, 1, b))


def _floor_mod(a: Array, b: Array) -> Array:
    return np.mod(a, b) if a.dtype.kind == "f" else np.where(b == 0, 0, a % np.where(b == 0, 1, b))


def _div_round(a: Array, b: Array) -> Array:
    half = np.where(a < 0, -(b // 2), b // 2)
    return _div(a + half, np.maximum(b, 0))


def _pow(a: Array, b: Array) -> Array:
    return np.power(a, b if a.dtype.kind == "f" else np.maximum(b, 0))


def _shift_floor(a: Array, b: Array) -> Array:
    return np.right_shift(a, np.clip(b, 0, 8 * a.dtype.itemsize - 1))


def _logistic(x: Array) -> Array:
    result: Array = np.float32(1) / (np.float32(1) + np.exp(-x))
    return result


def _gelu(x: Array) -> Array:
    result: Array = x * (0.5 + 0.5 * np.frompyfunc(math.erf, 1, 1)(x * math.sqrt(0.5)).astype(x.dtype))
    return result


def _gelu_tanh(x: Array) -> Array:
    result: Array = x * (0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return result


def _hard_swish(x: Array) -> Array:
    result: Array = x * np.clip(x + 3, 0, 6) / 6
    return result


def _leading_zeros(x: Array) -> Array:
    """Of the 32 bits of x; `frexp` gives the bit length, exactly, for every u32."""
    bits: Array = np.frexp(x.astype(np.uint32).astype(np.float64))[1]
    return np.subtract(32, bits)


ROWS = (
    Primitive("add", 2, EVERY, np.add, "a + b"),
    Primitive("sub", 2, EVERY, np.subtract, "a - b"),
    Primitive("mul", 2, EVERY, np.multiply, "a * b"),
    Primitive("div", 2, EVERY, _div, "a / b; integers truncate towards zero"),
    Primitive("floor_div", 2, EVERY, _floor_div, "floor(a / b)"),
    Primitive("floor_mod", 2, EVERY, _floor_mod, "a - b * floor(a / b): the sign of b"),
    Primitive("min", 2, EVERY, lambda a, b: np.where(b < a, b, a), "b < a ? b : a"),
    Primitive("max", 2, EVERY, lambda a, b: np.where(a < b, b, a), "a < b ? b : a"),
    Primitive("pow", 2, EVERY, _pow, "a to the power b; an integer b counts from 0 on"),
    Primitive("neg", 1, EVERY, np.negative, "-a"),
    Primitive("abs", 1, EVERY, np.abs, "|a|"),
    Primitive("square", 1, EVERY, np.square, "a * a"),
    Primitive("exp", 1, FLOAT, np.exp, "e to the power a"),
    Primitive("log", 1, FLOAT, np.log, "natural logarithm"),
    Primitive("sqrt", 1, FLOAT, np.sqrt, "square root"),
    Primitive("rsqrt", 1, FLOAT, lambda a: np.reciprocal(np.sqrt(a)), "1 / sqrt(a)"),
    Primitive("sin", 1, FLOAT, np.sin, "sine of radians"),
    Primitive("cos", 1, FLOAT, np.cos, "cosine of radians"),
    Primitive("tanh", 1, FLOAT, np.tanh, "hyperbolic tangent"),
    Primitive("logistic", 1, FLOAT, _logistic, "1 / (1 + exp(-a))"),
    Primitive("erf", 1, FLOAT, np.frompyfunc(math.erf, 1, 1), "the error function"),
    Primitive("silu", 1, FLOAT, lambda a: a * _logistic(a), "a / (1 + exp(-a))"),
    Primitive("hard_swish", 1, FLOAT, _hard_swish, "a * min(max(a + 3, 0), 6) / 6"),
    Primitive("gelu", 1, FLOAT, _gelu, "a * (1 + erf(a / sqrt(2))) / 2"),
    Primitive("gelu_tanh", 1, FLOAT, _gelu_tanh, "gelu with tanh(sqrt(2 / pi) (a + 0.044715 a^3)) for erf"),
    Primitive("atan2", 2, FLOAT, np.arctan2, "the angle of the point (b, a), -pi..pi"),
    Primitive("floor", 1, FLOAT, np.floor, "to the integer below"),
    Primitive("ceil", 1, FLOAT, np.ceil, "to the integer above"),
    Primitive("trunc", 1, FLOAT, np.trunc, "to the integer towards zero"),
    Primitive("round", 1, FLOAT, np.rint, "to the nearest integer, ties to even"),
    Primitive(
        "round_away", 1, FLOAT, quantized.round_away,
        "to the nearest integer, ties away from zero, exactly",
    ),
    Primitive("lt", 2, EVERY, np.less, "a < b"),
    Primitive("le", 2, EVERY, np.less_equal, "a <= b"),
    Primitive("gt", 2, EVERY, np.greater, "a > b"),
    Primitive("ge", 2, EVERY, np.greater_equal, "a >= b"),
    Primitive("eq", 2, EVERY, np.equal, "a == b"),
    Primitive("ne", 2, EVERY, np.not_equal, "a != b"),
    Primitive("and", 2, EVERY, lambda a, b: (a != 0) & (b != 0), "a and b, as 0 or 1"),
    Primitive("or", 2, EVERY, lambda a, b: (a != 0) | (b != 0), "a or b, as 0 or 1"),
    Primitive("not", 1, EVERY, lambda a: a == 0, "not a, as 0 or 1"),
    Primitive("xor", 2, INTEGER, np.bitwise_xor, "a and b bit by bit, 1 where they differ"),
    Primitive("bit_and", 2, INTEGER, np.bitwise_and, "a and b bit by bit, 1 where both are"),
    Primitive("shift_floor", 2, INTEGER, _shift_floor, "floor(a / 2^b), b held within a's bits"),
    Primitive("select", 3, EVERY, lambda c, a, b: np.where(c != 0, a, b), "c ? a : b"),
    Primitive(
        "clamp", 1, EVERY, lambda a, low, high: np.where(a < low, low, np.where(high < a, high, a)),
        "min(max(a, low), high) for the args (low, high); a NaN stays", args=2,
    ),
    Primitive("div_round", 2, INTEGER, _div_round, "a / b to the nearest, ties away from zero; 0 for b <= 0"),
    Primitive(
        "mulq", 1, NARROW, quantized.multiply_by_quantized_multiplier,
        "a * multiplier * 2^(shift - 31) for the args (multiplier, shift), as TFLite rounds", args=2,
    ),
    Primitive(
        "mulq_by", 3, NARROW, quantized.multiply_by_quantized_multiplier,
        "mulq with operands: a * b * 2^(c - 31) for the multiplier b and the shift c",
    ),
    Primitive(
        "mulq_high", 2, NARROW, quantized.doubling_high_multiply,
        "the high half of 2ab, rounded and saturating",
    ),
    Primitive(
        "shift_right", 2, NARROW, quantized.rounding_shift_right,
        "a / 2^b for b held within 0..31, to the nearest, ties away from zero",
    ),
    Primitive("shift_left", 2, NARROW, quantized.saturating_shift_left, "a * 2^b, b in 0..31, saturating"),
    Primitive("leading_zeros", 1, NARROW, _leading_zeros, "zero bits above the highest set bit of the 32"),
)  # fmt: skip
PRIMITIVES = {row.name: row for row in ROWS}


def evaluate(program: Sequence[Instruction], loaded: Sequence[Array], compute: Compute = "f32") -> Array:
    """The value of a MAP program on operands of the compute type; they broadcast together."""
    dtype, stack = COMPUTE_TYPES[compute], list[Array]()
    with np.errstate(all="ignore"):
        for instruction in program:
            if instruction.name == "load":
                stack.append(loaded[int(instruction.args[0])])
            elif instruction.name == "const":
                stack.append(np.asarray(instruction.args[0], dtype))
            else:
                row = PRIMITIVES[instruction.name]
                operands, stack = stack[-row.arity :], stack[: -row.arity]
                args = [np.asarray(arg, dtype) for arg in instruction.args]
                stack.append(np.asarray(row.function(*operands, *args)).astype(dtype))
    return stack.pop()


def deepest(program: Sequence[Instruction]) -> int:
    """The greatest number of operands on the stack at once."""
    depth = most = 0
    for step in program:
        depth += 1 - (0 if step.name in ("load", "const") else PRIMITIVES[step.name].arity)
        most = max(most, depth)
    return most
