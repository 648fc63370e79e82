"""Transforms to frequencies and parts of complex numbers, by TFLite's kernels, and by NumPy's FFT."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from tests.conformance.case import FLOAT, Array, Case, X, ints

COMPLEX = ("complex64",)


def rfft2d(x: Array, lengths: Array) -> list[Array]:
    return [np.fft.rfft2(x.astype(np.float64), tuple(lengths)).astype(np.complex64)]


def spectrum(of: str, shape: tuple[int, ...], width: int) -> ModelSpec:
    """As converters write `abs(rfft(x))`: a row of its own, RFFT2D, the row gone, and what is asked of it."""
    rows, out = (*shape[:-1], 1, width // 2 + 1), (*shape[:-1], width // 2 + 1)
    tensors = (
        TensorSpec("x", shape),
        TensorSpec.constant("axis", ints(len(shape) - 1)),
        TensorSpec.constant("lengths", ints(1, width)),
        TensorSpec("row", (*shape[:-1], 1, shape[-1])),
        TensorSpec("spectrum", rows, "complex64"),
        TensorSpec("frequencies", out, "complex64"),
        TensorSpec("y", out),
    )
    ops = (
        OpSpec("EXPAND_DIMS", ("x", "axis"), ("row",)),
        OpSpec("RFFT2D", ("row", "lengths"), ("spectrum",)),
        OpSpec("SQUEEZE", ("spectrum",), ("frequencies",), {"squeeze_dims": (len(shape) - 1,)}),
        OpSpec(of, ("frequencies",), ("y",)),
    )
    return ModelSpec(tensors, ops, ("x",), ("y",))


def transform(shape: tuple[int, ...], *lengths: int, **more: Any) -> Case:
    return Case(
        "RFFT2D", (X(shape), ints(*lengths)), types=FLOAT, out_type="complex64", reference=False, **more
    )


PARTS = ("REAL", "IMAG", "COMPLEX_ABS")
SPECIAL = (0.0, -0.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"))
CASES = [
    # rows alone, by one product and by four steps; longer and shorter than the operand
    *(transform((3, 1, n), 1, n) for n in (2, 4, 16, 64, 128, 256, 512, 2048)),
    *(transform((2, 3, 1, 40), 1, n) for n in (8, 32, 64, 128, 256)),
    # images
    *(transform((2, h, w), h, w) for h, w in ((2, 2), (4, 8), (16, 64), (32, 128))),
    *(transform((2, 5, 12), h, w) for h, w in ((1, 8), (2, 16), (4, 64), (8, 4), (16, 128))),
    transform((6, 10), 8, 16),
    transform((1, 2, 1, 3, 4, 8), 4, 8),
    transform((3, 4, 1), 4, 1, expect=rfft2d),
    transform((4, 1), 1, 1, expect=rfft2d),
    # parts of complex inputs, a scalar too
    *(
        Case(op, (X(shape),), types=COMPLEX, out_type="float32")
        for op in PARTS
        for shape in ((3, 4), (5,), ())
    ),
    *(
        Case(op, (X((40, 9), among=SPECIAL),), types=COMPLEX, out_type="float32", tolerance=1e-6)
        for op in PARTS
    ),
    # views of complex numbers
    Case("RESHAPE", (X((3, 4)), ints(2, -1)), types=COMPLEX),
    Case("SQUEEZE", (X((1, 4, 1)),), {"squeeze_dims": (2,)}, types=COMPLEX),
    Case("EXPAND_DIMS", (X((3, 4)), ints(2)), types=COMPLEX),
    # models
    *(
        Case(
            op,
            (X(shape),),
            types=FLOAT,
            graphs=lambda _, op=op, shape=shape, n=n: spectrum(op, shape, n),
            reference=False,
        )
        for op in PARTS
        for shape, n in (((2, 5, 400), 512), ((7, 16), 16))
    ),
]
