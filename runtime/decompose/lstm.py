"""LSTM layers (Hochreiter & Schmidhuber 1997) as TFLite has them: peepholes, coupled gates, projection, layer
normalisation, clips. What does not depend on the step before is multiplied for all steps at once.
"""

from __future__ import annotations

from runtime.decompose import lstm_float, lstm_integer
from runtime.decompose.lstm_basic import basic
from runtime.decompose.lstm_layer import Gates
from runtime.decompose.rule import Lowering
from runtime.decompose.steps import in_time, joined, over_time
from runtime.graph import DType
from runtime.shapes.lstm import AUX, BACKWARD, FORWARD, FULL, crossed
from runtime.shapes.lstm import sequence as sizes_of


def one_step(low: Lowering) -> None:
    if low.x.attr("kernel_type") == "BASIC":
        basic(low)
        return
    one_way(low, Gates(low, FULL, 1, low.x.shape(0)[0]), True)


def unidirectional(low: Lowering) -> None:
    steps, rows, _ = sizes_of(low.x)
    one_way(low, Gates(low, FULL, steps, rows), bool(low.x.attr("time_major")))


def one_way(low: Lowering, gates: Gates, major: bool) -> None:
    output, *finals = low.node.outputs
    step: lstm_float.Step | lstm_integer.Step
    if low.x.value(0).dtype is DType.I8:
        lstm_integer.check_types(low)
        step = lstm_integer.Step(gates, major)
    else:
        lstm_float.check_types(low, FULL)
        step = lstm_float.Step(gates)
    results = over_time(
        low, gates.steps, step.sequences(in_time(low, 0, major), None), gates.states, finals, step
    )
    joined(low, results, gates.steps, gates.rows, [gates.units], major, output)


def bidirectional(low: Lowering) -> None:
    """An auxiliary input without weights is what the backward layer reads; with weights, both do as well."""
    lstm_float.check_types(low, FORWARD, BACKWARD)
    (steps, rows, _), major = sizes_of(low.x), bool(low.x.attr("time_major"))
    aux = None if low.x.values[AUX] is None else in_time(low, AUX, major)
    data, cross = in_time(low, 0, major), crossed(low.x)
    mirrored = data if aux is None or cross else aux
    results, units, (*finals, first, second) = [], [], low.node.outputs[-4:]
    for layer, own, ends in ((FORWARD, data, finals), (BACKWARD, mirrored, [first, second])):
        gates = Gates(low, layer, steps, rows)
        step = lstm_float.Step(gates)
        sequences = step.sequences(own, aux if cross else None)
        results += over_time(low, steps, sequences, gates.states, ends, step, layer is BACKWARD)
        units.append(gates.units)
    if low.x.attr("merge_outputs"):
        joined(low, results, steps, rows, units, major, low.node.outputs[0])
        return
    for result, n, output in zip(results, units, low.node.outputs, strict=False):
        joined(low, [result], steps, rows, [n], major, output)


RULES = {
    "LSTM": one_step,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": unidirectional,
    "BIDIRECTIONAL_SEQUENCE_LSTM": bidirectional,
}
