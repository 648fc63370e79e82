"""TFLite's basic LSTM cell: one step, one matrix for all gates and both inputs, all results given.

On floats, or on unsigned bytes with a cell of 16 bits, whose scale is 2^-11. Source: TFLite `lstm.cc`,
`optimized_ops.h` (LstmCell).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runtime import quantized_16
from runtime.atoms import Gemm, View
from runtime.decompose.lstm_integer import LIMITS, look_up, power_of_two, table, within
from runtime.decompose.rule import Lowering, Program, call, const
from runtime.decompose.steps import Columns, joined, moved, times
from runtime.graph import DType

TAKE, NEW, KEEP, OPEN = range(4)
"""Where the gates stand in the product of the matrix."""
GATE_SCALE, STATE_POWER = 2.0**-12, -11
DATA_ZERO = 128
"""The zero point of bytes that come in and go out, whatever the file says."""
FLOATS = (DType.F32,) * 9
BYTES = (DType.U8, DType.U8, DType.U8, DType.I32, DType.I16, DType.U8, DType.I16, DType.U8, DType.I16)
"""Types of the inputs, then of the outputs."""


def basic(low: Lowering) -> None:
    (rows, depth), (_, cells) = low.x.shape(0), low.x.shape(1)
    inputs, (output, state, both, product, *finals) = low.node.inputs, low.node.outputs
    steps: dict[tuple[DType, ...], Callable[[Lowering, int, int], None]] = {FLOATS: _floats, BYTES: _bytes}
    types = tuple(low.values[i].dtype for i in (*inputs, output, state, both, product))
    if types not in steps:
        low.types()
    joined(low, [inputs[0], inputs[1]], 1, rows, [depth, cells], True, both)
    steps[types](low, rows, cells)
    for value, final in zip((output, state), finals, strict=True):
        moved(low, value, final)


def _floats(low: Lowering, rows: int, cells: int) -> None:
    _, _, weights, bias, c = low.node.inputs
    output, state, both, product, *_ = low.node.outputs
    moved(low, times(low, both, (rows, low.values[both].shape[1], 4 * cells), weights, bias), product)
    at = Columns(low, rows, cells)
    take, new, keep = (at.of(product, gate * cells, 4 * cells) for gate in (TAKE, NEW, KEEP))
    kept = call("mul", call("logistic", keep), at.of(c))
    moved(low, at.write(call("add", call("mul", call("logistic", take), call("tanh", new)), kept)), state)
    at = Columns(low, rows, cells)
    opened = call("logistic", at.of(product, OPEN * cells, 4 * cells))
    moved(low, at.write(call("mul", opened, call("tanh", at.of(state)))), output)


def _bytes(low: Lowering, rows: int, cells: int) -> None:
    """Gates are of Q3.12 and in Q0.15, the cell is in Q4.11."""
    output, state, _, product, *_ = low.node.outputs
    power = power_of_two(low, low.quantized(low.values[state])[0])
    if power != STATE_POWER:
        raise low.lacking(f"the cell's scale is 2^{power}, expected 2^{STATE_POWER}")
    _products(low, rows, 4 * cells)
    sigmoid, tanh = table(low, quantized_16.logistic), table(low, partial(quantized_16.tanh, integer_bits=3))

    def gate(place: int) -> int:
        at = Columns(low, rows, cells)
        return look_up(at, at.of(product, place * cells, 4 * cells), tanh if place == NEW else sigmoid)

    at = Columns(low, rows, cells)
    kept = _product(at.of(gate(KEEP)), at.of(low.node.inputs[4]))
    new = call("shift_right", _product(at.of(gate(TAKE)), at.of(gate(NEW))), const(15 + STATE_POWER))
    moved(low, at.write(within(call("add", new, kept), LIMITS), DType.I16, "i32"), state)
    at = Columns(low, rows, cells)
    shape = look_up(at, within(call("mul", at.of(state), const(2)), LIMITS), tanh)
    at = Columns(low, rows, cells)
    high = call("shift_right", _product(at.of(gate(OPEN)), at.of(shape)), const(8))
    moved(low, at.write(call("add", high, const(DATA_ZERO)), DType.U8, "i32"), output)


def _products(low: Lowering, rows: int, width: int) -> None:
    """What all gates are of."""
    _, _, weights, bias, _ = low.node.inputs
    _, _, both, product, *_ = low.node.outputs
    k, zero = low.values[both].shape[1], low.quantized(low.values[weights])[1]
    views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, width, 1))
    sums = low.temp((rows, width), DType.I32)
    low.emit(Gemm(1, rows, width, k, *views, None, DATA_ZERO, zero), [both, weights, bias], sums)
    factor, at = low.factor(low.quantized(low.values[bias])[0] / GATE_SCALE), Columns(low, rows, width)
    scaled = call("mulq", at.of(sums), args=factor)
    moved(low, at.write(within(scaled, LIMITS), DType.I16, "i32"), product)


def _product(a: Program, b: Program) -> Program:
    """Of numbers of 16 bits, one in Q0.15: rounded to nearest, ties up."""
    return call("shift_floor", call("add", call("mul", a, b), const(1 << 14)), const(15))
