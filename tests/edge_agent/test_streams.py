from typing import Any

import pytest

from edge_agent.events import ItemError, Row, batches
from edge_agent.evidence import Counts
from edge_agent.spec.model import Item, Stream
from edge_agent.streams import StreamStage

TUMBLING = {"kind": "tumbling", "size": "10s"}


def run(section: dict[str, Any], items: list[Item], times: list[float] | None = None) -> list[Item]:
    stage = StreamStage(Stream.model_validate({"from": "s", **section}))
    rows = [Row(time, item) for time, item in zip(times or range(len(items)), items, strict=True)]
    out = [out for batch in batches(rows) for out in stage.push("s", batch, 0.0)]
    return [row.item for batch in out for row in batch.rows()]


@pytest.mark.parametrize(
    ("section", "items", "expected"),
    [
        ({}, [{"v": 1}], [{"v": 1}]),
        ({"filter": "v > 1"}, [{"v": 1}, {"v": 2}, {"v": 3}], [{"v": 2}, {"v": 3}]),
        ({"filter": "v > 9"}, [{"v": 1}], []),
        ({"filter": "kind == 'a'"}, [{"kind": "a"}, {"kind": "b"}], [{"kind": "a"}]),
        ({"map": {"w": "v * 2", "x": "w + 1"}}, [{"v": 1.5}], [{"v": 1.5, "w": 3.0, "x": 4.0}]),
        ({"map": {"v": "v / 0"}}, [{"v": 0.0}], [{"v": pytest.approx(float("nan"), nan_ok=True)}]),
        ({"filter": "v > 1", "map": {"c": "5"}}, [{"v": 2}], [{"v": 2, "c": 5}]),
    ],
)
def test_filter_then_map(section: dict[str, Any], items: list[Item], expected: list[Item]) -> None:
    assert run(section, items) == expected


def test_window_and_aggregate_come_last_and_by_key() -> None:
    section = {
        "filter": "ok",
        "map": {"f": "c * 2"},
        "key_by": "dev",
        "window": TUMBLING,
        "aggregate": {"top": "max(f)", "m": "mean(c + 1)", "all": "count()"},
    }
    items = [
        {"c": 1.0, "dev": "a", "ok": True},
        {"c": 5.0, "dev": "a", "ok": False},
        {"c": 3.0, "dev": "a", "ok": True},
        {"c": 7.0, "dev": "b", "ok": True},
        {"c": 0.0, "dev": "b", "ok": True},
    ]
    window = {"start": 0.0, "end": 10.0, "revision": 0}
    assert run(section, items, [0.0, 1.0, 2.0, 3.0, 10.0]) == [
        window | {"key": "a", "n": 2, "top": 6.0, "m": 3.0, "all": 2},
        window | {"key": "b", "n": 1, "top": 14.0, "m": 8.0, "all": 1},
    ]


@pytest.mark.parametrize(
    ("section", "item", "error"),
    [
        ({"filter": "w > 1"}, {"v": 1}, "no column `w` in this event; columns here: v"),
        ({"map": {"x": "v * 2"}}, {"v": "text"}, "expected a number, got 'text'"),
        ({"key_by": "dev", "window": TUMBLING}, {"v": 1}, "no column `dev` to group by; columns here: v"),
        (
            {"window": TUMBLING, "aggregate": {"m": "mean(v)"}},
            {"v": "x"},
            "mean for `m` needs numbers, got 'x'",
        ),
    ],
)
def test_a_bad_item_is_refused_with_what_and_where(section: dict[str, Any], item: Item, error: str) -> None:
    with pytest.raises(ItemError, match=error):
        run(section, [item])


def test_late_events_are_counted_and_silence_closes_windows() -> None:
    stage = StreamStage(Stream.model_validate({"from": "s", "window": TUMBLING | {"idle": "5s"}}))
    for time in (25.0, 3.0):
        (batch,) = batches([Row(time, {"v": 1})])
        stage.push("s", batch, 100.0)
    assert stage.counts() == Counts(late=1)
    assert stage.due() == 105.0
    assert [len(out) for out in stage.tick(105.0)] == [1]
