"""Functions of one byte: which atoms become a table, and which do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.atoms import Gather, Instruction, Map, View
from runtime.backends import reference
from runtime.backends.tabulate import LEAST, tabulate
from runtime.fused import Lookup
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.primitives import Compute

LINE, POINT = View(0, (1,)), View(0, (0,))
BYTES = np.arange(256)


def element_wise(compute: Compute, *steps: str | int | View) -> Map:
    """A view loads the next input, a number is a constant."""
    program, views = [], list[View]()
    for step in steps:
        match step:
            case View():
                program.append(Instruction("load", (len(views),)))
                views.append(step)
            case str():
                program.append(Instruction(step))
            case _:
                program.append(Instruction("const", (step,)))
    return Map((256,), tuple(views), LINE, tuple(program), compute)


Made = tuple[Map | Gather, tuple[int, ...], DType]


def chain(*nodes: Made, rows: Array | None = None) -> Graph:
    """Values 0 and 1 are inputs of i8, 2 is a number, 3 a table; one more comes from each node."""
    held = [np.array([7], np.int32), BYTES.astype(np.int8)[::-1].copy() if rows is None else rows]
    values = [Value("a", (256,), DType.I8), Value("b", (256,), DType.I8)]
    values += [Value(f"c{i}", data.shape, DType.of(data), data=data) for i, data in enumerate(held)]
    sizes = [atom.sizes if isinstance(atom, Map) else (atom.count,) for atom, _, _ in nodes]
    values += [Value(f"n{i}", size, node[2]) for i, (size, node) in enumerate(zip(sizes, nodes, strict=True))]
    made = [Node(atom.NAME, reads, (4 + i,), atom) for i, (atom, reads, _) in enumerate(nodes)]
    return Graph(tuple(values), tuple(made), (0, 1), (len(values) - 1,))


INDEX: Made = (element_wise("i32", LINE, -128, "sub"), (0,), DType.I32)
EXP = element_wise("f32", LINE, "exp")
PRODUCT, DIFFERENCE = (element_wise("i32", LINE, LINE, name) for name in ("mul", "sub"))
CASES = {
    "one": (chain((PRODUCT, (0, 0), DType.U8)), True),
    "two": (chain(INDEX, (element_wise("i32", LINE, 9, "sub"), (4,), DType.I8)), True),
    "a table already": (chain(INDEX, (Gather(256, 1, 256), (3, 4), DType.I8)), True),
    "of a byte and of what it became": (
        chain((EXP, (0,), DType.F32), (element_wise("f32", LINE, LINE, "mul"), (4, 0), DType.I8)),
        True,
    ),
    "with a number for all": (chain((element_wise("i32", LINE, POINT, "sub"), (0, 2), DType.I8)), True),
    "of half of the bytes": (
        chain((replace(PRODUCT, sizes=(100,), views=(View(9, (1,)), View(9, (1,)))), (0, 0), DType.U8)),
        True,
    ),
    "of halves that are not the same": (
        chain((replace(PRODUCT, sizes=(100,), views=(View(9, (1,)), LINE)), (0, 0), DType.U8)),
        False,
    ),
    "of two bytes": (chain((PRODUCT, (0, 1), DType.I8)), False),
    "with a number for each": (chain((DIFFERENCE, (0, 3), DType.I8)), False),
    "of bytes elsewhere": (
        chain((element_wise("i32", LINE, View(255, (-1,)), "sub"), (0, 0), DType.I8)),
        False,
    ),
    "to floats": (chain((EXP, (0,), DType.F32)), False),
}


@pytest.mark.parametrize("name", CASES)
def test_a_function_of_one_byte_becomes_a_table(name: str) -> None:
    graph, expected = CASES[name]
    last = tabulate(graph).nodes[-1]
    assert isinstance(last.attrs, Lookup) == expected
    if isinstance(last.attrs, Lookup):
        feed = [BYTES.astype(np.int8), np.zeros(256, np.int8)]
        assert last.inputs == (0,)
        (want,) = reference.run(graph, feed)
        read = feed[0][last.attrs.offset :][: want.size]
        np.testing.assert_array_equal(last.attrs.table[read.view(np.uint8)], want)


def test_an_index_outside_its_rows_is_left_for_the_run_to_say() -> None:
    graph = chain(INDEX, (Gather(200, 1, 256), (3, 4), DType.I8), rows=np.zeros((200, 1), np.int8))
    assert [node.op for node in tabulate(graph).nodes] == ["MAP", "GATHER"]


def test_a_few_elements_are_no_table() -> None:
    graph = chain((PRODUCT, (0, 0), DType.U8))
    few = tuple([Value(value.name, (LEAST - 1,), value.dtype) for value in graph.values])
    assert [node.op for node in tabulate(Graph(few, graph.nodes, graph.inputs, graph.outputs)).nodes] == [
        "MAP"
    ]
