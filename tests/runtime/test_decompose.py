"""Each operator as generated models: shapes, decomposition and atoms against TFLite's reference kernels.

Floats agree within 1e-5 of the output's scale, integers exactly; the few rows that may differ by one step say
so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from runtime.backends import reference
from runtime.decompose import RULES, decompose
from runtime.errors import UnsupportedError
from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, Row, TensorSpec
from runtime.graph import Graph
from runtime.importers.tflite import load
from runtime.operators import OPERATORS
from runtime.shapes import infer
from runtime.simplify import simplify
from runtime.verify import check

Array = np.ndarray[Any, np.dtype[Any]]

MORE_ROWS = {
    "ABS": Row("AbsOptions"),
    "NEG": Row("NegOptions"),
    "EXP": Row("ExpOptions"),
    "SQRT": Row(),
    "RSQRT": Row(),
    "RELU_N1_TO_1": Row(),
    "LEAKY_RELU": Row("LeakyReluOptions", {"alpha": 0.1}),
    "HARD_SWISH": Row("HardSwishOptions"),
    "SQUARED_DIFFERENCE": Row("SquaredDifferenceOptions"),
    "EXPAND_DIMS": Row("ExpandDimsOptions"),
    "PADV2": Row("PadV2Options"),
    "SLICE": Row("SliceOptions"),
    "STRIDED_SLICE": Row(
        "StridedSliceOptions",
        {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0},
    ),
    "SPLIT": Row("SplitOptions", {"num_splits": 1}),
    "PACK": Row("PackOptions", {"values_count": 1, "axis": 0}),
    "GATHER": Row("GatherOptions", {"axis": 0}),
    "BATCH_MATMUL": Row("BatchMatMulOptions", {"adj_x": False, "adj_y": False}),
    "SUM": Row("ReducerOptions", {"keep_dims": False}),
    "REDUCE_MAX": Row("ReducerOptions", {"keep_dims": False}),
    "ARG_MAX": Row("ArgMaxOptions", {"output_type": 2}),
    "CAST": Row("CastOptions"),
}
"""Operators that the project reads but never writes."""


@dataclass(frozen=True)
class X:
    """A model input of the case's type, uniform in `span` when float."""

    shape: tuple[int, ...]
    span: tuple[float, float] = (-3.0, 3.0)


@dataclass(frozen=True)
class W:
    """Constant weights: in int8 one scale per slice of `axis` (None: one for all), in uint8 a zero point."""

    shape: tuple[int, ...]
    axis: int | None = 0


@dataclass(frozen=True)
class B:
    """A constant bias: int32 on the scale of input times weights under integer types."""

    size: int


Operand = X | W | B | Array | None


@dataclass(frozen=True)
class Case:
    """One operator and the element types to try it on. `same` keeps one quantisation through the operator."""

    op: str
    operands: tuple[Operand, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    types: tuple[str, ...] = ("float32", "int8", "uint8")
    same: bool = False
    outputs: int = 1
    out_type: str | None = None
    out_scale: tuple[float, int] | None = None
    steps: int = 0

    def __str__(self) -> str:
        shapes = [str(list(o.shape)) for o in self.operands if isinstance(o, X | W)]
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.op, *shapes, *options]).replace(" ", "")


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


F, SAME, VALID = ("float32",), {"padding": "SAME"}, {"padding": "VALID"}
ALL = ("float32", "int8", "uint8")
RELU, RELU6 = {"fused_activation_function": "RELU"}, {"fused_activation_function": "RELU6"}
N1 = {"fused_activation_function": "RELU_N1_TO_1"}
STRIDED, DILATED = {"stride_h": 2, "stride_w": 3}, {"dilation_h_factor": 2, "dilation_w_factor": 3}
IMAGE = X((2, 7, 9, 4))
SIGMOID_SCALE, TANH_SCALE = (1 / 256, -128), (1 / 128, 0)


def conv(x: X, w: W, **options: Any) -> Case:
    return Case("CONV_2D", (x, w, B(w.shape[0])), options)


def depthwise(x: X, w: W, **options: Any) -> Case:
    return Case("DEPTHWISE_CONV_2D", (x, w, B(w.shape[3])), options)


CASES = [
    conv(IMAGE, W((5, 3, 3, 4)), **SAME),
    conv(IMAGE, W((5, 3, 3, 4)), **VALID, **RELU),
    conv(IMAGE, W((5, 1, 1, 4)), **VALID, **RELU6),
    conv(IMAGE, W((5, 1, 1, 4)), **SAME, **STRIDED),
    conv(IMAGE, W((5, 2, 3, 4), None), **SAME, **STRIDED, **N1),
    conv(IMAGE, W((5, 3, 2, 4)), **VALID, **DILATED),
    conv(IMAGE, W((5, 3, 2, 4)), **SAME, **DILATED),
    conv(X((1, 3, 3, 2)), W((3, 5, 5, 2)), **SAME),
    Case("CONV_2D", (IMAGE, W((6, 3, 3, 2)), B(6)), {**SAME, **RELU}, types=("float32", "int8")),
    depthwise(IMAGE, W((1, 3, 3, 4), 3), **SAME, depth_multiplier=1),
    depthwise(IMAGE, W((1, 3, 3, 4), 3), **VALID, **RELU6, depth_multiplier=1),
    depthwise(IMAGE, W((1, 3, 3, 8), 3), **SAME, stride_h=2, stride_w=2, depth_multiplier=2),
    depthwise(IMAGE, W((1, 3, 2, 4), 3), **SAME, **DILATED, depth_multiplier=1),
    depthwise(X((2, 5, 5, 1)), W((1, 3, 3, 6), 3), **SAME, **RELU, depth_multiplier=6),
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), None), B(5))),
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), None), B(5)), RELU),
    Case("FULLY_CONNECTED", (X((2, 3, 8)), W((5, 8), None), B(5)), {"keep_num_dims": True, **RELU6}),
    Case("FULLY_CONNECTED", (X((2, 3, 8)), W((5, 12), None), None)),
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), 0), B(5)), types=("int8",)),
    Case("BATCH_MATMUL", (X((2, 3, 4, 5)), X((2, 3, 5, 6))), types=F),
    Case("BATCH_MATMUL", (X((3, 4, 5)), X((3, 6, 5))), {"adj_y": True}, types=F),
    Case("BATCH_MATMUL", (X((3, 5, 4)), X((5, 6))), {"adj_x": True}, types=F),
    Case("AVERAGE_POOL_2D", (IMAGE,), {**SAME, **STRIDED, "filter_height": 3, "filter_width": 4}, same=True),
    Case("AVERAGE_POOL_2D", (IMAGE,), {**VALID, **RELU6, "filter_height": 7, "filter_width": 9}, same=True),
    Case("MAX_POOL_2D", (IMAGE,), {**SAME, **STRIDED, "filter_height": 3, "filter_width": 4}, same=True),
    Case("MAX_POOL_2D", (IMAGE,), {**VALID, **RELU, "filter_height": 2, "filter_width": 2}, same=True),
    *(
        Case(op, (X(a), X(b)), options, types)
        for op, types in (("ADD", (*ALL, "int32")), ("SUB", (*ALL, "int32")), ("MUL", (*ALL, "int32")))
        for a, b, options in (
            ((2, 5, 3), (2, 5, 3), {}),
            ((2, 5, 3), (3,), RELU),
            ((2, 1, 3), (5, 1), RELU6),
            ((1,), (2, 3), N1),
        )
    ),
    Case("DIV", (X((2, 5)), X((2, 1), (0.5, 2.0))), RELU, types=F),
    Case("MAXIMUM", (X((2, 5)), X((2, 1))), types=(*ALL, "int32"), same=True),
    Case("MINIMUM", (X((2, 5)), X((5,))), types=(*ALL, "int32"), same=True),
    Case("SQUARED_DIFFERENCE", (X((2, 5)), X((2, 1))), types=("float32", "int32")),
    *(Case(op, (X((4, 64)),)) for op in ("RELU", "RELU6", "LEAKY_RELU")),
    Case("RELU_N1_TO_1", (X((4, 64)),), types=F),
    Case("HARD_SWISH", (X((4, 64)),), steps=1),
    Case("LOGISTIC", (X((4, 64), (-9, 9)),), out_scale=SIGMOID_SCALE),
    Case("TANH", (X((4, 64)),), out_scale=TANH_SCALE),
    Case("ABS", (X((4, 64)),), types=("float32", "int8")),
    Case("NEG", (X((4, 64)),), types=("float32", "int32")),
    Case("EXP", (X((4, 64)),), types=F),
    Case("SQRT", (X((4, 64), (0.0, 9.0)),), types=F),
    Case("RSQRT", (X((4, 64), (0.1, 9.0)),), types=F),
    *(
        Case("SOFTMAX", (X(shape, (-9, 9)),), {"beta": beta}, out_scale=(1 / 256, -128))
        for shape, beta in (((3, 10), 1.0), ((2, 3, 4, 5), 0.5), ((1, 1001), 2.0))
    ),
    Case("RESHAPE", (X((2, 3, 4)), ints(4, -1)), {"new_shape": (4, 6)}, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), {"squeeze_dims": (0, -2)}, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), same=True),
    Case("EXPAND_DIMS", (X((3, 4)), ints(-1)), types=F, same=True),
    Case("TRANSPOSE", (X((2, 3, 4, 5)), ints(3, 1, 0, 2)), same=True),
    Case("CONCATENATION", (X((2, 3, 4)), X((2, 1, 4)), X((2, 2, 4))), {"axis": 1}, same=True),
    Case("CONCATENATION", (X((2, 3)), X((2, 3))), {"axis": -1}, types=("uint8",)),
    Case("PAD", (X((2, 3, 4)), ints(0, 0, 1, 2, 3, 0).reshape(3, 2)), same=True),
    Case("PAD", (X((2, 3, 4)), ints(0, 0, 1, 2, 3, 0).reshape(3, 2)), types=("int8", "uint8")),
    Case("PADV2", (X((2, 3)), ints(1, 2, 3, 0).reshape(2, 2), np.array(7.5, np.float32)), types=F),
    Case("SLICE", (X((4, 5, 6)), ints(1, 0, 2), ints(2, -1, 3)), same=True),
    Case("STRIDED_SLICE", (X((4, 5, 6)), ints(1, 4, 0), ints(3, 0, 6), ints(1, -2, 2)), same=True),
    Case(
        "STRIDED_SLICE",
        (X((4, 5, 6)), ints(-1, 2, 9), ints(0, -1, -9), ints(1, 1, -1)),
        {"shrink_axis_mask": 1, "end_mask": 2, "begin_mask": 4},
        same=True,
    ),
    Case("SPLIT", (ints(1), X((2, 6, 3))), {"num_splits": 3}, outputs=3, same=True),
    Case("PACK", (X((2, 3)), X((2, 3)), X((2, 3))), {"values_count": 3, "axis": 1}, same=True),
    Case("GATHER", (X((5, 3)), ints(4, 0, 0, 2).reshape(2, 2)), same=True),
    *(
        Case(op, (X(shape), ints(*axes)), {"keep_dims": keep}, types)
        for op, types in (("MEAN", ALL), ("SUM", ("float32", "uint8", "int32")))
        for shape, axes, keep in (
            ((2, 3, 4, 5), (1, 2), True),
            ((2, 3, 4, 5), (1, 2), False),
            ((2, 3, 4, 5), (-1, 0), False),
            ((6, 7), (1,), True),
        )
    ),
    Case("REDUCE_MAX", (X((2, 3, 4)), ints(2, 0)), {"keep_dims": True}, same=True),
    Case("ARG_MAX", (X((2, 3, 4)), ints(1)), out_type="int32", types=("float32", "int8", "uint8")),
    Case("QUANTIZE", (X((4, 64)),), out_type="int8", types=("float32", "int8", "uint8")),
    Case("QUANTIZE", (X((4, 64)),), out_type="uint8", types=("float32", "int8", "uint8")),
    Case("DEQUANTIZE", (X((4, 64)),), out_type="float32", types=("int8", "uint8")),
    Case("CAST", (X((4, 64), (-200, 200)),), out_type="int32", types=F),
    Case("CAST", (X((4, 64)),), out_type="float32", types=("int32",)),
    Case("CAST", (X((4, 64)),), out_type="int64", types=("int32",)),
    Case("CAST", (X((4, 64)),), out_type="int8", types=("uint8", "int32")),
    Case("CAST", (X((4, 64)),), out_type="uint8", types=("int8", "int32")),
]  # fmt: skip


class Maker:
    """Writes the model of a case in one element type, with inputs that use the whole range."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype, self.tensors = case, dtype, list[TensorSpec]()
        self.rng = np.random.default_rng(len(str(case)))

    def scale(self, i: int) -> dict[str, Any]:
        """The quantisation of the i-th tensor; the output's, where all share one, is that of input 0."""
        if self.dtype not in ("int8", "uint8"):
            return {}
        scale, zero = (0.05, 3) if self.case.same else (0.05 - 0.011 * i, 3 + 9 * i)
        return {"scale": (scale,), "zero_point": (zero + 128 * (self.dtype == "uint8"),)}

    def operand(self, i: int, operand: Operand) -> str:
        if operand is None:
            return ""
        name = f"operand {i}"
        if isinstance(operand, X):
            self.tensors.append(TensorSpec(name, operand.shape, self.dtype, **self.scale(i)))
        elif isinstance(operand, W):
            self.tensors.append(self.weights(name, operand))
        elif isinstance(operand, B):
            self.tensors.append(self.bias(name, operand))
        else:
            self.tensors.append(TensorSpec.constant(name, operand))
        return name

    def weights(self, name: str, w: W) -> TensorSpec:
        if self.dtype == "float32":
            return TensorSpec.constant(name, self.rng.normal(size=w.shape).astype(np.float32))
        low, high = (0, 256) if self.dtype == "uint8" else (-127, 128)
        data = self.rng.integers(low, high, w.shape).astype(self.dtype)
        if self.dtype == "uint8" or w.axis is None:
            zero = 121 if self.dtype == "uint8" else 0
            return TensorSpec(name, w.shape, self.dtype, data, (0.01,), (zero,))
        count = w.shape[w.axis]
        scales = tuple(float(s) for s in self.rng.uniform(0.001, 0.02, count).astype(np.float32))
        return TensorSpec(name, w.shape, "int8", data, scales, (0,) * count, w.axis)

    def bias(self, name: str, b: B) -> TensorSpec:
        if self.dtype == "float32":
            return TensorSpec.constant(name, self.rng.normal(size=b.size).astype(np.float32))
        data = self.rng.integers(-2000, 2000, b.size).astype(np.int32)
        scale = tuple(
            float(np.float32(self.tensors[0].scale[0]) * np.float32(s)) for s in self.tensors[1].scale
        )
        return TensorSpec(name, (b.size,), "int32", data, scale, (0,) * len(scale))

    def output(self, i: int) -> str:
        case, dtype = self.case, self.case.out_type or self.dtype
        quantization: dict[str, Any] = {}
        if dtype in ("int8", "uint8"):
            scale, zero = case.out_scale or ((0.05, 3) if case.same else (0.043, -7))
            zero += 128 * (dtype == "uint8")
            quantization = {"scale": (scale,), "zero_point": (zero,)}
        self.tensors.append(TensorSpec(f"output {i}", (1,), dtype, **quantization))
        return f"output {i}"

    def model(self) -> bytes:
        """Written twice: TFLite does not size every output by itself, so it gets what we infer."""
        operands = tuple(self.operand(i, operand) for i, operand in enumerate(self.case.operands))
        inputs = tuple(name for name, o in zip(operands, self.case.operands, strict=True) if isinstance(o, X))
        outputs = tuple(self.output(i) for i in range(self.case.outputs))
        op = OpSpec(self.case.op, operands, outputs, self.case.options)
        spec = ModelSpec(tuple(self.tensors), (op,), inputs, outputs)
        inferred = {value.name: value.shape for value in infer(load(exporter.write(spec), "draft")).values}
        sized = tuple(replace(tensor, shape=inferred[tensor.name]) for tensor in spec.tensors)
        return exporter.write(replace(spec, tensors=sized))

    def inputs(self) -> list[Array]:
        drawn = []
        for operand in (o for o in self.case.operands if isinstance(o, X)):
            if self.dtype == "float32":
                drawn.append(self.rng.uniform(*operand.span, operand.shape).astype(np.float32))
            elif self.dtype == "int32":
                drawn.append(self.rng.integers(-20, 20, operand.shape).astype(np.int32))
            else:
                limits = np.iinfo(self.dtype)
                drawn.append(self.rng.integers(limits.min, limits.max + 1, operand.shape).astype(self.dtype))
        return drawn


@pytest.fixture(autouse=True)
def _rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "OPERATORS", {**exporter.OPERATORS, **MORE_ROWS})


def oracle(interpreter: Any, inputs: list[Array]) -> list[Array]:
    for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]


@pytest.mark.parametrize(
    ("case", "dtype"), [(case, dtype) for case in CASES for dtype in case.types], ids=str
)
def test_against_tflite(case: Case, dtype: str, tflite_interpreter: Callable[[bytes], Any]) -> None:
    maker = Maker(case, dtype)
    model = maker.model()
    graph = infer(load(model, "case"))
    check(graph, "GRAPH")
    atoms = decompose(graph, "reference")
    check(atoms, "ATOMIC")
    small = simplify(atoms)
    check(small, "ATOMIC")
    inputs = maker.inputs()
    expected = oracle(tflite_interpreter(model), inputs)
    for got, same, want in zip(
        reference.run(atoms, inputs), reference.run(small, inputs), expected, strict=True
    ):
        np.testing.assert_array_equal(got, same)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        if got.dtype == np.float32:
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(1.0, float(np.abs(want).max())))
        else:
            assert np.abs(got.astype(np.int64) - want.astype(np.int64)).max() <= case.steps


def values_of(graph: Graph, inputs: list[Array]) -> Array:
    return reference.run(simplify(decompose(infer(graph), "reference")), inputs)[0]


@pytest.mark.parametrize("axes", [(1,), (0, 2), (0, 1, 2)])
def test_sum_of_int8(axes: tuple[int, ...]) -> None:
    """TFLite's int8 SUM answers -1 everywhere (2.14 and LiteRT 2.3): this one is held against arithmetic."""
    case = Case("SUM", (X((3, 4, 5)), ints(*axes)), types=("int8",))
    maker = Maker(case, "int8")
    graph, (x,) = load(maker.model(), "sum"), maker.inputs()
    source, target = (graph.values[i].quantization for i in (graph.inputs[0], graph.outputs[0]))
    assert source is not None and target is not None
    real = (x.astype(np.float64) - source.zero_point[0]).sum(axes) * source.scale[0]
    expected = np.clip(real / target.scale[0] + target.zero_point[0], -128, 127)
    assert np.abs(values_of(graph, [x]) - expected).max() <= 0.51


def hybrid_model(op: str, w: W, options: Mapping[str, Any]) -> bytes:
    rng = np.random.default_rng(5)
    x = (2, 7, 9, 4) if op != "FULLY_CONNECTED" else (3, 8)
    units = w.shape[3] if op == "DEPTHWISE_CONV_2D" else w.shape[0]
    count = 1 if w.axis is None else w.shape[w.axis]
    scales = tuple(float(s) for s in rng.uniform(0.001, 0.02, count).astype(np.float32))
    data = rng.integers(-127, 128, w.shape).astype(np.int8)
    tensors = (
        TensorSpec("x", x),
        TensorSpec("w", w.shape, "int8", data, scales, (0,) * count, w.axis or 0),
        TensorSpec.constant("b", rng.normal(size=units).astype(np.float32)),
        TensorSpec("y", (1,)),
    )
    return exporter.write(ModelSpec(tensors, (OpSpec(op, ("x", "w", "b"), ("y",), options),), ("x",), ("y",)))


@pytest.mark.parametrize(
    ("op", "w", "options"),
    [
        ("CONV_2D", W((5, 3, 3, 4), None), {**SAME, **RELU}),
        ("CONV_2D", W((5, 3, 3, 4), 0), SAME),
        ("DEPTHWISE_CONV_2D", W((1, 3, 3, 4), 3), {**SAME, "depth_multiplier": 1}),
        ("FULLY_CONNECTED", W((5, 8), None), RELU6),
        ("FULLY_CONNECTED", W((5, 8), None), {"asymmetric_quantize_inputs": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("offset", [0.0, 2.5])
def test_int8_weights_under_float_activations(
    op: str, w: W, options: dict[str, Any], offset: float, tflite_interpreter: Callable[..., Any]
) -> None:
    model = hybrid_model(op, w, options)
    graph = infer(load(model, "hybrid"))
    x = np.random.default_rng(6).normal(offset, size=graph.values[graph.inputs[0]].shape).astype(np.float32)
    x[0] = 0  # a row without a range
    want = oracle(tflite_interpreter(model), [x])[0]
    np.testing.assert_allclose(values_of(graph, [x]), want, rtol=0, atol=1e-5 * float(np.abs(want).max()))


@pytest.mark.parametrize(
    ("case", "dtype", "message"),
    [
        (Case("DIV", (X((2, 5)), X((2, 5)))), "int8", "DIV#0: no rule for element types i8 i8 i8"),
        (
            Case("ADD", (X((2, 5)), X((2, 5))), {"fused_activation_function": "TANH"}),
            "float32",
            "activation TANH",
        ),
        (Case("SOFTMAX", (X((2, 5)),), out_scale=(0.5, 0)), "int8", "output must be on scale 1/256"),
        (Case("MAXIMUM", (X((2, 5)), X((2, 5)))), "int8", "quantised differently"),
        (Case("GATHER", (X((2, 5)), ints(0)), {"axis": 1}), "float32", "only axis 0"),
        (Case("TRANSPOSE", (X((2, 5)), X((2,)))), "int32", "must be a constant"),
    ],
    ids=str,
)
def test_what_is_not_known_is_refused_by_name(case: Case, dtype: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        values_of(load(Maker(case, dtype).model(), "case"), [])


def test_every_operator_has_a_rule_and_a_case() -> None:
    assert set(RULES) == set(OPERATORS) == {case.op for case in CASES}
