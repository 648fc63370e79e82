import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from cloud_broker.wire.messages import Reason
from edge_agent.events import ItemError, Row, batches
from edge_agent.evidence import StartError
from edge_agent.model_step import ModelStage, dequantise, quantise
from edge_agent.spec.model import Item, Model
from runtime.backends.base import TensorInfo
from runtime.errors import ModelError
from runtime.graph import DType


@dataclass
class FakeProgram:
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    function: Callable[[NDArray[Any]], NDArray[Any]]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        (tensor,) = self.inputs
        x = inputs[tensor.name]
        assert x.shape == tensor.shape and x.dtype == tensor.dtype.numpy
        return {self.outputs[0].name: self.function(x)}


def program(
    shape: tuple[int, ...], dtype: DType = DType.F32, scale: float = 0.0, zero: int = 0
) -> FakeProgram:
    info = TensorInfo("x", shape, dtype, scale, zero)
    return FakeProgram((info,), (TensorInfo("y", shape, dtype, scale, zero),), lambda x: x)


def stage(tmp_path: Path, opened: Any, **section: Any) -> ModelStage:
    (tmp_path / "m.tflite").write_bytes(b"model")

    def open_model(path: Path, backend: str, *, num_threads: int) -> Any:
        assert (path, backend) == (tmp_path / "m.tflite", "auto")
        assert num_threads == section.get("threads", 1)
        if isinstance(opened, Exception):
            raise opened
        return opened

    return ModelStage(Model.model_validate({"file": "m.tflite", **section}), tmp_path, open_model)


def infer(stage: ModelStage, item: Item) -> Item:
    (batch,) = batches([Row(5.0, item)])
    (out,) = stage.push("s", batch, 0.0)
    (row,) = out.rows()
    assert row.time == 5.0
    return row.item


COLUMNS = [{"op": "columns", "names": ["a", "b"]}]


def test_a_float_model_sees_the_columns_and_adds_its_own(tmp_path: Path) -> None:
    model = stage(tmp_path, program((1, 2)), pre=COLUMNS, post=[{"op": "error"}, {"op": "output"}])
    assert infer(model, {"a": 1, "b": 2, "c": "kept"}) == {
        "a": 1,
        "b": 2,
        "c": "kept",
        "error": 0.0,
        "output": [1.0, 2.0],
    }


def test_a_model_gets_the_threads_that_the_spec_names(tmp_path: Path) -> None:
    assert infer(stage(tmp_path, program((1, 2)), pre=COLUMNS, threads=3), {"a": 1, "b": 2})
    for wrong in (0, 65):
        with pytest.raises(ValidationError, match="threads"):
            stage(tmp_path, program((1, 2)), threads=wrong)


def test_an_int8_model_gets_stored_integers_and_gives_real_values(tmp_path: Path) -> None:
    fake = program((1, 2), DType.I8, 0.5, -10)
    seen: list[NDArray[Any]] = []
    fake.function = lambda x: seen.append(x) or x  # type: ignore[func-returns-value]
    model = stage(tmp_path, fake, pre=COLUMNS)
    assert infer(model, {"a": 3.0, "b": 1000.0})["output"] == [3.0, 68.5]
    assert seen[0].tolist() == [[-4, 127]]


def test_an_image_goes_through_its_steps(tmp_path: Path) -> None:
    pre = [{"op": "gray"}, {"op": "resize", "size": [2, 2]}, {"op": "scale", "by": 1 / 255}]
    model = stage(tmp_path, program((1, 2, 2, 1)), pre=pre, post=[{"op": "argmax"}])
    image = np.zeros((4, 4, 3), np.uint8)
    image[2:, :2] = 255
    result = infer(model, {"image": image})
    assert result["label"] == 2 and result["score"] == pytest.approx(1.0, abs=1e-5)


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20),
    st.floats(1e-3, 10.0),
    st.integers(-128, 127),
)
def test_quantising_is_right_to_half_a_step_inside_the_range(
    values: list[float], scale: float, zero: int
) -> None:
    info = TensorInfo("x", (len(values),), DType.I8, scale, zero)
    x = np.array(values, np.float32)
    back = dequantise(quantise(x, info), info)
    low, high = (-128 - zero) * scale, (127 - zero) * scale
    assert np.abs(back - np.clip(x, low, high)).max() <= scale * 0.501 + 1e-4 * np.abs(x).max()


def test_ties_round_away_from_zero_and_nan_does_not_wrap() -> None:
    info = TensorInfo("x", (5,), DType.I8, 1.0, 0)
    x = np.array([0.5, -0.5, 2.5, np.inf, -np.inf], np.float32)
    assert quantise(x, info).tolist() == [1, -1, 3, 127, -128]


@pytest.mark.parametrize(
    ("opened", "section", "error"),
    [
        (program((1, 3)), {"pre": COLUMNS}, "the steps in `pre` give 1x2, the model takes 1x3"),
        (
            program((1, 8, 8, 1)),
            {"pre": [{"op": "resize", "size": [8, 8]}]},
            "give 8x8x3, the model takes 1x8x8x1",
        ),
        (program((1, 8, 8, 1)), {"pre": COLUMNS}, "give 1x2, the model takes 1x8x8x1"),
        (program((1, 2)), {"pre": COLUMNS, "sha256": "0" * 64}, "its bytes have sha256 .* not the same file"),
        (ModelError("not a model: bad magic at 4"), {}, "not a model: bad magic at 4"),
        (OSError("no such file"), {}, "no such file"),
        (FakeProgram((), (), lambda x: x), {}, "expected a model with one input, this one has 0"),
    ],
)
def test_a_bad_model_is_refused_at_load(
    tmp_path: Path, opened: Any, section: dict[str, Any], error: str
) -> None:
    with pytest.raises(StartError, match=f"model m.tflite: .*{error}") as raised:
        stage(tmp_path, opened, **section)
    assert raised.value.reason == Reason.BAD_MODEL


def test_the_right_digest_is_accepted(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"model").hexdigest()
    assert infer(stage(tmp_path, program((1, 2)), pre=COLUMNS, sha256=digest), {"a": 1, "b": 2})[
        "output"
    ] == [1.0, 2.0]


def test_an_image_of_the_wrong_size_is_one_bad_item(tmp_path: Path) -> None:
    model = stage(tmp_path, program((1, 4, 4, 3)))
    with pytest.raises(ItemError, match="the item gives 5x4x3, the model takes 1x4x4x3"):
        infer(model, {"image": np.zeros((5, 4, 3), np.uint8)})
