"""SVDF on floats, with weights of 8 bits, and on int8; what it remembers goes from run to run."""

from __future__ import annotations

from itertools import product

import numpy as np

from runtime.exporters.tflite import TensorSpec
from tests.conformance.case import FLOAT, B, Case, Operand, Options, V, X
from tests.conformance.rnn import ACTIVATIONS, ASYMMETRIC, LOPSIDED, weights

SIZES = ((1, 3, 4, 5), (2, 4, 3, 2), (3, 2, 1, 1))
"""(rows of the batch, elements of a row, units, steps that a filter remembers)."""


def svdf(
    sizes: tuple[int, int, int, int],
    rank: int,
    kind: str,
    bias: bool,
    options: Options,
    span: tuple[float, float],
) -> Case:
    rows, depth, units, memory = sizes
    filters = units * rank
    operands: tuple[Operand, ...] = (
        X((rows, depth), span), weights((filters, depth), kind), weights((filters, memory), kind),
        B(units) if bias else None, V((rows, memory * filters)),
    )  # fmt: skip
    return Case("SVDF", operands, {"rank": rank, **options}, FLOAT, runs=3)


def stored(sizes: tuple[int, int, int, int], rank: int, bias: bool, scales: tuple[float, ...]) -> Case:
    """On int8: scales of the weights of features and time, and of the memory, which may not fit int16."""
    rows, depth, units, memory = sizes
    filters, rng = units * rank, np.random.default_rng(sizes)
    features, time, state = scales
    operands: tuple[Operand, ...] = (
        X((rows, depth), stored=(0.04, -11)),
        TensorSpec(
            "", (filters, depth), "int8",
            rng.integers(-127, 128, (filters, depth)).astype(np.int8), (features,), (0,),
        ),
        TensorSpec(
            "", (filters, memory), "int16",
            rng.integers(-(2**15) + 1, 2**15, (filters, memory)).astype(np.int16), (time,), (0,),
        ),
        TensorSpec.constant("", rng.integers(-(2**24), 2**24, units).astype(np.int32)) if bias else None,
        TensorSpec("", (rows, memory * filters), "int16", None, (state,), (0,), variable=True),
    )  # fmt: skip
    options = {"rank": rank, "fused_activation_function": "RELU"}
    return Case("SVDF", operands, options, ("int8",), out_scale=(0.06, -128 + 60 * bias), runs=3)


CASES = [
    *(
        svdf(sizes, rank, "float32", bias, {"fused_activation_function": name}, (-3.0, 3.0))
        for sizes, rank, bias, name in product(SIZES, (1, 2), (True, False), ACTIVATIONS)
    ),
    *(
        svdf(sizes, rank, kind, bias, {"fused_activation_function": name, **levels}, span)
        for sizes, rank, kind, (bias, name), (levels, span) in product(
            (*SIZES, (2, 1100, 2, 3)),
            (1, 2),
            ("int8", "uint8"),
            ((True, "NONE"), (False, "TANH"), (True, "RELU6"), (False, "SIGN_BIT")),
            (({}, (-3.0, 3.0)), (ASYMMETRIC, LOPSIDED)),
        )
    ),
    *(
        stored(sizes, rank, bias, scales)
        for sizes, rank, bias, scales in product(
            (*SIZES, (2, 40, 8, 10)),
            (1, 2, 3),
            (True, False),
            ((0.01, 2e-5, 2e-4), (0.003, 1e-4, 5e-4), (0.02, 3e-5, 1e-5)),
        )
    ),
]  # fmt: skip
