"""Floats between DequantizeLinear and QuantizeLinear: operators on integers, within a step of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="reading ONNX needs the onnx package")
pytest.importorskip("onnxruntime", reason="onnxruntime is the judge")

import onnx

import runtime
from runtime.graph import DType
from runtime.importers.onnx import load
from tests.conformance.onnx.case import Array, longs, number, weights, written
from tests.conformance.onnx.judge import compare, oracle

node = onnx.helper.make_node
RNG = np.random.default_rng(5)
IMAGE, ROWS = (1, 4, 6, 7), (3, 8)
ELEMENT = {"int8": onnx.TensorProto.INT8, "uint8": onnx.TensorProto.UINT8}


def stored(dtype: str, *shape: int) -> Array:
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


class Chain:
    """A model being written: integers come in and go out, `floats` gives the floats of constants too."""

    def __init__(self, dtype: str, *shapes: tuple[int, ...]) -> None:
        self.dtype, self.nodes, self.constants = dtype, list[Any](), dict[str, Array]()
        self.shapes = {f"x{i}": shape for i, shape in enumerate(shapes)}

    def constant(self, data: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = data
        return name

    def scales(self, scale: Any, zero: Any, dtype: str | None = None) -> list[str]:
        return [
            self.constant(np.array(scale, np.float32)),
            self.constant(np.array(zero, dtype or self.dtype)),
        ]

    def does(self, op: str, inputs: list[str], **attrs: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        self.nodes.append(node(op, inputs, [name], **attrs))
        return name

    def floats(
        self, name: str, scale: Any = 0.05, zero: Any = 7, dtype: str | None = None, **attrs: Any
    ) -> str:
        return self.does("DequantizeLinear", [name, *self.scales(scale, zero, dtype)], **attrs)

    def integers(self, name: str, scale: float, zero: int = 3) -> str:
        return self.does("QuantizeLinear", [name, *self.scales(scale, zero)])

    def weights(self, *shape: int, scale: Any = 0.01, zero: Any = 0, dtype: str = "int8") -> str:
        return self.floats(self.constant(stored(dtype, *shape)), scale, zero, dtype, axis=0)

    def model(self) -> bytes:
        inputs = [
            onnx.helper.make_tensor_value_info(name, ELEMENT[self.dtype], shape)
            for name, shape in self.shapes.items()
        ]
        self.nodes[-1].output[0] = "y"
        end = onnx.helper.make_empty_tensor_value_info("y")
        held = [onnx.numpy_helper.from_array(data, name) for name, data in self.constants.items()]
        return written(self.nodes, inputs, [end], held)

    def holds(self, *operators: str, steps: int = 1) -> None:
        """Against onnxruntime; the named operators are there, on integers, and no product on floats."""
        model = self.model()
        inputs = {name: stored(self.dtype, *shape) for name, shape in self.shapes.items()}
        compare(model, inputs, "model", steps=steps)
        graph = load(model, "model")
        assert [n.op for n in graph.nodes if n.op in operators] == list(operators)
        assert all(value.dtype is not DType.F32 for value in graph.values if value.data is None)


PAIRS = ("Add", "Sub", "Mul")
BOTH = pytest.mark.parametrize("dtype", ["int8", "uint8"])


@BOTH
@pytest.mark.parametrize("after", ["", "Relu", "Clip"])
@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("weights", ["int8", "uint8", "per channel"])
def test_convolutions(dtype: str, after: str, group: int, weights: str) -> None:
    chain, shape = Chain(dtype, IMAGE), (8, 4 // group, 3, 3)
    if weights == "per channel":
        w = chain.weights(*shape, scale=np.linspace(0.005, 0.02, 8), zero=[0] * 8)
    else:
        w = chain.weights(*shape, zero=0 if weights == "int8" else 120, dtype=weights)
    bias = chain.floats(chain.constant(RNG.integers(-500, 500, 8).astype(np.int32)), 0.0005, 0, "int32")
    y = chain.does("Conv", [chain.floats("x0"), w, bias], group=group, pads=[1, 1, 0, 2])
    if after == "Clip":
        y = chain.does("Clip", [y, chain.constant(number(0)), chain.constant(number(6))])
    elif after:
        y = chain.does(after, [y])
    chain.integers(y, 0.3)
    chain.holds("DEPTHWISE_CONV_2D" if group == 4 else "CONV_2D")


@BOTH
def test_one_convolution_after_the_other_stays_in_integers(dtype: str) -> None:
    """With a sum of both, a pool, and a product of what is left."""
    chain = Chain(dtype, (1, 4, 8, 8))
    x = chain.floats("x0")
    first = chain.does("Conv", [x, chain.weights(6, 4, 3, 3)], pads=[1, 1, 1, 1], strides=[2, 2])
    a = chain.floats(chain.integers(first, 0.2), 0.2, 3)
    second = chain.does("Relu", [chain.does("Conv", [a, chain.weights(6, 6, 1, 1)])])
    b = chain.floats(chain.integers(second, 0.1, 5), 0.1, 5)
    both = chain.floats(chain.integers(chain.does("Add", [a, b]), 0.25), 0.25, 3)
    most = chain.does("MaxPool", [both], kernel_shape=[2, 2], strides=[2, 2])
    pooled = chain.floats(chain.integers(most, 0.25), 0.25, 3)
    mean = chain.does("GlobalAveragePool", [pooled])
    flat = chain.does("Flatten", [chain.floats(chain.integers(mean, 0.2), 0.2, 3)])
    chain.integers(chain.does("Gemm", [flat, chain.weights(5, 6)], transB=1), 0.1)
    chain.holds("CONV_2D", "CONV_2D", "ADD", "MAX_POOL_2D", "MEAN", "FULLY_CONNECTED", steps=3)


@BOTH
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("shapes", [(IMAGE, IMAGE), (ROWS, ROWS), (ROWS, (8,)), (IMAGE, (1, 4, 1, 1))])
def test_two_operands(dtype: str, op: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    chain = Chain(dtype, *shapes)
    y = chain.does(op, [chain.floats("x0"), chain.floats("x1", 0.08, 12)])
    chain.integers(y, 0.15 if op != "Mul" else 0.4)
    chain.holds(op.upper())


@BOTH
@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), IMAGE, (7,), ()])
def test_constants(dtype: str, op: str, shape: tuple[int, ...]) -> None:
    """After a convolution too, where the constant is turned with the sum."""
    chain = Chain(dtype, IMAGE)
    y = chain.does("Conv", [chain.floats("x0"), chain.weights(4, 4, 1, 1)])
    constant = chain.floats(chain.constant(stored(dtype, *shape)), 0.04, 5)
    y = chain.does(op, [chain.floats(chain.integers(y, 0.1), 0.1, 3), constant])
    chain.integers(y, 0.15 if op == "Add" else 1.5)
    chain.holds("CONV_2D", op.upper(), steps=2)


def test_products_of_two_inputs() -> None:
    chain = Chain("int8", (2, 3, 8), (2, 8, 5))
    chain.integers(chain.does("MatMul", [chain.floats("x0"), chain.floats("x1", 0.02, -4)]), 0.4)
    chain.holds("BATCH_MATMUL")


@BOTH
@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_products(dtype: str, batch: tuple[int, ...]) -> None:
    chain = Chain(dtype, (*batch, 8))
    w = chain.floats(
        chain.constant(stored("int8", 8, 5)), np.linspace(0.01, 0.02, 5), [0] * 5, "int8", axis=1
    )
    chain.integers(chain.does("MatMul", [chain.floats("x0"), w]), 0.3)
    chain.holds("FULLY_CONNECTED")


@BOTH
def test_convolutions_over_one_axis(dtype: str) -> None:
    chain = Chain(dtype, (2, 4, 9))
    w = chain.weights(6, 4, 3, scale=np.linspace(0.005, 0.02, 6), zero=[0] * 6)
    chain.integers(chain.does("Conv", [chain.floats("x0"), w], pads=[1, 1]), 0.3)
    chain.holds("CONV_2D")


@BOTH
@pytest.mark.parametrize(
    ("op", "attrs", "operator"),
    [
        ("MaxPool", {"kernel_shape": [2, 2]}, "MAX_POOL_2D"),
        ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2]}, "AVERAGE_POOL_2D"),
        ("GlobalAveragePool", {}, "MEAN"),
        ("Transpose", {"perm": [0, 2, 3, 1]}, "TRANSPOSE"),
        ("Flatten", {}, ""),
        ("Identity", {}, ""),
    ],
)
def test_of_one_scale(dtype: str, op: str, attrs: dict[str, Any], operator: str) -> None:
    chain = Chain(dtype, IMAGE)
    chain.integers(chain.does(op, [chain.floats("x0")], **attrs), 0.05, 7)
    chain.holds(*([operator] if operator else []))


@BOTH
def test_concatenation_takes_all_to_one_scale(dtype: str) -> None:
    chain = Chain(dtype, IMAGE, IMAGE)
    y = chain.does("Concat", [chain.floats("x0"), chain.floats("x1", 0.1, 12)], axis=1)
    chain.integers(y, 0.1, 12)
    chain.holds("QUANTIZE", "CONCATENATION")


@BOTH
def test_pads_and_slices_move_integers(dtype: str) -> None:
    chain = Chain(dtype, IMAGE)
    wide = chain.does("Pad", [chain.floats("x0"), chain.constant(longs(0, 0, 1, 1, 0, 0, 2, 0))])
    part = chain.does("Slice", [wide, *(chain.constant(longs(n)) for n in (1, 5, 2))])
    chain.integers(chain.does("Conv", [part, chain.weights(5, 4, 3, 3)]), 0.3)
    chain.holds("PADV2", "SLICE", "CONV_2D")


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_scales_too_far_apart_are_left_to_floats(scale: float) -> None:
    chain = Chain("int8", ROWS)
    chain.integers(chain.does("MatMul", [chain.floats("x0"), chain.weights(8, 5)]), scale)
    graph = load(chain.model(), "model")
    (product,) = [n for n in graph.nodes if n.op == "FULLY_CONNECTED"]
    assert graph.values[product.outputs[0]].dtype is DType.F32


def test_one_tensor_by_two_scales() -> None:
    chain = Chain("int8", ROWS)
    chain.integers(chain.does("Add", [chain.floats("x0"), chain.floats("x0", 0.2)]), 0.3)
    chain.holds("ADD")


@pytest.mark.parametrize("op", ["Concat", "Relu", "Max", "Less", "ReduceMax", "Clip", "MaxPool", "Abs"])
@pytest.mark.parametrize("first", [False, True])
def test_operators_on_what_is_stored_know_of_no_scales(op: str, first: bool) -> None:
    """Before or after the same integers are read as floats, and on what integers became."""
    chain = Chain("int8", IMAGE)
    attrs = {"Concat": {"axis": 1}, "ReduceMax": {"axes": [2]}, "MaxPool": {"kernel_shape": [2, 2]}}.get(
        op, {}
    )
    other = {"Concat": "x0", "Max": "k", "Less": "k", "Clip": "k"}.get(op)
    chain.constants["k"] = stored("int8")
    floats = "" if first else chain.floats("x0")
    raw = chain.does(op, ["x0", *([other] if other else [])], **attrs)
    floats = floats or chain.floats("x0")
    made = chain.integers(chain.does("Conv", [floats, chain.weights(5, 4, 1, 1)]), 0.3)
    again = chain.does("Max", [made, "k"])
    chain.does(
        "Concat",
        [chain.does("Cast", [chain.does("Flatten", [x], axis=0)], to=6) for x in (raw, again)],
        axis=1,
    )
    compare(chain.model(), {"x0": stored("int8", *IMAGE)}, op, steps=1)


def test_a_dynamic_product_is_one_of_integers() -> None:
    """DynamicQuantizeLinear, MatMulInteger and a product of scales: what onnxruntime's quantiser writes."""
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "w", "zero", "wz"], ["sums"]),
        node("Cast", ["sums"], ["floats"], to=onnx.TensorProto.FLOAT),
        node("Mul", ["scale", "ws"], ["factor"]),
        node("Mul", ["floats", "factor"], ["y"]),
    ]
    constants = {"w": stored("uint8", 8, 5), "wz": number(120, "uint8"), "ws": number(0.02)}
    held = [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ROWS)
    model = written(nodes, [x], [onnx.helper.make_empty_tensor_value_info("y")], held)
    compare(model, {"x": RNG.normal(size=ROWS).astype(np.float32)}, "model")
    products = [n for n in load(model, "model").nodes if n.op == "FULLY_CONNECTED"]
    assert [load(model, "model").values[n.outputs[0]].dtype for n in products] == [DType.I32]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Conv", "MatMul", "Concat", "GlobalAveragePool"])
@BOTH
def test_any_scales_and_zero_points(dtype: str, op: str) -> None:
    """Within a step, whether integers have the room for it or floats have to do."""
    rng, limits = np.random.default_rng(11), np.iinfo(dtype)
    for _ in range(25):
        scales = 2.0 ** rng.uniform(-9, 9, 4)
        zeros = [
            int(rng.choice([limits.min, limits.max, rng.integers(limits.min, limits.max)])) for _ in "abc"
        ]
        chain = Chain(dtype, *(IMAGE if op != "MatMul" else ROWS,) * (2 if op in ("Concat", *PAIRS) else 1))
        operands = [chain.floats(name, scales[i], zeros[i]) for i, name in enumerate(chain.shapes)]
        if op == "Conv":
            operands.append(chain.weights(4, 4, 3, 3, scale=scales / 100, zero=[0] * 4))
        elif op == "MatMul":
            operands.append(chain.weights(8, 5, scale=scales[2]))
        chain.integers(
            chain.does(op, operands, **({"axis": 1} if op == "Concat" else {})), scales[3], zeros[2]
        )
        inputs = {name: stored(dtype, *shape) for name, shape in chain.shapes.items()}
        compare(chain.model(), inputs, f"{op} {scales} {zeros}", steps=1)


def network() -> bytes:
    constants = {
        "a": weights(8, 3, 3, 3), "d": weights(8, 1, 3, 3), "p": weights(6, 8, 1, 1), "f": weights(6, 5),
        "g": weights(5), "low": number(0), "high": number(6),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "a"], ["c0"], pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Relu", ["c0"], ["c"]),
        node("Conv", ["c", "d"], ["d0"], pads=[1, 1, 1, 1], group=8),
        node("Clip", ["d0", "low", "high"], ["d1"]),
        node("Add", ["c", "d1"], ["s"]),
        node("Conv", ["s", "p"], ["p0"]),
        node("Sigmoid", ["p0"], ["p1"]),
        node("Mul", ["p0", "p1"], ["p2"]),
        node("GlobalAveragePool", ["p2"], ["m"]),
        node("Flatten", ["m"], ["l"]),
        node("Gemm", ["l", "f", "g"], ["y"]),
    ]
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 3, 12, 12))
    held = [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()]
    return written(nodes, [x], [onnx.helper.make_tensor_value_info("y", 1, (1, 5))], held)


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_what_the_quantiser_of_onnxruntime_writes(
    tmp_path: Path, form: str, activations: str, per_channel: bool
) -> None:
    """On operators of integers; by how much the result differs is a few steps of its scale."""
    tools = pytest.importorskip("onnxruntime.quantization")
    source, target = tmp_path / "float.onnx", tmp_path / "quantised.onnx"
    source.write_bytes(network())
    inputs = [{"x": RNG.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(9)]

    class Inputs(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, Array] | None:
            return inputs.pop() if len(inputs) > 1 else None

    if form == "dynamic":
        tools.quantize_dynamic(source, target, weight_type=tools.QuantType.QInt8, per_channel=per_channel)
    else:
        tools.quantize_static(
            source,
            target,
            Inputs(),
            quant_format=tools.QuantFormat[form],
            activation_type=tools.QuantType[activations],
            weight_type=tools.QuantType.QInt8,
            per_channel=per_channel,
        )
    model = target.read_bytes()
    (wanted,) = oracle(model, inputs[0])
    (found,) = runtime.load(model, "cpu").run(inputs[0]).values()
    np.testing.assert_allclose(found, wanted, atol=np.abs(wanted).max() / 25)
    graph = load(model, "model")
    products = [n.op for n in graph.nodes if graph.values[n.outputs[0]].dtype is not DType.F32]
    known = ["FULLY_CONNECTED"] if form == "dynamic" else ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"]
    assert [op for op in products if op in known] == known
