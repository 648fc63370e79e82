"""The raster planner: what disappears, and that no bit of an output changes, whatever the views are."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.atoms import Clamp, Gemm, Instruction, Map, Raster, Reduce, Region, View
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.raster import Copies, injective, normal, normalised
from runtime.simplify import simplify
from runtime.strides import dense, extent
from runtime.verify import check

BACKEND = CpuBackend()


def node(atom: Any, *ids: int) -> Node:
    return Node(atom.NAME, ids[:-1], ids[-1:], atom, f"{atom.NAME}#0")


def f32(*shape: int) -> Value:
    return Value("v", shape, DType.F32)


def copied(source: View, shape: tuple[int, ...]) -> Raster:
    return Raster((Region(0, source, dense(shape), shape),))


def joined(shapes: list[tuple[int, ...]], axis: int) -> Raster:
    """Concatenation."""
    out = list(shapes[0])
    out[axis] = sum(shape[axis] for shape in shapes)
    strides, at, regions = dense(tuple(out)).strides, 0, []
    for i, shape in enumerate(shapes):
        regions.append(Region(i, dense(shape), View(at * strides[axis], strides), shape))
        at += shape[axis]
    return Raster(tuple(regions))


def run_both(graph: Graph, seed: int = 0) -> Graph:
    """The simplified graph, after its outputs were the same, bit by bit, on both backends. Whole numbers, so
    that the order in which a backend adds cannot matter, some of them -0.0.
    """
    check(graph, "ATOMIC")
    small = simplify(graph)
    check(small, "ATOMIC")
    rng = np.random.default_rng(seed)
    feed = [rng.integers(-3, 4, graph.values[i].shape) for i in graph.inputs]
    arrays: list[Array] = []
    for i, array in zip(graph.inputs, feed, strict=True):
        arrays.append(array.astype(graph.values[i].dtype.numpy))
        if arrays[-1].dtype.kind == "f":
            arrays[-1][array == 0] = -0.0
    want = bits(graph, reference.run(graph, arrays))
    for got in (reference.run(small, arrays), BACKEND.lower(place(fuse(small))).run(arrays)):
        assert bits(graph, got) == want
    return small


def bits(graph: Graph, arrays: list[Array]) -> list[bytes]:
    """The bytes of arrays; after a REDUCE a zero has no sign, for -0.0 and 0.0 are equally great."""
    reduced = any(isinstance(n.attrs, Reduce) for n in graph.nodes)
    return [(a + 0 if reduced and a.dtype.kind == "f" else a).tobytes() for a in arrays]


def kinds(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


# -------------------------------------------------------------------- what disappears


def test_a_split_of_a_concatenation_reads_its_operands():
    parts = [copied(View(i * 6, (1,)), (6,)) for i in range(2)]
    nodes = (
        node(joined([(2, 3), (2, 3)], 0), 0, 1, 2),
        *(node(part, 2, 3 + i) for i, part in enumerate(parts)),
        *(node(negated(6), 3 + i, 5 + i) for i in range(2)),
    )
    graph = Graph((f32(2, 3), f32(2, 3), *[f32(12)] * 1, *[f32(6)] * 4), nodes, (0, 1), (5, 6))
    assert kinds(run_both(graph)) == ["MAP", "MAP"]


def test_a_channel_shuffle_is_one_raster():
    """Concatenation along channels, then (g, c) -> (c, g): two regions that step over each other."""
    shuffle = copied(View(0, (8, 1, 4)), (3, 4, 2))
    nodes = node(joined([(3, 4), (3, 4)], 1), 0, 1, 2), node(shuffle, 2, 3), node(negated(24), 3, 4)
    graph = Graph((f32(3, 4), f32(3, 4), f32(3, 8), f32(3, 8), f32(3, 8)), nodes, (0, 1), (4,))
    small = run_both(graph)
    assert kinds(small) == ["RASTER", "MAP"] and len(small.nodes[0].inputs) == 2


def test_pads_join():
    first = Raster((Region(0, View(0, (1,)), View(1, (1,)), (4,)),), 2.0)
    second = Raster((Region(0, View(0, (1,)), View(2, (1,)), (6,)),), 2.0)
    nodes = node(first, 0, 1), node(second, 1, 2), node(negated(9), 2, 3)
    small = run_both(Graph((f32(4), f32(6), f32(9), f32(9)), nodes, (0,), (3,)))
    assert small.nodes[0].attrs == Raster((Region(0, View(0, (1,)), View(3, (1,)), (4,)),), 2.0)


def test_pads_of_zeros_of_either_sign_do_not_join():
    first = Raster((Region(0, View(0, (1,)), View(1, (1,)), (4,)),), -0.0)
    second = Raster((Region(0, View(0, (1,)), View(2, (1,)), (6,)),), 0.0)
    nodes = node(first, 0, 1), node(second, 1, 2), node(negated(9), 2, 3)
    assert kinds(run_both(Graph((f32(4), f32(6), f32(9), f32(9)), nodes, (0,), (3,))))[:2] == ["RASTER"] * 2


def test_a_slice_of_a_pad_is_a_slice():
    padded = Raster((Region(0, View(0, (3, 1)), View(6, (5, 1)), (2, 3)),), 0.0)
    cut = copied(View(6, (5, 1)), (2, 3))
    nodes = node(padded, 0, 1), node(cut, 1, 2), node(negated(6), 2, 3)
    small = run_both(Graph((f32(2, 3), f32(4, 5), f32(2, 3), f32(2, 3)), nodes, (0,), (3,)))
    assert kinds(small) == ["MAP"] and small.nodes[0].inputs == small.inputs


def test_gemm_reads_through_the_heads_of_attention():
    """(rows, heads * size) -> (heads, rows, size) -> a GEMM per head."""
    heads = copied(View(0, (3, 6, 1)), (2, 4, 3))
    gemm = Gemm(2, 4, 4, 3, dense((2, 4, 3)), View(0, (12, 1, 3)), dense((2, 4, 4)), Clamp())
    nodes = node(heads, 0, 2), node(heads, 1, 3), node(gemm, 2, 3, 4)
    small = run_both(Graph((f32(4, 6), f32(4, 6), *[f32(2, 4, 3)] * 2, f32(2, 4, 4)), nodes, (0, 1), (4,)))
    assert kinds(small) == ["GEMM"]


def test_a_maximum_reads_through_a_transpose():
    nodes = node(copied(View(0, (1, 4)), (4, 3)), 0, 1), node(Reduce("max", 4, 3, 1), 1, 2)
    small = run_both(Graph((f32(3, 4), f32(4, 3), f32(4)), nodes, (0,), (2,)))
    assert [n.attrs for n in small.nodes] == [Reduce("max", 1, 3, 4)]


def test_the_same_is_computed_once():
    transpose = copied(View(0, (1, 3)), (3, 2))
    nodes = (
        *(node(transpose, 0, i) for i in (1, 2)),
        *(node(Reduce("sum", 2, 3, 1), i, i + 2) for i in (1, 2)),
        node(negated(2), 3, 5),
        node(negated(2), 4, 6),
    )
    graph = Graph((f32(2, 3), *[f32(3, 2)] * 2, *[f32(2)] * 4), nodes, (0,), (5, 6))
    assert kinds(run_both(graph)) == ["RASTER", "REDUCE", "MAP", "MAP"]


def test_what_is_overwritten_goes():
    regions = (
        Region(0, View(0, (1,)), View(0, (1,)), (4,)),
        Region(1, View(0, (-1,)), View(3, (-1,)), (1,)),
        Region(1, View(0, (1,)), View(0, (1,)), (6,)),
    )
    assert normalised(Raster(regions, 7.0), 6, DType.F32) == Raster((regions[2],))


def test_neighbours_merge():
    rows = tuple(Region(0, View(4 * i, (1,)), View(5 * i, (1,)), (4,)) for i in range(5))
    one = tuple(Region(0, View(4 * i, (1,)), View(4 * i, (1,)), (4,)) for i in range(5))
    assert len(normalised(Raster(one), 20, DType.F32).regions) == 1
    assert normalised(Raster(rows, 0.0), 25, DType.F32).regions == rows


@pytest.mark.parametrize("dtype", [DType.F32, DType.I32])
def test_sums_of_integers_that_meet_nowhere_are_copies(dtype: DType):
    raster = Raster((Region(0, View(0, (1,)), View(0, (1,)), (4,)),), None, "add")
    assert normalised(raster, 4, dtype).mode == ("copy" if dtype is DType.I32 else "add")


# -------------------------------------------------------------------- random chains


SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def negated(n: int) -> Map:
    return Map((n,), (View(0, (1,)),), View(0, (1,)), (Instruction("load", (0,)), Instruction("neg")))


@st.composite
def inside(draw: st.DrawFn, sizes: tuple[int, ...], elements: int) -> View:
    """A view of these sizes that stays in a value: of its own strides, or any, also negative and zero."""
    strides, room = list(draw(st.sampled_from(_STRIDES))), elements
    chosen = [draw(st.sampled_from(strides)) for _ in sizes]
    if draw(st.booleans()) and math.prod(sizes) <= elements:
        chosen = list(dense(sizes).strides)
    view = View(0, tuple(s * draw(st.sampled_from((1, 1, 1, -1))) for s in chosen))
    low, high = extent(view, sizes)
    if high - low >= room:
        view = View(0, tuple(0 for _ in sizes))
        low, high = 0, 0
    return View(-low + draw(st.integers(0, room - 1 - (high - low))), view.strides)


_STRIDES = [(1, 2, 4, 8), (0, 1, 3, 6), (1, 5), (12, 4, 1), (2, 6, 12, 24)]


@st.composite
def rasters(draw: st.DrawFn, readable: list[Value]) -> tuple[Raster, tuple[int, ...], int]:
    """(atom, inputs, elements of the output): transposes, reversals, pads, concatenations, sums, overlaps."""
    mode = draw(st.sampled_from(("copy", "copy", "copy", "add")))
    parts = draw(st.integers(1, 3))
    inputs = tuple(draw(st.integers(0, len(readable) - 1)) for _ in range(parts))
    base = draw(SIZES)
    axis, at, regions = draw(st.integers(0, len(base) - 1)), draw(st.integers(0, 1)), []
    kinds = draw(st.sampled_from(("concat", "any")))
    lengths = [draw(st.integers(1, 3)) for _ in range(parts)]
    out = (*base[:axis], sum(lengths) + at + draw(st.integers(0, 1)), *base[axis + 1 :])
    strides, elements = dense(out).strides, math.prod(out)
    for i, length in enumerate(lengths):
        sizes = (*base[:axis], length, *base[axis + 1 :])
        source = draw(inside(sizes, readable[inputs[i]].elements))
        destination = View(at * strides[axis], strides)
        if kinds == "any" and mode == "add" and draw(st.booleans()):
            destination = draw(inside(sizes, elements))
        elif kinds == "any" and draw(st.booleans()):
            destination = View(0, strides)
        regions.append(Region(i, source, destination, sizes))
        at += length
    covered = kinds == "concat" and sum(lengths) == out[axis]
    fill = None if covered else draw(st.sampled_from((0, 0, -1)))
    return Raster(tuple(regions), fill, mode), inputs, elements  # type: ignore[arg-type]


@st.composite
def consumers(draw: st.DrawFn, source: Value) -> tuple[Any, int, DType]:
    """(atom of one value twice or once, elements of the output, its type)."""
    sizes = draw(SIZES)
    kind = draw(st.sampled_from(("MAP", "GEMM", "REDUCE")))
    if kind == "REDUCE" and source.dtype in (DType.F32, DType.I32):
        axis = draw(st.sampled_from([n for n in (1, 2, 3, 4, 5, 6) if source.elements % n == 0]))
        op, rest = draw(st.sampled_from(("max", "min", "sum"))), source.elements // axis
        form = draw(st.sampled_from(((rest, axis, 1), (1, axis, rest))))
        return Reduce(op, *form), rest, source.dtype  # type: ignore[arg-type]
    if kind == "GEMM" and source.dtype is DType.F32:
        batch, m, n, k = (draw(st.integers(1, 3)) for _ in range(4))
        a, b = draw(inside((batch, m, k), source.elements)), draw(inside((batch, k, n), source.elements))
        c = dense((batch, m, n))
        return Gemm(batch, m, n, k, a, b, c, Clamp()), batch * m * n, DType.F32
    views = draw(inside(sizes, source.elements)), draw(inside(sizes, source.elements))
    program = Instruction("load", (0,)), Instruction("load", (1,)), Instruction("sub")
    compute = "f32" if source.dtype is DType.F32 else "i32"
    return Map(sizes, views, dense(sizes), program, compute), math.prod(sizes), source.dtype  # type: ignore[arg-type]


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_random_chains_keep_every_bit(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from((DType.F32, DType.F32, DType.I8, DType.I32)))
    values, nodes = [Value("x", (24,), dtype), Value("y", (3, 4), dtype)], list[Node]()
    for _ in range(data.draw(st.integers(1, 5))):
        atom, inputs, elements = data.draw(rasters(values))
        values.append(Value("r", (elements,), dtype))
        nodes.append(node(atom, *inputs, len(values) - 1))
    last = len(values)
    ends = [len(values) - 1] if data.draw(st.booleans()) else []
    for _ in range(data.draw(st.integers(0 if ends else 1, 2))):
        source = data.draw(st.integers(2, last - 1))
        atom, elements, kind = data.draw(consumers(values[source]))
        values.append(Value("c", (elements,), kind))
        nodes.append(node(atom, *(source,) * (1 if isinstance(atom, Reduce) else 2), len(values) - 1))
        ends.append(len(values) - 1)
    run_both(Graph(tuple(values), tuple(nodes), (0, 1), tuple(ends)), data.draw(st.integers(0, 9)))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_reading_is_what_the_copy_held(data: st.DataObject) -> None:
    """Region algebra alone: every index lies in one piece, which finds the element that was copied."""
    atom, _, elements = data.draw(rasters([f32(24), f32(3, 4)]))
    sizes = data.draw(SIZES)
    view = data.draw(inside(sizes, elements))
    copies = Copies.of(normalised(atom, elements, DType.F32), elements)
    reading = None if copies is None else copies.read(view, sizes)
    if reading is None or copies is None:
        return
    held = np.full(elements, -1, np.int64)
    for region in copies.raster.regions:
        tag = 1000 * region.input + reference.addresses(region.source, region.sizes)
        held[reference.addresses(region.destination, region.sizes)] = tag
    whole = tuple(n for parts in reading.factors for n in parts)
    found = np.full(whole, -2, np.int64)
    for piece in reading.pieces:
        at = tuple(slice(i, i + n) for i, n in zip(piece.start, piece.sizes, strict=True))
        assert (found[at] == -2).all()
        held_by = (
            -1 if piece.view is None else 1000 * piece.input + reference.addresses(piece.view, piece.sizes)
        )
        found[at] = held_by
    np.testing.assert_array_equal(found.reshape(sizes), held[reference.addresses(view, sizes)])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_normal_region_copies_the_same(data: st.DataObject) -> None:
    sizes = data.draw(SIZES)
    region = Region(0, data.draw(inside(sizes, 60)), data.draw(inside(sizes, 60)), sizes)
    pairs = []
    for one in (region, normal(region)):
        source, target = (
            reference.addresses(v, one.sizes).reshape(-1) for v in (one.source, one.destination)
        )
        pairs.append(list(zip(source.tolist(), target.tolist(), strict=True)))
    assert pairs[0] == pairs[1] or (
        injective(region.destination, sizes) and sorted(pairs[0]) == sorted(pairs[1])
    )


# -------------------------------------------------------------------- size


def test_five_thousand_nodes_take_seconds():
    """Growing concatenations, a copy after each, a value that everybody reads: nothing here is quadratic."""
    values, nodes, last = [f32(4)], list[Node](), 0
    for i in range(1250):
        wide = values[last].elements if i % 50 else 4
        start = last if i % 50 else 0
        steps = (
            (joined([(wide,), (4,)], 0), (start, 0), wide + 4),
            (copied(View(wide + 3, (-1,)), (wide + 4,)), (-1,), wide + 4),
            (copied(View(1, (1,)), (wide + 3,)), (-1,), wide + 3),
            (negated(wide + 3), (-1,), wide + 3),
        )
        for atom, inputs, elements in steps:
            ids = tuple(len(values) - 1 if index < 0 else index for index in inputs)
            values.append(f32(elements))
            nodes.append(node(atom, *ids, len(values) - 1))
        last = len(values) - 1 if i % 2 else len(values) - 3
    ends = tuple(n.outputs[0] for n in nodes if n.op == "MAP")
    graph = Graph(tuple(values), tuple(nodes), (0,), ends)
    seconds = [
        _seconds(Graph(graph.values, graph.nodes[: len(nodes) // part], (0,), ends[: len(ends) // part]))
        for part in (4, 1)
    ]
    assert seconds[1] < 5 and seconds[1] < 12 * max(seconds[0], 0.05)


def _seconds(graph: Graph) -> float:
    start = time.perf_counter()
    simplify(graph)
    return time.perf_counter() - start
