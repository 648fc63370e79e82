"""Transposes put off, and what that leaves to join: how NCHW becomes NHWC once, not at every operator.

An operator that does not care about the order of axes works on what a transpose to NC.. read, and the
transpose comes after it: there the next one undoes it, or nobody needs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.graph import ABSENT, Array, DType, Node, Value

Order = tuple[int, ...]
"""Axis i of the result is axis order[i] of the operand."""

ELEMENTWISE = frozenset({
    "ABS", "ADD", "ATAN2", "CAST", "CEIL", "COS", "DEQUANTIZE", "DIV", "ELU", "EQUAL", "EXP", "FLOOR",
    "FLOOR_MOD", "GELU", "GREATER", "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS", "LESS_EQUAL",
    "LOG", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG",
    "NOT_EQUAL", "POW", "PRELU", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT",
    "SELECT_V2", "SIGN", "SIN", "SQRT", "SQUARE", "SUB", "TANH",
})  # fmt: skip
REDUCTIONS = frozenset({"MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"})
ACTIVATIONS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1"})
FUSING = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL"})


@dataclass(frozen=True, slots=True)
class Plan:
    """An operator before the transpose, on values or new constants; `order` takes its result back."""

    operands: tuple[int | Array, ...]
    attrs: Mapping[str, Any]
    order: Order


def channels_first(rank: int) -> Order:
    """N..C -> NC.."""
    return (0, rank - 1, *range(1, rank - 1))


def inverse(order: Order) -> Order:
    return tuple(int(i) for i in np.argsort(order))


def put_off(
    values: Sequence[Value],
    turned: Mapping[int, tuple[int, Order]],
    op: str,
    inputs: Sequence[int],
    attrs: Mapping[str, Any],
) -> Plan | None:
    """How to apply an operator before the transposes that made its operands; None where that is not possible.

    `turned` has (operand, order) of each value that a transpose made.
    """
    orders = {turned[i][1] for i in inputs if i in turned}
    if len(orders) != 1 or (order := orders.pop()) != channels_first(len(order)):
        return None
    if op in ELEMENTWISE or op == "CONCATENATION":
        operands = [_operand(values[i], turned.get(i), i, order, op != "CONCATENATION") for i in inputs]
        if any(operand is None for operand in operands):
            return None
        moved = {**attrs, "axis": order[attrs["axis"]]} if op == "CONCATENATION" else attrs
        return Plan(tuple(operand for operand in operands if operand is not None), moved, order)
    if inputs[0] not in turned or any(values[i].data is None for i in inputs[1:]):
        return None
    numbers = [values[i].data for i in inputs[1:]]
    back = inverse(order)
    if op in ("PAD", "PADV2", "SLICE", "STRIDED_SLICE"):
        rows = [
            n[list(back)] if n is not None and n.ndim else i for n, i in zip(numbers, inputs[1:], strict=True)
        ]
        if op == "STRIDED_SLICE" and attrs["end_mask"]:
            mask = sum(1 << order[i] for i in range(len(order)) if attrs["end_mask"] >> i & 1)
            attrs = {**attrs, "end_mask": mask}
        return Plan((turned[inputs[0]][0], *rows), attrs, order)
    if op in REDUCTIONS and numbers[0] is not None:
        axes = [int(axis) for axis in numbers[0]]
        kept = [order[i] for i in range(len(order)) if i not in axes]
        rest = order if attrs["keep_dims"] else tuple(sorted(kept).index(axis) for axis in kept)
        return Plan((turned[inputs[0]][0], np.array([order[a] for a in axes], np.int32)), attrs, rest)
    return None


def _operand(
    value: Value, made: tuple[int, Order] | None, index: int, order: Order, broadcasts: bool
) -> int | Array | None:
    """What stands for an operand before the transpose: what it was made of, or a constant turned back."""
    if made is not None:
        return made[0]
    if broadcasts and value.elements == 1 and len(value.shape) <= len(order):
        return index
    if value.data is None or len(value.shape) > len(order):
        return None
    full = value.data.reshape((1,) * (len(order) - len(value.shape)) + value.shape)
    return full.transpose(inverse(order))


# ---------------------------------------------------------------- afterwards

UNITS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
"""The axis of the weights that is the last axis of the product."""


def joined(values: list[Value], nodes: Sequence[Node], outputs: Sequence[int]) -> list[Node]:
    """Nodes that somebody needs; constant factors, biases and activations within the operators that have a
    place for them. `values` grows by new constants.
    """
    kept = _needed(nodes, outputs)
    for merge in (_scaled, _activated):
        uses, place, done = _uses(kept, outputs), dict[int, int](), list[Node]()
        for node in kept:
            at = next((place[i] for i in node.inputs if i in place and uses[i] == 1), None)
            if at is not None and (one := merge(values, done[at], node)) is not None:
                done[at] = one
                place[one.outputs[0]] = at
                continue
            if node.op in FUSING and values[node.outputs[0]].dtype is DType.F32:
                place[node.outputs[0]] = len(done)
            done.append(node)
        kept = done
    return kept


def _needed(nodes: Sequence[Node], outputs: Sequence[int]) -> list[Node]:
    needed, kept = set(outputs), list[Node]()
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _uses(nodes: Sequence[Node], outputs: Sequence[int]) -> Counter[int]:
    return Counter([i for node in nodes for i in node.inputs if i != ABSENT] + list(outputs))


def _scaled(values: list[Value], product: Node, node: Node) -> Node | None:
    """A product whose rows are multiplied by constants, or to whose rows constants are added."""
    if product.op not in UNITS or node.op not in ("MUL", "ADD"):
        return None
    index = node.inputs[node.inputs[0] == product.outputs[0]]
    units, numbers, weights = values[product.outputs[0]].shape[-1], values[index], values[product.inputs[1]]
    rank = len(values[product.outputs[0]].shape)
    if numbers.data is None or numbers.shape[-1:] != (units,) or numbers.elements != units:
        return None
    if len(numbers.shape) > rank or weights.data is None:
        return None
    each = numbers.data.reshape(units)
    with np.errstate(all="ignore"):
        return _with_constants(values, product, node, weights.data, each)


def _with_constants(
    values: list[Value], product: Node, node: Node, weights: Array, each: Array
) -> Node | None:
    """The product with one more factor, or addend, for each unit."""
    bias = values[product.inputs[2]].data if len(product.inputs) > 2 else np.zeros(each.size, np.float32)
    if bias is None:
        return None
    inputs = list(product.inputs[:2])
    if node.op == "MUL":
        shape = tuple(each.size if axis == UNITS[product.op] else 1 for axis in range(weights.ndim))
        inputs[1] = _constant(values, weights * each.reshape(shape), f"{product.source}/weights")
    if node.op == "ADD" or len(product.inputs) > 2:
        sums = bias * each if node.op == "MUL" else bias.reshape(each.size) + each
        inputs.append(_constant(values, sums, f"{product.source}/bias"))
    return replace(product, inputs=tuple(inputs), outputs=node.outputs)


def _constant(values: list[Value], data: Array, name: str) -> int:
    values.append(Value(name, data.shape, DType.F32, data=data.astype(np.float32)))
    return len(values) - 1


def _activated(_: list[Value], before: Node, node: Node) -> Node | None:
    if node.op not in ACTIVATIONS or before.attrs["fused_activation_function"] != "NONE":
        return None
    attrs = MappingProxyType({**before.attrs, "fused_activation_function": node.op})
    return replace(before, attrs=attrs, outputs=node.outputs)
