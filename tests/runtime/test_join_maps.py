"""MAPs of MAPs: which become one, and that they still compute the same, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.atoms import Instruction, Map, View
from runtime.backends import reference
from runtime.backends.fuse import live
from runtime.backends.join_maps import join_maps
from runtime.graph import DType, Graph, Node, Shape, Value
from runtime.primitives import Compute
from runtime.strides import dense
from runtime.verify import check

ROWS, WIDTH = 3, 4
WHOLE: Shape = (ROWS, WIDTH)
LINE, FLAT = dense(WHOLE), View(0, (1,))
PER_COLUMN, TURNED = View(0, (0, 1)), View(0, (1, ROWS))


def twice(
    inner: tuple[Shape, View],
    outer: tuple[Shape, View, View],
    compute: Compute = "f32",
    dtype: DType = DType.F32,
) -> Graph:
    """y = x * v - w; v, then x * v and w are read through the views."""
    load = [Instruction("load", (i,)) for i in range(2)]
    sizes, view = inner
    values = tuple([Value(name, WHOLE, dtype) for name in ("x", "v", "w", "between", "y")])
    product = Map(sizes, (dense(sizes), view), dense(sizes), (*load, Instruction("mul")), compute)
    difference = Map(outer[0], outer[1:], dense(outer[0]), (*load, Instruction("sub")), compute)
    nodes = (Node("MAP", (0, 1), (3,), product), Node("MAP", (3, 2), (4,), difference))
    return Graph(values, nodes, (0, 1, 2), (4,))


@pytest.mark.parametrize(
    ("graph", "maps"),
    [
        (twice(((12,), FLAT), ((12,), FLAT, FLAT)), 1),
        (twice(((12,), FLAT), (WHOLE, LINE, PER_COLUMN)), 1),
        (twice((WHOLE, PER_COLUMN), ((12,), FLAT, FLAT)), 1),
        (twice((WHOLE, PER_COLUMN), (WHOLE, LINE, PER_COLUMN)), 1),
        (twice(((12,), View(5, (0,))), (WHOLE, LINE, PER_COLUMN)), 1),
        (twice(((12,), FLAT), ((4, 3), TURNED, dense((4, 3)))), 2),  # in another order
        (twice(((12,), FLAT), ((12,), FLAT, FLAT), "i32", DType.I32), 1),
        (twice(((12,), FLAT), ((12,), FLAT, FLAT), "i32", DType.I16), 2),  # what is in between saturates
        (twice(((12,), FLAT), ((12,), FLAT, FLAT), "f32", DType.F16), 2),  # what is in between is rounded
    ],
)
def test_maps_become_one_where_no_bit_changes(graph: Graph, maps: int) -> None:
    joined = join_maps(graph)
    joined = joined.with_nodes(tuple(live(list(joined.nodes), joined.ends)))
    assert len(joined.nodes) == maps
    check(joined, "PROGRAM")
    rng = np.random.default_rng(1)
    feed = [rng.integers(-200, 200, WHOLE).astype(graph.values[0].dtype.numpy) for _ in range(3)]
    (got,), (want,) = reference.run(joined, feed), reference.run(graph, feed)
    np.testing.assert_array_equal(got, want)


def test_what_others_read_is_still_made() -> None:
    graph = twice(((12,), FLAT), ((12,), FLAT, FLAT))
    shown = Graph(graph.values, graph.nodes, graph.inputs, (3, 4))
    assert join_maps(shown).nodes == graph.nodes
    again = Node("MAP", (3, 4), (5,), graph.nodes[1].attrs)
    values = (*graph.values, Value("z", WHOLE, DType.F32))
    shared = Graph(values, (*graph.nodes, again), graph.inputs, (5,))
    assert [node.inputs for node in join_maps(shared).nodes] == [(0, 1), (3, 2), (3, 2)]


def test_a_number_that_is_read_twice_is_made_once() -> None:
    graph = twice(((12,), FLAT), ((12,), FLAT, FLAT))
    square = (Instruction("load", (0,)), Instruction("load", (0,)), Instruction("mul"))
    nodes = (graph.nodes[0], Node("MAP", (3,), (4,), Map((12,), (FLAT,), FLAT, square)))
    assert join_maps(Graph(graph.values, nodes, graph.inputs, (4,))).nodes == nodes
