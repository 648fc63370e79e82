"""Sigmoid and tanh of 16-bit numbers against TFLite's own, for every operand that there is.

The gates of an LSTM are what computes them. A gate is swept over all of 2^16 operands, one for each row of
the batch, by bytes that add up to it; the others are held, so that the cell, of 16 bits, shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from runtime import quantized_16
from runtime.exporters.tflite import TensorSpec
from runtime.graph import Array
from runtime.quantized import rounding_shift_right
from tests.conformance.case import Case, Maker, Operand, V, X
from tests.conformance.lstm import FULL, TANH

EVERY = np.arange(-(2**15), 2**15)
ROWS, BY = len(EVERY), (127, 127, 127, 1)
"""Of the swept gate the weights: each operand is a sum of four bytes times these."""
INPUT, FORGET, CELL, OUTPUT = range(4)
OPEN, SHUT = 200_000, -200_000
"""Sums that saturate, in Q3.12."""


def given(data: Array, scale: float = 1.0) -> TensorSpec:
    return TensorSpec("", data.shape, str(data.dtype), data, (scale,), (0,))


def summands() -> Array:
    """(rows, 4) bytes that make `EVERY`."""
    hundreds, parts = np.round(EVERY / 127).astype(int), []
    ones = EVERY - 127 * hundreds
    for _ in range(3):
        parts.append(np.clip(hundreds, -128, 127))
        hundreds = hundreds - parts[-1]
    return np.stack([*parts, ones], 1).astype(np.int8)


def swept(gate: int, held: dict[int, int], interpreter: Callable[[bytes], Any]) -> Array:
    """The cell after one step from zero, where the cell stores Q0.15."""
    weights = [given(np.array([BY if i == gate else (0,) * 4], np.int8)) for i in range(4)]
    recurrent = [given(np.zeros((1, 1), np.int8))] * 4
    bias = [given(np.array([held.get(i, 0)], np.int32), 2.0**-12) for i in range(4)]
    states = V((ROWS, 1), "int8", (2.0**-7, 0)), V((ROWS, 1), "int16", (2.0**-15, 0))
    none: list[Operand] = [None] * 5
    operands = (
        X((ROWS, 4), stored=(2.0**-12, 0)), *weights, *recurrent, *none[:3], *bias, *none[:2], *states,
        *none[:4],
    )  # fmt: skip
    between = (*((1.0, 0),) * 4, (2.0**-7, 0))
    options = {**TANH, "kernel_type": FULL}
    case = Case("LSTM", operands, options, ("int8",), out_scale=(2.0**-7, 0), between=between)
    made = interpreter(Maker(case, "int8").model())
    made.set_tensor(made.get_input_details()[0]["index"], summands())
    made.invoke()
    place = next(d["index"] for d in made.get_tensor_details() if d["name"] == "operand 19")
    cell: Array = made.get_tensor(place).reshape(-1)
    return cell


def tanh(x: Array) -> Array:
    return quantized_16.tanh(x, 3)


@pytest.mark.parametrize(
    ("gate", "held", "function", "other"),
    [
        (INPUT, {CELL: OPEN, FORGET: SHUT}, quantized_16.logistic, tanh(EVERY[-1:])),
        (CELL, {INPUT: OPEN, FORGET: SHUT}, tanh, quantized_16.logistic(EVERY[-1:])),
    ],
)
def test_every_operand(gate, held, function, other, tflite_interpreter):
    want = rounding_shift_right(function(EVERY).astype(np.int64) * other, 15)
    assert (want == swept(gate, held, tflite_interpreter)).all()


@pytest.mark.parametrize("bits", range(7))
def test_tanh_is_near_the_real_one(bits):
    real = np.tanh(EVERY / 2.0 ** (15 - bits))
    assert np.abs(quantized_16.tanh(EVERY, bits) / 2**15 - real).max() < 7e-4
