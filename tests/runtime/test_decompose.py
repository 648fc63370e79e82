"""What the conformance cases do not say: dynamic-range weights, a sum that TFLite gets wrong, refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from runtime.backends import reference
from runtime.decompose import decompose
from runtime.errors import ModelError, UnsupportedError
from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.graph import Graph
from runtime.importers.tflite import load
from runtime.infer import infer
from runtime.simplify import simplify
from tests.conformance.case import RELU, RELU6, Case, Maker, W, X, ints
from tests.conformance.conv import SAME
from tests.conformance.judge import oracle

Array = np.ndarray[Any, np.dtype[Any]]


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


POWERS = {"pot_scale_int16": True}


def fake_quant(**options: float) -> Case:
    return Case("FAKE_QUANT", (X((5,)),), {"min": -1.0, "max": 0.0, "num_bits": 8, **options})


@pytest.mark.parametrize(
    ("case", "dtype", "message"),
    [
        (fake_quant(num_bits=1), "float32", "1 bits for -1.0..0.0, expected 2..16 bits"),
        (fake_quant(min=0.5, max=1.0), "float32", "a range that holds 0"),
        (fake_quant(max=np.nan), "float32", "max = nan, expected a finite number"),
        (Case("SOFTMAX", (X((5,)),), {"beta": -1.0}, out_scale=(1 / 128, 0)), "int16", "beta = -1.0"),
        (Case("LOGISTIC", (X((5,)),)), "int16", "expected 2\\^-15"),
        (
            Case(
                "ADD",
                (X((5,), stored=(1.0, 0)), X((5,), stored=(2.0, 0))),
                {"pot_scale_int16": True},
                out_scale=(4, 0),
            ),
            "int16",
            "shifts 2 and 1 to the output's scale",
        ),
        (Case("HARD_SWISH", (X((5,), stored=(1.0, 0)),), out_scale=(0.004, 0)), "int8", "below 1/128"),
        (Case("LOCAL_RESPONSE_NORMALIZATION", (X((5,)),)), "float32", "expected rank 4"),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused_by_name(case: Case, dtype: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        values_of(load(Maker(case, dtype).model(), "case"), [])


@pytest.mark.parametrize(
    ("case", "dtype", "message"),
    [
        (Case("DIV", (X((2, 5)), X((2, 5)))), "int16", "DIV#0: no rule for element types i16 i16 i16"),
        (
            Case("ADD", (X((2, 5)), X((2, 5))), {"fused_activation_function": "TANH"}),
            "float32",
            "activation TANH",
        ),
        (Case("SOFTMAX", (X((2, 5)),), out_scale=(0.5, 0)), "int8", "output must be on scale 1/256"),
        (Case("MAXIMUM", (X((2, 5)), X((2, 5)))), "int8", "quantised differently"),
        (
            Case("WHERE", (X((2, 5)),), out_type="int64"),
            "float32",
            "known only at run time; the tflite backend",
        ),
        (Case("UNIQUE", (X((5,)),), outputs=2, out_type=("int8", "int32")), "int8", "known only at run time"),
        (Case("TOPK_V2", (X((5,)), ints(2)), outputs=2), "int8", "element types i8 i32 i8"),
        (Case("TRANSPOSE", (X((2, 5)), X((2,)))), "int32", "must be a constant"),
        (Case("HARD_SWISH", (X((5,), stored=(2.0**60, 0)),)), "int8", "scales are too far apart"),
        (
            Case(
                "MEAN",
                (X((2, 3, 4, 5), stored=(1e9, 2)), ints(1, 2)),
                {"keep_dims": True},
                out_scale=(0.086, -7),
            ),
            "int8",
            "too far apart for a zero point of 2",
        ),
        (Case("TANH", (X((5,), stored=(2.0**20, 0)),), out_scale=(1 / 128, 0)), "int16", "operand's scale"),
        (Case("SOFTMAX", (X((5,)),), {"beta": 1.0}), "int16", "on scale 2\\^-15"),
        (Case("LOG_SOFTMAX", (X((2, 5)),)), "int8", "on scale 1/16 from 127"),
        (Case("L2_NORMALIZATION", (X((2, 5)),)), "uint8", "on scale 1/128 from 128"),
        (fake_quant(narrow_range=True), "float32", "a narrow range"),
        (fake_quant(min=-1e-44), "float32", "steps of"),
    ],
    ids=str,
)
def test_what_is_not_known_is_refused_by_name(case: Case, dtype: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        decompose(infer(load(Maker(case, dtype).model(), "case")), "builtin")
