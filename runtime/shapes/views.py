"""Shapes of transform operators: the same elements in another order, together or again and again."""

from __future__ import annotations

import math

from runtime.graph import Shape
from runtime.shapes.operands import MAX_ELEMENTS, Operands, Rule


def _reshape(x: Operands) -> list[Shape]:
    given = len(x.values) > 1 and x.values[1] is not None
    target = list(x.constant(1) if given else x.attr("new_shape"))
    if target == [0] and not given:
        target = []  # old converters write a scalar like this
    total, known = x.value(0).elements, math.prod(size for size in target if size != -1)
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise x.bad(f"new shape {tuple(target)}: expected sizes >= 0 and at most one -1")
    if -1 in target:
        target[target.index(-1)] = total // max(known, 1)
    if math.prod(target) != total:
        raise x.bad(f"{x.shape(0)} has {total} elements, they do not fill {tuple(target)}")
    return [tuple(target)]


def _bitcast(x: Operands) -> list[Shape]:
    """The parts of wide elements are along a last axis of their own."""
    shape, source, target = x.shape(0), x.value(0).dtype.size, x.types[0].size
    if source >= target:
        return [(*shape, source // target) if source > target else shape]
    if shape[-1:] != (target // source,):
        raise x.bad(f"{shape} of {source} bytes, expected {target // source} on the last axis for {target}")
    return [shape[:-1]]


def _squeeze(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes = {x.axis(axis, len(shape)) for axis in x.attr("squeeze_dims")}
    if any(shape[axis] != 1 for axis in axes):
        raise x.bad(f"axes {sorted(axes)} of {shape} are not all of size 1")
    return [tuple(size for i, size in enumerate(shape) if i not in axes and (axes or size != 1))]


def _expand_dims(x: Operands) -> list[Shape]:
    shape, axes = x.shape(0), x.constant(1)
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    axis = x.axis(axes[0], len(shape) + 1)
    return [(*shape[:axis], 1, *shape[axis:])]


def permuted(x: Operands, order: tuple[int, ...]) -> Shape:
    """Operand 0 with its axes in another order."""
    shape = x.shape(0)
    axes = [x.axis(axis, len(shape)) for axis in order]
    if sorted(axes) != list(range(len(shape))):
        raise x.bad(f"permutation {order} does not fit shape {shape}")
    return tuple(shape[axis] for axis in axes)


def _transpose(x: Operands) -> list[Shape]:
    return [permuted(x, x.constant(1))]


def joined(x: Operands, along: int) -> Shape:
    """All operands one after the other along an axis."""
    first = x.listed(0)
    axis = x.axis(along, len(first))
    others = [x.listed(i, rank=len(first)) for i in range(len(x.values))]
    if any(o[:axis] != first[:axis] or o[axis + 1 :] != first[axis + 1 :] for o in others):
        raise x.bad(f"shapes {others} differ outside axis {axis}")
    return (*first[:axis], sum(o[axis] for o in others), *first[axis + 1 :])


def _concatenation(x: Operands) -> list[Shape]:
    return [joined(x, x.attr("axis"))]


def _pack(x: Operands) -> list[Shape]:
    shape, count = x.shape(0), len(x.values)
    axis = x.axis(x.attr("axis"), len(shape) + 1)
    if any(x.shape(i) != shape for i in range(count)) or x.attr("values_count") != count:
        raise x.bad(f"{count} inputs of shapes {[x.shape(i) for i in range(count)]}: expected all the same")
    return [(*shape[:axis], count, *shape[axis:])]


def _tile(x: Operands) -> list[Shape]:
    shape, multiples = x.shape(0), x.constant(1)
    if len(multiples) != len(shape) or any(not 1 <= n <= MAX_ELEMENTS for n in multiples):
        raise x.bad(f"multiples {multiples}: expected one number >= 1 for each axis of {shape}")
    return [tuple(size * n for size, n in zip(shape, multiples, strict=True))]


def _broadcast_to(x: Operands) -> list[Shape]:
    shape, target = x.shape(0), x.constant(1)
    fits = zip(shape[::-1], target[::-1], strict=False)
    if len(shape) > len(target) or any(size not in (1, wanted) for size, wanted in fits):
        raise x.bad(f"shape {shape} does not broadcast to {target}")
    return [target]


def _reverse(x: Operands) -> list[Shape]:
    x.axes(1, len(x.shape(0)))
    return [x.shape(0)]


def sequence_axes(x: Operands) -> tuple[int, int]:
    """(batch axis, sequence axis) of REVERSE_SEQUENCE."""
    rank = len(x.shape(0))
    return x.axis(x.attr("batch_dim"), rank), x.axis(x.attr("seq_dim"), rank)


def _reverse_sequence(x: Operands) -> list[Shape]:
    shape, (batch, sequence) = x.shape(0), sequence_axes(x)
    if batch == sequence or x.shape(1) != (shape[batch],):
        raise x.bad(f"lengths of shape {x.shape(1)} for axes {batch} and {sequence} of {shape}")
    return [shape]


RULES: dict[str, Rule] = {
    "RESHAPE": _reshape,
    "BITCAST": _bitcast,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PACK": _pack,
    "TILE": _tile,
    "BROADCAST_TO": _broadcast_to,
    "REVERSE_V2": _reverse,
    "REVERSE_SEQUENCE": _reverse_sequence,
}
