"""Random chains of view operators as NumPy understands them: simplified, and run on both backends, they give
NumPy's bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.atoms import MAX_RANK, Instruction, Map, Raster, Region, View
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.graph import Array, DType, Graph, Node, Shape, Value
from runtime.simplify import simplify
from runtime.strides import dense
from runtime.verify import check
from tests.runtime.in_place import alive, in_place

BACKEND = CpuBackend()
MOST = 4096
"""Elements of a value: enough for six dimensions, few enough for thousands of chains."""
DTYPES = (DType.F32, DType.I8, DType.I32)


@dataclass
class Chain:
    """A graph that grows, and beside it what NumPy makes of the same operators."""

    dtype: DType
    values: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)

    def feed(self, array: Array) -> None:
        self.values.append(Value("in", array.shape, self.dtype))
        self.arrays.append(array.astype(self.dtype.numpy))

    def copy(self, inputs: tuple[int, ...], want: Array, raster: Raster) -> None:
        self._append("RASTER", raster, inputs, want)

    def negate(self, source: int) -> None:
        """A MAP, so that there is a reader which is no RASTER."""
        array = self.arrays[source]
        line = View(0, (1,))
        program = Instruction("const", (0,)), Instruction("load", (0,)), Instruction("sub")
        compute = "f32" if array.dtype == np.float32 else "i32"
        zero = array.dtype.type(0)
        self._append("MAP", Map((array.size,), (line,), line, program, compute), (source,), zero - array)

    def _append(self, op: str, atom: Raster | Map, inputs: tuple[int, ...], want: Array) -> None:
        self.nodes.append(Node(op, inputs, (len(self.values),), atom, f"{op}#{len(self.nodes)}"))
        self.values.append(Value("v", want.shape, DType.of(want)))
        self.arrays.append(np.ascontiguousarray(want))


def view_of(array: Array, base: Array) -> View:
    """Where a NumPy view of `base` reads it."""
    offset = array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return View(offset // base.itemsize, tuple(stride // base.itemsize for stride in array.strides))


def seen(chain: Chain, source: int, array: Array) -> None:
    """One region that reads the NumPy view `array` of a value."""
    region = Region(0, view_of(array, chain.arrays[source]), dense(array.shape), array.shape)
    chain.copy((source,), array, Raster((region,)))


# -------------------------------------------------------------------- the operators

Draw = Callable[[st.SearchStrategy[int]], int]


def transpose(draw: Draw, chain: Chain, source: int) -> None:
    array = chain.arrays[source]
    key = [(draw(st.integers(0, 9)), axis) for axis in range(array.ndim)]
    seen(chain, source, array.transpose([axis for _, axis in sorted(key)]))


def reshape(draw: Draw, chain: Chain, source: int) -> None:
    array, shape = chain.arrays[source], list[int]()
    rest = array.size
    while rest > 1 and len(shape) < MAX_RANK - 1:
        divisors = [n for n in (2, 3, 4, rest) if rest % n == 0]
        shape.append(divisors[draw(st.integers(0, len(divisors) - 1))])
        rest //= shape[-1]
    seen(chain, source, array.reshape((*shape, rest)))


def strided(draw: Draw, chain: Chain, source: int) -> None:
    """Slices with steps, forwards and backwards."""
    cuts = []
    for n in chain.arrays[source].shape:
        step, first = draw(st.integers(1, 3)), draw(st.integers(0, n - 1))
        last = draw(st.integers(first, n - 1))
        cut = slice(first, last + 1, step)
        back = slice(last, first - 1 if first else None, -step)
        cuts.append(back if draw(st.integers(0, 3)) == 0 else cut)
    seen(chain, source, chain.arrays[source][tuple(cuts)])


def reverse(draw: Draw, chain: Chain, source: int) -> None:
    array = chain.arrays[source]
    seen(chain, source, np.flip(array, draw(st.integers(0, array.ndim - 1))))


def broadcast(draw: Draw, chain: Chain, source: int) -> None:
    array = chain.arrays[source]
    axis, times = draw(st.integers(0, array.ndim)), draw(st.integers(1, 3))
    if array.ndim == MAX_RANK or array.size * times > MOST:
        return reverse(draw, chain, source)
    wide = np.expand_dims(array, axis)
    shape = (*wide.shape[:axis], times, *wide.shape[axis + 1 :])
    return seen(chain, source, np.broadcast_to(wide, shape))


def tile(draw: Draw, chain: Chain, source: int) -> None:
    """A dimension in two: how often, and of what."""
    array = chain.arrays[source]
    axis, times = draw(st.integers(0, array.ndim - 1)), draw(st.integers(1, 3))
    if array.ndim == MAX_RANK or array.size * times > MOST:
        return reverse(draw, chain, source)
    sizes = (*array.shape[:axis], times, *array.shape[axis:])
    wide = np.broadcast_to(np.expand_dims(array, axis), sizes)
    region = Region(0, view_of(wide, array), dense(sizes), sizes)
    reps = [times if d == axis else 1 for d in range(array.ndim)]
    return chain.copy((source,), np.tile(array, reps), Raster((region,)))


def pad(draw: Draw, chain: Chain, source: int) -> None:
    array = chain.arrays[source]
    room = [(draw(st.integers(0, 1)), draw(st.integers(0, 1))) for _ in array.shape]
    fill = draw(st.integers(-1, 1))
    want = np.pad(array, room, constant_values=fill)
    if want.size > MOST:
        return reverse(draw, chain, source)
    inner = want[tuple(slice(a, a + n) for (a, _), n in zip(room, array.shape, strict=True))]
    region = Region(0, dense(array.shape), view_of(inner, want), array.shape)
    return chain.copy((source,), want, Raster((region,), fill))


def concat(draw: Draw, chain: Chain, source: int) -> None:
    """With another value of the chain, of which as much is taken as fits beside this one, or with itself."""
    first, other = chain.arrays[source], draw(st.integers(0, len(chain.arrays) - 1))
    axis = draw(st.integers(0, first.ndim - 1))
    second = chain.arrays[other]
    fits = (second.ndim, second.dtype) == (first.ndim, first.dtype) and all(
        a <= b for d, (a, b) in enumerate(zip(first.shape, second.shape, strict=True)) if d != axis
    )
    if not fits:
        other, second = source, first
    cut = tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(first.shape))
    part = second[cut]
    want = np.concatenate([first, part], axis)
    if want.size > MOST:
        return reverse(draw, chain, source)
    left, right = np.split(want, [first.shape[axis]], axis)
    regions = (
        Region(0, dense(first.shape), view_of(left, want), first.shape),
        Region(1, view_of(part, second), view_of(right, want), part.shape),
    )
    return chain.copy((source, other), want, Raster(regions))


def overlap_add(draw: Draw, chain: Chain, source: int) -> None:
    """Rows that are added where they overlap: the adjoint of taking windows."""
    rows = chain.arrays[source].reshape(-1, chain.arrays[source].shape[-1])
    (m, n), step = rows.shape, draw(st.integers(0, 2))
    want = np.zeros((m - 1) * step + n + 1, rows.dtype)
    for i, row in enumerate(rows):
        want[i * step : i * step + n] += row
    region = Region(0, dense((m, n)), View(0, (step, 1)), (m, n))
    chain.copy((source,), want, Raster((region,), None, "add"))


def add(draw: Draw, chain: Chain, source: int) -> None:
    """A value and its mirror image, added by a RASTER."""
    array = chain.arrays[source]
    turned = np.flip(array, draw(st.integers(0, array.ndim - 1)))
    out = dense(array.shape)
    regions = tuple(Region(0, view_of(part, array), out, array.shape) for part in (array, turned))
    want = np.zeros_like(array) + array + turned
    chain.copy((source,), want, Raster(regions, None, "add"))


def negate(draw: Draw, chain: Chain, source: int) -> None:  # noqa: ARG001
    chain.negate(source)


def bits(draw: Draw, chain: Chain, source: int) -> None:
    """Floats as integers of their bits."""
    array = chain.arrays[source]
    if array.dtype != np.float32:
        return reverse(draw, chain, source)
    region = Region(0, dense(array.shape), dense(array.shape), array.shape)
    return chain.copy((source,), array.view(np.int32), Raster((region,)))


OPERATORS = (
    transpose,
    reshape,
    strided,
    reverse,
    broadcast,
    tile,
    pad,
    concat,
    overlap_add,
    add,
    negate,
    bits,
)


# -------------------------------------------------------------------- the chains


def shapes() -> st.SearchStrategy[Shape]:
    return st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@settings(max_examples=1000, deadline=None)
@given(st.data())
def test_chains_of_views_give_the_bits_of_numpy(data: st.DataObject) -> None:
    """Whole numbers, so that sums are exact in any order; among the floats also -0.0, which copies keep."""
    chain = Chain(data.draw(st.sampled_from(DTYPES)))
    numbers = np.random.default_rng(data.draw(st.integers(0, 9)))
    for _ in range(2):
        shape = data.draw(shapes())
        array = numbers.integers(-3, 4, shape).astype(chain.dtype.numpy)
        chain.feed(np.where(array == 0, -array, array))
    for _ in range(data.draw(st.integers(1, 8))):
        operator = data.draw(st.sampled_from(OPERATORS))
        back = data.draw(st.sampled_from((1, 1, 1, 1, 2, 3)))
        operator(data.draw, chain, max(len(chain.values) - back, 0))
    made = range(2, len(chain.values))
    ends = tuple(sorted({made[-1], data.draw(st.sampled_from(made))}))
    graph = Graph(tuple(chain.values), tuple(chain.nodes), (0, 1), ends)
    check(graph, "ATOMIC")
    small = simplify(graph)
    check(small, "ATOMIC")
    assert alive(place(small)) <= alive(small)
    want = [chain.arrays[i].tobytes() for i in ends]
    feed = chain.arrays[:2]
    assert len(small.nodes) <= len(graph.nodes)
    for got in (
        reference.run(graph, feed),
        reference.run(small, feed),
        BACKEND.lower(fuse(small)).run(feed),
        BACKEND.lower(place(fuse(small))).run(feed),
        in_place(place(graph), feed),
        in_place(place(small), feed),
    ):
        assert [array.tobytes() for array in got] == want
