"""Operators that move elements: reshape, transpose, slice, pad, tile."""

from __future__ import annotations

import math

import numpy as np

from runtime.graph import Shape
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import ANY, MAX_CONSTANT, Row, Translation

# ---------------------------------------------------------------- the same elements under another shape


def reshape(t: Translation) -> int:
    """0 keeps a size unless `allowzero`; one -1 takes the rest."""
    old, new = t.shape(t.input(0)), list(t.integers(1))
    for i, size in enumerate(new):
        if size == 0 and not t.attr("allowzero"):
            if i >= len(old):
                raise t.bad(f"new shape {tuple(new)}: 0 at {i}, but the input has shape {old}")
            new[i] = old[i]
    if new.count(-1) > 1 or min(new, default=0) < -1:
        raise t.bad(f"new shape {tuple(new)}: expected sizes >= 0 and at most one -1")
    if -1 in new:
        new[new.index(-1)] = math.prod(old) // max(math.prod(size for size in new if size != -1), 1)
    return _reshaped(t, tuple(new))


def _reshaped(t: Translation, shape: Shape) -> int:
    old = t.shape(t.input(0))
    if math.prod(old) != math.prod(shape):
        raise t.bad(f"{old} has {math.prod(old)} elements, they do not fill {shape}")
    return t.reshape(t.input(0), shape)


def flatten(t: Translation) -> int:
    shape = t.shape(t.input(0))
    axis = t.attr("axis")
    if not -len(shape) <= axis <= len(shape):
        raise t.bad(f"axis {axis} is outside -{len(shape)}..{len(shape)}")
    axis += len(shape) if axis < 0 else 0
    return _reshaped(t, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def squeeze(t: Translation) -> int:
    shape = t.shape(t.input(0))
    ones = tuple(i for i, size in enumerate(shape) if size == 1)
    axes = t.axes(t.integers(1), len(shape)) if t.has(1) else ones
    if not set(axes) <= set(ones):
        raise t.bad(f"axes {axes} of {shape} are not all of size 1")
    return _reshaped(t, tuple(size for i, size in enumerate(shape) if i not in axes))


def unsqueeze(t: Translation) -> int:
    shape, given = t.shape(t.input(0)), t.integers(1)
    rank = len(shape) + len(given)
    axes, rest = t.axes(given, rank), iter(shape)
    return _reshaped(t, tuple(1 if i in axes else next(rest) for i in range(rank)))


def transpose(t: Translation) -> int:
    rank = len(t.shape(t.input(0)))
    order = tuple(reversed(range(rank))) if t.attr("perm") is None else t.attr("perm")
    if sorted(order) != list(range(rank)):
        raise t.bad(f"perm {order} does not fit shape {t.shape(t.input(0))}")
    return t.transpose(t.input(0), order)


def depth_to_space(t: Translation) -> int:
    x, block = t.input(0), t.attr("blocksize")
    batch, depth, height, width = _image(t, x)
    if block < 1 or depth % (block * block):
        raise t.bad(f"{depth} channels do not split into blocks of {block}x{block}")
    out = depth // (block * block)
    if t.choice("mode", ("DCR", "CRD")) == "DCR":
        split, order = (batch, block, block, out, height, width), (0, 3, 4, 1, 5, 2)
    else:
        split, order = (batch, out, block, block, height, width), (0, 1, 4, 2, 5, 3)
    return t.reshape(t.transpose(t.reshape(x, split), order), (batch, out, height * block, width * block))


def space_to_depth(t: Translation) -> int:
    x, block = t.input(0), t.attr("blocksize")
    batch, depth, height, width = _image(t, x)
    if block < 1 or height % block or width % block:
        raise t.bad(f"an image of {height}x{width} does not split into blocks of {block}x{block}")
    split = t.reshape(x, (batch, depth, height // block, block, width // block, block))
    moved = t.transpose(split, (0, 3, 5, 1, 2, 4))
    return t.reshape(moved, (batch, depth * block * block, height // block, width // block))


def _image(t: Translation, x: int) -> Shape:
    if len(t.shape(x)) != 4:
        raise t.bad(f"input has shape {t.shape(x)}, expected rank 4")
    return t.shape(x)


# ---------------------------------------------------------------- parts and wholes


def concat(t: Translation) -> int:
    """Empty lists of sizes are left out."""
    parts = [i for n in range(len(t.inputs)) if 0 not in t.shape(i := t.input(n))]
    if not parts:
        return t.input(0)
    return t.join(parts, t.axis(t.attr("axis"), len(t.shape(parts[0]))))


def split(t: Translation) -> list[int]:
    """Into the sizes given, or into equal parts of which the last may be smaller."""
    x, count = t.input(0), len(t.step.outputs)
    axis = t.axis(t.attr("axis"), len(t.shape(x)))
    size = t.shape(x)[axis]
    if t.attr("num_outputs") not in (None, count):
        raise t.bad(f"num_outputs = {t.attr('num_outputs')}, but there are {count} outputs")
    whole = -(-size // count)
    sizes = t.integers(1) if t.has(1) else (*(whole,) * (count - 1), size - whole * (count - 1))
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 1:
        raise t.bad(f"axis {axis} of {t.shape(x)} does not split into {sizes} for {count} outputs")
    return [t.along(x, axis, sum(sizes[:i]), part) for i, part in enumerate(sizes)]


def slice_(t: Translation) -> int:
    """Begin, end and step of some axes, clipped as in Python."""
    x = t.input(0)
    shape, starts, ends = t.shape(x), t.integers(1), t.integers(2)
    axes = t.axes(t.integers(3) if t.has(3) else range(len(starts)), len(shape))
    steps = t.integers(4) if t.has(4) else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise t.bad(f"starts {starts}, ends {ends}, axes {axes}, steps {steps} do not fit together")
    taken = [range(size) for size in shape]
    for axis, *bounds in zip(axes, starts, ends, steps, strict=True):
        taken[axis] = range(*slice(*bounds).indices(shape[axis]))
    if (data := t.value(x).data) is not None:
        return t.constant(data[tuple(slice(r.start, None if r.stop < 0 else r.stop, r.step) for r in taken)])
    if all(r.step == 1 for r in taken):
        return t.cut(x, [r.start for r in taken], [len(r) for r in taken])
    to_the_start = sum(1 << i for i, r in enumerate(taken) if r.stop < 0)
    begin, end, step = (t.sizes([getattr(r, part) for r in taken]) for part in ("start", "stop", "step"))
    return t.emit("STRIDED_SLICE", x, begin, end, step, end_mask=to_the_start)


def pad(t: Translation) -> int:
    """Negative paddings cut. The new elements are one number, or taken from the input by a rule of places."""
    x = t.input(0)
    rank = len(t.shape(x))
    axes = t.axes(t.integers(3) if t.has(3) else range(rank), rank)
    numbers = t.integers(1)
    if len(numbers) != 2 * len(axes):
        raise t.bad(f"pads {numbers}: expected two numbers for each of the axes {axes}")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = numbers[i], numbers[i + len(axes)]
    mode = t.choice("mode", ("constant", *PLACES))
    if mode != "constant":
        for axis in range(rank):
            x = _extended(t, x, axis, before[axis], after[axis], mode)
        return x
    kept = [n + min(b, 0) + min(a, 0) for n, b, a in zip(t.shape(x), before, after, strict=True)]
    if min(kept, default=1) < 1:
        raise t.bad(f"pads {numbers} leave nothing of {t.shape(x)}")
    x = t.cut(x, [max(-b, 0) for b in before], kept)
    pads = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    return t.pad(x, pads, t.number(2) if t.has(2) else 0.0)


PLACES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
"""ONNX's mode -> NumPy's, which tells where each new element is taken from."""


def _extended(t: Translation, x: int, axis: int, before: int, after: int, mode: str) -> int:
    size = t.shape(x)[axis]
    if not before and not after:
        return x
    if max(before, 0) + max(after, 0) + size > MAX_CONSTANT or min(before, after) < -size:
        raise t.bad(f"pads {before} and {after} of an axis of {size}")
    kept = np.arange(max(-before, 0), size - max(-after, 0))
    if kept.size == 0:
        raise t.bad(f"pads {before} and {after} leave nothing of {t.shape(x)}")
    rows = np.pad(kept, (max(before, 0), max(after, 0)), PLACES[mode])  # type: ignore[call-overload]
    return t.take(x, t.constant(rows.astype(np.int32)), axis)


def center_crop_pad(t: Translation) -> int:
    """Each axis cut or padded to a size, its middle in the middle."""
    x, targets = t.input(0), t.integers(1)
    shape, rank = t.shape(x), len(t.shape(x))
    axes = t.axes(range(rank) if t.attr("axes") is None else t.attr("axes"), rank)
    if len(targets) != len(axes) or any(not 1 <= size < 2**31 for size in targets):
        raise t.bad(f"sizes {targets} for axes {axes}")
    begin, kept, pads = [0] * rank, list(shape), [(0, 0)] * rank
    for axis, size in zip(axes, targets, strict=True):
        kept[axis], more = min(shape[axis], size), max(size - shape[axis], 0)
        begin[axis], pads[axis] = (shape[axis] - kept[axis]) // 2, (more // 2, more - more // 2)
    return t.pad(t.cut(x, begin, kept), pads)


def tile(t: Translation) -> int:
    x, times = t.input(0), t.integers(1)
    if len(times) != len(t.shape(x)) or min(times, default=1) < 1:
        raise t.bad(f"repeats {times}: expected a number >= 1 for each axis of {t.shape(x)}")
    return x if set(times) <= {1} else t.emit("TILE", x, t.sizes(times))


def expand(t: Translation) -> int:
    x, target = t.input(0), t.integers(1)
    if min(target, default=1) < 1:
        raise t.bad(f"shape {target}, expected sizes of at least 1")
    return t.repeated(x, t.broadcast(t.shape(x), target))


def trilu(t: Translation) -> int:
    """The part above or below a diagonal; the rest is 0."""
    x, k = t.input(0), t.integer(1) if t.has(1) else 0
    shape = t.shape(x)
    if len(shape) < 2 or abs(k) >= 2**31 or math.prod(shape[-2:]) > MAX_CONSTANT:
        raise t.bad(f"shape {shape} and diagonal {k}")
    places = np.ones(shape[-2:], np.bool_)
    kept = t.constant(np.triu(places, k) if t.attr("upper") else np.tril(places, k))
    return t.emit("SELECT_V2", kept, x, t.like(0, x), dtype=t.dtype(x))


ROWS: dict[str, Row] = {
    "Reshape": Row(reshape, (2, 2), {"allowzero": 0}),
    "Flatten": Row(flatten, attrs={"axis": 1}),
    "Squeeze": Row(squeeze, (1, 2)),
    "Unsqueeze": Row(unsqueeze, (2, 2)),
    "Transpose": Row(transpose, attrs={"perm": Kind.INTS}),
    "DepthToSpace": Row(depth_to_space, attrs={"blocksize": 0, "mode": "DCR"}),
    "SpaceToDepth": Row(space_to_depth, attrs={"blocksize": 0}),
    "Concat": Row(concat, ANY, {"axis": 0}),
    "Split": Row(split, (1, 2), {"axis": 0, "num_outputs": Kind.INT}, ANY),
    "Slice": Row(slice_, (3, 5)),
    "Pad": Row(pad, (2, 4), {"mode": "constant"}),
    "CenterCropPad": Row(center_crop_pad, (2, 2), {"axes": Kind.INTS}),
    "Tile": Row(tile, (2, 2)),
    "Expand": Row(expand, (2, 2)),
    "Trilu": Row(trilu, (1, 2), {"upper": 1}),
}
