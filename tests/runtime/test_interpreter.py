"""The drop-in: the same calls on ours and on TFLite's interpreter give the same answers and the same kinds of
error.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import Interpreter
from runtime.backends.tflite import interpreter_module
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write

MODELS = Path(__file__).parents[2] / "specs" / "models"
DIGITS, TELEMETRY = MODELS / "digits_int8.tflite", MODELS / "telemetry_ae_f32.tflite"
Make = Callable[..., Any]


def theirs(*args: Any, **options: Any) -> Any:
    """TFLite on its reference kernels, which give the same bits."""
    module = interpreter_module()
    options.setdefault("experimental_op_resolver_type", module.OpResolverType.BUILTIN_REF)
    return module.Interpreter(*args, **options)


BOTH = pytest.mark.parametrize("make", [Interpreter, theirs], ids=["ours", "tflite"])


def ready(make: Make, path: Path = DIGITS) -> Any:
    interpreter = make(model_path=str(path))
    interpreter.allocate_tensors()
    return interpreter


def open_batch() -> bytes:
    """y = relu(x + x) and z = x + y, x of shape (-1, 3): a dynamic batch, two outputs, one signature."""
    tensors = tuple(TensorSpec(name, (-1, 3)) for name in "xyz")
    relu = {"fused_activation_function": "RELU"}
    operators = OpSpec("ADD", ("x", "x"), ("y",), relu), OpSpec("ADD", ("x", "y"), ("z",))
    return write(ModelSpec(tensors, operators, ("x",), ("y", "z"), signature="serve"))


# -------------------------------------------------------------------- answers


def plain(details: Any) -> Any:
    """Arrays as lists, so that == compares; without the key that only ai-edge-litert has."""
    if isinstance(details, dict):
        return {key: plain(value) for key, value in details.items() if key != "block_size"}
    if isinstance(details, np.ndarray):
        return str(details.dtype), details.tolist()
    return [plain(item) for item in details] if isinstance(details, list) else details


@BOTH
def test_inputs_stay_over_a_run_and_outputs_until_the_next(make: Make) -> None:
    interpreter = ready(make)
    (x,), (y,) = interpreter.get_input_details(), interpreter.get_output_details()
    first, second = (np.random.default_rng(seed).integers(-128, 128, x["shape"], np.int8) for seed in (0, 1))
    interpreter.set_tensor(x["index"], first)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(x["index"]), first)
    answer = interpreter.get_tensor(y["index"])
    interpreter.set_tensor(x["index"], second)
    np.testing.assert_array_equal(interpreter.get_tensor(y["index"]), answer)
    interpreter.invoke()
    assert (interpreter.get_tensor(y["index"]) != answer).any()
    interpreter.set_tensor(x["index"], first)
    interpreter.invoke()
    interpreter.invoke()  # without setting it again
    np.testing.assert_array_equal(interpreter.get_tensor(y["index"]), answer)


@pytest.mark.parametrize("path", [DIGITS, TELEMETRY], ids=lambda path: path.stem)
def test_details_are_the_same(path: Path) -> None:
    ours, tflite = ready(Interpreter, path), ready(theirs, path)
    assert plain(ours.get_input_details()) == plain(tflite.get_input_details())
    assert plain(ours.get_output_details()) == plain(tflite.get_output_details())
    own = plain(ours.get_tensor_details())
    assert own == plain(tflite.get_tensor_details())[: len(own)]  # TFLite adds its scratch tensors
    assert ours.get_signature_list() == tflite.get_signature_list()


@pytest.mark.parametrize("path", [DIGITS, TELEMETRY], ids=lambda path: path.stem)
def test_results_are_the_same(path: Path) -> None:
    ours, tflite = ready(Interpreter, path), ready(theirs, path)
    rng, detail = np.random.default_rng(0), ours.get_input_details()[0]
    for _ in range(5):
        array = (rng.standard_normal(detail["shape"]) * 50).astype(detail["dtype"])
        results = []
        for interpreter in (ours, tflite):
            interpreter.set_tensor(detail["index"], array)
            interpreter.invoke()
            results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
        assert results[0].dtype == results[1].dtype
        np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)


@BOTH
def test_resizing_and_signatures(make: Make) -> None:
    interpreter = make(model_content=open_batch())
    assert interpreter.get_input_details()[0]["shape_signature"].tolist() == [-1, 3]
    x = np.array([[1, -2, 3], [4, 5, -6]], np.float32)
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, [2, 3], strict=True)
    interpreter.allocate_tensors()
    assert interpreter.get_input_details()[0]["shape"].tolist() == [2, 3]
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    y, z = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
    np.testing.assert_array_equal(y, np.maximum(x + x, 0))
    np.testing.assert_array_equal(z, x + y)
    assert interpreter.get_signature_list() == {"serve": {"inputs": ["x"], "outputs": ["y", "z"]}}
    runner = interpreter.get_signature_runner()
    results = runner(x=x[:1])
    np.testing.assert_array_equal(results["z"], z[:1])
    assert list(runner.get_input_details()) == ["x"] and sorted(runner.get_output_details()) == ["y", "z"]


def several_graphs() -> bytes:
    """Two signatures, each of a graph of its own: twice = x + x, and square = x * x, whose rows are open."""
    tensors = TensorSpec("w", (2,)), TensorSpec("y", (2,))
    square = tuple(TensorSpec(name, (-1, 2)) for name in ("x", "z"))
    second = ModelSpec(square, (OpSpec("MUL", ("x", "x"), ("z",)),), ("x",), ("z",), signature="square")
    add = OpSpec("ADD", ("w", "w"), ("y",))
    return write(ModelSpec(tensors, (add,), ("w",), ("y",), signature="twice", subgraphs=(second,)))


@BOTH
def test_signatures_of_several_graphs(make: Make) -> None:
    interpreter = make(model_content=several_graphs())
    assert interpreter.get_signature_list() == {
        "square": {"inputs": ["x"], "outputs": ["z"]},
        "twice": {"inputs": ["w"], "outputs": ["y"]},
    }
    square, twice = (interpreter.get_signature_runner(key) for key in ("square", "twice"))
    x = np.array([[1, 2], [3, 4]], np.float32)
    for rows in (x, x[:1]):
        np.testing.assert_array_equal(square(x=rows)["z"], rows * rows)
        np.testing.assert_array_equal(twice(w=rows[0])["y"], 2 * rows[0])
    assert square.get_input_details()["x"]["shape_signature"].tolist() == [-1, 2]
    assert interpreter.get_input_details()[0]["name"] == "w"


def test_signatures_of_several_graphs_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(several_graphs())
    interpreter = ready(Interpreter, tmp_path / "model.tflite")
    square = interpreter.get_signature_runner("square")
    np.testing.assert_array_equal(square(x=np.array([[3, 4]], np.float32))["z"], [[9, 16]])


@BOTH
def test_resizing_to_the_same_shape_changes_nothing(make: Make) -> None:
    interpreter = ready(make, TELEMETRY)
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(detail["index"], np.full(detail["shape"], 2.5, np.float32))
    interpreter.resize_tensor_input(detail["index"], detail["shape"])
    interpreter.invoke()
    assert (interpreter.get_tensor(detail["index"]) == 2.5).all()


@BOTH
def test_tensor_may_be_asked_for_before_there_is_one(make: Make) -> None:
    interpreter = make(model_content=open_batch())
    x, z = (interpreter.tensor(index) for index in (0, 2))
    with pytest.raises(ValueError, match="allocate_tensors"):
        x()
    interpreter.allocate_tensors()
    x()[...] = [[1, -2, 3]]
    interpreter.invoke()
    assert z().tolist() == [[3, -2, 9]]


@BOTH
def test_tensor_gives_the_array_itself(make: Make) -> None:
    interpreter = ready(make, TELEMETRY)
    index = interpreter.get_input_details()[0]["index"]
    view = interpreter.tensor(index)
    view()[...] = 2.5
    assert (interpreter.get_tensor(index) == 2.5).all()
    copy = interpreter.get_tensor(index)
    copy[...] = 0
    assert (view() == 2.5).all()


def test_every_tensor_is_readable_when_asked_for() -> None:
    interpreter = Interpreter(model_content=open_batch(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, np.array([[1, -2, 3]], np.float32))
    interpreter.invoke()
    shapes = [interpreter.get_tensor(d["index"]).shape for d in interpreter.get_tensor_details()]
    assert shapes == [(1, 3)] * 3
    assert len(interpreter.get_output_details()) == 2


@pytest.mark.parametrize("backend", ["cpu", "reference", "tflite"])
def test_a_backend_may_be_chosen(backend: str) -> None:
    interpreter = Interpreter(model_path=DIGITS, backend=backend)
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).dtype == np.int8


# -------------------------------------------------------------------- errors


def fresh(make: Make) -> Any:
    return make(model_path=str(DIGITS))


WRONG: dict[str, tuple[Callable[[Make], Any], type[Exception]]] = {
    "no model": (lambda make: make(), ValueError),
    "two models": (lambda make: make(model_path=str(DIGITS), model_content=open_batch()), ValueError),
    "no file": (lambda make: make(model_path="/nowhere.tflite"), ValueError),
    "no model bytes": (lambda make: make(model_content=b"abcdefgh" * 20), ValueError),
    "no threads": (lambda make: make(model_path=str(DIGITS), num_threads=0), ValueError),
    "threads of text": (lambda make: make(model_path=str(DIGITS), num_threads="2"), ValueError),
    "invoke too early": (lambda make: fresh(make).invoke(), RuntimeError),
    "set too early": (lambda make: fresh(make).set_tensor(0, np.zeros((1, 8, 8, 1), np.int8)), ValueError),
    "get too early": (lambda make: fresh(make).get_tensor(0), ValueError),
    "wrong type": (lambda make: ready(make).set_tensor(0, np.zeros((1, 8, 8, 1), np.float64)), ValueError),
    "wrong shape": (lambda make: ready(make).set_tensor(0, np.zeros((1, 3), np.int8)), ValueError),
    "a scalar": (lambda make: ready(make).set_tensor(0, 3), ValueError),
    "no such tensor": (lambda make: ready(make).get_tensor(9999), ValueError),
    "set no such tensor": (lambda make: ready(make).set_tensor(9999, np.zeros(1, np.int8)), ValueError),
    "resize no such tensor": (lambda make: ready(make).resize_tensor_input(9999, [1]), RuntimeError),
    "strict resize": (
        lambda make: make(model_content=open_batch()).resize_tensor_input(0, [2, 4], strict=True),
        RuntimeError,
    ),
    "no signature": (lambda make: ready(make).get_signature_runner("nope"), ValueError),
    "wrong argument": (
        lambda make: make(model_content=open_batch()).get_signature_runner("serve")(w=np.zeros((1, 3),
        np.float32)), ValueError,
    ),
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_raises_the_same_kind_of_error(name: str, make: Make) -> None:
    act, kind = WRONG[name]
    with pytest.raises(kind) as caught:
        act(make)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"experimental_delegates": [object()]}, "delegates are not supported: choose a backend"),
        ({"backend": "gpu"}, "backend 'gpu' is unknown: expected cpu, tflite, reference"),
    ],
)
def test_what_only_ours_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Interpreter(model_path=DIGITS, **options)


def test_a_shape_that_the_model_cannot_take_is_told_when_it_is_compiled() -> None:
    interpreter = ready(Interpreter)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], [1, 63])
    with pytest.raises(RuntimeError, match="#0"):
        interpreter.allocate_tensors()


# -------------------------------------------------------------------- the file, let go and read again


def copied(path: Path) -> Path:
    source = Path(__file__).parents[2] / "specs" / "models" / "telemetry_ae_f32.tflite"
    path.write_bytes(source.read_bytes())
    return path


def test_constants_are_there_after_the_file_has_lost_its_name(tmp_path: Path) -> None:
    path = copied(tmp_path / "m.tflite")
    ours, content = Interpreter(path), Interpreter(model_content=path.read_bytes())
    before = {i: array.copy() for i, array in ours._arrays.items()}
    path.unlink()
    for interpreter in (ours, content):
        interpreter.allocate_tensors()
        interpreter.invoke()
        assert before
        for index, array in before.items():
            assert np.array_equal(interpreter.get_tensor(index), array)
    shape = ours.get_input_details()[0]["shape"]
    ours.resize_tensor_input(ours.get_input_details()[0]["index"], [2, *shape[1:]])
    ours.allocate_tensors()
    ours.invoke()
    assert ours.get_tensor(ours.get_output_details()[0]["index"]).shape[0] == 2


def test_a_file_that_has_changed_is_not_mixed_with_what_it_was(tmp_path: Path) -> None:
    path = copied(tmp_path / "m.tflite")
    ours = Interpreter(path)
    constant = min(ours._arrays)
    ours.allocate_tensors()
    path.write_bytes(path.read_bytes()[:100])
    ours.invoke()  # the program has all that it needs
    with pytest.raises(ValueError, match=r"m\.tflite: the file has changed since it was opened"):
        ours.get_tensor(constant)
    detail = ours.get_input_details()[0]
    ours.resize_tensor_input(detail["index"], [2, *detail["shape"][1:]])
    with pytest.raises(RuntimeError, match="the file has changed"):
        ours.allocate_tensors()
