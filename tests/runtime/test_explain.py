"""The listing names every pass, every node and every operand; the summary what each pass changed."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.copies import Account, Copied
from runtime.explain import changes, copy_lines, explain, passes
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write
from runtime.importers.tflite import load
from runtime.simplify import PASSES

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
    text = explain(passes(load(write(MODEL), "model")), nodes=True)
    assert "== import: 3 nodes (1 FULLY_CONNECTED, 1 SOFTMAX, 1 RESHAPE)" in text
    assert "%2:f32[1,4] = FULLY_CONNECTED(%0:f32[2,3], c1:f32[4,6], -) fused_activation_function=NONE" in text
    assert "= GEMM(%0:f32[2,3], c1:f32[4,6]) batch=1 m=1 n=4 k=6 Clamp  # FULLY_CONNECTED#0" in text
    assert "f32 [4]: load 0; load 1; sub; exp  # SOFTMAX#1" in text


def test_a_pass_says_what_it_changed():
    text = explain(passes(load(write(MODEL), "model")))
    decomposed = text.split("== decompose: ")[1].split("==")[0]
    assert "copies 16 bytes" in decomposed
    assert "1 x FULLY_CONNECTED: FULLY_CONNECTED -> GEMM  (#0)" in decomposed
    assert "1 x RESHAPE: RESHAPE -> RASTER  (#2)" in decomposed
    assert "1 x RESHAPE: RASTER -> nothing  (#2)" in text
    assert "copies 0 bytes" in text.split("== place: ")[1]


def test_the_copies_are_accounted_for():
    text = explain(passes(load(write(MODEL), "model")))
    assert text.endswith(
        "== copies: 16 bytes decomposed, 0 bytes in the end\n"
        "            16 bytes of    1 RASTER: one value with what they copied\n"
    )
    account = Account(2, 72, (), tuple(Copied(8, ("A#0", "A#0"), ("GEMM", "MAP")) for _ in range(9)))
    lines = copy_lines(account).splitlines()
    assert lines[1] == "             8 bytes stay: A#0, for GEMM and MAP"
    assert lines[-1] == "             8 bytes stay in 1 more"
    assert len(copy_lines(account, every=True).splitlines()) == 10


def test_the_passes_are_the_pipeline():
    names = [stage.name for stage in passes(load(write(MODEL), "model"))]
    assert names == ["import", "infer", "decompose", *(name for name, _ in PASSES), "fuse", "place"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"A#0": ("A",)}, {"A#0": ("A",)}, "  nothing changed\n"),
        ({"A#0": ("A",)}, {"A#0": ("X", "X", "Y")}, "     1 x A: A -> 2 X Y  (#0)\n"),
        ({"A#0": ("A",)}, {}, "     1 x A: A -> nothing  (#0)\n"),
        (
            {f"A#{i}": ("A",) for i in range(8)},
            {f"A#{i}": ("X",) for i in range(8)},
            "     8 x A: A -> X  (#0 #1 #2 #3 #4 #5 ...)\n",
        ),
    ],
)
def test_changes_are_grouped(before, after, expected):
    assert changes(before, after) == expected
