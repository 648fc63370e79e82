"""Random atoms with random views, cpu against reference: any graph that `verify` lets through must agree.

The views are drawn, not designed: negative and zero strides, overlaps, offsets, sizes of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.atoms import Clamp, Gemm, Instruction, Map, Raster, Region, View
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.primitives import PRIMITIVES
from runtime.simplify import simplify
from runtime.strides import dense, extent
from runtime.verify import check

BACKEND = CpuBackend()
SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=6).map(tuple)
STRIDE = st.integers(-9, 9)


def random(shape: tuple[int, ...], dtype: DType, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    if dtype is DType.F32:
        return rng.standard_normal(shape).astype(np.float32)
    return rng.integers(-100, 100, shape).astype(dtype.numpy)


@st.composite
def views(draw: st.DrawFn, sizes: tuple[int, ...]) -> tuple[View, int]:
    """A view and the elements of the least buffer that holds it, with some room at either side."""
    strides = tuple(draw(STRIDE) for _ in sizes)
    low, high = extent(View(0, strides), sizes)
    start = -low + draw(st.integers(0, 3))
    return View(start, strides), start + high + 1 + draw(st.integers(0, 3))


@st.composite
def scattered(draw: st.DrawFn, sizes: tuple[int, ...]) -> tuple[View, int]:
    """A view whose indices all have addresses of their own, as a destination must: permuted axes, gaps,
    reversals.
    """
    strides, room = [0] * len(sizes), 1
    for axis in draw(st.permutations(range(len(sizes)))):
        strides[axis] = room * draw(st.sampled_from((1, -1)))
        room *= sizes[axis] + draw(st.integers(0, 1))
    low, high = extent(View(0, tuple(strides)), sizes)
    return View(-low, tuple(strides)), high - low + 1 + draw(st.integers(0, 3))


def run_both(graph: Graph, feed: list[Array]) -> None:
    check(graph, "ATOMIC")
    small = simplify(graph)
    check(small, "ATOMIC")
    want = reference.run(graph, feed)
    for version in (graph, small, fuse(small), place(fuse(small))):
        for got, expected in zip(BACKEND.lower(version).run(feed), want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


def node(atom: Any, *ids: int) -> Node:
    return Node(atom.NAME, ids[:-1], ids[-1:], atom, f"{atom.NAME}#0")


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_rasters(data: st.DataObject) -> None:
    """A chain of two, so that composition and tables have something to find."""
    dtype = data.draw(st.sampled_from((DType.I8, DType.I16, DType.F32, DType.I64)))
    mode = data.draw(st.sampled_from(("copy", "add")))
    values, nodes, size = [], list[Node](), 0
    for step in range(2):
        regions, need, out = [], 1, 1
        for _ in range(data.draw(st.integers(1, 3))):
            sizes = data.draw(SIZES)
            source, reads = data.draw(views(sizes))
            destination, writes = data.draw(scattered(sizes))
            regions.append(Region(0, source, destination, sizes))
            need, out = max(need, reads), max(out, writes)
        if step == 0:
            values.append(Value("x", (need,), dtype))
        elif need > size:
            values[1] = Value("y", (need,), dtype)
        values.append(Value("yz"[step], (out,), dtype))
        size = out
        atom = Raster(tuple(regions), 5, mode)  # type: ignore[arg-type]
        nodes.append(node(atom, step, step + 1))
    graph = Graph(tuple(values), tuple(nodes), (0,), (2,))
    run_both(graph, [random(values[0].shape, dtype, data.draw(st.integers(0, 9)))])


CHEAP = ("add", "sub", "mul", "min", "max", "neg", "abs", "lt", "eq", "and", "not", "select", "square")


@st.composite
def programs(draw: st.DrawFn, inputs: int) -> tuple[Instruction, ...]:
    """A sound program: operands before operators, one result."""
    steps, depth = [Instruction("load", (0,))], 1
    for _ in range(draw(st.integers(1, 8))):
        usable = [name for name in CHEAP if PRIMITIVES[name].arity <= depth]
        choice = draw(st.sampled_from(["load", "const", *usable]))
        if choice == "load":
            steps.append(Instruction("load", (draw(st.integers(0, inputs - 1)),)))
        elif choice == "const":
            steps.append(Instruction("const", (draw(st.integers(-3, 3)),)))
        else:
            steps.append(Instruction(choice))
        depth += 1 - (PRIMITIVES[choice].arity if choice in PRIMITIVES else 0)
    return (*steps, *[Instruction("add")] * (depth - 1))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_maps(data: st.DataObject) -> None:
    compute = data.draw(st.sampled_from(("f32", "f64", "i32", "i64")))
    source = data.draw(
        st.sampled_from((DType.I8, DType.U8, DType.I32) if compute[0] == "i" else (DType.F32, DType.I8))
    )
    sizes = data.draw(SIZES)
    first, second = data.draw(views(sizes)), data.draw(views(sizes))
    output, room = data.draw(scattered(sizes))
    program = data.draw(programs(2))
    whole = (DType.I8, DType.U16, DType.I32, DType.U32, DType.I64, DType.U64)
    target = DType(compute) if compute[0] == "f" else data.draw(st.sampled_from(whole))
    atom = Map(sizes, (first[0], second[0]), output, program, compute)  # type: ignore[arg-type]
    values = Value("a", (first[1],), source), Value("b", (second[1],), source), Value("c", (room,), target)
    feed = [random(value.shape, source, seed) for seed, value in enumerate(values[:2])]
    run_both(Graph(values, (node(atom, 0, 1, 2),), (0, 1), (2,)), feed)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_gemms(data: st.DataObject) -> None:
    batch, m, n, k = (data.draw(st.integers(1, limit)) for limit in (3, 14, 35, 9))
    dtype = data.draw(st.sampled_from((DType.F32, DType.I8, DType.U8)))
    (a, a_size), (b, b_size) = data.draw(views((batch, m, k))), data.draw(views((batch, k, n)))
    c, c_size = data.draw(scattered((batch, m, n)))
    zeros = (0, 0) if dtype is DType.F32 else (data.draw(st.integers(0, 100)), data.draw(st.integers(0, 100)))
    atom = Gemm(batch, m, n, k, a, b, c, Clamp(-2.0, 2.0) if dtype is DType.F32 else None, *zeros)
    weights = random((b_size,), dtype, 2)
    constant = data.draw(st.booleans())
    values = (
        Value("a", (a_size,), dtype),
        Value("b", (b_size,), dtype, data=weights if constant else None),
        Value("c", (c_size,), DType.F32 if dtype is DType.F32 else DType.I32),
    )
    graph = Graph(values, (node(atom, 0, 1, 2),), (0,) if constant else (0, 1), (2,))
    run_both(graph, [random((a_size,), dtype, 1), weights][: len(graph.inputs)])


@settings(max_examples=60, deadline=None)
@given(
    side=st.integers(3, 7),
    channels=st.integers(1, 9),
    units=st.integers(1, 9),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    pad=st.integers(0, 1),
    dilation=st.integers(1, 2),
)
def test_convolutions_of_any_geometry(
    side: int, channels: int, units: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    """PAD and im2col as the rules write them, so that the table of the fused kernel meets every alignment."""
    wide, reach = side + 2 * pad, (kernel - 1) * dilation + 1
    if reach > wide:
        return
    out, row = (wide - reach) // stride + 1, wide * channels
    inside = Region(
        0, dense((side, side * channels)), View(pad * (row + channels), (row, 1)), (side, side * channels)
    )
    steps = (stride * row, stride * channels, dilation * row, dilation * channels, 1)
    sizes, m, k = (out, out, kernel, kernel, channels), out * out, kernel * kernel * channels
    patches = Raster((Region(0, View(0, steps), dense(sizes), sizes),))
    weights = random((k, units), DType.F32, 3)
    values = (
        Value("x", (side, side, channels), DType.F32),
        Value("padded", (wide, wide, channels), DType.F32),
        Value("patches", (m, k), DType.F32),
        Value("weights", (k, units), DType.F32, data=weights),
        Value("y", (m, units), DType.F32),
    )
    atom = Gemm(1, m, units, k, dense((1, m, k)), dense((1, k, units)), dense((1, m, units)), Clamp())
    nodes = node(Raster((inside,), 0.5), 0, 1), node(patches, 1, 2), node(atom, 2, 3, 4)
    run_both(Graph(values, nodes, (0,), (4,)), [random((side, side, channels), DType.F32, 4)])
