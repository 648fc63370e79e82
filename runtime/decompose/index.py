"""Operators that read, write or find elements by their position: GATHER and SCATTER of rows, SORT.

A position of several numbers becomes the number of a row by MAP. A number outside its axis gives row -1,
which GATHER and SCATTER refuse, so that no wrong index hides in a sum.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Gather, Map, Raster, Reduce, Region, Scatter, Sort, View
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.graph import Array, DType, Node, Shape
from runtime.primitives import Compute
from runtime.shapes.index import batch_axis, one_hot_axis, unique
from runtime.strides import dense

POSITIONS = (DType.I16, DType.I32, DType.I64)
INDEX = (DType.I32, DType.I64)
NUMBERS = (DType.F32, *BYTES, *POSITIONS)


def compute_type(dtype: DType) -> Compute:
    """In which every value of an element type is exact; of a u64 its bits."""
    return _COMPUTE.get(dtype, "i32")


_COMPUTE: dict[DType, Compute] = {
    DType.F32: "f32",
    DType.F16: "f32",
    DType.F64: "f64",
    DType.U32: "i64",
    DType.I64: "i64",
    DType.U64: "i64",
}


def expect_types(low: Lowering, i: int, *types: DType) -> None:
    if low.x.value(i).dtype not in types:
        low.types()


def expect_same(low: Lowering, i: int, output: int = 0) -> None:
    """An operand whose elements are moved into an output as they are."""
    if low.x.value(i).dtype is not low.values[low.node.outputs[output]].dtype:
        low.types()


def filled(low: Lowering, shape: Shape, dtype: DType, fill: float = 0) -> int:
    return low.emit(Raster((), fill), [], low.temp(shape, dtype))


# ---------------------------------------------------------------- rows by position


def rows(low: Lowering, index: int, depth: int, shape: Shape) -> int:
    """(count,) numbers of rows from positions of `depth` numbers each, in the first axes of `shape`.

    Of a position only as many numbers are read as `shape` has axes.
    """
    value, taken = low.values[index], min(depth, len(shape))
    count = value.elements // depth
    if not taken:
        return filled(low, (count,), DType.I32)
    row, inside = const(0), const(1)
    for axis in range(taken):
        row = call("add", call("mul", row, const(shape[axis])), load(axis))
        within = call("and", call("ge", load(axis), const(0)), call("lt", load(axis), const(shape[axis])))
        inside = call("and", inside, within)
    views = tuple(View(axis, (depth,)) for axis in range(taken))
    program = call("select", inside, row, const(-1))
    atom = Map((count,), views, View(0, (1,)), program, compute_type(value.dtype))
    return low.emit(atom, [index] * taken, low.temp((count,), DType.I32))


def gather(low: Lowering) -> None:
    """Rows along an axis: their numbers start anew in each slice of the axes before it."""
    shape, (batch, axis) = low.x.shape(0), batch_axis(low.x)
    expect_types(low, 1, *POSITIONS)
    expect_same(low, 0)
    index, size = low.node.inputs[1], shape[axis]
    slices, width = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    count = low.x.value(1).elements // math.prod(shape[:batch])
    if slices > 1 or low.x.value(1).dtype not in INDEX:
        index = _rows_in_slices(low, math.prod(shape[:batch]), math.prod(shape[batch:axis]), count, size)
    low.emit(Gather(slices * size, width, slices * count), [low.node.inputs[0], index])


def _rows_in_slices(low: Lowering, batches: int, outer: int, count: int, size: int) -> int:
    """Row `size` * slice + index for every slice: each of `outer` in a batch reads the batch's indices."""
    slices = low.constant(np.arange(batches * outer, dtype=np.int32))
    inside = call("and", call("ge", load(0), const(0)), call("lt", load(0), const(size)))
    row = call("add", call("mul", load(1), const(size)), load(0))
    sizes = (batches, outer, count)
    views = View(0, (count, 0, 1)), View(0, (outer, 1, 0))
    program = call("select", inside, row, const(-1))
    atom = Map(sizes, views, dense(sizes), program, compute_type(low.x.value(1).dtype))
    return low.emit(atom, [low.node.inputs[1], slices], low.temp(sizes, DType.I32))


def gather_nd(low: Lowering) -> None:
    expect_types(low, 1, *POSITIONS)
    expect_same(low, 0)
    shape, depth = low.x.shape(0), low.x.shape(1)[-1]
    index = rows(low, low.node.inputs[1], depth, shape)
    count, width = math.prod(shape[:depth]), math.prod(shape[depth:])
    low.emit(Gather(count, width, low.values[index].elements), [low.node.inputs[0], index])


def scatter_nd(low: Lowering) -> None:
    """Updates of one position add up, integers wrapping; of booleans any one counts."""
    expect_types(low, 0, *INDEX)
    expect_types(low, 1, *NUMBERS, DType.BOOL)
    expect_same(low, 1)
    shape, depth, updates = low.out.shape, low.x.shape(0)[-1], low.node.inputs[1]
    index, whole = rows(low, low.node.inputs[0], depth, shape), low.out.dtype is not DType.BOOL
    dtype = low.out.dtype if whole else DType.I32
    atom = Scatter("add", math.prod(shape[:depth]), math.prod(shape[depth:]), low.values[index].elements)
    if whole:
        low.emit(atom, [filled(low, shape, dtype), index, updates])
        return
    numbers = low.map(load(0), [updates], low.temp(low.x.shape(1), dtype), "i32")
    sums = low.emit(atom, [filled(low, shape, dtype), index, numbers], low.temp(shape, dtype))
    low.map(call("ne", load(0), const(0)), [sums], compute="i32")


def sparse_to_dense(low: Lowering) -> None:
    expect_types(low, 0, *INDEX)
    expect_types(low, 2, *NUMBERS)
    expect_same(low, 2)
    expect_same(low, 3)
    index = rows(low, low.node.inputs[0], len(low.out.shape), low.out.shape)
    count, values = low.values[index].elements, low.node.inputs[2]
    base = _spread(low, low.node.inputs[3], low.out.elements)
    updates = values if low.x.value(2).elements == count else _spread(low, values, count)
    low.emit(Scatter("set", low.out.elements, 1, count), [base, index, updates])


def _spread(low: Lowering, index: int, count: int) -> int:
    """A single element `count` times."""
    region = Region(0, View(0, (0,)), View(0, (1,)), (count,))
    return low.raster([region], [index], low.temp((count,), low.values[index].dtype))


# ---------------------------------------------------------------- embeddings


def embedding_lookup(low: Lowering) -> None:
    """Rows of a table; bytes that go into floats are scaled, by one scale or by that of their row."""
    expect_types(low, 0, DType.I32)
    table, out = low.x.value(1), low.out
    atom = Gather(table.shape[0], math.prod(table.shape[1:]), low.x.value(0).elements)
    if table.dtype is out.dtype:
        low.emit(atom, [low.node.inputs[1], low.node.inputs[0]])
        return
    if table.dtype not in BYTES or out.dtype is not DType.F32:
        low.types()
    stored = low.emit(atom, [low.node.inputs[1], low.node.inputs[0]], low.temp(out.shape, table.dtype))
    low.map(call("mul", _signed(table.dtype), load(1)), [stored, _row_scales(low)])


def _signed(dtype: DType) -> Program:
    """TFLite reads the bytes of a uint8 table as int8."""
    if dtype is DType.I8:
        return load(0)
    return call("sub", load(0), call("mul", call("ge", load(0), const(128)), const(256)))


def _row_scales(low: Lowering) -> int:
    """What to multiply each row of the output by, broadcast against it."""
    table = low.x.value(1)
    scales, zeros = low.scales(table)
    if any(zeros):
        raise low.x.bad(f"embeddings with zero point {next(filter(None, zeros))}, expected 0")
    if len(scales) == 1:
        return low.constant(np.array(scales, np.float32))
    assert table.quantization is not None
    if table.quantization.axis != 0:
        raise low.x.bad(f"embeddings with scales along axis {table.quantization.axis}, expected 0")
    count = low.x.value(0).elements
    rows = low.constant(np.array(scales, np.float32))
    shape = (count,) + (1,) * (len(table.shape) - 1)
    atom = Gather(len(scales), 1, count)
    return low.emit(atom, [rows, low.node.inputs[0]], low.temp(shape, DType.F32))


def embedding_lookup_sparse(low: Lowering) -> None:
    """Weighted rows added up by bucket, for "MEAN" and "SQRTN" over the sum of weights or of squares.

    Positions are in order, as in a sparse tensor: TFLite divides whenever a bucket ends.
    """
    for i, dtype in enumerate((DType.I32, DType.I32, DType.I32, DType.F32, DType.F32)):
        expect_types(low, i, dtype)
    table, buckets = low.x.shape(4), low.x.constant(2)[:-1]
    (count,), width, total = low.x.shape(0), math.prod(table[1:]), math.prod(buckets)
    index = rows(low, low.node.inputs[1], len(buckets) + 1, buckets)
    picked = low.emit(
        Gather(table[0], width, count), [low.node.inputs[4], low.node.inputs[0]],
        low.temp((count, width), DType.F32),
    )  # fmt: skip
    weights = low.node.inputs[3]
    column = low.copy(dense((count,)), (count,), low.temp((count, 1), DType.F32), operand=3)
    weighted = low.map(call("mul", load(0), load(1)), [picked, column], low.temp((count, width), DType.F32))
    scatter = Scatter("add", total, width, count)
    base = filled(low, (total, width), DType.F32)
    if low.x.attr("combiner") == "SUM":
        low.emit(scatter, [base, index, weighted])
        return
    sums = low.emit(scatter, [base, index, weighted], low.temp((total, width), DType.F32))
    square = call("square", load(0))
    root = low.x.attr("combiner") == "SQRTN"
    parts = low.map(square, [weights], low.temp((count,), DType.F32)) if root else weights
    ones = low.constant(np.ones(count, np.float32))
    norms, found = (
        low.emit(
            Scatter("add", total, 1, count), [filled(low, (total, 1), DType.F32), index, part],
            low.temp((total, 1), DType.F32),
        )
        for part in (parts, ones)
    )  # fmt: skip
    norm = call("sqrt", load(1)) if root else load(1)
    program = call("select", load(2), call("div", load(0), norm), load(0))
    low.map(program, [sums, norms, found], sizes=(total, width))


# ---------------------------------------------------------------- comparisons


def one_hot(low: Lowering) -> None:
    expect_types(low, 0, *INDEX)
    expect_types(low, 2, *NUMBERS, DType.BOOL)
    expect_same(low, 2)
    expect_same(low, 3)
    shape, axis = low.x.shape(0), one_hot_axis(low.x)
    depth, inner = low.out.shape[axis], math.prod(shape[axis:])
    sizes = (math.prod(shape[:axis]), depth, inner)
    places = low.constant(np.arange(depth, dtype=np.int32))
    views = View(0, (inner, 0, 1)), View(0, (0, 1, 0))
    atom = Map(sizes, views, dense(sizes), call("eq", load(0), load(1)), compute_type(low.x.value(0).dtype))
    hot = low.emit(atom, [low.node.inputs[0], places], low.temp(low.out.shape, DType.BOOL))
    on, off = (_spread(low, low.node.inputs[i], 1) for i in (2, 3))
    program = call("select", load(0), load(1), load(2))
    low.map(program, [hot, on, off], compute=compute_type(low.out.dtype))


def topk(low: Lowering) -> None:
    """The k largest of each row and where they are, equals by lower index."""
    expect_types(low, 0, *NUMBERS)
    expect_same(low, 0)
    values, indices = low.node.outputs
    places, wanted = indices, low.values[indices].dtype
    *outer, width = low.x.shape(0)
    if wanted is DType.I16:
        places = low.temp(low.values[indices].shape, DType.I32)
    elif wanted is not DType.I32:
        low.types()
    atom = Sort(math.prod(outer), width, low.out.shape[-1])
    low.nodes.append(Node(atom.NAME, (low.node.inputs[0],), (values, places), atom, low.node.source))
    if places != indices:
        low.map(load(0), [places], indices, "i32")


def bucketize(low: Lowering) -> None:
    """How many boundaries are not above x; TFLite compares integers as floats too."""
    expect_types(low, 0, DType.F32, DType.F64, *INDEX)
    if low.out.dtype is not DType.I32:
        low.types()
    boundaries = low.constant(np.array(low.x.attr("boundaries"), np.float32))
    count, elements = len(low.x.attr("boundaries")), low.out.elements
    sizes = (count, elements)
    above = call("lt", load(0), load(1))
    compute: Compute = "f64" if low.x.value(0).dtype is DType.F64 else "f32"
    atom = Map(sizes, (View(0, (0, 1)), View(0, (1, 0))), dense(sizes), call("not", above), compute)
    passed = low.emit(atom, [low.node.inputs[0], boundaries], low.temp(sizes, DType.I32))
    low.emit(Reduce("sum", 1, count, elements), [passed])


def hashtable_lookup(low: Lowering) -> None:
    """Rows by key; a row of zeros, after the last, where no key is equal."""
    expect_types(low, 0, DType.I32)
    expect_types(low, 1, DType.I32)
    expect_same(low, 2)
    (count,), (keys,), values = low.x.shape(0), low.x.shape(1), low.x.shape(2)
    if low.values[low.node.outputs[1]].dtype is not DType.U8:
        low.types()
    sizes = (count, keys)
    equal = Map(sizes, (View(0, (1, 0)), View(0, (0, 1))), dense(sizes), call("eq", load(0), load(1)), "i32")
    found = low.emit(equal, low.node.inputs[:2], low.temp(sizes, DType.U8))
    place = low.emit(Reduce("argmax", count, keys, 1), [found], low.temp((count,), DType.I32))
    hits = low.emit(Reduce("max", count, keys, 1), [found], low.node.outputs[1])
    program = call("select", load(1), load(0), const(keys))
    index = low.map(program, [place, hits], low.temp((count,), DType.I32), "i32")
    table = low.padded(low.node.inputs[2], [(0, 1), *((0, 0) for _ in values[1:])], 0)
    low.emit(Gather(keys + 1, math.prod(values[1:]), count), [table, index])


# ---------------------------------------------------------------- what constants decide


def _given(low: Lowering, data: Array, output: int) -> None:
    """An output that is known."""
    data = np.ascontiguousarray(data.astype(low.values[output].dtype.numpy))
    region = Region(0, View(0, (1,)), View(0, (1,)), (data.size,))
    low.raster([region], [low.constant(data.reshape(-1))], output)


def unique_(low: Lowering) -> None:
    expect_types(low, 0, *NUMBERS)
    expect_same(low, 0)
    if low.values[low.node.outputs[1]].dtype not in INDEX:
        low.types()
    for data, output in zip(unique(low.x), low.node.outputs, strict=True):
        _given(low, data, output)


def where(low: Lowering) -> None:
    data = low.x.value(0).data
    if low.out.dtype is not DType.I64 or data is None:
        low.types()
    _given(low, np.argwhere(data), low.node.outputs[0])


RULES = {
    "GATHER": gather,
    "GATHER_ND": gather_nd,
    "SCATTER_ND": scatter_nd,
    "SPARSE_TO_DENSE": sparse_to_dense,
    "ONE_HOT": one_hot,
    "EMBEDDING_LOOKUP": embedding_lookup,
    "EMBEDDING_LOOKUP_SPARSE": embedding_lookup_sparse,
    "TOPK_V2": topk,
    "HASHTABLE_LOOKUP": hashtable_lookup,
    "UNIQUE": unique_,
    "WHERE": where,
    "BUCKETIZE": bucketize,
}
