"""Shapes of element-wise operators: that of the operand, or what both broadcast to."""

from __future__ import annotations

import numpy as np

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def same(x: Operands) -> list[Shape]:
    return [x.shape(0)]


def broadcast(x: Operands) -> list[Shape]:
    try:
        return [np.broadcast_shapes(x.shape(0), x.shape(1))]
    except ValueError:
        raise x.bad(f"shapes {x.shape(0)} and {x.shape(1)} do not broadcast together") from None


def _add_n(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    if any(x.shape(i) != shape for i in range(len(x.values))):
        raise x.bad(f"shapes {[x.shape(i) for i in range(len(x.values))]}: expected all the same")
    return [shape]


def _prelu(x: Operands) -> list[Shape]:
    shape = broadcast(x)
    if shape != [x.shape(0)]:
        raise x.bad(f"slopes of shape {x.shape(1)} for values of shape {x.shape(0)}")
    return shape


def _images(x: Operands) -> list[Shape]:
    return [x.shape(0, 4)]


def _fake_quant(x: Operands) -> list[Shape]:
    """A range that holds zero, and a number of bits that TFLite's zero points of 16 bits hold."""
    least, most, bits = float(x.attr("min")), float(x.attr("max")), int(x.attr("num_bits"))
    if not least <= 0 <= most or least == most or not 2 <= bits <= 16:
        raise x.bad(f"{bits} bits for {least}..{most}, expected 2..16 bits and a range that holds 0")
    return [x.shape(0)]


ROUNDING = ("FLOOR", "CEIL", "ROUND", "SIGN")
REAL = ("SIN", "COS", "LOG", "SQUARE", "ELU", "GELU", "RELU_0_TO_1")
NORMS = ("LOG_SOFTMAX", "L2_NORMALIZATION")
RULES: dict[str, Rule] = {
    **dict.fromkeys(("POW", "FLOOR_DIV", "FLOOR_MOD", "BITWISE_XOR", "RIGHT_SHIFT", "ATAN2"), broadcast),
    "FAKE_QUANT": _fake_quant,
    "LOCAL_RESPONSE_NORMALIZATION": _images,
    **dict.fromkeys((*ROUNDING, *REAL, *NORMS, "ZEROS_LIKE"), same),
    "ADD_N": _add_n,
    "PRELU": _prelu,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), broadcast),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"), same),
    **dict.fromkeys(("ABS", "NEG", "EXP", "SQRT", "RSQRT"), same),
    **dict.fromkeys(("SOFTMAX", "QUANTIZE", "DEQUANTIZE", "DENSIFY", "CAST"), same),
}
