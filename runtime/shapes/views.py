"""Shapes of transform operators: the same elements in another order, or a part of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.errors import UnsupportedError
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


def _transpose(x: Operands) -> list[Shape]:
    shape, order = x.shape(0), x.constant(1)
    axes = [x.axis(axis, len(shape)) for axis in order]
    if sorted(axes) != list(range(len(shape))):
        raise x.bad(f"permutation {order} does not fit shape {shape}")
    return [tuple(shape[axis] for axis in axes)]


def _concatenation(x: Operands) -> list[Shape]:
    first = x.shape(0)
    axis = x.axis(x.attr("axis"), len(first))
    others = [x.shape(i, rank=len(first)) for i in range(len(x.values))]
    if any(o[:axis] != first[:axis] or o[axis + 1 :] != first[axis + 1 :] for o in others):
        raise x.bad(f"shapes {others} differ outside axis {axis}")
    return [(*first[:axis], sum(o[axis] for o in others), *first[axis + 1 :])]


def paddings(x: Operands) -> list[tuple[int, int]]:
    """(before, after) per axis of PAD and PADV2."""
    shape, numbers = x.shape(0), x.constant(1)
    if len(numbers) != 2 * len(shape) or any(not 0 <= number <= MAX_ELEMENTS for number in numbers):
        raise x.bad(f"paddings {numbers}: expected two numbers >= 0 for each axis of {shape}")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _pad(x: Operands) -> list[Shape]:
    return [tuple(size + sum(p) for size, p in zip(x.shape(0), paddings(x), strict=True))]


def _slice(x: Operands) -> list[Shape]:
    shape, begin, size = x.shape(0), x.constant(1), x.constant(2)
    if len(begin) != len(shape) or len(size) != len(shape):
        raise x.bad(f"begin {begin} and size {size} do not have one number for each axis of {shape}")
    out = tuple(n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True))
    if any(b < 0 or s < 0 or b + s > n for n, b, s in zip(shape, begin, out, strict=True)):
        raise x.bad(f"begin {begin} and size {size} leave the input of shape {shape}")
    return [out]


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a strided slice: `count` elements from `start` by `step`, `kept` in the output or not."""

    start: int
    step: int
    count: int
    kept: bool


def cuts(x: Operands) -> list[Cut]:
    """The slice that STRIDED_SLICE takes of each input axis; begin and end are clipped as in Python."""
    shape, begin, end, strides = x.shape(0), x.constant(1), x.constant(2), x.constant(3)
    if x.attr("ellipsis_mask") or x.attr("new_axis_mask"):
        raise UnsupportedError(f"{x.node.source}: ellipsis and new-axis masks are not known")
    if not len(begin) == len(end) == len(strides) <= len(shape) or 0 in strides:
        raise x.bad(f"begin {begin}, end {end}, strides {strides} do not fit shape {shape}")
    out = []
    for i, size in enumerate(shape):
        bit = 1 << i
        if i >= len(begin):
            out.append(Cut(0, 1, size, True))
        elif x.attr("shrink_axis_mask") & bit:
            out.append(Cut(x.axis(begin[i], size), 1, 1, False))
        else:
            first = None if x.attr("begin_mask") & bit else begin[i]
            last = None if x.attr("end_mask") & bit else end[i] + begin[i] * bool(x.attr("offset"))
            taken = range(*slice(first, last, strides[i]).indices(size))
            out.append(Cut(taken.start, strides[i], len(taken), True))
    return out


def _strided_slice(x: Operands) -> list[Shape]:
    return [tuple(cut.count for cut in cuts(x) if cut.kept)]


def _split(x: Operands) -> list[Shape]:
    axes, shape, parts = x.constant(0), x.shape(1), x.positive("num_splits")
    axis = x.axis(axes[0] if axes else 0, len(shape))
    if shape[axis] % parts or parts != len(x.node.outputs):
        raise x.bad(
            f"axis {axis} of {shape} does not split into {parts} parts for {len(x.node.outputs)} outputs"
        )
    return [(*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])] * parts


def _pack(x: Operands) -> list[Shape]:
    shape, count = x.shape(0), len(x.values)
    axis = x.axis(x.attr("axis"), len(shape) + 1)
    if any(x.shape(i) != shape for i in range(count)) or x.attr("values_count") != count:
        raise x.bad(f"{count} inputs of shapes {[x.shape(i) for i in range(count)]}: expected all the same")
    return [(*shape[:axis], count, *shape[axis:])]


def _gather(x: Operands) -> list[Shape]:
    shape, index = x.shape(0), x.shape(1)
    if x.attr("batch_dims") or x.axis(x.attr("axis"), len(shape)) != 0:
        raise UnsupportedError(f"{x.node.source}: only axis 0 without batch dimensions is known")
    return [(*index, *shape[1:])]


RULES: dict[str, Rule] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "PACK": _pack,
    "GATHER": _gather,
}
