"""Normalisation over rows: softmax as REDUCE max, MAP exp, REDUCE sum, MAP divide."""

from __future__ import annotations

from runtime.atoms import Reduce
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.graph import DType


def softmax(low: Lowering) -> None:
    x, out = low.x.value(0), low.out
    beta = float(low.x.attr("beta"))
    if x.dtype is DType.F32 and out.dtype is DType.F32:
        exponentials, sums = shares(low, beta)
        low.map(call("div", load(0), load(1)), [exponentials, sums])
    elif x.dtype in BYTES and out.dtype in BYTES:
        exponentials, sums = shares(low, beta * low.quantized(x)[0])
        scale, zero_point = low.quantized(out)
        stored: Program = call("round_away", call("div", call("div", load(0), load(1)), const(scale)))
        low.map(call("add", stored, const(zero_point)), [exponentials, sums])
    else:
        low.types()


def shares(low: Lowering, factor: float) -> tuple[int, int]:
    """(exp(factor · (x - row's maximum)), the sum of each row), both float."""
    x = low.x.value(0)
    depth = x.shape[-1] if x.shape else 1
    rows, per_row = x.elements // depth, (*x.shape[:-1], 1)
    highest = low.emit(Reduce("max", rows, depth, 1), low.node.inputs, low.temp(per_row, x.dtype))
    below = call("mul", call("sub", load(0), load(1)), const(factor))
    exponentials = low.map(call("exp", below), [low.node.inputs[0], highest], low.temp(x.shape, DType.F32))
    sums = low.emit(Reduce("sum", rows, depth, 1), [exponentials], low.temp(per_row, DType.F32))
    return exponentials, sums


RULES = {"SOFTMAX": softmax}
