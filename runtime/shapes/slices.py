"""Shapes of operators that take a part of a tensor, take it apart or write into it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import UnsupportedError
from runtime.graph import Shape
from runtime.shapes.operands import MAX_LIST, Operands, Rule


def _numbers(x: Operands, i: int) -> tuple[int, ...]:
    """Those of a begin or an end, zeros for what only the run knows."""
    value = x.value(i)
    if value.data is not None:
        return x.constant(i)
    if value.elements > MAX_LIST:
        raise x.bad(f"input {i} has {value.elements} elements, expected at most {MAX_LIST}")
    return (0,) * value.elements


def _slice(x: Operands) -> list[Shape]:
    """A begin that is known only at run time is checked when it is; then the sizes are known."""
    shape, size, known = x.listed(0), x.constant(2), x.value(1).data is not None
    begin = _numbers(x, 1)
    if len(begin) != len(shape) or len(size) != len(shape) or not (known or min(size, default=1) > 0):
        raise x.bad(f"begin of {len(begin)} and size {size}: expected one number for each axis of {shape}")
    out = tuple(n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True))
    if any(b < 0 or s < 0 or b + s > n for n, b, s in zip(shape, begin, out, strict=True)):
        raise x.bad(f"begin {begin} and size {size} leave the input of shape {shape}")
    return [out]


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a strided slice: `count` elements of `axis` from `start` by `step`, `kept` in the output or
    not. An axis that the slice makes anew is None. A start that only the run knows is number `place` of the
    begin.
    """

    axis: int | None
    start: int
    step: int
    count: int
    kept: bool = True
    place: int | None = None


def cuts(x: Operands) -> list[Cut]:
    """What STRIDED_SLICE takes: of every input axis, in order, and the new axes between them.

    The ellipsis stands for the axes that no number speaks of; without one these are the last.
    """
    shape, begin, end, strides = x.listed(0), _numbers(x, 1), _numbers(x, 2), x.constant(3)
    if not len(begin) == len(end) == len(strides) or 0 in strides:
        raise x.bad(f"begin {begin}, end {end}, strides {strides} do not fit shape {shape}")
    ellipsis, new = x.attr("ellipsis_mask"), x.attr("new_axis_mask") & ~x.attr("ellipsis_mask")
    spoken = [i for i in range(len(begin)) if not (ellipsis | new) >> i & 1]
    dots = [i for i in range(len(begin)) if ellipsis >> i & 1]
    if len(spoken) > len(shape) or len(dots) > 1:
        raise x.bad(f"{len(spoken)} axes and {len(dots)} ellipses do not fit shape {shape}")
    silent = len(shape) - len(spoken)
    out, axis = list[Cut](), 0
    for i in (*range(len(begin)), *(() if dots else (None,))):
        if i is None or ellipsis >> i & 1:
            out += [Cut(axis + more, 0, 1, shape[axis + more]) for more in range(silent)]
            axis += silent
        elif new >> i & 1:
            out.append(Cut(None, 0, 1, 1))
        else:
            out.append(_cut(x, axis, i, (begin[i], end[i], strides[i])))
            axis += 1
    return out


def _cut(x: Operands, axis: int, i: int, numbers: tuple[int, int, int]) -> Cut:
    """Begin and end are clipped as in Python; an end that is an offset counts from the begin."""
    (begin, end, step), size = numbers, x.listed(0)[axis]
    free = x.attr("begin_mask") >> i & 1, x.attr("end_mask") >> i & 1
    known = [free[end] or x.value(1 + end).data is not None for end in (0, 1)]
    if x.attr("shrink_axis_mask") >> i & 1:
        return Cut(axis, 0 if free[0] else x.axis(begin, size), 1, 1, False, None if known[0] else i)
    if not all(known):
        raise UnsupportedError(f"{x.node.source}: the size of axis {axis} depends on run-time data")
    start = slice(None if free[0] else begin, None, step).indices(size)[0]
    last = end + start if x.attr("offset") else end
    taken = range(*slice(start, None if free[1] else last, step).indices(size)) if start >= 0 else range(0)
    return Cut(axis, start, step, len(taken))


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


def _split_v(x: Operands) -> list[Shape]:
    """One size may be -1: what the others leave."""
    shape, sizes, axes = x.shape(0), list(x.constant(1)), x.constant(2)
    if len(axes) != 1 or not len(sizes) == len(x.node.outputs) == x.attr("num_splits"):
        raise x.bad(f"{len(axes)} axes and {len(sizes)} sizes for {len(x.node.outputs)} outputs")
    axis = x.axis(axes[0], len(shape))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if min(sizes) < 0 or sum(sizes) != shape[axis]:
        raise x.bad(f"axis {axis} of {shape} does not split into {x.constant(1)}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _unpack(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axis = x.axis(x.attr("axis"), len(shape))
    if not shape[axis] == x.attr("num") == len(x.node.outputs) <= MAX_LIST:
        raise x.bad(f"axis {axis} of {shape} does not give {len(x.node.outputs)} outputs")
    return [shape[:axis] + shape[axis + 1 :]] * shape[axis]


def updated(x: Operands) -> Shape:
    """Operand 0, into which operand 1 has to fit."""
    shape, update = x.shape(0), x.shape(1)
    if len(update) != len(shape) or any(part > size for part, size in zip(update, shape, strict=True)):
        raise x.bad(f"an update of {update} does not fit into {shape}")
    return shape


def _dynamic_update_slice(x: Operands) -> list[Shape]:
    shape = updated(x)
    if x.value(2).elements != len(shape):
        raise x.bad(f"{x.value(2).elements} start indices, expected one for each axis of {shape}")
    return [shape]


RULES: dict[str, Rule] = {
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "UNPACK": _unpack,
    "DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
}
