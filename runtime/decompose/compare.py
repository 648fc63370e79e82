"""Operators that compare, combine truths, or choose by them: one MAP each.

Quantised operands are compared as TFLite's reference kernels do (`comparisons.h`): each is shifted left by
eight bits and scaled by its own scale in fixed point.
"""

from __future__ import annotations

from runtime.atoms import Map, View
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.graph import DType
from runtime.primitives import Compute
from runtime.strides import collapse, dense

COMPARISONS = {
    "EQUAL": "eq",
    "NOT_EQUAL": "ne",
    "LESS": "lt",
    "LESS_EQUAL": "le",
    "GREATER": "gt",
    "GREATER_EQUAL": "ge",
}
LOGICAL = {"LOGICAL_AND": "and", "LOGICAL_OR": "or"}
HEADROOM = 8
"""Bits by which quantised operands are shifted to the left before they are scaled."""
PLAIN: dict[DType, Compute] = {
    DType.F32: "f32",
    DType.I8: "i32",
    DType.U8: "i32",
    DType.I16: "i32",
    DType.I32: "i32",
    DType.I64: "i64",
    DType.BOOL: "i32",
    DType.F16: "f32",
    DType.F64: "f64",
    DType.U16: "i32",
    DType.U32: "i64",
}
"""What holds every number of a type."""


def compare(low: Lowering) -> None:
    a, b = low.x.value(0), low.x.value(1)
    if a.dtype is not b.dtype or low.out.dtype is not DType.BOOL or a.dtype not in PLAIN:
        low.types()
    operands = [load(0), load(1)]
    if a.dtype in BYTES and a.quantization != b.quantization:
        operands = [_scaled(low, i) for i in (0, 1)]
    low.map(call(COMPARISONS[low.node.op], *operands), low.node.inputs, compute=PLAIN[a.dtype])


def _scaled(low: Lowering, i: int) -> Program:
    scale, zero = low.quantized(low.x.value(i))
    raised = call("shift_left", call("sub", load(i), const(zero)), const(HEADROOM))
    return call("mulq", raised, args=low.factor(scale))


def logical(low: Lowering) -> None:
    if {value.dtype for value in (low.x.value(0), low.x.value(1), low.out)} != {DType.BOOL}:
        low.types()
    low.map(call(LOGICAL[low.node.op], load(0), load(1)), low.node.inputs, compute="i32")


def negate(low: Lowering) -> None:
    if not low.x.value(0).dtype is low.out.dtype is DType.BOOL:
        low.types()
    low.map(call("not", load(0)), low.node.inputs, compute="i32")


def select(low: Lowering) -> None:
    """The values as they are stored: all three have one type."""
    truth, a, b = (low.x.value(i) for i in range(3))
    if not a.dtype is b.dtype is low.out.dtype or a.dtype not in PLAIN:
        low.types()
    program = call("select", load(0), load(1), load(2))
    if low.node.op == "SELECT" and len(truth.shape) < len(a.shape) and truth.elements > 1:
        by_row = View(0, (1, *(0,) * (len(a.shape) - 1)))
        merged, (out, *loads) = collapse(a.shape, dense(a.shape), by_row, dense(a.shape), dense(a.shape))
        low.emit(Map(merged, tuple(loads), out, program, PLAIN[a.dtype]), low.node.inputs)
    else:
        low.map(program, low.node.inputs, compute=PLAIN[a.dtype])


RULES = {
    **dict.fromkeys(COMPARISONS, compare),
    **dict.fromkeys(LOGICAL, logical),
    "LOGICAL_NOT": negate,
    "SELECT": select,
    "SELECT_V2": select,
}
