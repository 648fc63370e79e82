"""What is written where a RASTER would have copied it, what is not, and that no bit of an output changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.atoms import Clamp, Gemm, Instruction, Map, Raster, Reduce, Region, View
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.compile import read
from runtime.control import Loop
from runtime.explain import Stage
from runtime.graph import DType, Graph, Node, Shape, Value
from runtime.strides import dense
from runtime.verify import check
from tests.runtime.in_place import alive, in_place

BACKEND = CpuBackend()


def node(atom: Raster | Map | Gemm | Reduce, *ids: int) -> Node:
    return Node(atom.NAME, ids[:-1], ids[-1:], atom, f"{atom.NAME}#0")


def f32(*shape: int) -> Value:
    return Value("v", shape, DType.F32)


def columns(rows: int, *widths: int) -> Raster:
    """Matrices side by side."""
    total, at, regions = sum(widths), 0, []
    for i, width in enumerate(widths):
        regions.append(Region(i, dense((rows, width)), View(at, (total, 1)), (rows, width)))
        at += width
    return Raster(tuple(regions))


def negated(shape: Shape) -> Map:
    return Map(shape, (dense(shape),), dense(shape), (Instruction("load", (0,)), Instruction("neg")))


def product(m: int, n: int, k: int) -> Gemm:
    return Gemm(1, m, n, k, dense((1, m, k)), dense((1, k, n)), dense((1, m, n)), Clamp())


def placed(graph: Graph) -> Graph:
    """The graph with its parts in place, after that gave the bits of the graph, by element and in C."""
    check(graph, "ATOMIC")
    small, rng = place(graph), np.random.default_rng(0)
    check(small, "PROGRAM")
    feed = [rng.integers(-3, 4, graph.values[i].shape).astype(np.float32) for i in graph.inputs]
    want = [array.tobytes() for array in reference.run(graph, feed)]
    assert [array.tobytes() for array in in_place(small, feed)] == want
    assert [array.tobytes() for array in BACKEND.lower(small).run(feed)] == want
    assert alive(small) <= alive(graph)
    return small


def kinds(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def test_producers_write_their_columns():
    nodes = (
        node(product(4, 3, 2), 0, 1, 2),
        node(negated((4, 2)), 0, 3),
        node(columns(4, 3, 2), 2, 3, 4),
        node(negated((4, 5)), 4, 5),
    )
    graph = Graph((f32(4, 2), f32(2, 3), f32(4, 3), f32(4, 2), f32(4, 5), f32(4, 5)), nodes, (0, 1), (5,))
    small = placed(graph)
    assert kinds(small) == ["GEMM", "MAP", "MAP"]
    assert small.nodes[0].attrs.c.strides[1:] == (5, 1) and small.nodes[1].attrs.output == View(3, (5, 1))


def dense_block(layers: int) -> Graph:
    """Every layer reads all that came before it, and is put beside it."""
    values, nodes, all_before = [f32(6, 2), f32(6, 2)], [node(negated((6, 2)), 0, 1)], 1
    for layer in range(layers):
        width = 2 + layer
        new, wider = len(values), len(values) + 1
        last = Map((6,), (View(0, (width,)),), View(0, (1,)), (Instruction("load", (0,)), Instruction("neg")))
        values += [f32(6, 1), f32(6, width + 1)]
        nodes += [node(last, all_before, new), node(columns(6, width, 1), all_before, new, wider)]
        all_before = wider
    values.append(f32(6, 2 + layers))
    nodes.append(node(negated((6, 2 + layers)), all_before, len(values) - 1))
    return Graph(tuple(values), tuple(nodes), (0,), (len(values) - 1,))


def test_a_concatenation_of_concatenations_is_one_value():
    small = placed(dense_block(5))
    assert kinds(small) == ["MAP"] * 7
    assert len({n.outputs for n in small.nodes}) == 2


def test_what_is_copied_twice_or_in_part_or_padded_is_copied():
    twice = Raster(tuple(replace(region, input=0) for region in columns(2, 2, 2).regions))
    part = Raster(
        (
            Region(0, View(0, (2,)), View(0, (1,)), (2,)),
            Region(1, View(0, (1,)), View(2, (1,)), (2,)),
        )
    )
    padded = Raster((Region(0, View(0, (1,)), View(1, (1,)), (4,)),), 0.0)
    for atom, size in ((twice, 8), (part, 4), (padded, 6)):
        nodes = node(negated((2, 2)), 0, 2), node(atom, 2, 1, 3)
        assert "RASTER" in kinds(
            placed(Graph((f32(2, 2), f32(2), f32(2, 2), f32(size)), nodes, (0, 1), (3,)))
        )


def test_an_output_and_an_input_stay_where_they_are():
    nodes = node(negated((2, 2)), 0, 1), node(columns(2, 2, 2), 0, 1, 2)
    small = placed(Graph((f32(2, 2), f32(2, 2), f32(2, 4)), nodes, (0,), (1, 2)))
    assert small.nodes[1].attrs == columns(2, 2, 2)


def test_a_graph_of_no_nodes_is_left_alone():
    nothing = Graph((f32(2, 3), f32(4)), (), (0, 1), (0,))
    assert placed(nothing) == nothing


def test_a_reader_that_needs_it_dense_keeps_it():
    nodes = (
        node(negated((3, 2)), 0, 1),
        node(Reduce("sum", 3, 2, 1), 1, 2),
        node(columns(3, 2, 2), 1, 0, 3),
    )
    graph = Graph((f32(3, 2), f32(3, 2), f32(3), f32(3, 4)), nodes, (0,), (2, 3))
    assert place(graph) == graph


def test_no_step_needs_more_bytes():
    """The part is small and early, the whole big and late: to be there so early would cost more."""
    big = 4096
    nodes = (
        node(negated((16,)), 0, 2),
        *(node(negated((big,)), 1 if i == 3 else i - 1, i) for i in range(3, 9)),
        node(
            Raster(
                (
                    Region(0, View(0, (1,)), View(0, (1,)), (16,)),
                    Region(1, View(0, (1,)), View(16, (1,)), (big,)),
                )
            ),
            2,
            8,
            9,
        ),
    )
    values = f32(16), f32(big), f32(16), *[f32(big)] * 6, f32(big + 16)
    small = placed(Graph(values, nodes, (0, 1), (9,)))
    assert [region.sizes for region in small.nodes[-1].attrs.regions] == [(16,)]


def test_bodies_of_loops_are_placed_too():
    body = Graph(
        (f32(2, 2), f32(2, 2), f32(2, 2), f32(2, 4)),
        (node(negated((2, 2)), 0, 1), node(negated((2, 2)), 1, 2), node(columns(2, 2, 2), 1, 2, 3)),
        (0,),
        (3,),
    )
    loop = Node("LOOP", (0,), (1,), Loop(body, 3, 0), "LOOP#0")
    graph = Graph((f32(3, 2, 2), f32(3, 2, 4)), (loop,), (0,), (1,))
    small, feed = place(graph), [np.arange(12, dtype=np.float32).reshape(3, 2, 2)]
    assert kinds(small.nodes[0].attrs.body) == ["MAP", "MAP"]
    np.testing.assert_array_equal(BACKEND.lower(small).run(feed)[0], reference.run(graph, feed)[0])


def test_shared_models_copy_less(shared_models: Path):
    for path in sorted(shared_models.glob("*.tflite")):
        before = fuse(read(path).atoms)
        after = place(before)
        assert Stage("place", after).copied <= Stage("fuse", before).copied
        assert alive(after) <= alive(before)
