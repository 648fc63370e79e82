import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.events import ItemError, Row
from edge_agent.sinks import sqlite as sqlite_module
from edge_agent.sinks.sqlite import FILE, THRESHOLD, SqliteSink
from edge_agent.spec.model import SqliteSink as Spec


def sink(folder: Path, table: str = "rows", keep: str = "30d") -> SqliteSink:
    sink = SqliteSink(Spec.model_validate({"type": "sqlite", "table": table, "keep": keep}), folder)
    sink.open()
    return sink


def stored(folder: Path, table: str = "rows") -> list[tuple[Any, ...]]:
    database = sqlite3.connect(folder / FILE)
    try:
        return database.execute(f'SELECT * FROM "{table}" ORDER BY rowid').fetchall()
    finally:
        database.close()


def test_rows_reach_the_disk_together(tmp_path: Path) -> None:
    table = sink(tmp_path)
    for i in range(THRESHOLD - 1):
        table.write([Row(float(i), {"v": i})])
    assert stored(tmp_path) == [] and table.writes == 0
    table.write([Row(float(THRESHOLD), {"v": -1})])
    assert len(stored(tmp_path)) == THRESHOLD and table.writes == 1
    table.flush()
    assert table.writes == 1  # nothing new, nothing written
    table.close()


def test_reading_sees_what_is_still_in_memory_newest_first(tmp_path: Path) -> None:
    table = sink(tmp_path)
    table.write([Row(1.0, {"v": "a"}), Row(3.0, {"v": "b"}), Row(2.0, {"v": "c"})])
    assert table.read(2) == [{"at": 3.0, "v": "b"}, {"at": 2.0, "v": "c"}]
    table.close()


def test_closing_writes_the_rest_and_opening_goes_on(tmp_path: Path) -> None:
    for i in range(2):
        table = sink(tmp_path)
        table.write([Row(float(i), {"v": i})])
        table.close()
    assert stored(tmp_path) == [(0.0, 0), (1.0, 1)]


def test_columns_are_added_when_they_appear(tmp_path: Path) -> None:
    table = sink(tmp_path)
    table.write([Row(1.0, {"a": 1})])
    table.flush()
    table.write([Row(2.0, {"b": "x", "a": 2}), Row(3.0, {"C": True})])
    assert table.read() == [
        {"at": 3.0, "a": None, "b": None, "c": 1},
        {"at": 2.0, "a": 2, "b": "x", "c": None},
        {"at": 1.0, "a": 1, "b": None, "c": None},
    ]
    table.close()


def test_old_rows_are_forgotten_by_event_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "RETAIN_EVERY", 1)
    table = sink(tmp_path, keep="10s")
    for at in (100.0, 105.0, 111.0):
        table.write([Row(at, {"v": 0})])
        table.flush()
    assert [row[0] for row in stored(tmp_path)] == [105.0, 111.0]
    table.close()


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=8),
            st.one_of(
                st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
            ),
            max_size=5,
        ),
        max_size=8,
    )
)
def test_any_item_can_be_stored(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]]
) -> None:
    table = sink(tmp_path_factory.mktemp("any"))
    for item in items:
        table.write([Row(1.0, item)])
    assert len(table.read(100)) == len(items)
    table.close()


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ([1, {"a": None}], '[1,{"a":null}]'),
        (2**70, str(2**70)),
        ("\ud800\0", "??"),
        (True, 1),
        (float("nan"), None),
    ],
)
def test_what_sqlite_lacks_becomes_text(tmp_path: Path, value: Any, cell: Any) -> None:
    table = sink(tmp_path)
    table.write([Row(1.0, {"v": value})])
    assert table.read()[0]["v"] == cell
    table.close()


def test_an_own_column_at_does_not_hide_the_event_time(tmp_path: Path) -> None:
    table = sink(tmp_path)
    table.write([Row(1.0, {"At": "dock"})])
    assert table.read() == [{"at": 1.0, "item_at": "dock"}]
    table.close()


def test_columns_are_bounded_and_refused_before_anything_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "MAX_COLUMNS", 3)
    table = sink(tmp_path)
    table.write([Row(1.0, {"a": 1, "b": 2})])
    with pytest.raises(ItemError, match="table rows has 3 columns, no more are added; choose `fields`"):
        table.write([Row(2.0, {"a": 1}), Row(2.0, {"c": 1})])
    assert len(table.read()) == 1
    table.close()


def test_a_disk_that_refuses_loses_nothing_until_the_buffer_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "MAX_BUFFER", 3)
    table = sink(tmp_path)
    assert table._database is not None
    pages = table._database.execute("PRAGMA page_count").fetchone()[0]
    table._database.execute(f"PRAGMA max_page_count = {pages}")  # SQLITE_FULL, as on a full disk
    table.write([Row(1.0, {"v": "x" * 100_000}), Row(2.0, {"v": 2})])
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="full"):
            table.flush()
    table.write([Row(3.0, {"v": 3})])
    with pytest.raises(BufferError, match="3 rows wait for table rows; 1 were given up"):
        table.write([Row(4.0, {"v": 4})])
    table._database.execute("PRAGMA max_page_count = 100000")
    table.flush()
    assert [row[0] for row in stored(tmp_path)] == [1.0, 2.0, 3.0]
    table.close()


def test_two_versions_of_a_task_write_to_one_table(tmp_path: Path) -> None:
    old, new = sink(tmp_path), sink(tmp_path)
    for i, version in enumerate((old, new, old)):
        version.write([Row(float(i), {"v": i, f"only_{i}": 1})])
        version.flush()
    assert [row["v"] for row in new.read()] == [2, 1, 0]
    old.close()
    new.close()


def test_two_tables_share_the_file(tmp_path: Path) -> None:
    one, two = sink(tmp_path, "one"), sink(tmp_path, "two")
    for i in range(5):
        one.write([Row(float(i), {"v": i})])
        two.write([Row(float(i), {"w": i})])
        one.flush()
        two.flush()
    assert (len(stored(tmp_path, "one")), len(stored(tmp_path, "two"))) == (5, 5)
    one.close()
    two.close()
