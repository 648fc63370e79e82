"""The listing names every pass, every node and every operand."""

from __future__ import annotations

import numpy as np

from runtime.explain import explain, passes
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write
from runtime.importers.tflite import load

MODEL = ModelSpec(
    (
        TensorSpec("x", (2, 3)),
        TensorSpec.constant("w", np.ones((4, 6), np.float32)),
        TensorSpec("y", (1, 4)),
        TensorSpec("p", (1, 4)),
        TensorSpec("s", (4, 1)),
    ),
    (
        OpSpec("FULLY_CONNECTED", ("x", "w", ""), ("y",)),
        OpSpec("SOFTMAX", ("y",), ("p",)),
        OpSpec("RESHAPE", ("p",), ("s",), {"new_shape": (4, 1)}),
    ),
    ("x",),
    ("s",),
)


def test_listing():
    text = explain(load(write(MODEL), "model"))
    assert "== import: 3 nodes (1 FULLY_CONNECTED, 1 SOFTMAX, 1 RESHAPE)" in text
    assert "%2:f32[1,4] = FULLY_CONNECTED(%0:f32[2,3], c1:f32[4,6], -) fused_activation_function=NONE" in text
    assert "= GEMM(%0:f32[2,3], c1:f32[4,6]) batch=1 m=1 n=4 k=6 Clamp  # FULLY_CONNECTED#0" in text
    assert "f32 [4]: load 0; load 1; sub; const 1.0; mul; exp  # SOFTMAX#1" in text
    assert "= RASTER(" in text.split("== alias")[0] and "= RASTER(" not in text.split("== alias")[1]


def test_the_passes_are_the_pipeline():
    names = [name for name, _ in passes(load(write(MODEL), "model"))]
    assert names == ["import", "infer", "decompose", "fold", "alias", "compose", "prune"]
