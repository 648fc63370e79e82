"""Simplification: what disappears, what has to stay, and that no bit of an output changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.atoms import Clamp, Gemm, Instruction, Map, Raster, Region, Rng, View
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.control import If
from runtime.graph import DType, Graph, Node, Signature, Value
from runtime.simplify import alias, fold, prune, simplify
from runtime.strides import dense
from runtime.verify import check


def copied(source, shape):
    """RASTER of one view into a dense value."""
    return Raster((Region(0, source, dense(shape), shape),))


def doubled(n):
    program = (Instruction("load", (0,)), Instruction("const", (2.0,)), Instruction("mul"))
    return Map((n,), (View(0, (1,)),), View(0, (1,)), program)


def value(*shape, data=None):
    return Value("v", shape, DType.F32, data=data)


def node(atom, inputs, outputs):
    return Node(atom.NAME, inputs, outputs, atom, "TEST#0")


def same_function(before: Graph, after: Graph) -> None:
    check(before, "ATOMIC")
    check(after, "ATOMIC")
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=before.values[i].shape).astype(np.float32) for i in before.inputs]
    for got, want in zip(reference.run(after, arrays), reference.run(before, arrays), strict=True):
        assert got.tobytes() == want.tobytes()


def test_constants_fold():
    constant = np.arange(6, dtype=np.float32)
    add = Map(
        (6,),
        (View(0, (1,)),) * 2,
        View(0, (1,)),
        (*(Instruction("load", (i,)) for i in (0, 1)), Instruction("add")),
    )
    graph = Graph(
        (value(6, data=constant), value(6), value(6), value(6)),
        (node(doubled(6), (0,), (1,)), node(add, (1, 2), (3,))),
        (2,),
        (3,),
    )
    folded = fold(graph)
    assert len(folded.nodes) == 1
    np.testing.assert_array_equal(folded.values[1].data, constant * 2)
    same_function(graph, simplify(graph))


def test_random_numbers_and_outputs_do_not_fold():
    constant = np.ones(2, np.float32)
    nodes = node(Rng(1, 0), (), (1,)), node(doubled(2), (0,), (2,))
    graph = Graph((value(2, data=constant), value(2), value(2)), nodes, (), (1, 2))
    assert fold(graph).nodes == nodes


def reshape_between():
    """x(2,3) -> double -> reshape(6) -> double -> y."""
    last = node(doubled(6), (2,), (3,))
    nodes = node(doubled(6), (0,), (1,)), node(copied(View(0, (1,)), (6,)), (1,), (2,)), last
    return Graph((value(2, 3), value(2, 3), value(6), value(6)), nodes, (0,), (3,))


def test_an_identity_copy_disappears():
    graph = reshape_between()
    assert [n.op for n in simplify(graph).nodes] == ["MAP", "MAP"]
    same_function(graph, simplify(graph))


def test_what_is_added_to_a_fill_is_no_copy():
    atom = replace(copied(View(0, (1,)), (6,)), mode="add", fill=1.0)
    nodes = node(atom, (0,), (1,)), node(doubled(6), (1,), (2,))
    graph = Graph((value(6), value(6), value(6)), nodes, (0,), (2,))
    assert [n.op for n in alias(graph).nodes] == ["RASTER", "MAP"]
    same_function(graph, simplify(graph))


def test_the_producer_writes_the_output_itself():
    nodes = node(doubled(6), (0,), (1,)), node(copied(View(0, (1,)), (6,)), (1,), (2,))
    graph = Graph((value(6), value(6), value(2, 3)), nodes, (0,), (2,))
    small = simplify(graph)
    assert [n.op for n in small.nodes] == ["MAP"] and small.values[small.outputs[0]].shape == (2, 3)
    same_function(graph, small)


def test_a_copy_of_an_input_to_an_output_stays():
    graph = Graph((value(6), value(2, 3)), (node(copied(View(0, (1,)), (6,)), (0,), (1,)),), (0,), (1,))
    assert len(simplify(graph).nodes) == 1
    same_function(graph, simplify(graph))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_web_of_copies_keeps_its_outputs(data):
    """Values made of any earlier one by a copy or a MAP, any of them outputs."""
    nodes = []
    for i in range(data.draw(st.integers(1, 8))):
        atom = data.draw(st.sampled_from([copied(View(0, (1,)), (6,)), doubled(6)]))
        nodes.append(node(atom, (data.draw(st.integers(0, i)),), (i + 1,)))
    ends = data.draw(st.lists(st.integers(0, len(nodes)), min_size=1, max_size=4))
    graph = Graph((value(6),) * (len(nodes) + 1), tuple(nodes), (0,), tuple(ends))
    same_function(graph, alias(graph))
    same_function(graph, simplify(graph))


def test_two_copies_of_one_value_to_two_outputs():
    copy = copied(View(0, (1,)), (6,))
    nodes = node(doubled(6), (0,), (1,)), node(copy, (1,), (2,)), node(copy, (1,), (3,))
    graph = Graph((value(6), value(6), value(6), value(2, 3)), nodes, (0,), (2, 3))
    assert [n.op for n in simplify(graph).nodes] == ["MAP", "RASTER"]
    same_function(graph, simplify(graph))


def test_unread_nodes_and_values_go_and_signatures_follow():
    nodes = node(doubled(4), (1,), (2,)), node(doubled(4), (1,), (3,))
    signature = {"serve": Signature({"x": 1}, {"y": 3})}
    graph = Graph((value(9), value(4), value(4), value(4)), nodes, (1,), (3,), signature)
    pruned = prune(graph)
    assert (len(pruned.values), len(pruned.nodes), pruned.inputs, pruned.outputs) == (2, 1, (0,), (1,))
    assert (dict(pruned.signatures["serve"].inputs), dict(pruned.signatures["serve"].outputs)) == (
        {"x": 0},
        {"y": 1},
    )


def test_raster_and_map_read_through_a_transpose():
    transpose = copied(View(0, (1, 3)), (3, 2))
    nodes = (
        node(transpose, (0,), (1,)),
        node(copied(View(0, (1, 2)), (2, 3)), (1,), (2,)),
        node(doubled(6), (1,), (3,)),
    )
    graph = Graph((value(2, 3), value(3, 2), value(2, 3), value(3, 2)), nodes, (0,), (2, 3))
    small = simplify(graph)
    assert small.nodes[0].inputs == (0,)
    same_function(graph, small)


def test_gemm_is_left_alone():
    gemm = Gemm(1, 2, 2, 3, View(0, (0, 3, 1)), View(0, (0, 2, 1)), View(0, (0, 2, 1)), Clamp())
    graph = Graph((value(2, 3), value(3, 2), value(2, 2)), (node(gemm, (0, 1), (2,)),), (0, 1), (2,))
    assert simplify(graph).nodes == graph.nodes


def test_control_flow_may_read_a_reshaped_value_as_it_was():
    inner = (Value("a", (3, 2), DType.F32),)
    part = Graph(inner, (), (0,), (0,))
    copy = Raster((Region(0, dense((6,)), dense((6,)), (6,)),))
    values = (
        Value("t", (), DType.BOOL),
        Value("x", (2, 3), DType.F32),
        Value("y", (3, 2), DType.F32),
        Value("z", (3, 2), DType.F32),
    )
    nodes = Node("RASTER", (1,), (2,), copy), Node("IF", (0, 2), (3,), If(part, part))
    graph = Graph(values, nodes, (0, 1), (3,))
    small = simplify(graph)
    check(small, "ATOMIC")
    assert [node.op for node in small.nodes] == ["IF"]
    feed = [np.array(True), np.arange(6, dtype=np.float32).reshape(2, 3)]
    for got in (reference.run(small, feed), CpuBackend().lower(small).run(feed)):
        np.testing.assert_array_equal(got[0], feed[1].reshape(3, 2))
