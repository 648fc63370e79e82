"""TFLite's basic LSTM cell: one step, one matrix for all gates and both inputs, all results given."""

from __future__ import annotations

from runtime.decompose.rule import Lowering, call
from runtime.decompose.steps import Columns, joined, moved, times
from runtime.graph import DType

TAKE, NEW, KEEP, OPEN = range(4)
"""Where the gates stand in the product of the matrix."""


def basic(low: Lowering) -> None:
    if any(value is not None and value.dtype is not DType.F32 for value in (*low.x.values, low.out)):
        low.types()
    (rows, depth), (_, cells) = low.x.shape(0), low.x.shape(1)
    data, h, weights, bias, c = low.node.inputs
    output, state, inputs, product, *finals = low.node.outputs
    joined(low, [data, h], 1, rows, [depth, cells], True, inputs)
    moved(low, times(low, inputs, (rows, depth + cells, 4 * cells), weights, bias), product)
    at = Columns(low, rows, cells)
    take, new, keep = (at.of(product, gate * cells, 4 * cells) for gate in (TAKE, NEW, KEEP))
    kept = call("mul", call("logistic", keep), at.of(c))
    moved(low, at.write(call("add", call("mul", call("logistic", take), call("tanh", new)), kept)), state)
    at = Columns(low, rows, cells)
    opened = call("logistic", at.of(product, OPEN * cells, 4 * cells))
    moved(low, at.write(call("mul", opened, call("tanh", at.of(state)))), output)
    for value, final in zip((output, state), finals, strict=True):
        moved(low, value, final)
