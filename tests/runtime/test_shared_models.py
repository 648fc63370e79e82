"""Whole models through every pass up to atoms, run by the reference backend, against TFLite.

Floats agree within 1e-4 of the output's scale, integers within one step and 99 % of them exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends import reference
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.decompose import decompose
from runtime.graph import Graph
from runtime.importers.tflite import load
from runtime.infer import infer
from runtime.simplify import simplify
from runtime.verify import check

Array = np.ndarray[Any, np.dtype[Any]]
REFERENCE = "BUILTIN_REF"
OPTIMISED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
"""The reference FULLY_CONNECTED of ai-edge-litert 2 rounds once, every other integer kernel twice."""

MODELS = [
    ("ad01_f32", REFERENCE),
    ("ad01_int8", OPTIMISED),
    ("kws_f32", REFERENCE),
    ("kws_int8", REFERENCE),
    ("mobilenet_v2_quant", REFERENCE),
    ("resnet8_f32", REFERENCE),
    ("resnet8_int8", REFERENCE),
    ("vww_f32", REFERENCE),
    ("vww_int8", REFERENCE),
]


def inputs(graph: Graph, rng: np.random.Generator) -> list[Array]:
    drawn = []
    for value in (graph.values[i] for i in graph.inputs):
        if value.dtype.numpy == np.float32:
            drawn.append(rng.normal(size=value.shape).astype(np.float32))
        else:
            limits = np.iinfo(value.dtype.numpy)
            drawn.append(rng.integers(limits.min, limits.max + 1, value.shape).astype(value.dtype.numpy))
    return drawn


@pytest.mark.parametrize(("name", "resolver"), MODELS)
def test_against_tflite(
    name: str, resolver: str, shared_models: Path, tflite_interpreter: Callable[..., Any]
) -> None:
    model = (shared_models / f"{name}.tflite").read_bytes()
    graph = infer(load(model, name))
    check(graph, "GRAPH")
    atoms = simplify(decompose(graph, "reference"))
    check(atoms, "ATOMIC")
    check(place(fuse(atoms)), "PROGRAM")
    interpreter = tflite_interpreter(model, resolver)
    rng = np.random.default_rng(1)
    for _ in range(2):
        arrays = inputs(graph, rng)
        for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        (got,), details = reference.run(atoms, arrays), interpreter.get_output_details()[0]
        want = interpreter.get_tensor(details["index"])
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        if got.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * float(np.abs(want).max()))
        else:
            steps = np.abs(got.astype(int) - want.astype(int))
            assert steps.max() <= 1 and (steps == 0).mean() >= 0.99


def test_a_batch_is_its_images_one_by_one(shared_models: Path) -> None:
    """Re-inference with another batch size; the model has no operator that fixes it."""
    graph = load((shared_models / "ad01_int8.tflite").read_bytes(), "ad01")
    rows = np.random.default_rng(2).integers(-128, 128, (3, 640)).astype(np.int8)
    batch = reference.run(simplify(decompose(infer(graph, {graph.inputs[0]: (3, 640)}), "builtin")), [rows])[
        0
    ]
    single = simplify(decompose(infer(graph), "builtin"))
    np.testing.assert_array_equal(
        batch, np.concatenate([reference.run(single, [row[None]])[0] for row in rows])
    )
