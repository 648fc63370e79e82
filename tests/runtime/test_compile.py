"""The pipeline: every way in, and what each refuses. The public names of the package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import runtime
from runtime.compile import BACKENDS, Model, load, read
from runtime.errors import ModelError

MODELS = Path(__file__).parents[2] / "specs" / "models"
FILES = sorted(MODELS.glob("*.tflite"))


def test_public_names() -> None:
    assert runtime.__all__ == [
        "EngineError",
        "ExportError",
        "Interpreter",
        "ModelError",
        "Program",
        "RunError",
        "TensorInfo",
        "UnsupportedError",
        "load",
    ]
    assert all(hasattr(runtime, name) for name in runtime.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_backend_gives_the_same(path: Path) -> None:
    programs = {name: load(path, name) for name in BACKENDS}
    tensor = programs["cpu"].inputs[0]
    rng = np.random.default_rng(5)
    if tensor.scale:
        array = rng.integers(-128, 128, tensor.shape).astype(tensor.dtype.numpy)
    else:
        array = rng.standard_normal(tensor.shape).astype(np.float32)
    results = {name: next(iter(program.run([array]).values())) for name, program in programs.items()}
    assert {program.inputs[0].shape for program in programs.values()} == {tensor.shape}
    if tensor.scale:
        np.testing.assert_array_equal(results["cpu"], results["reference"])
        assert np.abs(results["cpu"].astype(int) - results["tflite"].astype(int)).max() <= 1
    else:
        for name in ("reference", "tflite"):
            np.testing.assert_allclose(results["cpu"], results[name], rtol=1e-4, atol=1e-5)


def test_bytes_paths_and_strings_are_one_model() -> None:
    path = FILES[0]
    models = [read(path), read(str(path)), read(path.read_bytes())]
    assert len({model.digest for model in models}) == 1
    assert [model.name for model in models] == [path.name, path.name, "model"]


def test_another_input_shape_flows_through() -> None:
    model = read(MODELS / "telemetry_ae_f32.tflite")
    index = model.graph.inputs[0]
    width = model.graph.values[index].shape[1]
    program = load(model.data, "cpu", input_shapes={index: (3, width)})
    batch = np.random.default_rng(1).standard_normal((3, width)).astype(np.float32)
    single = load(model.data, "cpu")
    (rows,) = program.run([batch]).values()
    for row, one in zip(rows, batch, strict=True):
        np.testing.assert_allclose(
            row[None], next(iter(single.run([one[None]]).values())), rtol=1e-5, atol=1e-6
        )


def zeroed(data: bytes, start: int, end: int) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"these are not the bytes",
        lambda data: data[: len(data) // 2],
        lambda data: data[:4] + b"TFL2" + data[8:],
        lambda data: zeroed(data, len(data) // 2, len(data)),
    ],
    ids=["text", "cut off", "another format", "half of it zeros"],
)
def test_bytes_that_are_no_model(damage: Callable[[bytes], bytes], backend: str) -> None:
    """TFLite checks no offset: it must not see such bytes at all, for they end the process."""
    with pytest.raises(ModelError, match="model: "):
        load(damage(FILES[0].read_bytes()), backend)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.tflite: the model cannot be read: No such file"):
        load(tmp_path / "none.tflite")


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend 'gpu' is unknown: expected auto, cpu, tflite, reference"):
        load(FILES[0], "gpu")


def test_keeping_all_tensors_adds_outputs_after_the_models_own() -> None:
    plain = read(FILES[0])
    whole = Model(plain.name, plain.data, keep_all=True)
    count = len(plain.graph.outputs)
    assert whole.graph.outputs[:count] == plain.graph.outputs
    made = {i for node in plain.graph.nodes for i in node.outputs}
    assert set(whole.graph.outputs) == made | set(plain.graph.outputs)
