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


RULES: dict[str, Rule] = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), broadcast),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"), same),
    **dict.fromkeys(("ABS", "NEG", "EXP", "SQRT", "RSQRT"), same),
    **dict.fromkeys(("SOFTMAX", "QUANTIZE", "DEQUANTIZE", "DENSIFY", "CAST"), same),
}
