"""Post-training quantisation of a small float model to full int8: `quantize(model, samples) -> ModelSpec`.

The ranges of the activations are measured by running the float model in the TFLite interpreter on `samples`.
Rules: the TFLite 8-bit quantisation specification (ai.google.dev/edge/litert/models/quantization_spec): int8
activations with a zero point, symmetric weights in -127..127, per channel for convolutions, int32 bias.
"""

import importlib
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ExportError
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write

Array = npt.NDArray[Any]
Range = tuple[float, float]
Scaling = tuple[float, int]  # scale, zero point: real = scale * (q - zero_point)
INT8_MIN, INT8_MAX, WEIGHT_MAX = -128, 127, 127


@dataclass(frozen=True, slots=True)
class Rule:
    """What the specification says of one operator.

    `channel_axis`: axis of the weights (input 1) that has a scale per index, PER_TENSOR for one scale, None
    for no weights. `same`: inputs and outputs share one scaling. `fixed`: what its output must have.
    """

    channel_axis: int | None = None
    same: bool = False
    fixed: Scaling | None = None


PER_TENSOR = -1
RULES: dict[str, Rule] = {
    "CONV_2D": Rule(channel_axis=0),
    "DEPTHWISE_CONV_2D": Rule(channel_axis=3),
    "FULLY_CONNECTED": Rule(channel_axis=PER_TENSOR),
    "AVERAGE_POOL_2D": Rule(same=True),
    "MAX_POOL_2D": Rule(same=True),
    "RESHAPE": Rule(same=True),
    "SQUEEZE": Rule(same=True),
    "TRANSPOSE": Rule(same=True),
    "CONCATENATION": Rule(same=True),
    "PAD": Rule(same=True),
    "MAXIMUM": Rule(same=True),
    "MINIMUM": Rule(same=True),
    "SOFTMAX": Rule(fixed=(1 / 256, -128)),
    "LOGISTIC": Rule(fixed=(1 / 256, -128)),
    "TANH": Rule(fixed=(1 / 128, 0)),
    **dict.fromkeys(("ADD", "SUB", "MUL", "MEAN", "RELU", "RELU6"), Rule()),
}


def quantize(model: ModelSpec, samples: Iterable[Sequence[Array]]) -> ModelSpec:
    """The model in full int8, inputs and outputs too; operators, names and shapes stay.

    Each sample is one float32 array per model input, of its shape. Raises ExportError for an operator
    without a rule, for weights that are not a constant of one operator, and without samples.
    """
    for position, op in enumerate(model.operators):
        if op.kind not in RULES:
            raise ExportError(f"operator {position} {op.kind}: no int8 rule; known kinds: {', '.join(RULES)}")
    weights = _weight_names(model)
    scalings = activation_scalings(model, activation_ranges(model, samples, weights))
    tensors = {tensor.name: _with_scaling(tensor, scalings) for tensor in model.tensors}
    for op in model.operators:
        tensors |= {tensor.name: tensor for tensor in _weights(op, tensors)}
    return replace(model, tensors=tuple(tensors.values()))


def interpreter(model: bytes) -> Any:
    """The TFLite interpreter of this Python on one thread; imported only here, the engine runs without it."""
    package = "tflite_runtime" if sys.version_info < (3, 12) else "ai_edge_litert"
    return importlib.import_module(f"{package}.interpreter").Interpreter(model_content=model, num_threads=1)


# ---------------------------------------------------------------- activations


def activation_ranges(
    model: ModelSpec, samples: Iterable[Sequence[Array]], weights: Collection[str]
) -> dict[str, Range]:
    """(min, max) of every float tensor but weights and biases: measured, or known when it is constant."""
    floats = [tensor for tensor in model.tensors if tensor.dtype == "float32" and tensor.name not in weights]
    measured = [tensor.name for tensor in floats if tensor.data is None]
    ranges = {tensor.name: _range(tensor.data) for tensor in floats if tensor.data is not None}
    run = interpreter(write(replace(model, outputs=tuple(measured))))
    run.allocate_tensors()
    places = {detail["name"]: detail["index"] for detail in run.get_output_details()}
    for sample in samples:
        for name, values in zip(model.inputs, sample, strict=True):
            run.set_tensor(places[name], values)
        run.invoke()
        for name in measured:
            seen = _range(run.get_tensor(places[name]))
            ranges[name] = _joined([seen, ranges.get(name, seen)])
    if missing := [name for name in measured if name not in ranges]:
        raise ExportError(
            f"no range for {', '.join(missing)}: expected at least one sample to calibrate with"
        )
    return ranges


def activation_scalings(model: ModelSpec, ranges: Mapping[str, Range]) -> dict[str, Scaling]:
    """Scale and zero point of every ranged tensor, after the rules `same` and `fixed`."""
    scalings: dict[str, Scaling] = {}
    fixed = {
        op.outputs[0]: rule.fixed for op in model.operators if (rule := RULES[op.kind]).fixed is not None
    }
    for group in _same_groups(model, ranges):
        forced = [fixed[name] for name in group if name in fixed]
        shared = forced[0] if forced else asymmetric(_joined([ranges[name] for name in group]))
        scalings |= dict.fromkeys(group, shared)
    return scalings


def asymmetric(span: Range) -> Scaling:
    """Scale and zero point so that -128..127 covers the range and 0.0 is exact."""
    low, high = min(span[0], 0.0), max(span[1], 0.0)
    scale = (high - low) / (INT8_MAX - INT8_MIN) or 1.0
    return scale, int(np.clip(round(INT8_MIN - low / scale), INT8_MIN, INT8_MAX))


def _same_groups(model: ModelSpec, ranges: Mapping[str, Range]) -> Iterator[list[str]]:
    """The ranged tensors, in sets that must share one scaling."""
    group = {name: name for name in ranges}
    for op in model.operators:
        if RULES[op.kind].same:
            tied = [name for name in (*op.inputs, *op.outputs) if name in group]
            merged = {group[name] for name in tied}
            group |= {name: group[tied[0]] for name, key in group.items() if key in merged}
    for key in dict.fromkeys(group.values()):
        yield [name for name in group if group[name] == key]


def _range(values: Array) -> Range:
    return float(values.min()), float(values.max())


def _joined(ranges: Sequence[Range]) -> Range:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


# ---------------------------------------------------------------- constants


def _with_scaling(tensor: TensorSpec, scalings: Mapping[str, Scaling]) -> TensorSpec:
    """An activation in int8, or a constant operand with its values; others (shapes, axes) as they are."""
    if tensor.name not in scalings:
        return tensor
    scale, zero_point = scalings[tensor.name]
    data = None
    if tensor.data is not None:
        data = np.clip(np.round(tensor.data / scale) + zero_point, INT8_MIN, INT8_MAX).astype("int8")
    return replace(tensor, dtype="int8", data=data, scale=(scale,), zero_point=(zero_point,))


def _weight_names(model: ModelSpec) -> set[str]:
    """Names of all weights and biases, each of them a constant that one operator alone reads."""
    constants = {tensor.name for tensor in model.tensors if tensor.data is not None}
    readers = Counter(name for op in model.operators for name in op.inputs)
    names: set[str] = set()
    for op in model.operators:
        if RULES[op.kind].channel_axis is not None:
            names |= {name for name in op.inputs[1:] if name}
    if wrong := sorted(name for name in names if name not in constants or readers[name] > 1):
        raise ExportError(f"weights {', '.join(wrong)}: expected constants, each read by one operator only")
    return names


def _weights(op: OpSpec, tensors: Mapping[str, TensorSpec]) -> Iterator[TensorSpec]:
    """The weights of an operator in symmetric int8, and its bias in int32 at scale input * weights."""
    axis = RULES[op.kind].channel_axis
    if axis is None:
        return
    x, weights, *bias = (tensors[name] for name in op.inputs if name)
    data = np.asarray(weights.data, "float64")
    scale = np.abs(data).max(axis=tuple(i for i in range(data.ndim) if i != axis), keepdims=True) / WEIGHT_MAX
    scale = np.where(scale == 0, scale.max() or 1.0, scale)  # an idle channel may have any scale
    yield _symmetric(weights, data / scale, "int8", scale.reshape(-1), max(axis, 0))
    for tensor in bias:
        scale = scale.reshape(-1) * x.scale[0]
        yield _symmetric(tensor, np.asarray(tensor.data, "float64") / scale, "int32", scale, 0)


def _symmetric(tensor: TensorSpec, steps: Array, dtype: str, scale: Array, axis: int) -> TensorSpec:
    scales = tuple(float(value) for value in scale)
    limits, zeros = np.iinfo(dtype), (0,) * len(scales)
    data = np.clip(np.round(steps), limits.min, limits.max).astype(dtype)
    return replace(tensor, dtype=dtype, data=data, scale=scales, zero_point=zeros, quantized_dimension=axis)
