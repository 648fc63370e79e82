import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.results import encode, plain, select


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, math.nan]), [1.0, None]),
        (np.zeros((480, 640, 3), np.uint8), "<array 480x640x3>"),
        ((1, "a"), [1, "a"]),
        ({1: {"x": math.nan}}, {"1": {"x": None}}),
        ({1, 2}.__class__, "<class 'set'>"),
    ],
)
def test_everything_has_a_plain_form(value: Any, expected: Any) -> None:
    assert plain(value) == expected


@given(
    st.dictionaries(
        st.text(max_size=3), st.one_of(st.floats(), st.integers(), st.text(), st.none()), max_size=4
    )
)
def test_a_line_is_one_line_of_valid_json(item: dict[str, Any]) -> None:
    line = encode(item)
    assert b"\n" not in line
    assert list(json.loads(line)) == [key.encode(errors="replace").decode() for key in item]


def test_lone_surrogates_do_not_stop_a_result() -> None:
    assert json.loads(encode({"x": "\ud800"})) == {"x": "?"}


def test_select_keeps_order_and_shows_gaps() -> None:
    item = {"a": 1, "b": 2, "c": np.float64(3)}
    assert select(item, ()) == {"a": 1, "b": 2, "c": 3.0}
    assert list(select(item, ("c", "a", "nope")).items()) == [("c", 3.0), ("a", 1), ("nope", None)]
