"""View arithmetic against the addresses spelled out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.atoms import View
from runtime.backends.reference import addresses
from runtime.strides import broadcast, collapse, dense, extent, is_dense

SIZES = st.lists(st.integers(1, 4), min_size=0, max_size=5).map(tuple)


@st.composite
def views(draw):
    sizes = draw(SIZES)
    strides = draw(st.lists(st.integers(-9, 9), min_size=len(sizes), max_size=len(sizes)))
    return View(draw(st.integers(-9, 9)), tuple(strides)), sizes


@given(SIZES)
def test_dense_counts_up(sizes):
    np.testing.assert_array_equal(addresses(dense(sizes), sizes).reshape(-1), np.arange(np.prod(sizes)))


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1, 4), (2, 3, 4)), ((2, 3), (2, 3))],
)
def test_broadcast_is_numpys(shape, sizes):
    expected = np.broadcast_to(np.arange(np.prod(shape)).reshape(shape), sizes)
    np.testing.assert_array_equal(addresses(broadcast(shape, sizes), sizes), expected)


@given(views(), st.integers(-3, 3))
def test_collapse_keeps_every_address_in_order(case, factor):
    view, sizes = case
    second = View(5, tuple(stride * factor for stride in view.strides))
    merged, (a, b) = collapse(sizes, view, second)
    assert len(merged) <= max(len(sizes), 1)
    for before, after in ((view, a), (second, b)):
        got, expected = addresses(after, merged).reshape(-1), addresses(before, sizes).reshape(-1)
        np.testing.assert_array_equal(got, expected)


def test_collapse_of_dense_views_is_one_dimension():
    assert collapse((2, 1, 3, 4), dense((2, 1, 3, 4)))[0] == (24,)


@given(views())
def test_extent_is_the_lowest_and_highest_address(case):
    view, sizes = case
    at = addresses(view, sizes)
    assert extent(view, sizes) == (at.min(), at.max())


def test_extent_of_nothing_is_empty():
    assert extent(View(7, (1,)), (0,)) == (0, -1)


@given(views())
def test_is_dense_means_zero_one_two(case):
    view, sizes = case
    at = addresses(view, sizes).reshape(-1)
    assert is_dense(view, sizes) == bool((at == np.arange(at.size)).all())
