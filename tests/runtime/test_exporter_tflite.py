"""Every operator row is written, read back through the schema bindings, and run by TFLite against NumPy."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tflite as schema
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime.errors import ExportError
from runtime.exporters.quantize import RULES, activation_scalings, asymmetric, interpreter, quantize
from runtime.exporters.tflite import DTYPES, HELD_AS, OPERATORS, ModelSpec, OpSpec, TensorSpec, write

Array = np.ndarray[Any, np.dtype[Any]]
RNG = np.random.default_rng(0)


def draw(*shape: int) -> Array:
    return RNG.normal(size=shape).astype("float32")


def windows(x: Array, kernel: int, options: dict[str, Any], fill: float) -> Array:
    """[n, oh, ow, kernel, kernel, c]: what a square sliding window sees, TFLite's SAME or VALID."""
    n, height, _, c = x.shape
    stride, dilation = options.get("stride_h", 1), options.get("dilation_h_factor", 1)
    reach = (kernel - 1) * dilation + 1
    if options.get("padding", "SAME") == "SAME":
        out = -(-height // stride)
        before, after = divmod(max((out - 1) * stride + reach - height, 0), 2)
        pad = (before, before + after)
        x = np.pad(x, ((0, 0), pad, pad, (0, 0)), constant_values=fill)
    out = (x.shape[1] - reach) // stride + 1
    at = np.arange(out)[:, None] * stride + np.arange(kernel) * dilation
    return x[:, at][:, :, :, at].transpose(0, 1, 3, 2, 4, 5).reshape(n, out, out, kernel, kernel, c)


def conv(x: Array, w: Array, b: Array, **options: Any) -> Any:
    return np.einsum("nyxijc,oijc->nyxo", windows(x, w.shape[1], options, 0.0), w) + b


def depthwise(x: Array, w: Array, b: Array, depth_multiplier: int = 1, **options: Any) -> Any:
    seen = np.repeat(windows(x, w.shape[1], options, 0.0), depth_multiplier, axis=-1)
    return np.einsum("nyxijc,ijc->nyxc", seen, w[0]) + b


def softmax(x: Array, beta: float = 1.0) -> Any:
    e = np.exp(beta * (x - x.max(-1, keepdims=True)))
    return e / e.sum(-1, keepdims=True)


@dataclass(frozen=True)
class Case:
    """One operator on `data` (the first `variable` of them are model inputs) and what NumPy says of it."""

    kind: str
    data: tuple[Array, ...]
    expected: Callable[..., Array]
    options: dict[str, Any]
    variable: int = 1

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{name}={value}" for name, value in self.options.items())])

    def model(self) -> ModelSpec:
        shape = self.answer().shape
        names = tuple(f"t{i}" for i in range(len(self.data)))
        return ModelSpec(
            tensors=(
                *(
                    TensorSpec(n, d.shape, str(d.dtype))
                    for n, d in zip(names, self.data[: self.variable], strict=False)
                ),
                *(TensorSpec.constant(names[i], self.data[i]) for i in range(self.variable, len(self.data))),
                TensorSpec("y", shape),
            ),
            operators=(OpSpec(self.kind, names, ("y",), self.options),),
            inputs=names[: self.variable],
            outputs=("y",),
        )

    def answer(self) -> Array:
        return self.expected(*self.data)


def i32(*values: Any) -> Array:
    return np.array(values, "int32")


X, Y = draw(1, 7, 7, 4), draw(1, 7, 7, 4)
POSITIVE = np.abs(Y) + 0.5
CONV = (X, draw(6, 3, 3, 4), draw(6))
DEPTH = (X, draw(1, 3, 3, 8), draw(8))
VALID2: dict[str, Any] = {"padding": "VALID", "stride_w": 2, "stride_h": 2}
SAME2: dict[str, Any] = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
DILATED2: dict[str, Any] = {"padding": "SAME", "dilation_w_factor": 2, "dilation_h_factor": 2}
POOL3: dict[str, Any] = {"filter_width": 3, "filter_height": 3}
RELU6: dict[str, Any] = {"fused_activation_function": "RELU6"}
ROWS, DENSE = draw(2, 3, 5), (draw(4, 5), draw(4))

CASES = [
    *(Case("CONV_2D", CONV, lambda *t, o=o: conv(*t, **o), o) for o in (VALID2, SAME2, DILATED2)),
    Case("CONV_2D", CONV, lambda *t: np.clip(conv(*t), 0, 6), RELU6),
    *(
        Case("DEPTHWISE_CONV_2D", DEPTH, lambda *t, o=o: depthwise(*t, **o), o)
        for o in ({**part, "depth_multiplier": 2} for part in (VALID2, SAME2, DILATED2))
    ),
    *(
        Case(
            "AVERAGE_POOL_2D",
            (X,),
            lambda x, o=o: np.nanmean(windows(x, 3, o, np.nan), (3, 4)),
            {**o, **POOL3},
        )
        for o in (VALID2, SAME2)
    ),
    *(
        Case("MAX_POOL_2D", (X,), lambda x, o=o: np.nanmax(windows(x, 3, o, np.nan), (3, 4)), {**o, **POOL3})
        for o in (VALID2, SAME2)
    ),
    Case("FULLY_CONNECTED", (ROWS, *DENSE), lambda x, w, b: (x @ w.T + b).reshape(6, 4), {}),
    Case("FULLY_CONNECTED", (ROWS, *DENSE), lambda x, w, b: x @ w.T + b, {"keep_num_dims": True}),
    Case(
        "FULLY_CONNECTED",
        (ROWS[0], DENSE[0]),
        lambda x, w: np.maximum(x @ w.T, 0),
        {"fused_activation_function": "RELU"},
    ),
    Case("ADD", (X, Y), np.add, {}, variable=2),
    Case(
        "ADD", (X, draw(4)), lambda a, b: np.clip(a + b, -1, 1), {"fused_activation_function": "RELU_N1_TO_1"}
    ),
    Case("SUB", (X, Y), np.subtract, {}, variable=2),
    Case("SUB", (draw(2, 1, 2, 2, 3), draw(1, 2, 2, 2, 3)), np.subtract, {}, variable=2),
    Case("MUL", (X, Y), np.multiply, {}, variable=2),
    Case("DIV", (X, POSITIVE), np.divide, {}, variable=2),
    Case("MAXIMUM", (X, Y), np.maximum, {}, variable=2),
    Case("MINIMUM", (X, draw(1)), np.minimum, {}),
    Case("RELU", (X,), lambda x: np.maximum(x, 0), {}),
    Case("RELU6", (4 * X,), lambda x: np.clip(x, 0, 6), {}),
    Case("LOGISTIC", (X,), lambda x: 1 / (1 + np.exp(-x)), {}),
    Case("TANH", (X,), np.tanh, {}),
    Case("SOFTMAX", (X,), softmax, {}),
    Case("SOFTMAX", (ROWS[0],), lambda x: softmax(x, 0.5), {"beta": 0.5}),
    Case("RESHAPE", (X, i32(7, -1)), lambda x, _: x.reshape(7, -1), {"new_shape": (7, -1)}),
    Case("SQUEEZE", (X,), lambda x: x[0], {"squeeze_dims": (0,)}),
    Case("TRANSPOSE", (X, i32(0, 3, 1, 2)), np.transpose, {}),
    Case("CONCATENATION", (X, Y), lambda *t: np.concatenate(t, 2), {"axis": 2}, variable=2),
    Case("PAD", (X, i32([0, 0], [1, 2], [3, 0], [0, 0])), np.pad, {}),
    Case("MEAN", (X, i32(1, 2)), lambda x, axes: x.mean(tuple(axes)), {}),
    Case("MEAN", (X, i32(1, 2)), lambda x, axes: x.mean(tuple(axes), keepdims=True), {"keep_dims": True}),
]


def run(model: ModelSpec, *inputs: Array) -> Any:
    """The first output, in real values where the model is quantised."""
    engine = interpreter(write(model))
    engine.allocate_tensors()
    for detail, values in zip(engine.get_input_details(), inputs, strict=True):
        engine.set_tensor(detail["index"], encode(values, detail))
    engine.invoke()
    detail = engine.get_output_details()[0]
    values, (scale, zero_point) = engine.get_tensor(detail["index"]), detail["quantization"]
    return (values.astype("float32") - zero_point) * scale if scale else values


def encode(values: Array, detail: dict[str, Any]) -> Any:
    scale, zero_point = detail["quantization"]
    if not scale:
        return values
    return np.clip(np.round(values / scale) + zero_point, -128, 127).astype("int8")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float_operator_equals_numpy(case: Case) -> None:
    got = run(case.model(), *case.data[: case.variable])
    np.testing.assert_allclose(got, case.answer(), rtol=1e-4, atol=1e-5)


# TFLite broadcasts int8 up to four dimensions
INT8_CASES = [case for case in CASES if case.kind in RULES and case.data[0].ndim <= 4]


@pytest.mark.parametrize("case", INT8_CASES, ids=str)
def test_int8_operator_is_close_to_numpy(case: Case) -> None:
    inputs = case.data[: case.variable]
    model = quantize(case.model(), [inputs])
    got, answer = run(model, *inputs), case.answer()
    assert {tensor.dtype for tensor in model.tensors if tensor.scale} <= {"int8", "int32"}
    assert np.abs(got - answer).max() <= 0.03 * np.ptp(answer) + 1e-6


def test_cases_cover_every_row() -> None:
    assert {case.kind for case in CASES} | {"QUANTIZE", "DEQUANTIZE"} == set(OPERATORS)


def test_quantize_then_dequantize_rounds_to_a_step() -> None:
    q = TensorSpec("q", (3,), "int8", scale=(0.5,), zero_point=(1,))
    model = ModelSpec(
        (TensorSpec("x", (3,)), q, TensorSpec("y", (3,))),
        (OpSpec("QUANTIZE", ("x",), ("q",)), OpSpec("DEQUANTIZE", ("q",), ("y",))),
        ("x",),
        ("y",),
    )
    assert run(model, np.array([0.3, -1.4, 1e6], "float32")).tolist() == [0.5, -1.5, 63.0]


# ---------------------------------------------------------------- the file


def root(model: ModelSpec) -> Any:
    return schema.Model.GetRootAs(write(model))


def camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


OTHER = {
    "padding": ("VALID", 1),
    "fused_activation_function": ("RELU6", 3),
    "weights_format": ("SHUFFLED4x16INT8", 1),
}


def another(default: Any) -> Any:
    """A value of the same type that is not the default."""
    if default == ():
        return (2, 3)
    return not default if isinstance(default, bool) else default + 2


@pytest.mark.parametrize("kind", [kind for kind, row in OPERATORS.items() if row.fields])
def test_every_option_is_written(kind: str) -> None:
    """Each field gets a value that is not its default and is read back by the schema bindings."""
    row = OPERATORS[kind]
    other = {
        name: OTHER[name][0] if name in OTHER else another(default) for name, default in row.fields.items()
    }
    model = ModelSpec(
        (TensorSpec("x", (1,)), TensorSpec("y", (1,))), (OpSpec(kind, ("x",), ("y",), other),), ("x",), ("y",)
    )
    operator = root(model).Subgraphs(0).Operators(0)
    table = getattr(schema, row.table)()
    table.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    assert operator.BuiltinOptionsType() == getattr(schema.BuiltinOptions, row.table)
    for name, value in other.items():
        if isinstance(value, tuple):
            assert tuple(getattr(table, f"{camel(name)}AsNumpy")()) == value
        else:
            assert getattr(table, camel(name))() == (OTHER[name][1] if name in OTHER else value), name


I8 = {"dtype": "int8", "scale": (1.0,), "zero_point": (0,)}
VERSIONS = [
    ("CONV_2D", {}, {}, {}, 1),
    ("CONV_2D", I8, I8, {}, 3),
    ("CONV_2D", {"dtype": "int16"}, {"dtype": "int8"}, {}, 4),
    ("CONV_2D", {}, I8, {}, 2),
    ("CONV_2D", {}, {**I8, "scale": (1.0, 1.0), "zero_point": (0, 0)}, {}, 5),
    ("CONV_2D", {}, {"shape": (1, 1, 1, 2)}, {}, 6),
    ("DEPTHWISE_CONV_2D", {}, {}, {"dilation_w_factor": 2}, 2),
    ("DEPTHWISE_CONV_2D", I8, I8, {"dilation_w_factor": 2}, 3),
    ("FULLY_CONNECTED", {}, {}, {}, 1),
    ("FULLY_CONNECTED", I8, I8, {}, 4),
    ("FULLY_CONNECTED", {}, I8, {}, 3),
    ("FULLY_CONNECTED", {}, I8, {"asymmetric_quantize_inputs": True}, 9),
    ("FULLY_CONNECTED", I8, I8, {"keep_num_dims": True}, 5),
    ("ADD", {"dtype": "int16"}, {}, {"pot_scale_int16": False}, 3),
    ("SUB", {}, {"shape": (1, 1, 1, 1, 4)}, {}, 3),
    ("DIV", {}, {"shape": (1, 1, 1, 1, 4)}, {}, 2),
    ("MAXIMUM", I8, I8, {}, 2),
    ("SOFTMAX", I8, {}, {}, 2),
    ("TRANSPOSE", {"shape": (1,) * 5}, {}, {}, 4),
    ("RESHAPE", I8, {}, {}, 1),
]


@pytest.mark.parametrize(("kind", "first", "second", "options", "version"), VERSIONS)
def test_version_is_what_the_features_need(
    kind: str, first: dict[str, Any], second: dict[str, Any], options: dict[str, Any], version: int
) -> None:
    base = TensorSpec("", (1, 1, 1, 4))
    tensors = [replace(base, name="a", **first), replace(base, name="b", **second), replace(base, name="c")]
    model = ModelSpec(tuple(tensors), (OpSpec(kind, ("a", "b", "c"), ("c",), options),), ("a",), ("c",))
    assert root(model).OperatorCodes(0).Version() == version


def test_a_missing_bias_needs_version_six_and_is_written_as_absent() -> None:
    tensors = (TensorSpec("x", (1, 2)), TensorSpec.constant("w", draw(3, 2)), TensorSpec("y", (1, 3)))
    short = ModelSpec(tensors, (OpSpec("FULLY_CONNECTED", ("x", "w"), ("y",)),), ("x",), ("y",))
    marked = replace(short, operators=(OpSpec("FULLY_CONNECTED", ("x", "w", ""), ("y",)),))
    assert root(short).OperatorCodes(0).Version() == 6
    assert root(marked).Subgraphs(0).Operators(0).InputsAsNumpy().tolist() == [0, 1, -1]
    x = draw(1, 2)
    np.testing.assert_allclose(run(short, x), run(marked, x))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from(sorted(DTYPES.keys() - {"resource", *HELD_AS})).flatmap(
            lambda dtype: arrays.arrays(
                dtype, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
            )
        ),
        max_size=6,
    )
)
def test_constants_survive_and_are_aligned(constants: list[Array]) -> None:
    named = tuple(TensorSpec.constant(f"c{i}", data) for i, data in enumerate(constants))
    model = ModelSpec((TensorSpec("x", (1,)), *named), (), ("x",), ("x",))
    data = write(model)
    assert data == write(model) and data[4:8] == b"TFL3"
    read = schema.Model.GetRootAs(data)
    for i, constant in enumerate(constants):
        tensor = read.Subgraphs(0).Tensors(i + 1)
        buffer = read.Buffers(tensor.Buffer())
        assert tuple(tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()) == constant.shape
        assert tensor.Type() == DTYPES[str(constant.dtype)]
        assert bytes(buffer.DataAsNumpy() if buffer.DataLength() else b"") == constant.tobytes()
        start = buffer._tab.Vector(buffer._tab.Offset(4))
        assert start % 16 == 0


def test_dynamic_shape_is_resizable() -> None:
    model = ModelSpec(
        (TensorSpec("x", (-1, 3)), TensorSpec("y", (-1, 3))),
        (OpSpec("RELU", ("x",), ("y",)),),
        ("x",),
        ("y",),
    )
    engine = interpreter(write(model))
    detail = engine.get_input_details()[0]
    assert (detail["shape"].tolist(), detail["shape_signature"].tolist()) == ([1, 3], [-1, 3])
    engine.resize_tensor_input(detail["index"], (5, 3))
    engine.allocate_tensors()
    assert engine.get_output_details()[0]["shape"].tolist() == [5, 3]


def test_signature_runs_by_tensor_names() -> None:
    case = CASES[0]
    engine = interpreter(write(replace(case.model(), signature="serve", description="one convolution")))
    assert engine.get_signature_list() == {"serve": {"inputs": ["t0"], "outputs": ["y"]}}
    got = engine.get_signature_runner("serve")(t0=case.data[0])["y"]
    np.testing.assert_allclose(got, case.answer(), rtol=1e-4, atol=1e-5)


PLAIN = CASES[0].model()
T = PLAIN.tensors
OP = PLAIN.operators[0]
BAD = [
    (
        replace(PLAIN, operators=(replace(OP, kind="CONV2D"),)),
        "operator 0 CONV2D: cannot be written; known kinds: CONV_2D",
    ),
    (
        replace(PLAIN, operators=(replace(OP, options={"stride": 1}),)),
        "unknown options stride; known: padding, stride_w",
    ),
    (
        replace(PLAIN, operators=(replace(OP, options={"padding": "FULL"}),)),
        "padding = 'FULL', expected one of SAME, VALID",
    ),
    (
        replace(PLAIN, operators=(replace(OP, inputs=("t0", "w", "t2")),)),
        "operator 0 CONV_2D: no tensor is named 'w'",
    ),
    (replace(PLAIN, outputs=("z",)), "model output: no tensor is named 'z'"),
    (replace(PLAIN, tensors=(*T, T[0])), "tensor 't0': expected a name that is not empty and not used twice"),
    (
        replace(PLAIN, tensors=(replace(T[0], dtype="complex128"), *T[1:])),
        "tensor 't0': dtype 'complex128', expected one of",
    ),
    (replace(PLAIN, tensors=(replace(T[0], shape=(-2,)), *T[1:])), "tensor 't0': shape \\[-2\\]"),
    (
        replace(PLAIN, tensors=(*T[:2], replace(T[2], shape=(7,)), T[3])),
        "data is float32\\[6\\], expected float32\\[7\\]",
    ),
    (replace(PLAIN, tensors=(replace(T[0], scale=(1.0,)), *T[1:])), "1 scales and 0 zero points"),
]


@pytest.mark.parametrize(("model", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_a_wrong_model_is_refused_with_its_place(model: ModelSpec, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        write(model)


# ---------------------------------------------------------------- quantising


@pytest.mark.parametrize(
    ("span", "scale", "zero_point"),
    [
        ((0.0, 255.0), 1.0, -128),
        ((-128.0, 127.0), 1.0, 0),
        ((-25.5, 0.0), 0.1, 127),
        ((51.0, 255.0), 1.0, -128),
        ((0.0, 0.0), 1.0, -128),
    ],
)
def test_asymmetric_scaling_covers_the_range_and_zero(
    span: tuple[float, float], scale: float, zero_point: int
) -> None:
    assert asymmetric(span) == pytest.approx((scale, zero_point))


def test_weights_are_symmetric_per_channel_and_bias_has_their_scale() -> None:
    model = quantize(PLAIN, [(X,)])
    x, w, b, _ = model.tensors
    assert (w.dtype, len(w.scale), w.quantized_dimension, set(w.zero_point)) == ("int8", 6, 0, {0})
    assert w.data is not None and np.abs(w.data).reshape(6, -1).max(1).tolist() == [127] * 6
    assert b.dtype == "int32"
    assert b.scale == pytest.approx([x.scale[0] * scale for scale in w.scale])


def test_an_idle_channel_and_a_huge_bias_stay_in_range() -> None:
    w, b = CONV[1].copy(), np.array([1e9, -1e9, 0.5, 0, 0, 0], "float32")
    w[2] = 0
    constants = (TensorSpec.constant("t1", w), TensorSpec.constant("t2", b))
    model = quantize(replace(PLAIN, tensors=(T[0], *constants, T[3])), [(X,)])
    weights, bias = model.tensors[1:3]
    assert weights.data is not None and not weights.data[2].any() and weights.scale[2] == max(weights.scale)
    assert bias.data is not None and bias.data[:2].tolist() == [2**31 - 1, -(2**31)]


def test_pooling_and_reshaping_keep_the_scale_of_a_fixed_output() -> None:
    names = ("x", "softmax", "pool", "flat")
    ranges = dict(zip(names, [(-1.0, 3.0), (0.0, 0.5), (0.0, 0.2), (0.0, 0.2)], strict=True))
    operators = (
        OpSpec("SOFTMAX", ("x",), ("softmax",)),
        OpSpec("MAX_POOL_2D", ("softmax",), ("pool",)),
        OpSpec("RESHAPE", ("pool", "shape"), ("flat",)),
    )
    scalings = activation_scalings(ModelSpec((), operators, ("x",), ("flat",)), ranges)
    assert scalings["softmax"] == scalings["pool"] == scalings["flat"] == (1 / 256, -128)
    assert scalings["x"] == asymmetric((-1.0, 3.0))


def test_what_cannot_be_quantised_is_refused() -> None:
    with pytest.raises(ExportError, match="operator 0 DIV: no int8 rule"):
        quantize(next(case for case in CASES if case.kind == "DIV").model(), [])
    with pytest.raises(ExportError, match="no range for t0, y: expected at least one sample"):
        quantize(PLAIN, [])
    twice = replace(PLAIN, operators=(OP, OP))
    with pytest.raises(
        ExportError, match="weights t1, t2: expected constants, each read by one operator only"
    ):
        quantize(twice, [])
