"""MAPs that compute the same along a dimension compute it once, and give what they gave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.atoms import Instruction, Map, View
from runtime.backends import reference
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.repeats import LEAST, once
from runtime.strides import dense
from runtime.verify import check

ADD = Instruction("load", (0,)), Instruction("load", (1,)), Instruction("add")
ONES, RAMP = np.ones(64, np.float32), np.arange(64, dtype=np.float32)


def graph_of(sizes: tuple[int, ...], strides: tuple[int, ...], others: View, constant: Array) -> Graph:
    """x through `strides`, plus a constant through `others`."""
    values = (
        Value("x", (LEAST * 64,), DType.F32),
        Value("c", constant.shape, DType.F32, data=constant),
        Value("y", sizes, DType.F32),
    )
    atom = Map(sizes, (View(0, strides), others), dense(sizes), ADD)
    return Graph(values, (Node("MAP", (0, 1), (2,), atom, "ADD#0"),), (0,), (2,))


def sizes_after(graph: Graph) -> tuple[int, ...]:
    """Those of the MAP, once it has been checked that all else is as before."""
    made, x = once(graph), np.random.default_rng(3).standard_normal(LEAST * 64).astype(np.float32)
    check(made, "ATOMIC")
    np.testing.assert_array_equal(reference.run(made, [x])[0], reference.run(graph, [x])[0])
    return tuple(made.nodes[0].attrs.sizes)


@pytest.mark.parametrize(
    ("sizes", "strides", "others", "constant", "wanted"),
    [
        ((64, 8), (0, 1), View(0, (0, 1)), RAMP, (8,)),
        ((64, 8), (1, 0), View(3, (0, 0)), RAMP, (64,)),
        ((64, 8), (0, 0), View(3, (0, 0)), RAMP, ()),
        ((8, 8, 8), (0, 1, 0), View(0, (0, 0, 0)), RAMP, (8,)),
        ((64, 8), (0, 1), View(0, (1, 0)), ONES, (8,)),
        ((64, 8), (0, 1), View(0, (1, 0)), RAMP, (64, 8)),
        ((64, 8), (8, 1), View(0, (0, 0)), RAMP, (64, 8)),
        ((16, 8), (0, 1), View(0, (0, 1)), RAMP, (16, 8)),
    ],
    ids=["rows", "columns", "a number", "middle", "of ones", "of a ramp", "nothing", "too few"],
)
def test_what_repeats_is_computed_once(
    sizes: tuple[int, ...], strides: tuple[int, ...], others: View, constant: Array, wanted: tuple[int, ...]
) -> None:
    assert sizes_after(graph_of(sizes, strides, others, constant)) == wanted


def test_numbers_are_the_same_by_their_bits() -> None:
    zeros = np.zeros(64, np.float32)
    zeros[5] = -0.0
    assert sizes_after(graph_of((64, 8), (0, 1), View(0, (1, 0)), zeros)) == (64, 8)
    nans = np.full(64, np.nan, np.float32)
    assert sizes_after(graph_of((64, 8), (0, 1), View(0, (1, 0)), nans)) == (8,)


def test_an_output_of_which_a_part_is_written_stays() -> None:
    values = Value("x", (8,), DType.F32), Value("y", (2, 64, 8), DType.F32)
    atom = Map((64, 8), (View(0, (0, 1)),), dense((64, 8)), (Instruction("load", (0,)),))
    graph = Graph(values, (Node("MAP", (0,), (1,), atom, "ADD#0"),), (0,), (1,))
    assert once(graph).nodes == graph.nodes


@given(
    st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.booleans()), min_size=1, max_size=4),
    st.booleans(),
)
def test_any_views_give_the_same(dims: list[tuple[int, bool, bool]], even: bool) -> None:
    """Dimensions as (size, whether x changes along it, whether the constant does)."""
    sizes = tuple(size for size, _, _ in dims)
    x, c = (tuple(int(dim[which]) for dim in dims) for which in (1, 2))
    sizes_after(graph_of(sizes, x, View(0, c), ONES if even else RAMP))
