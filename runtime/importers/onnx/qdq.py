"""Integer operators for floats between DequantizeLinear and QuantizeLinear.

`integers` looks back from what is to be quantised: where all that an operator reads are integers with a
scale, it becomes the operator on integers, whose arithmetic is that of TFLite's kernels. Their rounding is
one step off ONNX's at times, which is that of floats. The operator on floats stays, for who else reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from runtime.graph import ABSENT, Array, DType, Node, Quantization, Value
from runtime.importers.onnx.layout import ACTIVATIONS, UNITS
from runtime.importers.onnx.translation import Translation

BYTES = (DType.I8, DType.U8)
MAX_BACK = 8
"""Views and activations to look through."""
SMALLEST, LARGEST = 2.0**-24, 2.0**6
"""Of a ratio of scales, for which integers do."""
REACH = 255
"""Of a stored number about its zero point."""
VIEWS = frozenset({"RESHAPE", "SLICE", "STRIDED_SLICE", "PAD"})


def integers(t: Translation, index: int, q: Quantization, dtype: DType) -> int | None:
    """What a float value is once it is quantised, by operators on integers; None where there are none."""
    stored = _stored(t, index, MAX_BACK)
    if stored is not None and (t.dtype(stored), t.value(stored).quantization) == (dtype, q):
        return stored
    return _computed(t, index, Value(t.source, (), dtype, q), "NONE", MAX_BACK)


def sums(t: Translation, index: int) -> int | None:
    """The sums of a product of integers whose scales are 1, as i32; None where there are none."""
    return _computed(t, index, Value(t.source, (), DType.I32), "NONE", MAX_BACK)


def _stored(t: Translation, index: int, far: int) -> int | None:
    """The integers that a float value was made of, moved as it was."""
    builder, node = t.builder, t.builder.makers.get(index)
    if index not in builder.stored and node is not None and far:
        if node.op == "DEQUANTIZE":
            builder.stored[index] = node.inputs[0]
        elif index in builder.turned:
            base, order = builder.turned[index]
            if (inner := _stored(t, base, far - 1)) is not None:
                builder.stored[index] = builder.transpose(inner, order, node.source)
        elif node.op in VIEWS and (inner := _stored(t, node.inputs[0], far - 1)) is not None:
            builder.stored[index] = _moved(t, node, inner)
    return builder.stored.get(index)


def _moved(t: Translation, node: Node, inner: int) -> int:
    """The same view of integers; what PAD puts around is 0, which is their zero point."""
    value, rest, op = t.value(inner), list(node.inputs[1:]), node.op
    if op == "PAD":
        assert value.quantization is not None
        op, rest = "PADV2", [*rest, t.constant(value.quantization.zero_point[0], value.dtype)]
    result = replace(value, shape=(), data=None)
    return t.builder.again(replace(node, op=op, inputs=(inner, *rest)), result)


def _computed(t: Translation, index: int, out: Value, activation: str, far: int) -> int | None:
    builder, node = t.builder, t.builder.makers.get(index)
    if node is None or not far:
        return None
    if index in builder.turned:
        base, order = builder.turned[index]
        made = _computed(t, base, out, activation, far - 1)
        return None if made is None else builder.transpose(made, order, node.source)
    if node.op == "RESHAPE":
        made = _computed(t, node.inputs[0], out, activation, far - 1)
        return None if made is None else _moved(t, node, made)
    if node.op in ACTIVATIONS and activation == "NONE":
        return _computed(t, node.inputs[0], out, node.op, far - 1)
    attrs = node.attrs
    if activation != "NONE":
        if attrs.get("fused_activation_function") != "NONE":
            return None
        attrs = MappingProxyType({**attrs, "fused_activation_function": activation})
    operands = RULES[node.op](t, node, out) if node.op in RULES else None
    if operands is None:
        return None
    return builder.again(replace(node, inputs=tuple(operands), attrs=attrs), out)


# ---------------------------------------------------------------- operands of operators on integers

Rule = Callable[[Translation, Node, Value], list[int] | None]
"""(node on floats, its output quantised) -> operands of the same node on integers."""


def _operand(t: Translation, index: int, out: Value) -> int | None:
    """Bytes of the type of the output, of a scale not too far from its own; a constant as it was stored."""
    value, stored = t.value(index), _stored(t, index, MAX_BACK)
    q = value.quantization
    if value.data is not None and q is not None and len(q.scale) == 1:
        kept = _levels(value.data, q, 0, out.dtype)
        if kept is not None:
            levels, zero = kept
            stored = t.builder.constant(levels, f"{value.name}/stored", Quantization(q.scale, (zero,)))
    if stored is None or t.dtype(stored) is not out.dtype:
        return None
    return stored if _near(_scale(t.value(stored)) / _scale(out)) else None


def _scale(value: Value) -> float:
    assert value.quantization is not None
    return value.quantization.scale[0]


def _near(*ratios: float) -> bool:
    return all(SMALLEST <= ratio <= LARGEST for ratio in ratios)


def _holds(reach: float, *ratios: float) -> bool:
    """Whether s32 has room for sums, and for what they are at the scale of the output."""
    return _near(*ratios) and reach * max(1.0, *ratios) < 2.0**31


def _all(t: Translation, node: Node, out: Value) -> list[int] | None:
    found = [_operand(t, index, out) for index in node.inputs]
    return None if None in found else [index for index in found if index is not None]


def _factors(t: Translation, node: Node, out: Value) -> list[int] | None:
    """Two operands whose scales are multiplied."""
    found = _all(t, node, out)
    if found is None:
        return None
    return found if _near(math.prod(_scale(t.value(index)) for index in found) / _scale(out)) else None


def _matrices(t: Translation, node: Node, out: Value) -> list[int] | None:
    """TFLite has this product for one of the types."""
    found = _factors(t, node, out) if out.dtype is DType.I8 else None
    if found is None:
        return None
    ratio = math.prod(_scale(t.value(index)) for index in found) / _scale(out)
    return found if _holds(REACH * REACH * max(t.shape(found[0])[-2:]), ratio) else None


def _mean(t: Translation, node: Node, out: Value) -> list[int] | None:
    found = _first(t, node, out)
    if found is None:
        return None
    x = t.value(found[0])
    return found if _holds(REACH * x.elements, _scale(x) / _scale(out)) else None


def _first(t: Translation, node: Node, out: Value) -> list[int] | None:
    stored = _operand(t, node.inputs[0], out)
    return None if stored is None else [stored, *node.inputs[1:]]


def _same_scale(t: Translation, node: Node, out: Value) -> list[int] | None:
    """For what picks or averages stored numbers as they are."""
    found = _first(t, node, out)
    return found if found and t.value(found[0]).quantization == out.quantization else None


def _rescaled(t: Translation, node: Node, out: Value) -> list[int] | None:
    """All operands at the scale of the output."""
    found = _all(t, node, out)
    if found is None:
        return None
    like = replace(out, shape=())
    return [
        index
        if t.value(index).quantization == out.quantization
        else t.builder.again(Node("QUANTIZE", (index,), (), MappingProxyType({}), t.source), like)
        for index in found
    ]


def _product(t: Translation, node: Node, out: Value) -> list[int] | None:
    """Constant weights that were integers, one scale for all or one for each unit, and one zero point."""
    x, weights = _stored(t, node.inputs[0], MAX_BACK), t.value(node.inputs[1])
    q, axis = weights.quantization, UNITS[node.op]
    if x is None or out.dtype not in (t.dtype(x), DType.I32) or q is None or weights.data is None:
        return None
    if len(set(q.zero_point)) != 1 or (len(q.scale) > 1 and q.axis != axis):
        return None
    scales = np.array(q.scale) * _scale(t.value(x))
    kernel, bias = _levels(weights.data, q, axis, t.dtype(x)), _bias(t, node, scales)
    if kernel is None or bias is None:
        return None
    levels, zero = kernel
    reach = _reach(levels, zero, axis) + float(np.abs(bias).max(initial=0))
    if out.quantization is not None and not _holds(reach, *(scales / _scale(out)).tolist()):
        return None
    stored = Quantization(q.scale, (zero,) * len(q.scale), axis)
    made = t.builder.constant(levels, f"{node.source}/weights", stored)
    sums = [t.builder.constant(bias.astype(np.int32), f"{node.source}/bias")] if bias.size else []
    return [x, made, *sums]


def _reach(levels: Array, zero: int, axis: int) -> float:
    """The largest sum of products with weights, of those of one unit."""
    others = tuple(i for i in range(levels.ndim) if i != axis)
    return REACH * float(np.abs(levels.astype(np.float64) - zero).sum(axis=others).max(initial=0))


def _levels(weights: Array, q: Quantization, axis: int, dtype: DType) -> tuple[Array, int] | None:
    """(weights as they were stored, zero point) in the type of the data, whose weights are about its middle
    where they fit there."""
    shape = tuple(-1 if i == axis else 1 for i in range(weights.ndim))
    scale = np.array(q.scale, np.float32).reshape(shape if len(q.scale) > 1 else ())
    centred = np.rint(weights / scale)
    if not np.array_equal(centred * scale, weights):
        return None
    limits = np.iinfo(dtype.numpy)
    middle = 0 if dtype is DType.I8 else 128
    for zero in (middle, q.zero_point[0], q.zero_point[0] - 128, q.zero_point[0] + 128):
        least, most = zero + centred.min(initial=0), zero + centred.max(initial=0)
        if limits.min <= zero <= limits.max and limits.min <= least and most <= limits.max:
            return (centred + zero).astype(dtype.numpy), zero
    return None


def _bias(t: Translation, node: Node, scales: Array) -> Array | None:
    """The bias in units of the sums; no elements for none."""
    if len(node.inputs) < 3 or node.inputs[2] == ABSENT:
        return np.zeros(0)
    data = t.value(node.inputs[2]).data
    if data is None:
        return None
    bias: Array = np.rint(data.astype(np.float64) / scales)
    return bias if (np.abs(bias) < 2.0**31).all() else None


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNITS, _product),
    **dict.fromkeys(("ADD", "SUB"), _all),
    "MUL": _factors,
    "BATCH_MATMUL": _matrices,
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D"), _same_scale),
    "MEAN": _mean,
    "CONCATENATION": _rescaled,
}
