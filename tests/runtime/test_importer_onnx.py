"""The ONNX importer: whole models against onnxruntime, what it says of a broken file, that nothing else
escapes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="reading ONNX needs the onnx package")
pytest.importorskip("onnxruntime", reason="onnxruntime is the judge")

import onnx

import runtime
from runtime.errors import ModelError, UnsupportedError
from runtime.importers import declared_shapes, format_of
from runtime.importers.onnx import load
from runtime.infer import infer
from tests.conformance.onnx import CASES, control, integer
from tests.conformance.onnx.case import Array, longs, number, weights, written
from tests.conformance.onnx.control import GROW, ONCE, PAIR, SWAP, does, graph
from tests.conformance.onnx.judge import WaitingError, compare, oracle
from tests.mutate_onnx import mutate as mutate
from tests.runtime.pipeline import survive

FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
node = onnx.helper.make_node
RNG = np.random.default_rng(0)


def tensor(name: str, *shape: int | str, dtype: int = FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, dtype, shape)


def model(nodes: list[Any], inputs: list[Any], constants: dict[str, Array], opset: int = 17) -> bytes:
    """A model whose outputs are the last node's."""
    held = [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()]
    ends = [onnx.helper.make_empty_tensor_value_info(name) for name in nodes[-1].output]
    return written(nodes, inputs, ends, held, opset)


def drawn(**shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


# ---------------------------------------------------------------- whole models


def convolutional(batch: int | str = 1) -> bytes:
    constants = {
        "w": weights(8, 3, 3, 3), "b": weights(8), "scale": weights(8, seed=1), "shift": weights(8, seed=2),
        "mean": weights(8, seed=3), "var": np.abs(weights(8, seed=4)) + np.float32(0.5),
        "dw": weights(8, 1, 3, 3), "fc": weights(8, 5), "fb": weights(5),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "dw"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("Add", ["d", "r"], ["s"]),
        node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "fc", "fb"], ["l"]),
        node("Softmax", ["l"], ["y"]),
    ]
    return model(nodes, [tensor("x", batch, 3, 12, 12)], constants)


def attention() -> bytes:
    """A block of self-attention that works out its shapes from its input, as exporters write it."""
    constants = {
        "wq": weights(8, 8, seed=1), "wk": weights(8, 8, seed=2), "wv": weights(8, 8, seed=3),
        "one": longs(1), "zero": longs(0), "heads": longs(2, 4), "width": longs(8), "root": number(2.0),
        "gamma": weights(8, seed=4), "beta": weights(8, seed=5),
    }  # fmt: skip
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"]),
        node("Slice", ["shape", "one", "two"], ["length"]),
        node("Concat", ["batch", "length", "heads"], ["split"], axis=0),
        node("Concat", ["batch", "length", "width"], ["joined"], axis=0),
    ]
    constants["two"] = longs(2)
    for letter in "qkv":
        nodes += [
            node("MatMul", ["x", f"w{letter}"], [f"{letter}0"]),
            node("Reshape", [f"{letter}0", "split"], [f"{letter}1"]),
            node("Transpose", [f"{letter}1"], [letter], perm=[0, 2, 3, 1] if letter == "k" else [0, 2, 1, 3]),
        ]
    nodes += [
        node("MatMul", ["q", "k"], ["scores"]),
        node("Div", ["scores", "root"], ["scaled"]),
        node("Softmax", ["scaled"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "joined"], ["rows"]),
        node("Add", ["rows", "x"], ["sum"]),
        node("LayerNormalization", ["sum", "gamma", "beta"], ["y"]),
    ]
    return model(nodes, [tensor("x", "batch", "length", 8)], constants)


def quantised() -> bytes:
    """QuantizeLinear and DequantizeLinear around a convolution and a product, weights per channel."""
    stored = RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
    constants = {
        "xs": number(0.05), "xz": number(3, "int8"), "w": stored, "b": np.arange(4, dtype=np.int32) * 100,
        "ws": np.array([0.01, 0.02, 0.03, 0.015], np.float32), "wz": np.zeros(4, np.int8),
        "bs": np.array([0.01, 0.02, 0.03, 0.015], np.float32) * np.float32(0.05), "bz": np.zeros(4, np.int32),
        "ys": number(0.4), "yz": number(-7, "int8"),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("QuantizeLinear", ["r", "ys", "yz"], ["y"]),
    ]
    return model(nodes, [tensor("x", 1, 3, 8, 8)], constants)


def half_weights() -> bytes:
    nodes = [node("Cast", ["w"], ["wide"], to=FLOAT), node("MatMul", ["x", "wide"], ["y"])]
    return model(nodes, [tensor("x", 3, 4)], {"w": weights(4, 5).astype(np.float16)})


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (convolutional, (1, 3, 12, 12)),
        (attention, (1, 1, 8)),
        (quantised, (1, 3, 8, 8)),
        (half_weights, (3, 4)),
    ],
)
def test_whole_models(made: Callable[[], bytes], shape: tuple[int, ...]) -> None:
    try:
        compare(made(), drawn(x=shape), made.__name__, steps=1)
    except WaitingError as error:
        pytest.skip(str(error))


AFTER: list[tuple[str, dict[str, Array], dict[str, Any]]] = [
    ("Relu", {}, {}),
    ("Mul", {"k": weights(4, 1, 1)}, {}),
    ("Mul", {"k": weights(1, 1, 1, 1)}, {}),
    ("Add", {"k": weights(4, 1, 1)}, {}),
    ("Add", {"k": weights(1, 4, 6, 6)}, {}),
    ("Add", {"k": weights(6)}, {}),
    ("Mul", {"k": weights(2, 1, 4, 1, 1)[0]}, {}),
    ("Pad", {"p": longs(0, 1, 2, 0, 0, 0, 1, 3)}, {}),
    ("Pad", {"p": longs(0, 1, 2, 0, 0, 0, 1, 3), "v": number(2)}, {}),
    ("Slice", {"a": longs(1, 2), "b": longs(3, 5), "c": longs(1, 3)}, {}),
    ("Slice", {"a": longs(3, 5), "b": longs(0, -99), "c": longs(1, 3), "d": longs(-1, -2)}, {}),
    ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 1}),
    ("ReduceMean", {}, {"axes": [2, 3], "keepdims": 0}),
    ("ReduceMax", {}, {"axes": [1], "keepdims": 0}),
    ("ReduceSum", {"axes": longs(-1, 0)}, {"keepdims": 0}),
    ("Softmax", {}, {"axis": 1}),
    ("Softmax", {}, {"axis": 2}),
    ("Transpose", {}, {"perm": [0, 3, 1, 2]}),
    ("Reshape", {"s": longs(1, 2, 2, 6, 6)}, {}),
    ("Concat", {"k": weights(1, 3, 6, 6)}, {"axis": 1}),
    ("Concat", {"k": weights(1, 4, 2, 6)}, {"axis": -2}),
]


@pytest.mark.parametrize(("op", "constants", "attrs"), AFTER)
def test_what_stands_between_two_convolutions(
    op: str, constants: dict[str, Array], attrs: dict[str, Any]
) -> None:
    """Alone and before a second operator of images, where the result is one."""
    nodes = [node("Conv", ["x", "kernel", "bias"], ["y0"]), node(op, ["y0", *constants], ["m"], **attrs)]
    held = {"kernel": weights(4, 3, 3, 3), "bias": weights(4, seed=1), **constants}
    inputs = drawn(x=(1, 3, 8, 8))
    end = model(nodes, [tensor("x", 1, 3, 8, 8)], held)
    compare(end, inputs, op)
    if len(oracle(end, inputs)[0].shape) == 4:
        nodes.append(node("MaxPool", ["m"], ["y"], kernel_shape=[1, 1]))
        compare(model(nodes, [tensor("x", 1, 3, 8, 8)], held), inputs, op)


def test_a_convolutional_network_has_no_transposes_inside() -> None:
    """One on the way in; factors, biases and activations are part of the convolutions."""
    operators = [node.op for node in load(convolutional(), "model").nodes]
    assert operators == [
        "TRANSPOSE", "PAD", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MAX_POOL_2D", "MEAN", "TRANSPOSE",
        "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 5, 8)])
def test_open_dimensions_take_the_shape_that_the_caller_gives(shape: tuple[int, ...]) -> None:
    inputs = drawn(x=shape)
    (wanted,) = oracle(attention(), inputs)
    program = runtime.load(attention(), "cpu", input_shapes={0: shape})
    np.testing.assert_allclose(program.run(inputs)["y"], wanted, atol=1e-5)


def test_interpreter_and_load_take_a_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(convolutional("batch"))
    inputs = drawn(x=(2, 3, 12, 12))
    (wanted,) = oracle(path.read_bytes(), inputs)
    interpreter = runtime.Interpreter(str(path))
    (given_,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given_["name"], end["name"]) == ("x", "y")
    assert list(given_["shape_signature"]) == [-1, 3, 12, 12] and list(given_["shape"]) == [1, 3, 12, 12]
    interpreter.resize_tensor_input(given_["index"], (2, 3, 12, 12), strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given_["index"], inputs["x"])
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(end["index"]), wanted, atol=1e-5)
    assert runtime.load(path).backend == "cpu"


def test_a_task_takes_a_file(tmp_path: Path) -> None:
    """`walle run`: the autoencoder of a task that comes with the project, replaced by one in ONNX."""
    source = Path(__file__).parents[2] / "specs" / "tasks" / "telemetry"
    folder = shutil.copytree(source, tmp_path / "telemetry")
    nodes = [node("Gemm", ["x", "w"], ["h"], transB=1), node("Sigmoid", ["h"], ["y"])]
    (folder / "net.onnx").write_bytes(model(nodes, [tensor("x", 1, 8)], {"w": weights(8, 8)}))
    spec = folder / "telemetry.toml"
    spec.write_text(spec.read_text().replace("telemetry_ae_f32.tflite", "net.onnx"))
    command = [sys.executable, "-m", "walle_cli", "run", str(spec), "--replay", str(folder / "quiet.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and '"error":' in done.stdout, done.stderr


def test_outputs_that_are_inputs_constants_or_each_other_are_copies() -> None:
    nodes = [node("Identity", ["x"], ["a"]), node("Identity", ["a"], ["b"]), node("Shape", ["x"], ["c"])]
    ends = [onnx.helper.make_empty_tensor_value_info(name) for name in "abc"]
    compare(written(nodes, [tensor("x", 2, 3)], ends, []), drawn(x=(2, 3)), "copies")


def test_the_format_is_told_by_name_or_content() -> None:
    data = convolutional()
    assert format_of(data, "model") == format_of(b"", "net.onnx") == "onnx"
    assert format_of(b"\x08\x00\x00\x00TFL3", "net.onnx") == format_of(b"", "model") == "tflite"
    assert declared_shapes(convolutional("batch"), "model") == {0: (-1, 3, 12, 12)}


# ---------------------------------------------------------------- what is refused


def test_the_package_is_imported_when_a_file_asks_for_it() -> None:
    code = "import sys, runtime; assert not {'onnx', 'runtime.importers.onnx'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = convolutional()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'walle-edge\[onnx\]'"):
        load(data, "model")


def single(op: str, inputs: list[str], constants: dict[str, Array], opset: int = 17, **attrs: Any) -> bytes:
    return model([node(op, inputs, ["y"], **attrs)], [tensor("x", 2, 3, 8, 8)], constants, opset)


def external() -> bytes:
    made = onnx.ModelProto.FromString(convolutional())
    made.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    data: bytes = made.SerializeToString()
    return data


def short() -> bytes:
    made = onnx.ModelProto.FromString(convolutional())
    made.graph.initializer[0].raw_data = b"1234"
    data: bytes = made.SerializeToString()
    return data


@pytest.mark.parametrize(
    "kind",
    [
        "float32",
        "float64",
        "float16",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "bool",
    ],
)
def test_constants_that_are_no_raw_bytes(kind: str) -> None:
    data = np.array([0, 1, 100], kind)
    if data.dtype.kind in "iu":
        data[:2] = np.iinfo(kind).min, np.iinfo(kind).max
    number = onnx.helper.np_dtype_to_tensor_dtype(data.dtype)
    made = onnx.ModelProto.FromString(model([node("Identity", ["c"], ["y"])], [], {"c": data}))
    made.graph.initializer[0].CopyFrom(onnx.helper.make_tensor("c", number, (3,), data.tolist()))
    graph = load(made.SerializeToString(), "m")
    held = {
        value.data.tobytes()
        for value in graph.values
        if value.data is not None and value.data.dtype == data.dtype
    }
    assert data.tobytes() in held


W = weights(4, 3, 3, 3)
REFUSED: list[tuple[bytes, type[Exception], str]] = [
    (b"\x08\x07", ModelError, "the model has no graph"),
    (b"\x08", ModelError, "no ONNX model that can be read"),
    (external(), UnsupportedError, "constant 'w': data in another file; save the model as one file"),
    (short(), ModelError, r"constant 'w': 4 bytes of data, expected 864 for f32 \(8, 3, 3, 3\)"),
    (single("Relu", ["x"], {}, opset=12), UnsupportedError, r"opset 12, expected 13..22"),
    (single("Relu", ["x"], {}, opset=23), UnsupportedError, r"opset 23, expected 13..22"),
    (single("Nothing", ["x"], {}), UnsupportedError, "Nothing#0: operator Nothing is not known"),
    (single("Relu", ["q"], {}), ModelError, "Relu#0: input 'q' is not produced before it is used"),
    (single("Relu", ["x", "x"], {}), ModelError, r"Relu#0: 2 inputs, expected 1..1"),
    (single("Relu", ["x"], {}, alpha=1.0), UnsupportedError, "attribute 'alpha' is not known"),
    (single("Conv", ["x", "w"], {"w": W}, group=2), ModelError, "in 2 groups do not fit an input"),
    (single("Conv", ["x", "w"], {"w": W}, group=0), ModelError, "in 0 groups do not fit an input"),
    (single("Conv", ["x", "w"], {"w": W}, strides=[0, 1]), ModelError, r"strides = \(0, 1\)"),
    (single("Conv", ["x", "w"], {"w": W}, pads=[-1, 0, 0, 0]), ModelError, r"pads = \(-1, 0, 0, 0\)"),
    (single("Conv", ["x", "w"], {"w": W}, dilations=[9, 9]), ModelError, "does not fit an axis of 8"),
    (single("Conv", ["x", "w"], {"w": W}, auto_pad="ODD"), UnsupportedError, "auto_pad = 'ODD'"),
    (single("Conv", ["x", "w"], {"w": W}, group="2"), ModelError, "'group' is STRING, expected INT"),
    (single("Conv", ["x", "w", "b"], {"w": W, "b": longs(1)}), ModelError, "bias has shape"),
    (single("Reshape", ["x", "s"], {"s": longs(5, 5)}), ModelError, r"do not fill \(5, 5\)"),
    (single("Reshape", ["x", "s"], {"s": longs(-1, -1)}), ModelError, "at most one -1"),
    (single("Transpose", ["x"], {}, perm=[0, 1, 2, 2]), ModelError, "perm"),
    (single("Concat", ["x", "x"], {}, axis=4), ModelError, "axis 4 is outside -4..3"),
    (single("Gather", ["x", "i"], {"i": longs(9)}), ModelError, "index of input 1 is outside the 2 elements"),
    (single("Squeeze", ["x", "s"], {"s": longs(1)}), ModelError, "are not all of size 1"),
    (single("MatMul", ["x", "w"], {"w": weights(5, 5)}), ModelError, "inner sizes 8 and 5 differ"),
    (single("MaxPool", ["x"], {}), ModelError, "expected rank >= 3 and a kernel"),
    (single("MaxPool", ["x"], {}, kernel_shape=[2, 2], pads=[2, 0, 0, 0]), ModelError, "as large as the win"),
]  # fmt: skip


GROWS = graph(
    "i:trip b:on f:x", [does("Identity", "on", "again"), does("Concat", "x,x", "y", axis=0)], "b:again f:y"
)
TAKES, GIVES = graph("f:x", [does("Neg", "x", "y")], "f:y"), graph("", [does("Neg", "x", "y")], "f:y")
FLAT, LOST = graph("", [does("Flatten", "x", "y")], "f:y"), graph("", [], "f:none")
YES, T = np.array(True), number(3, "int64")
REFUSED += [
    (single("Loop", ["x", ""], {}), ModelError, "Loop#0: body is left out, but it is not optional"),
    (single("Loop", ["", "", "x"], {}, body=TAKES), ModelError, "a graph of 1 inputs, expected 3"),
    (single("Loop", ["x", "", "x"], {}, body=SWAP), ModelError, "a graph of 4 inputs, expected 3"),
    (single("Loop", ["x", "", "x"], {}, body=GROW), ModelError, "input 'outer 0' is not produced before"),
    (single("Loop", ["t", "", "x"], {"t": T}, body=GROWS), UnsupportedError, "its shape is"),
    (single("Loop", ["x", "", "x"], {}, body=GROWS), ModelError, "input 0 is f32 .*, expected one i64"),
    (
        single("Loop", ["", "", "x", "x"], {}, body=SWAP),
        UnsupportedError,
        "9223372036854775807 trips, at most",
    ),
    (single("Loop", ["", "i", "x"], {"i": ~YES}, body=ONCE), UnsupportedError, "stacks what no trips give"),
    (single("If", ["x"], {}, then_branch=GIVES, else_branch=GIVES), ModelError, "expected a bool of one"),
    (
        single("If", ["t"], {"t": YES}, then_branch=TAKES, else_branch=GIVES),
        ModelError,
        "a branch has inputs",
    ),
    (single("If", ["t"], {"t": YES}, then_branch=LOST, else_branch=GIVES), ModelError, "produced by no node"),
    (single("Scan", ["x"], {}, body=TAKES), ModelError, r"num_scan_inputs = 0, expected 1..1"),
    (single("Scan", ["x"], {}, body=TAKES, num_scan_inputs=2), ModelError, "num_scan_inputs = 2, expected"),
    (
        single("Scan", ["x"], {}, body=TAKES, num_scan_inputs=1, scan_input_axes=[4]),
        ModelError,
        "axis 4 is out",
    ),
    (
        single("Scan", ["x"], {}, body=TAKES, num_scan_inputs=1, scan_input_axes=[0, 1]),
        ModelError,
        "expected 1 n",
    ),
    (
        single("Scan", ["x", "x"], {}, body=PAIR, num_scan_inputs=2, scan_input_axes=[0, 1]),
        ModelError,
        "sequences of .* elements, expected one number",
    ),
]


def test_branches_of_different_shapes_are_refused() -> None:
    nodes = [
        node("ReduceMax", ["x"], ["most"], keepdims=0),
        node("Greater", ["most", "zero"], ["test"]),
        node("If", ["test"], ["y"], then_branch=GIVES, else_branch=FLAT),
    ]
    with pytest.raises(UnsupportedError, match="by what happens at run time"):
        load(model(nodes, [tensor("x", 1, 3, 8)], {"zero": number(0)}), "model")


def test_graphs_inside_each_other_have_a_bound() -> None:
    inner = GIVES
    for _ in range(20):
        inner = graph("", [does("If", "test", "y", then_branch=inner, else_branch=GIVES)], "f:y")
    test = onnx.helper.make_tensor_value_info("test", onnx.TensorProto.BOOL, ())
    nodes = [node("If", ["test"], ["y"], then_branch=inner, else_branch=GIVES)]
    with pytest.raises(ModelError, match="graphs inside each other more than 16 deep"):
        load(model(nodes, [tensor("x", 1, 3, 8), test], {}), "model")


@pytest.mark.parametrize(("data", "error", "message"), REFUSED)
def test_what_is_wrong_is_told(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        infer(load(data, "model"))


def test_an_input_of_another_rank_is_refused() -> None:
    with pytest.raises(ModelError, match=r"input 'x' has rank 4, got shape \(1, 3\)"):
        load(convolutional(), "model", {0: (1, 3)})


# ---------------------------------------------------------------- fuzzing


def seeds() -> list[bytes]:
    """Whole models, and each operator on its own."""
    single = {case.op: case.model(case.opsets[0]) for case in CASES}
    inside = [case.model(17) for case in (*control.CASES[::5], *integer.CASES[::3])]
    return [convolutional(), attention(), quantised(), half_weights(), *single.values(), *inside]


def fuzz(data: bytes) -> None:
    survive(data, "fuzz.onnx")


SEEDS = seeds()


@settings(max_examples=400, deadline=None)
@given(st.integers(0, len(SEEDS) - 1), st.integers(0, 2**32), st.integers(1, 8))
def test_mutations(which: int, seed: int, changes: int) -> None:
    data, rng = bytearray(SEEDS[which]), Random(seed)
    for _ in range(changes):
        data[rng.randrange(len(data))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    fuzz(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    fuzz(b"\x08\x08:" + noise)
