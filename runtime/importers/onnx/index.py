"""Reading and writing by index. ONNX's indices may count from the end; those of GRAPH operators do not."""

from __future__ import annotations

import math

import numpy as np

from runtime.graph import Array, DType, Shape
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import MAX_CONSTANT, Row, Translation


def from_start(t: Translation, i: int, sizes: int | Array) -> int:
    """Operand `i` as i32 indices, each with the size of its axis added where it is negative.

    `sizes` is one number, or one per element of the last axis. Constants are checked here, the others when
    they are used.
    """
    index = t.input(i)
    value = t.value(index)
    if value.dtype not in (DType.I32, DType.I64):
        raise t.bad(f"input {i} is {value.dtype.value}, expected i32 or i64")
    if value.data is not None:
        wrapped = np.where(value.data < 0, value.data + sizes, value.data)
        if ((wrapped < 0) | (wrapped >= sizes)).any():
            raise t.bad(f"an index of input {i} is outside the {sizes} elements")
        return t.constant(wrapped.astype(np.int32))
    return _wrapped(t, t.cast(index, DType.I32), sizes)


def _wrapped(t: Translation, index: int, sizes: int | Array) -> int:
    """i32 indices, each with the size of its axis added where it is negative."""
    negative = t.emit("LESS", index, t.like(0, index), dtype=DType.BOOL)
    added = t.emit("ADD", index, t.constant(np.asarray(sizes, np.int32)))
    return t.emit("SELECT_V2", negative, added, index, dtype=DType.I32)


def gather(t: Translation) -> int:
    x = t.input(0)
    axis = t.axis(t.attr("axis"), len(t.shape(x)))
    return t.take(x, from_start(t, 1, t.shape(x)[axis]), axis)


def _flat(t: Translation, shape: Shape, axis: int, index: int) -> int:
    """Places in the flattened data of indices along `axis`, all other coordinates being the index's own."""
    sizes = t.shape(index)
    others = [i for i in range(len(shape)) if i != axis]
    if len(sizes) != len(shape) or any(sizes[i] > shape[i] for i in others):
        raise t.bad(f"indices {sizes} do not fit data {shape} along axis {axis}")
    if math.prod(sizes) > MAX_CONSTANT:
        raise t.lacking(f"{math.prod(sizes)} indices, at most {MAX_CONSTANT}")
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    base = np.zeros(sizes, np.int32)
    for i in others:
        base += (
            (np.arange(sizes[i]) * strides[i]).reshape((-1,) + (1,) * (len(sizes) - i - 1)).astype(np.int32)
        )
    scaled = t.emit("MUL", index, t.like(strides[axis], index))
    return t.emit("ADD", scaled, t.constant(base))


def gather_elements(t: Translation) -> int:
    x = t.input(0)
    shape = t.shape(x)
    axis = t.axis(t.attr("axis"), len(shape))
    places = _flat(t, shape, axis, from_start(t, 1, shape[axis]))
    return t.take(t.reshape(x, (math.prod(shape),)), places, 0)


def gather_nd(t: Translation) -> int:
    """With batches the position in each leading axis comes before an index."""
    x, batches = t.input(0), t.attr("batch_dims")
    shape, sizes = t.shape(x), t.shape(t.input(1))
    if not 0 <= batches < min(len(shape), len(sizes)) or shape[:batches] != sizes[:batches]:
        raise t.bad(f"batch_dims = {batches} for data {shape} and indices {sizes}")
    places = _places(t, shape[batches:])
    if not batches:
        return t.emit("GATHER_ND", x, places)
    if math.prod(sizes[:-1]) * batches > MAX_CONSTANT:
        raise t.lacking(f"{math.prod(sizes)} indices, at most {MAX_CONSTANT}")
    before = np.stack(tuple(np.indices(sizes[:-1], np.int32)[:batches]), -1)
    return t.emit("GATHER_ND", x, t.join([t.constant(before), places], len(sizes) - 1))


def _places(t: Translation, shape: Shape) -> int:
    """Indices of operand 1, whose last axis counts the leading axes of `shape`."""
    depth = (t.shape(t.input(1)) or (0,))[-1]
    if not 1 <= depth <= len(shape):
        raise t.bad(f"indices {t.shape(t.input(1))} do not fit data {shape}")
    return from_start(t, 1, np.array(shape[:depth], np.int64))


def _written(t: Translation, x: int, places: int, updates: int) -> int:
    """`x` with rows replaced by updates, or added to; rows are unique unless they are added."""
    how = t.choice("reduction", ("none", "add", *SEGMENTS))
    if how in SEGMENTS:
        return _reduced(t, x, places, updates, *SEGMENTS[how])
    shape = t.sizes(t.shape(x))
    spread = t.emit("SCATTER_ND", places, updates, shape, dtype=t.dtype(updates))
    if how == "add":
        return t.emit("ADD", x, spread)
    ones = t.filled(t.shape(updates), 1, DType.I32)
    counts = t.emit("SCATTER_ND", places, ones, t.sizes(t.shape(x)), dtype=DType.I32)
    hit = t.emit("GREATER", counts, t.like(0, counts), dtype=DType.BOOL)
    return t.emit("SELECT_V2", hit, spread, x, dtype=t.dtype(x))


SEGMENTS = {
    "mul": ("UNSORTED_SEGMENT_PROD", "MUL"),
    "min": ("UNSORTED_SEGMENT_MIN", "MINIMUM"),
    "max": ("UNSORTED_SEGMENT_MAX", "MAXIMUM"),
}
"""How the updates of a row are reduced, then with that row; without any they are what changes nothing."""


def _reduced(t: Translation, x: int, places: int, updates: int, segments: str, op: str) -> int:
    shape, sizes = t.shape(x), t.shape(places)
    rows, rest, count = shape[: sizes[-1]], shape[sizes[-1] :], math.prod(sizes[:-1])
    if t.shape(updates) != (*sizes[:-1], *rest):
        raise t.bad(f"updates {t.shape(updates)} do not fit indices {sizes} of data {shape}")
    strides = np.array([math.prod(rows[i + 1 :]) for i in range(len(rows))], np.int32)
    numbers = t.emit("SUM", t.emit("MUL", places, t.constant(strides)), t.sizes([len(sizes) - 1]))
    found = t.emit(
        segments,
        t.reshape(updates, (count, *rest)),
        t.reshape(numbers, (count,)),
        t.constant(math.prod(rows), DType.I32),
    )
    return t.reshape(t.emit(op, t.reshape(x, (math.prod(rows), *rest)), found), shape)


def scatter_nd(t: Translation) -> int:
    x = t.input(0)
    return _written(t, x, _places(t, t.shape(x)), t.input(2))


def scatter_elements(t: Translation) -> int:
    x, updates = t.input(0), t.input(2)
    shape = t.shape(x)
    axis = t.axis(t.attr("axis"), len(shape))
    places = _flat(t, shape, axis, from_start(t, 1, shape[axis]))
    count = math.prod(t.shape(places))
    if t.shape(updates) != t.shape(places):
        raise t.bad(f"updates {t.shape(updates)} do not fit indices {t.shape(places)}")
    flat = t.reshape(x, (math.prod(shape),))
    written = _written(t, flat, t.reshape(places, (count, 1)), t.reshape(updates, (count,)))
    return t.reshape(written, shape)


def one_hot(t: Translation) -> int:
    """An index outside -depth..depth-1 gives off values only."""
    depth, values = t.integer(1), t.input(2)
    if not 1 <= depth < 2**31 or t.shape(values) != (2,):
        raise t.bad(f"depth {depth} and values {t.shape(values)}, expected at least 1 and (2,)")
    index = t.cast(t.input(0), DType.I32)
    rank = len(t.shape(index)) + 1
    index = _wrapped(t, index, depth)
    off, on = (t.reshape(t.cut(values, [i], [1]), ()) for i in (0, 1))
    count = t.constant(depth, DType.I32)
    return t.emit("ONE_HOT", index, count, on, off, dtype=t.dtype(values), axis=t.axis(t.attr("axis"), rank))


def compress(t: Translation) -> int:
    """The rows along an axis, or the elements, of which a constant says that they stay."""
    x, stays = t.input(0), t.data(1)
    if t.attr("axis") is None:
        x = t.reshape(x, (math.prod(t.shape(x)),))
    axis = t.axis(t.attr("axis") or 0, len(t.shape(x)))
    rows = np.flatnonzero(stays).astype(np.int32)
    if stays.ndim != 1 or stays.dtype != np.bool_ or stays.size > t.shape(x)[axis] or not rows.size:
        raise t.bad(f"condition {stays.shape} of {stays.dtype} keeps {rows.size} of {t.shape(x)[axis]} rows")
    return t.take(x, t.constant(rows), axis)


def hardmax(t: Translation) -> int:
    """1 where the first largest element along an axis is, 0 elsewhere."""
    x = t.input(0)
    shape = t.shape(x)
    axis = t.axis(t.attr("axis"), len(shape))
    found = t.emit("ARG_MAX", x, t.sizes([axis]), dtype=DType.I32)
    count, on, off = t.constant(shape[axis], DType.I32), t.like(1, x), t.like(0, x)
    return t.emit("ONE_HOT", found, count, on, off, dtype=t.dtype(x), axis=axis)


def reverse_sequence(t: Translation) -> int:
    x, batch, time = t.input(0), t.attr("batch_axis"), t.attr("time_axis")
    if {batch, time} != {0, 1} or len(t.shape(x)) < 2 or t.shape(t.input(1)) != (t.shape(x)[batch],):
        raise t.bad(f"batch_axis {batch}, time_axis {time}, lengths {t.shape(t.input(1))} for {t.shape(x)}")
    return t.emit("REVERSE_SEQUENCE", x, t.input(1), seq_dim=time, batch_dim=batch)


ROWS: dict[str, Row] = {
    "Gather": Row(gather, (2, 2), {"axis": 0}),
    "GatherElements": Row(gather_elements, (2, 2), {"axis": 0}),
    "GatherND": Row(gather_nd, (2, 2), {"batch_dims": 0}),
    "ScatterND": Row(scatter_nd, (3, 3), {"reduction": "none"}),
    "ScatterElements": Row(scatter_elements, (3, 3), {"axis": 0, "reduction": "none"}),
    "Hardmax": Row(hardmax, attrs={"axis": -1}),
    "ReverseSequence": Row(reverse_sequence, (2, 2), {"batch_axis": 1, "time_axis": 0}),
    "Compress": Row(compress, (2, 2), {"axis": Kind.INT}),
    "OneHot": Row(one_hot, (3, 3), {"axis": -1}),
}
