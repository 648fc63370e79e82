"""Recurrent layers: what they keep is reset as TFLite resets it, and what contradicts itself is refused by
name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime import Interpreter
from runtime.backends.tflite import interpreter_module
from runtime.errors import EngineError
from runtime.graph import Array
from runtime.operators import OPERATORS
from tests.conformance import CASES, lstm
from tests.conformance.case import B, Case, Maker, Operand, V, W, X
from tests.conformance.judge import close, oracle
from tests.conformance.rnn import SMALL, TANH, both_ways, sequence
from tests.conformance.svdf import stored

REFERENCE = interpreter_module().OpResolverType["BUILTIN_REF"]
KEEPING = [op for op, row in OPERATORS.items() if row.states]


@pytest.mark.parametrize("op", KEEPING)
def test_reset_all_variables_as_tflite(op: str, tflite_interpreter: Callable[[bytes], Any]) -> None:
    """Some of the cases of each operator that keeps something."""
    cases, changes = [case for case in CASES if case.op == op], 0
    for case in cases[:: max(len(cases) // 12, 1)]:
        maker = Maker(case, case.types[0])
        model, inputs = maker.model(), maker.inputs()
        ours = Interpreter(model_content=model, experimental_op_resolver_type=REFERENCE)
        ours.allocate_tensors()
        runs = [told(interpreter, inputs) for interpreter in (ours, tflite_interpreter(model))]
        for got, want in zip(*runs, strict=True):
            close(got, want, case.steps, case.tolerance, str(case))
        outputs = len(runs[0]) // 4
        first, second, _, again = (runs[0][i * outputs : (i + 1) * outputs] for i in range(4))
        assert same(first, again), case
        changes += not same(first, second)
    assert changes


def same(first: list[Array], second: list[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def told(interpreter: Any, inputs: list[Array]) -> list[Array]:
    """The outputs of three runs, and of one after a reset."""
    outputs = [output for _ in range(3) for output in oracle(interpreter, inputs)]
    interpreter.reset_all_variables()
    return outputs + oracle(interpreter, inputs)


def put(case: Case, position: int, operand: Operand) -> Case:
    operands = (*case.operands[:position], operand, *case.operands[position + 1 :])
    return replace(case, operands=operands)


SIZES = (3, 2, 3, 4)
TIME: dict[str, Any] = {**TANH, "time_major": False}
RNN, BYTES = (sequence("RNN", SIZES, kind, TANH, SMALL) for kind in ("float32", "int8"))
ONE = sequence("UNIDIRECTIONAL_SEQUENCE_RNN", SIZES, "float32", TIME, SMALL)
LONG = {**TANH, "time_major": True, "merge_outputs": True}
BOTH = both_ways(SIZES, "int8", "crossed", {**TIME, "merge_outputs": False})
EVERY = lstm.sequence(*SIZES, lstm.PARTS[1:])
STEP, COUPLED = (lstm.sequence(*SIZES, parts, None, "int8") for parts in ((), ("cifg", "norm")))
INTEGER, NORMED = (lstm.integer(*SIZES, parts) for parts in (("projection",), ("norm",)))
BASIC, STORED = (lstm.basic(1, 3, 4, dtype, 0.01) for dtype in ("float32", "uint8"))
WAYS = lstm.both_ways(SIZES, (), "crossed", "", **TIME, merge_outputs=False)
SVDF = stored(SIZES, 2, True, (0.003, 1e-4, 5e-4))


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (put(RNN, 0, X((2, 1, 3))), "input 0 has shape .*, expected rank 2"),
        (put(RNN, 1, W((4, 5), None)), r"input 1 has shape \(4, 5\), expected \(4, 3\)"),
        (put(RNN, 4, V((1, 4))), r"input 4 has shape \(1, 4\), expected \(2, 4\)"),
        (put(RNN, 4, X((2, 4))), "input 4 is not a variable tensor"),
        (put(RNN, 4, None), "input 4 is left out"),
        (put(BYTES, 1, W((4, 3), 0, "int8")), "quantised per axis"),
        (put(BYTES, 2, W((4, 4), None)), "no rule for element types"),
        (put(ONE, 2, W((4, 3), None)), r"input 2 has shape \(4, 3\), expected \(4, 4\)"),
        (put(ONE, 3, B(5)), r"input 3 has shape \(5,\), expected \(4,\)"),
        (put(BOTH, 9, None), "weights of an auxiliary input that is left out"),
        (put(BOTH, 9, X((2, 4, 3))), r"auxiliary input of shape \(2, 4, 3\)"),
        (put(BOTH, 10, None), "auxiliary input for one direction only"),
        (put(BOTH, 11, W((3, 4), None, "int8")), r"input 11 has shape \(3, 4\), expected \(3, 3\)"),
        (both_ways((1025, 1, 2, 3), "int8", "", LONG), "1025 passes over 1025 steps"),
        (replace(BOTH, outputs=1), "gives 4 outputs, the model declares 3"),
        (put(EVERY, 2, W((4, 2), None)), r"input 2 has shape \(4, 2\), expected \(4, 3\)"),
        (put(EVERY, 5, None), "input 5 is left out"),
        (put(EVERY, 7, W((4,), None)), "recurrent weights that are a diagonal"),
        (put(EVERY, 9, None), "input 9 is left out"),
        (put(EVERY, 10, None), "input 9 is not expected"),
        (put(EVERY, 16, None), "input 17 is not expected"),
        (put(EVERY, 19, V((2, 5))), r"state of shape \(2, 5\), expected 2 rows of 4"),
        (put(EVERY, 21, W((3,), None)), r"input 21 has shape \(3,\), expected \(4,\)"),
        (replace(EVERY, options={**TIME, "cell_clip": -1.0}), "cell_clip = -1.0"),
        (replace(EVERY, options={"time_major": False}), "activation NONE"),
        (replace(EVERY, operands=EVERY.operands[:22]), "22 inputs, expected 20 or 24"),
        (put(STEP, 0, X((2, 1, 3))), "input 0 has shape .*, expected rank 2"),
        (put(STEP, 3, W((4, 3), None)), "no rule for element types"),
        (put(STEP, 4, W((4, 3), 0, "int8")), "quantised per axis"),
        (put(COUPLED, 20, W((4,), None)), "input 20 is not expected"),
        (put(INTEGER, 1, W((4, 3), None, "int16")), "no rule for element types"),
        (put(INTEGER, 13, B(4, "int64")), "no rule for element types"),
        (put(INTEGER, 19, V((2, 4), "int16", (0.0003, 0))), "scale is 0.0003, expected a power of two"),
        (put(INTEGER, 19, V((2, 4), "int16", (2.0**-8, 0))), r"scale is 2\^-8, expected"),
        (put(INTEGER, 16, X((4, 4))), "the weights of the projection are not constant"),
        (replace(INTEGER, between=()), "0 tensors between its steps, expected 5"),
        (
            replace(INTEGER, between=(*INTEGER.between[:4], (0.0, 0))),
            "tensor 4 between its steps has no scale",
        ),
        (replace(INTEGER, between=(*INTEGER.between[:4], (0.1, 300))), "has the zero point 300"),
        (replace(NORMED, between=((0.0, 0), *NORMED.between[1:])), "tensor 0 between its steps has no scale"),
        (put(NORMED, 21, W((4,), None, "int16", scale=2.0**18)), "expected less than 2\\^18"),
        (put(BASIC, 2, W((16, 6), None)), r"input 2 has shape \(16, 6\), expected \(16, 7\)"),
        (put(BASIC, 4, X((1, 4))), "input 4 is not a variable tensor"),
        (replace(BASIC, operands=(*BASIC.operands, None)), "6 inputs of a basic kernel, expected 5"),
        (put(STORED, 4, V((1, 4), "int8")), "no rule for element types"),
        (replace(STORED, out_scale=(0.25, 0)), r"scale is 2\^-10, expected 2\^-11"),
        (put(WAYS, 39, None), "weights of an auxiliary input that is left out"),
        (put(WAYS, 39, X((2, 4, 3))), r"auxiliary input of shape \(2, 4, 3\)"),
        (put(WAYS, 44, None), "input 44 is left out"),
        (put(WAYS, 46, W((4, 5), None)), r"input 46 has shape \(4, 5\), expected \(4, 3\)"),
        (replace(WAYS, operands=WAYS.operands[:47]), "47 inputs, expected 48"),
        (replace(SVDF, options={"rank": 4, "fused_activation_function": "RELU"}), "rank 4"),
        (replace(SVDF, options={"rank": 2, "fused_activation_function": "TANH"}), "activation"),
        (put(SVDF, 4, V((2, 9), "int16")), r"state of shape \(2, 9\)"),
        (put(SVDF, 4, V((3, 24), "int8")), "no rule for element types"),
    ],
)
def test_refused(case: Case, message: str) -> None:
    with pytest.raises((EngineError, ValueError, RuntimeError), match=message):
        Interpreter(model_content=Maker(case, case.types[0]).model()).allocate_tensors()
