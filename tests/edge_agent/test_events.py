import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events import ItemError, Row, batches, column, evaluate, full

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=2),
)
ROWS = st.lists(
    st.builds(Row, st.floats(0, 1e9), st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)),
    max_size=20,
)


@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[Row]) -> None:
    back = [row for batch in batches(rows) for row in batch.rows()]
    assert back == rows
    assert [[type(v) for v in row.item.values()] for row in back] == [
        [type(v) for v in row.item.values()] for row in rows
    ]


@given(ROWS, st.integers(0, 20))
def test_where_rows_are_cut_does_not_show_in_a_row(rows: list[Row], cut: int) -> None:
    def columns(rows: list[Row]) -> list[dict[str, Any]]:
        return [
            {name: (column.dtype, column[i]) for name, column in batch.columns.items()}
            for batch in batches(rows)
            for i in range(len(batch))
        ]

    assert columns(rows) == columns(rows[:cut]) + columns(rows[cut:])


def test_a_change_of_columns_or_kinds_begins_a_new_batch() -> None:
    items = [{"a": 1}, {"a": 2}, {"a": 2.5}, {"a": 2.5, "b": 1}, {"a": "x"}, {"a": True}, {"a": 2**70}]
    parts = batches(Row(0.0, item) for item in items)
    assert [len(part) for part in parts] == [2, 1, 1, 1, 1, 1]
    assert [part.columns["a"].dtype.kind for part in parts] == ["i", "f", "f", "O", "b", "O"]


def test_where_and_singles_keep_times_and_columns_together() -> None:
    (batch,) = batches([Row(float(i), {"v": i}) for i in range(4)])
    assert batch.where(np.array([True, False, False, True])).rows() == [
        Row(0.0, {"v": 0}),
        Row(3.0, {"v": 3}),
    ]
    assert [single.rows() for single in batch.singles()] == [[row] for row in batch.rows()]


def test_images_of_one_shape_stay_separate_values() -> None:
    images = [np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)]
    values = column(images)
    assert values.shape == (2,) and values[1] is images[1]


def test_a_single_value_is_repeated_for_every_row() -> None:
    assert full(7, 3).tolist() == [7, 7, 7]
    assert full("x", 2).tolist() == ["x", "x"]
    assert full(math.inf, 0).tolist() == []
    with pytest.raises(ItemError, match="one value per event"):
        full(np.zeros((2, 2)), 2)


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    (batch,) = batches([Row(0.0, {"a": 1, "b": 2})])
    with pytest.raises(ItemError, match="no column `c` in this event; columns here: a, b"):
        evaluate(["c"], lambda columns: columns["c"], batch)
