"""Element-wise operators: one MAP each; an 8-bit operator of a single operand is a table of 256.

The integer arithmetic of two operands is that of TFLite's reference kernels (`add.h`, `mul.h`, `sub.h`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.decompose import tables
from runtime.decompose.fixed_point import normal, reciprocals
from runtime.decompose.quantize import low_bits
from runtime.decompose.rule import (
    BYTES,
    LARGEST,
    SMALLEST,
    Lowering,
    Program,
    bounded,
    call,
    const,
    load,
)
from runtime.graph import FLOATS, DType
from runtime.primitives import PRIMITIVES, Compute
from runtime.quantized import float32_product, round_half_away

WIDE: dict[DType, Compute] = {
    DType.F32: "f32",
    DType.F16: "f32",
    DType.F64: "f64",
    DType.I32: "i32",
    DType.I64: "i64",
}
"""Types that compute as themselves, halves by way of f32."""
UNSIGNED: dict[DType, Compute] = {DType.U16: "i32", DType.U32: "i64"}
"""What computes the others as they are stored, and holds more than they do."""
HEADROOM = {DType.I8: 20, DType.U8: 20, DType.I16: 15}
"""Bits by which ADD and SUB shift quantised operands to the left before they scale them."""

# ---------------------------------------------------------------- two operands

BINARY: dict[str, str] = {
    "ADD": "add",
    "SUB": "sub",
    "MUL": "mul",
    "DIV": "div",
    "MAXIMUM": "max",
    "MINIMUM": "min",
    "POW": "pow",
    "SQUARED_DIFFERENCE": "sub",
    "FLOOR_DIV": "floor_div",
    "FLOOR_MOD": "floor_mod",
    "ATAN2": "atan2",
    "BITWISE_XOR": "xor",
    "RIGHT_SHIFT": "shift_floor",
}
NARROW = (*BYTES, DType.I16)
STORED = ("FLOOR_DIV", "FLOOR_MOD", "BITWISE_XOR", "RIGHT_SHIFT")
"""Operators that take narrow integers as they are stored."""


def binary(low: Lowering) -> None:
    a, b, out = low.x.value(0), low.x.value(1), low.out
    if not a.dtype is b.dtype is out.dtype:
        low.types()
    if out.dtype in (*NARROW, *UNSIGNED) and low.node.op in STORED:
        shift = call("min", load(1), const(8 * out.dtype.size - 1))
        second = shift if low.node.op == "RIGHT_SHIFT" else load(1)
        compute = UNSIGNED.get(out.dtype, "i32")
        low.map(call(BINARY[low.node.op], load(0), second), low.node.inputs, compute=compute)
    elif out.dtype is DType.U32 and low.node.op == "MUL":
        product = low_bits(call("mul", load(0), load(1)), out.dtype)
        low.map(_clamped_wide(low, product), low.node.inputs, compute="i64")
    elif out.dtype in BYTES and low.node.op == "DIV":
        quantized_quotient(low)
    elif out.dtype in WIDE and WIDE[out.dtype] in PRIMITIVES[BINARY[low.node.op]].computes:
        low.map(_wide(low), low.node.inputs, compute=WIDE[out.dtype])
    elif out.dtype in HEADROOM and low.node.op in QUANTIZED:
        if out.dtype is DType.I16 and any(low.quantized(value)[1] for value in (a, b, out)):
            raise low.x.bad("expected zero points of 0 for 16-bit integers")
        low.map(QUANTIZED[low.node.op](low), low.node.inputs, compute="i32")
    else:
        low.types()


def _wide(low: Lowering) -> Program:
    if low.node.op == "SQUARED_DIFFERENCE":
        return call("square", call("sub", load(0), load(1)))
    if low.node.op == "FLOOR_DIV" and low.out.dtype in FLOATS:
        return call("floor", call("div", load(0), load(1)))
    if low.node.op in ("MAXIMUM", "MINIMUM"):  # of which a NaN gives the second operand
        return call(BINARY[low.node.op], load(1), load(0))
    return _clamped_wide(low, call(BINARY[low.node.op], load(0), load(1)))


def _clamped_wide(low: Lowering, program: Program) -> Program:
    """The fused activation; for integers its bounds are integers, and the type's own where it has none."""
    low_bound, high_bound = low.float_range()
    if low.out.dtype in FLOATS or (low_bound, high_bound) == (-math.inf, math.inf):
        return bounded(program, (low_bound, high_bound))
    limits = np.iinfo(low.out.dtype.numpy)
    bounds = max(low_bound, float(limits.min)), min(high_bound, float(limits.max))
    return bounded(program, (int(bounds[0]), min(int(bounds[1]), int(limits.max))))


def _centred(low: Lowering, i: int) -> Program:
    return call("sub", load(i), const(low.quantized(low.x.value(i))[1]))


def _clamped(low: Lowering, program: Program) -> Program:
    """To the output's zero point and range."""
    return call("clamp", call("add", program, const(low.quantized(low.out)[1])), args=low.stored_range())


def _on_common_scale(low: Lowering, headroom: int) -> tuple[Program, Program, float]:
    """Both operands shifted left and scaled to twice the larger of their scales, which is returned."""
    scales = [low.quantized(low.x.value(i))[0] for i in (0, 1)]
    twice = 2 * max(scales)
    programs = []
    for i, scale in enumerate(scales):
        raised = call("shift_left", _centred(low, i), const(headroom))
        programs.append(call("mulq", raised, args=low.factor(scale / twice)))
    return programs[0], programs[1], twice


def _add(low: Lowering) -> Program:
    if low.out.dtype is DType.I16 and low.x.node.attrs.get("pot_scale_int16") and (powers := _powers(low)):
        return _add_powers(low, *powers)
    headroom = HEADROOM[low.out.dtype]
    a, b, twice = _on_common_scale(low, headroom)
    factor = low.factor(twice / (2**headroom * low.quantized(low.out)[0]))
    return _clamped(low, call("mulq", call(BINARY[low.node.op], a, b), args=factor))


SQUARE_HEADROOM = 7


def _squared_difference(low: Lowering) -> Program:
    if low.out.dtype is not DType.I8:
        low.types()
    a, b, twice = _on_common_scale(low, SQUARE_HEADROOM)
    factor = low.factor(twice * twice / (4**SQUARE_HEADROOM * low.quantized(low.out)[0]))
    return _clamped(low, call("mulq", call("square", call("sub", a, b)), args=factor))


def _powers(low: Lowering) -> tuple[int, int] | None:
    """The right shifts of both operands to the output's scale, if all three scales are powers of two."""
    logs = [math.log2(low.quantized(v)[0]) for v in (low.x.value(0), low.x.value(1), low.out)]
    if any(abs(log - round(log)) >= 1e-3 for log in logs):
        return None
    a, b = (round(logs[2]) - round(log) for log in logs[:2])
    if min(a, b) != 0 or max(a, b) > 15:
        raise low.x.bad(f"shifts {a} and {b} to the output's scale, expected one of 0 and one of 0..15")
    return a, b


def _add_powers(low: Lowering, *shifts: int) -> Program:
    """ADD and SUB in 16 bits that saturate, as recurrent layers are quantised."""
    a, b = (call("shift_right", load(i), const(n)) if n else load(i) for i, n in enumerate(shifts))
    saturated = call("clamp", call(BINARY[low.node.op], a, b), args=(-(2**15), 2**15 - 1))
    return call("clamp", saturated, args=low.stored_range())


def _mul(low: Lowering) -> Program:
    a, b, out = (low.quantized(value)[0] for value in (low.x.value(0), low.x.value(1), low.out))
    product = call("mul", _centred(low, 0), _centred(low, 1))
    return _clamped(low, call("mulq", product, args=low.factor(float32_product(a, b, over=out))))


def _extreme(low: Lowering) -> Program:
    """Stored integers compare as the numbers they stand for, under one quantisation of all three."""
    if not low.x.value(0).quantization == low.x.value(1).quantization == low.out.quantization:
        raise low.lacking("operands and output are quantised differently")
    return call(BINARY[low.node.op], load(0), load(1))


MOST_SHIFT = 22
"""The power of two of a quotient's scale: bytes less a zero point have as many bits of room in s32."""


def quantized_quotient(low: Lowering) -> None:
    """TFLite's DivElementwise: the reciprocal of |b| as in softmax, times a raised as far as s32 holds it.

    Of a b of 0 nothing is said, as there.
    """
    a, b, out = (low.quantized(value)[0] for value in (low.x.value(0), low.x.value(1), low.out))
    multiplier, shift = low.factor(float32_product(a, over=float32_product(b, out)))
    if shift > MOST_SHIFT:
        raise low.x.bad(f"scales of a quotient of 2^{shift}, expected at most 2^{MOST_SHIFT}")
    shape = low.x.shape(1)
    size = low.map(
        call("abs", call("sub", load(0), const(low.quantized(low.x.value(1))[1]))),
        [low.node.inputs[1]], low.temp(shape, DType.I32), "i32",
    )  # fmt: skip
    inverse = reciprocals(low, normal(low, size))
    negative = call("lt", load(1), const(low.quantized(low.x.value(1))[1]))
    signed = call("select", negative, call("neg", _centred(low, 0)), _centred(low, 0))
    bits = call("select", call("lt", signed, const(0)), call("sub", const(-1), signed), signed)
    room = call("sub", call("leading_zeros", bits), const(1))
    quotient = call("mulq_high", call("shift_left", signed, room), call("shift_left", load(2), const(1)))
    right = call(
        "sub", call("add", room, call("sub", const(31), call("leading_zeros", load(3)))), const(shift)
    )
    rounded = call("shift_right", call("mulq_high", quotient, const(multiplier)), right)
    program = call("select", call("gt", right, const(31)), const(0), rounded)
    low.map(_clamped(low, program), [*low.node.inputs, inverse, size], compute="i32")


QUANTIZED: dict[str, Callable[[Lowering], Program]] = {
    "ADD": _add,
    "SUB": _add,
    "MUL": _mul,
    "MAXIMUM": _extreme,
    "MINIMUM": _extreme,
    "SQUARED_DIFFERENCE": _squared_difference,
}

# ---------------------------------------------------------------- one operand

UNARY: dict[str, Program] = {
    "RELU": call("clamp", load(0), args=(0.0, math.inf)),
    "RELU6": call("clamp", load(0), args=(0.0, 6.0)),
    "RELU_N1_TO_1": call("clamp", load(0), args=(-1.0, 1.0)),
    "LOGISTIC": call("logistic", load(0)),
    "TANH": call("tanh", load(0)),
    "ABS": call("abs", load(0)),
    "NEG": call("neg", load(0)),
    "EXP": call("exp", load(0)),
    "SQRT": call("sqrt", load(0)),
    "RSQRT": call("rsqrt", load(0)),
    "HARD_SWISH": call("hard_swish", load(0)),
}
UNARY |= {
    "RELU_0_TO_1": call("clamp", load(0), args=(0.0, 1.0)),
    "FLOOR": call("floor", load(0)),
    "CEIL": call("ceil", load(0)),
    "ROUND": call("round", load(0)),
    "SIGN": call("sub", call("gt", load(0), const(0)), call("lt", load(0), const(0))),
    "SIN": call("sin", load(0)),
    "COS": call("cos", load(0)),
    "LOG": call("log", load(0)),
    "SQUARE": call("square", load(0)),
    "ELU": call(
        "select", call("lt", load(0), const(0.0)), call("sub", call("exp", load(0)), const(1.0)), load(0)
    ),
}
INTEGER_UNARY = ("ABS", "NEG", "SIGN")


def unary(low: Lowering) -> None:
    x = low.x.value(0)
    if x.dtype is not low.out.dtype:
        low.types()
    if low.node.op == "RSQRT" and x.dtype is DType.I8:
        tables.rsqrt(low)
    elif x.dtype in FLOATS or (x.dtype in WIDE and low.node.op in INTEGER_UNARY):
        low.map(_real(low), low.node.inputs, compute=WIDE[x.dtype])
    elif x.dtype in BYTES:
        tables.lookup(low, low.constant(tables.table(low, _real(low))))
    elif x.dtype is DType.I16 and low.node.op in tables.WIDE_RULES:
        tables.WIDE_RULES[low.node.op](low)
    else:
        low.types()


def _real(low: Lowering) -> Program:
    if low.node.op == "LEAKY_RELU":
        slope = call("mul", load(0), const(float(low.x.attr("alpha"))))
        return call("select", call("lt", load(0), const(0.0)), slope, load(0))
    if low.node.op == "GELU":
        return GELU[bool(low.x.attr("approximate"))]
    return UNARY[low.node.op]


GELU = {False: call("gelu", load(0)), True: call("gelu_tanh", load(0))}
"""By whether it is approximate."""


def prelu(low: Lowering) -> None:
    x, slope, out = low.x.value(0), low.x.value(1), low.out
    if not x.dtype is slope.dtype is out.dtype:
        low.types()
    if out.dtype is DType.F32:
        negative, positive = call("mul", load(0), load(1)), load(0)
        compute: Compute = "f32"
    elif out.dtype in BYTES:
        scale, by, over = (low.quantized(value)[0] for value in (x, slope, out))
        positive = call("mulq", _centred(low, 0), args=low.factor(float32_product(scale, over=over)))
        product = call("mul", _centred(low, 0), _centred(low, 1))
        negative = call("mulq", product, args=low.factor(float32_product(scale, by, over=over)))
        compute = "i32"
    else:
        low.types()
    zero = const(0.0) if compute == "f32" else const(low.quantized(x)[1])
    program = call("select", call("lt", load(0), zero), negative, positive)
    low.map(program if compute == "f32" else _clamped(low, program), low.node.inputs, compute=compute)


def add_n(low: Lowering) -> None:
    if {low.x.value(i).dtype for i in range(len(low.node.inputs))} != {
        low.out.dtype
    } or low.out.dtype not in WIDE:
        low.types()
    total = load(0)
    for i in range(1, len(low.node.inputs)):
        total = call("add", total, load(i))
    low.map(total, low.node.inputs, compute=WIDE[low.out.dtype])


def fake_quant(low: Lowering) -> None:
    """To the nearest of 2^num_bits numbers from min to max, moved so that zero is one of them."""
    if not low.x.value(0).dtype is low.out.dtype is DType.F32:
        low.types()
    if low.x.attr("narrow_range"):
        raise low.lacking("a narrow range")
    least, most, steps = low.x.attr("min"), low.x.attr("max"), 2 ** low.x.attr("num_bits") - 1
    scale = float32_product(float(np.float32(most) - np.float32(least)), over=steps)
    if not SMALLEST <= scale <= LARGEST:
        raise low.lacking(f"steps of {scale:.3g}, expected them in 2^-126..2^64")
    zero = round_half_away(min(max(float32_product(-least, over=scale), 0), steps))
    bounds = float32_product(-zero, scale), float32_product(steps - zero, scale)
    above = call("sub", call("clamp", load(0), args=bounds), const(bounds[0]))
    whole = call("round_away", call("mul", above, const(float32_product(over=scale))))
    low.map(call("add", call("mul", whole, const(scale)), const(bounds[0])), low.node.inputs)


def zeros(low: Lowering) -> None:
    low.given(np.zeros(low.out.shape, low.out.dtype.numpy))


RULES = {
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys((*UNARY, "LEAKY_RELU", "GELU"), unary),
    "PRELU": prelu,
    "ADD_N": add_n,
    "FAKE_QUANT": fake_quant,
    "ZEROS_LIKE": zeros,
}
