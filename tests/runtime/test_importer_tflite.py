"""The importer: what it reads from a sound file, what it says of a broken one, that nothing else escapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tflite as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import EngineError, ModelError, UnsupportedError
from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write
from runtime.graph import DType, Quantization
from runtime.importers import tflite as importer
from runtime.importers.tflite import load
from tests.conformance import CASES
from tests.conformance.case import Maker
from tests.mutate_tflite import mutate as mutate
from tests.runtime.pipeline import survive

RNG = np.random.default_rng(0)
SMALL = ModelSpec(
    (
        TensorSpec("x", (1, 6, 6, 2), "int8", scale=(0.5,), zero_point=(-3,)),
        TensorSpec(
            "w",
            (3, 3, 3, 2),
            "int8",
            RNG.integers(-9, 9, (3, 3, 3, 2)).astype(np.int8),
            (0.1, 0.2, 0.3),
            (0, 0, 0),
        ),
        TensorSpec("b", (3,), "int32", np.arange(3, dtype=np.int32), (0.05, 0.1, 0.15), (0, 0, 0)),
        TensorSpec("y", (1, 6, 6, 3), "int8", scale=(0.7,), zero_point=(1,)),
        TensorSpec("shape", (2,), "int32", np.array([1, -1], np.int32)),
        TensorSpec("z", (1, 108), "int8", scale=(0.7,), zero_point=(1,)),
    ),
    (
        OpSpec("CONV_2D", ("x", "w", "b"), ("y",), {"fused_activation_function": "RELU6", "stride_w": 1}),
        OpSpec("RESHAPE", ("y", "shape"), ("z",), {"new_shape": (1, -1)}),
    ),
    ("x",),
    ("z",),
    signature="serving_default",
)


def test_reads_tensors_operators_and_signatures() -> None:
    graph = load(write(SMALL), "small")
    x, w, b, _, _, z = graph.values
    assert (x.name, x.shape, x.dtype, x.data) == ("x", (1, 6, 6, 2), DType.I8, None)
    assert x.quantization == Quantization((0.5,), (-3,))
    assert w.quantization is not None and (len(w.quantization.scale), w.quantization.axis) == (3, 0)
    assert b.data is not None and b.data.tolist() == [0, 1, 2]
    conv, reshape = graph.nodes
    assert (conv.op, conv.inputs, conv.outputs, conv.source) == ("CONV_2D", (0, 1, 2), (3,), "CONV_2D#0")
    assert conv.attrs["fused_activation_function"] == "RELU6" and conv.attrs["padding"] == "SAME"
    assert reshape.attrs["new_shape"] == (1, -1)
    assert (graph.inputs, graph.outputs) == ((0,), (5,))
    assert dict(graph.signatures["serving_default"].inputs) == {"x": 0}
    assert dict(graph.signatures["serving_default"].outputs) == {"z": graph.values.index(z)}


def test_float16_weights_become_float32_constants() -> None:
    half = np.array([1.5, -2.25], np.float16)
    model = ModelSpec(
        (
            TensorSpec("x", (2,)),
            TensorSpec("h", (2,), "float16", half),
            TensorSpec("w", (2,)),
            TensorSpec("y", (2,)),
        ),
        (OpSpec("DEQUANTIZE", ("h",), ("w",)), OpSpec("ADD", ("x", "w"), ("y",))),
        ("x",),
        ("y",),
    )
    graph = load(write(model), "half")
    assert [node.op for node in graph.nodes] == ["ADD"]
    weights = graph.values[2].data
    assert weights is not None and weights.dtype == np.float32 and weights.tolist() == half.tolist()


def with_op(index: int, **changes: Any) -> ModelSpec:
    operators = list(SMALL.operators)
    operators[index] = replace(operators[index], **changes)
    return replace(SMALL, operators=tuple(operators))


def with_tensor(index: int, **changes: Any) -> ModelSpec:
    tensors = list(SMALL.tensors)
    tensors[index] = replace(tensors[index], **changes)
    return replace(SMALL, tensors=tuple(tensors))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_op(1, inputs=("z", "shape")), r"RESHAPE#1: input 'z' is not produced before it is used"),
        (replace(SMALL, operators=SMALL.operators[::-1]), r"RESHAPE#0: input 'y' is not produced"),
        (with_op(1, outputs=("y",)), r"RESHAPE#1: output 'y' has a value already"),
        (with_op(1, outputs=("b",)), r"RESHAPE#1: output 'b' has a value already"),
        (replace(SMALL, operators=SMALL.operators[:1]), r"graph output 'z' is produced by no node"),
        (replace(SMALL, inputs=("x", "b")), r"graph input 'b' has a value already"),
        (with_op(0, inputs=("x",)), r"CONV_2D#0: 1 inputs, expected 2\.\.3"),
        (with_op(0, inputs=("x", "", "b")), r"CONV_2D#0: input 1 is left out, but it is not optional"),
        (with_tensor(0, scale=(0.5, 0.5), zero_point=(0, 0)), r"tensor 0 'x': 2 scales along axis 0"),
        (with_tensor(0, scale=(float("inf"),)), r"tensor 0 'x': scales \(inf,\)"),
        (with_tensor(0, zero_point=(300,)), r"tensor 0 'x': zero points \(300,\) do not fit i8"),
    ],
)
def test_an_unsound_graph_is_refused(model: ModelSpec, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(write(model), "small")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m[:8], ModelError, "at least 16 bytes"),
        (lambda _: b"", ModelError, "at least 16 bytes"),
        (lambda m: m[:4] + b"TFL2" + m[8:], ModelError, "b'TFL3' at offset 4"),
        (lambda m: m[: len(m) // 2], ModelError, "cannot be read|beyond the file|missing"),
        (lambda m: b"\xff\xff\xff\x7f" + m[4:], ModelError, "the header cannot be read"),
    ],
)
def test_a_damaged_file_is_refused(
    change: Callable[[bytes], bytes], error: type[EngineError], message: str
) -> None:
    with pytest.raises(error, match=rf"small: .*({message})"):
        load(change(write(SMALL)), "small")


def patched(find: Callable[[Any], Any], field: str, number: int) -> bytes:
    """The small model with one scalar of one table overwritten."""
    model = bytearray(write(SMALL))
    table = find(schema.Model.GetRootAs(bytes(model), 0))
    slots = {
        "Type": (6, 1),
        "Buffer": (8, 4),
        "OpcodeIndex": (4, 4),
        "BuiltinCode": (10, 4),
        "DeprecatedBuiltinCode": (4, 1),
        "Version": (4, 4),
    }
    slot, size = slots[field]
    at = table._tab.Offset(slot) + table._tab.Pos
    model[at : at + size] = number.to_bytes(size, "little")
    return bytes(model)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (patched(lambda m: m.Subgraphs(0).Tensors(0), "Type", 5), UnsupportedError, "element type STRING"),
        (
            patched(lambda m: m.Subgraphs(0).Tensors(1), "Type", 0),
            ModelError,
            "54 bytes of data, expected 216",
        ),
        (
            patched(lambda m: m.Subgraphs(0).Tensors(1), "Buffer", 99),
            ModelError,
            r"buffer 99 is outside 0\.\.3",
        ),
        (
            patched(lambda m: m.Subgraphs(0).Operators(1), "OpcodeIndex", 7),
            ModelError,
            "operator code 7 of 2",
        ),
        (patched(lambda m: m.OperatorCodes(0), "DeprecatedBuiltinCode", 32), UnsupportedError, "CUSTOM"),
        (
            patched(lambda m: m.OperatorCodes(0), "BuiltinCode", 9999),
            UnsupportedError,
            "operator number 9999",
        ),
        (patched(lambda m: m, "Version", 4), ModelError, "schema version 4, expected 3"),
    ],
)
def test_a_wrong_field_is_named(model: bytes, error: type[EngineError], message: str) -> None:
    with pytest.raises(error, match=message):
        load(model, "small")


@pytest.mark.parametrize("limit", ["MAX_TENSORS", "MAX_NODES", "MAX_LIST"])
def test_lists_are_bounded(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, limit, 1)
    with pytest.raises(ModelError, match=r"at most [01] can be read"):
        load(write(SMALL), "small")


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("MAX_TEXT", "tensor 0: names of more than 0 bytes together"),
        ("MAX_SHARING", "tensor 1 'w': the constants so far are more than 0 times the file"),
    ],
)
def test_what_tensors_share_is_bounded(limit: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name or a buffer costs the file once, and the reader once for every tensor that points to it."""
    monkeypatch.setattr(importer, limit, 0)
    with pytest.raises(ModelError, match=message):
        load(write(SMALL), "small")


# ---------------------------------------------------------------- fuzzing


def seeds() -> list[bytes]:
    """The small model, and each operator on each of its element types, with every field written out."""
    made: dict[tuple[str, str], bytes] = {}
    with mock.patch.object(exporter.flatbuffers, "Builder", _explicit):
        for case in CASES:
            for dtype in case.types:
                if (case.op, dtype) not in made:
                    made[case.op, dtype] = Maker(case, dtype).model()
        return [write(SMALL), *made.values()]


def _explicit(size: int, builder: Callable[[int], Any] = exporter.flatbuffers.Builder) -> Any:
    """A builder that leaves out no field for being the default, so that each can be changed."""
    made = builder(size)
    made.ForceDefaults(True)
    return made


def fuzz(data: bytes) -> None:
    survive(data, "fuzz.tflite")


def mutated(model: bytes, rng: Random, changes: int) -> bytes:
    """Bytes and aligned words overwritten with numbers that offsets and counts do not like."""
    data = bytearray(model)
    for _ in range(changes):
        at = rng.randrange(len(data) - 4)
        if rng.random() < 0.5:
            data[at] = rng.randrange(256)
        else:
            word = rng.choice([0, 1, 4, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data)])
            data[at & ~3 : (at & ~3) + 4] = word.to_bytes(4, "little")
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_mutations_of_a_small_model(seed: int, changes: int) -> None:
    fuzz(mutated(write(SMALL), Random(seed), changes))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    fuzz(b"\x1c\x00\x00\x00TFL3" + noise)


@pytest.mark.parametrize("name", ["kws_int8", "resnet8_f32"])
def test_mutations_of_a_real_model(name: str, shared_models: Path) -> None:
    """Constants are cut short, so that mutations meet the structure."""
    model = (shared_models / f"{name}.tflite").read_bytes()
    rng = Random(7)
    for _ in range(60):
        fuzz(mutated(model, rng, 40))
