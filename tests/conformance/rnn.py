"""Layers of simple recurrent cells, on floats and with weights of 8 bits; states go from run to run."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from runtime.exporters.tflite import TensorSpec
from tests.conformance.case import FLOAT, B, Case, Operand, Options, V, W, X

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
KINDS = ("float32", "int8", "uint8")
SIZES = ((1, 1, 3, 4), (4, 1, 2, 3), (3, 2, 3, 4), (2, 3, 5, 1))
"""(steps, rows of the batch, elements of a row, units)."""
SMALL, LOPSIDED = (-0.5, 0.5), (-0.2, 0.6)
"""Spans for levels: where tanh gives ones on both sides, the zero point lies half-way between two levels."""
ASYMMETRIC: Options = {"asymmetric_quantize_inputs": True}
TANH: Options = {"fused_activation_function": "TANH"}


def weights(shape: tuple[int, int], kind: str) -> Operand:
    """Of one scale; unsigned bytes, which TFLite reads as signed ones, have no zero point, and none is -128:
    of its product with a negative level LiteRT 2 loses the sign in rows of 16 or more.
    """
    if kind != "uint8":
        return W(shape, None, kind)
    data = np.random.default_rng(shape).integers(-127, 128, shape).astype(np.int8).view(np.uint8)
    return TensorSpec("", shape, kind, data, (0.01,), (0,))


def cell(rows: int, depth: int, units: int, kind: str) -> tuple[Operand, ...]:
    return weights((units, depth), kind), weights((units, units), kind), B(units), V((rows, units))


def sequence(
    op: str, sizes: tuple[int, int, int, int], kind: str, options: Options, span: tuple[float, float]
) -> Case:
    steps, rows, depth, units = sizes
    major = options.get("time_major")
    shape = (rows, depth) if op == "RNN" else (steps, rows, depth) if major else (rows, steps, depth)
    return Case(op, (X(shape, span), *cell(rows, depth, units, kind)), options, FLOAT, runs=3)


def both_ways(
    sizes: tuple[int, int, int, int], kind: str, aux: str, options: Options, other: int = 3, wider: int = 0
) -> Case:
    """Forward of `units`, backward of `other`; an auxiliary input is read as well ("crossed"), or by the
    backward direction instead ("alone"). It may be `wider` than the input.
    """
    steps, rows, depth, units = sizes
    shape = (steps, rows, depth) if options["time_major"] else (rows, steps, depth)
    cells = (*cell(rows, depth, units, kind), *cell(rows, depth, other, kind))
    x, extra = X(shape, (-3.0, 3.0) if kind == "float32" else SMALL), tuple[Operand, ...]((None, None, None))
    if aux == "alone":
        extra = (x, None, None)
    elif aux == "crossed":
        aux_input = replace(x, shape=(*shape[:2], depth + wider))
        extra = (aux_input, *(weights((n, depth + wider), kind) for n in (units, other)))
    outputs = 1 if options["merge_outputs"] else 2
    op = "BIDIRECTIONAL_SEQUENCE_RNN"
    return Case(op, (x, *cells, *extra), options, FLOAT, outputs=outputs, runs=3)


WAYS = [{"time_major": major, "merge_outputs": merged} for major in (False, True) for merged in (False, True)]

CASES = [
    *(  # nothing to find levels of
        sequence("RNN", (1, 2, 3, 4), kind, levels, (0.0, 0.0))
        for kind, levels in product(KINDS[1:], ({}, ASYMMETRIC))
    ),
    *(  # more products than float32 adds up exactly
        sequence("RNN", (1, 2, 1100, 3), kind, levels, LOPSIDED)
        for kind, levels in product(KINDS[1:], ({}, ASYMMETRIC))
    ),
    *(
        sequence(op, sizes, kind, {"fused_activation_function": name, **way, **levels}, span)
        for op, ways in (
            ("RNN", ({},)),
            ("UNIDIRECTIONAL_SEQUENCE_RNN", ({"time_major": False}, {"time_major": True})),
        )
        for way, sizes, kind, name in product(ways, SIZES, KINDS, ACTIVATIONS)
        for levels, span in (
            (({}, (-3.0, 3.0)),) if kind == "float32" else (({}, SMALL), (ASYMMETRIC, LOPSIDED))
        )
    ),
    *(
        both_ways(sizes, kind, aux, {**TANH, **way, **levels})
        for sizes, kind, aux, way in product(SIZES[1:3], KINDS, ("", "alone", "crossed"), WAYS)
        for levels in (({},) if kind == "float32" else ({}, ASYMMETRIC))
        # of bytes with symmetric levels TFLite reads address 4 for the second row of merged outputs
        if levels or kind == "float32" or sizes[1] == 1 or way != WAYS[3]
    ),
    *(
        both_ways(sizes, "float32", "crossed", {**TANH, **way}, wider=wider)
        for sizes, way, wider in product(SIZES, WAYS[:2], (-1, 2))  # of others TFLite misses the rows
    ),
    *(
        both_ways(sizes, "float32", "", {"fused_activation_function": name, **way}, other)
        for sizes, other, way, name in product(SIZES[:2], (1, 4), WAYS[1:3], ACTIVATIONS)
    ),
]  # fmt: skip
