import math
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import windows
from edge_agent.events import ItemError, Row
from edge_agent.spec.model import Window
from edge_agent.windows import Tumbling, number

AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": lambda x: _total(x),
    "mean": lambda x: _total(x) / len(x),
    "min": min,
    "max": max,
    "first": lambda x: x[0],
    "last": lambda x: x[-1],
    "std": statistics.pstdev,
}
KINDS = {kind: kind for kind in AGGREGATES}
Event = tuple[float, str, float]


def _total(x: list[float]) -> float:
    total = 0.0
    for value in x:
        total += value
    return total


def naive(events: list[Event], size: float, out_of_order: float, lateness: float) -> tuple[list[Any], int]:
    """The definition: event by event, every window keeps its values. Results, and how many were late."""
    values: dict[tuple[float, str], list[float]] = {}
    revisions: dict[tuple[float, str], int] = {}
    results, late, watermark = [], 0, -math.inf

    def emit(start: float, key: str) -> None:
        revision = revisions.get((start, key), 0)
        revisions[start, key] = revision + 1
        aggregates = {kind: f(values[start, key]) for kind, f in AGGREGATES.items()}
        results.append({"start": start, "end": start + size, "key": key, "revision": revision} | aggregates)

    for time, key, value in events:
        start = time // size * size
        if start + size + lateness <= watermark:
            late += 1
            continue
        values.setdefault((start, key), []).append(value)
        if start + size <= watermark:
            emit(start, key)
        before, watermark = watermark, max(watermark, time - out_of_order)
        for start, key in sorted(values, key=lambda window: window[0]):
            if before < start + size <= watermark:
                emit(start, key)
    return results, late


def window(size: float, out_of_order: float = 0.0, lateness: float = 0.0, idle: float = 10.0) -> Window:
    return Window.model_construct(
        kind="tumbling", size=size, out_of_order=out_of_order, lateness=lateness, idle=idle
    )


def push(windower: Tumbling, events: list[Event], now: float = 0.0) -> list[dict[str, Any]]:
    times = np.array([time for time, _, _ in events])
    values = np.array([value for _, _, value in events])
    batches = windower.push(times, [key for _, key, _ in events], dict.fromkeys(KINDS, values), now)
    return items(batches)


def items(batches: list[Any]) -> list[dict[str, Any]]:
    return [row.item for batch in batches for row in batch.rows()]


EVENTS = st.lists(
    st.tuples(st.integers(0, 40).map(lambda t: t / 2), st.sampled_from("ab"), st.integers(-9, 9).map(float)),
    max_size=40,
)
BOUNDS = st.sampled_from([0.0, 0.5, 2.0, 5.0])


@settings(max_examples=200)
@given(
    EVENTS, st.sampled_from([0.5, 1.0, 2.0, 4.0]), BOUNDS, BOUNDS, st.lists(st.integers(0, 40), max_size=4)
)
def test_any_order_any_duplicates_any_batches_equal_the_naive_model(
    events: list[Event], size: float, out_of_order: float, lateness: float, cuts: list[int]
) -> None:
    windower = Tumbling(window(size, out_of_order, lateness), KINDS)
    results = []
    edges = [0, *sorted(cuts), len(events)]
    for a, b in pairwise(edges):
        if events[a:b]:
            results += push(windower, events[a:b])
    expected, late = naive(events, size, out_of_order, lateness)
    for result in [*results, *expected]:
        result["std"] = pytest.approx(result["std"], abs=1e-9)
    assert [{k: v for k, v in result.items() if k != "n"} for result in results] == expected
    assert windower.late == late


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(0, 30))
def test_bits_do_not_depend_on_batches(values: list[float], cut: int) -> None:
    events = [(0.5, "k", value) for value in values]
    whole, parts = Tumbling(window(1.0), KINDS), Tumbling(window(1.0), KINDS)
    push(whole, events)
    for part in (events[:cut], events[cut:]):
        if part:
            push(parts, part)
    assert push(whole, [(5.0, "k", 0.0)]) == push(parts, [(5.0, "k", 0.0)])


@pytest.mark.parametrize("size", [0.1, 0.3, 1 / 3, 7.0, 86400.0])
def test_bounds_are_exact_and_aligned_to_the_epoch(size: float) -> None:
    edges = np.arange(1_000_000, 1_000_500) * size
    for times in (edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)):
        k = number(times, size)
        assert (k * size <= times).all() and (times < (k + 1) * size).all()


def test_a_late_event_within_lateness_gives_a_higher_revision() -> None:
    windower = Tumbling(window(10.0, lateness=5.0), {"total": "sum"})

    def add(time: float, value: float) -> list[dict[str, Any]]:
        return items(windower.push(np.array([time]), [None], {"total": np.array([value])}, time))

    assert add(3.0, 1.0) == []
    closed = {"start": 0.0, "end": 10.0, "key": None, "revision": 0, "n": 1, "total": 1.0}
    assert add(10.0, 0.0) == [closed]
    assert add(4.0, 2.0) == [closed | {"revision": 1, "n": 2, "total": 3.0}]
    assert add(15.0, 0.0) == []
    assert add(4.0, 2.0) == [] and windower.late == 1


def test_the_watermark_follows_the_clock_after_silence() -> None:
    windower = Tumbling(window(10.0, out_of_order=2.0, idle=5.0), {"n2": "count"})
    push(windower, [(3.0, "a", 0.0)], now=1000.0)
    due = windower.due()
    assert due == 1009.0  # the end is 9 s after the watermark, at 1.0 when silence began
    assert windower.tick(1005.0) == [] and windower.tick(1008.9) == []
    assert [item["end"] for item in items(windower.tick(due))] == [10.0]
    assert windower.due() is None and windower.tick(1e9) == []
    assert push(windower, [(20.5, "a", 0.0)], now=1e9) == []  # life goes on


def test_no_window_closes_before_the_silence_is_long_enough() -> None:
    windower = Tumbling(window(1.0, idle=5.0), {})
    push(windower, [(0.5, "a", 0.0)], now=100.0)
    assert windower.due() == 105.0
    assert windower.tick(104.0) == []
    assert len(items(windower.tick(105.0))) == 1


@given(st.floats(0.001, 1000.0), st.floats(0, 1e9), st.floats(0.0, 20.0), st.floats(0.0, 20.0))
def test_what_is_due_is_done_by_ticking_then(
    size: float, time: float, out_of_order: float, idle: float
) -> None:
    """Else the task's loop would spin."""
    windower = Tumbling(window(size, out_of_order, idle=idle), {})
    push(windower, [(time, "a", 0.0), (time + size, "a", 0.0)], now=1e9)
    for _ in range(3):
        due = windower.due()
        if due is None:
            break
        assert windower.tick(due)
    assert windower.due() is None


def test_a_result_is_an_event_at_the_end_of_its_window() -> None:
    windower = Tumbling(window(10.0), {})
    (batch,) = windower.push(np.array([3.0, 12.0]), [None, None], {}, 0.0)
    assert batch.rows() == [Row(10.0, {"start": 0.0, "end": 10.0, "key": None, "revision": 0, "n": 1})]


@pytest.mark.parametrize("key", [["list"], {"a": 1}, math.nan])
def test_what_cannot_be_a_key_is_refused_and_changes_nothing(key: Any) -> None:
    windower = Tumbling(window(1.0), {})
    with pytest.raises(ItemError, match="cannot group by"):
        windower.push(np.array([0.5]), [key], {}, 0.0)
    assert windower.due() is None


def test_the_number_of_open_windows_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MAX_OPEN", 2)
    windower = Tumbling(window(1.0), {})
    windower.push(np.array([0.5, 0.5]), ["a", "b"], {}, 0.0)
    with pytest.raises(ItemError, match="more than 2 windows"):
        windower.push(np.array([0.5]), ["c"], {}, 0.0)


def test_memory_stays_flat_over_many_windows() -> None:
    windower = Tumbling(window(1.0), KINDS)
    for i in range(300):
        push(windower, [(i + j / 100, f"k{j % 7}", 1.0) for j in range(50)])
    assert windower._slots <= 32


def test_last_and_first_take_any_value() -> None:
    windower = Tumbling(window(1.0), {"a": "first", "b": "last"})
    values = np.array(["x", None, "z"], object)
    windower.push(np.array([0.1, 0.2, 0.3]), [None] * 3, {"a": values, "b": values}, 0.0)
    (batch,) = windower.push(np.array([2.0]), [None], {"a": values[:1], "b": values[:1]}, 0.0)
    assert (batch.rows()[0].item["a"], batch.rows()[0].item["b"]) == ("x", "z")
