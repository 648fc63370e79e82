from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edge_agent.events import ItemError, Row, batches
from edge_agent.evidence import NearMiss
from edge_agent.spec.model import Item, Trigger
from edge_agent.triggers import NEAR_MISSES, Pattern, Trie, TriggerStage

Event = tuple[str, float]
Ids = list[list[str]]


def naive(patterns: list[Pattern], events: list[Event]) -> tuple[Ids, Ids]:
    """The definition: after each event, look back as far as each pattern is long. Ids matched, too late."""
    matched, missed = [], []
    for end in range(1, len(events) + 1):
        now: list[list[str]] = [[], []]
        for pattern in patterns:
            seen = events[max(0, end - len(pattern.names)) : end]
            fits = len(seen) == len(pattern.names) and all(
                wanted in ("*", name) for wanted, (name, _) in zip(pattern.names, seen, strict=True)
            )
            if fits:
                late = pattern.within is not None and seen[-1][1] - seen[0][1] > pattern.within
                now[late].append(pattern.id)
        matched.append(sorted(now[0]))
        missed.append(sorted(now[1]))
    return matched, missed


NAMES = st.sampled_from("abc")
PATTERNS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abc*"), min_size=1, max_size=4).map(tuple), st.none() | st.integers(0, 4)
    ),
    max_size=12,
).map(lambda rows: [Pattern(f"t{i}", names, within) for i, (names, within) in enumerate(rows)])


@given(PATTERNS, st.lists(st.tuples(NAMES, st.integers(0, 3)), max_size=25))
def test_the_trie_equals_the_naive_matcher(patterns: list[Pattern], steps: list[tuple[str, int]]) -> None:
    time, events = 0.0, []
    for name, gap in steps:
        time += gap
        events.append((name, time))
    trie = Trie(patterns)
    found = [trie.step(name, time) for name, time in events]
    matched, missed = naive(patterns, events)
    assert [sorted(match.id for match in row) for row, _ in found] == matched
    reported = [{miss.trigger for miss in row} for _, row in found]
    spans = {pattern.id: len(pattern.names) for pattern in patterns}
    for end, late in enumerate(missed):
        for id in late:  # said when it became certain: at the last event, or at one on the way
            assert any(id in row for row in reported[max(0, end - spans[id] + 1) : end + 1])


def test_ten_thousand_patterns_that_share_a_prefix_are_all_found() -> None:
    patterns = [Pattern(f"t{i}", ("go", f"e{i}")) for i in range(10_000)]
    trie = Trie([*patterns, Pattern("any", ("go", "*"))])
    for i in range(0, 10_000, 997):
        trie.step("go", 2.0 * i)
        matched, _ = trie.step(f"e{i}", 2.0 * i + 1)
        assert {match.id for match in matched} == {f"t{i}", "any"}


def test_pending_matches_do_not_pile_up() -> None:
    trie = Trie([Pattern("long", ("*",) * 32)])
    for time in range(1000):
        trie.step("a", float(time))
    assert len(trie._pending) == 31


def test_too_late_is_a_near_miss_with_its_figures() -> None:
    trie = Trie([Pattern("door", ("door.open", "*", "pir.high"), 20.0)])
    trie.step("door.open", 0.0)
    trie.step("lamp", 3.0)
    matched, missed = trie.step("pir.high", 29.0)
    assert matched == []
    assert [(miss.trigger, miss.why) for miss in missed] == [("door", "pir.high came too late (29 s > 20 s)")]


# --- the stage ------------------------------------------------------------------------------------------


def stage(
    *triggers: dict[str, Any], now: float = 0.0, input: str | None = None, **names: str
) -> TriggerStage:
    parsed = TypeAdapter(list[Trigger]).validate_python(list(triggers))
    return TriggerStage(parsed, names or {"door": "door", "pir": "pir"}, {"trigger.ask": "ask"}, input, now)


def push(stage: TriggerStage, origin: str, time: float, item: Item) -> list[Row]:
    (batch,) = batches([Row(time, item)])
    return [row for out in stage.push(origin, batch, time) for row in out.rows()]


def tick(stage: TriggerStage, now: float) -> list[Row]:
    return [row for out in stage.tick(now) for row in out.rows()]


DOOR = {"on": "event", "id": "door", "pattern": ["door", "pir"], "within": "20s"}


def test_an_event_trigger_gives_the_last_event_and_its_id() -> None:
    triggers = stage(DOOR)
    assert push(triggers, "door", 1.0, {"a": 1}) == []
    assert push(triggers, "pir", 2.0, {"b": 2}) == [Row(2.0, {"b": 2, "trigger": "door"})]


def test_a_false_or_failing_condition_is_a_near_miss() -> None:
    triggers = stage(DOOR | {"when": "lux < 5"})
    for lux in (9, "dark"):
        push(triggers, "door", 1.0, {})
        assert push(triggers, "pir", 2.0, {"lux": lux}) == []
    push(triggers, "door", 1.0, {})
    assert len(push(triggers, "pir", 2.0, {"lux": 1})) == 1
    late, near_misses, (first, second) = triggers.counts()
    assert (late, near_misses) == (0, 2)
    assert first == NearMiss("door", 2.0, "its condition `when` was false")
    assert second.why.startswith("its condition `when`: ")


def test_near_misses_are_bounded_but_all_counted() -> None:
    triggers = stage({"on": "event", "id": "x", "pattern": ["door"], "when": "False"})
    for i in range(NEAR_MISSES + 7):
        push(triggers, "door", float(i), {})
    late, near_misses, newest = triggers.counts()
    assert (late, near_misses) == (0, NEAR_MISSES + 7)
    assert [miss.time for miss in newest] == [float(i) for i in range(7, NEAR_MISSES + 7)]


def test_event_names_may_come_from_the_data() -> None:
    triggers = stage({"on": "event", "id": "seq", "pattern": ["page.enter", "page.exit"]}, ui="page.{kind}")
    assert push(triggers, "ui", 1.0, {"kind": "enter"}) == []
    assert len(push(triggers, "ui", 2.0, {"kind": "exit"})) == 1
    with pytest.raises(ItemError, match="no column `kind`, which names the event; columns here: v"):
        push(triggers, "ui", 3.0, {"v": 1})


def test_a_firing_takes_the_newest_item_of_the_works_input() -> None:
    triggers = stage({"on": "mqtt", "id": "ask", "topic": "x"}, input="cam")
    assert push(triggers, "cam", 1.0, {"image": "old"}) == []
    assert push(triggers, "cam", 2.0, {"image": "new"}) == []
    fired = push(triggers, "trigger.ask", 3.0, {"who": "me"})
    assert fired == [Row(3.0, {"image": "new", "who": "me", "trigger": "ask"})]


def test_a_window_trigger_fires_for_each_result_of_its_stream() -> None:
    triggers = stage({"on": "window", "id": "w", "stream": "avg", "when": "c > 2"})
    assert push(triggers, "avg", 10.0, {"c": 1}) == []
    assert push(triggers, "avg", 20.0, {"c": 3}) == [Row(20.0, {"c": 3, "trigger": "w"})]
    assert push(triggers, "other", 30.0, {"c": 3}) == []


def test_the_start_fires_once() -> None:
    triggers = stage({"on": "start", "id": "s"}, now=7.0)
    assert triggers.due() == 7.0
    assert tick(triggers, 7.5) == [Row(7.0, {"trigger": "s"})]
    assert triggers.due() is None and tick(triggers, 8.0) == []


def test_a_schedule_neither_drifts_nor_catches_up() -> None:
    triggers = stage({"on": "schedule", "id": "s", "every": "10s"}, now=3.0)
    assert triggers.due() == 10.0
    assert tick(triggers, 9.9) == []
    assert tick(triggers, 10.4) == [Row(10.0, {"trigger": "s"})]
    assert triggers.due() == 20.0
    assert tick(triggers, 57.0) == [Row(50.0, {"trigger": "s"})]  # 20, 30 and 40 were slept through
    assert triggers.due() == 60.0


@given(st.sampled_from([0.1, 0.3, 7.0, 3600.0]), st.floats(0, 2e9))
def test_a_schedule_always_moves_on(every: float, now: float) -> None:
    triggers = stage({"on": "schedule", "id": "s", "every": f"{every}s"}, now=now)
    for _ in range(3):
        due = triggers.due()
        assert due is not None and due > now
        assert len(tick(triggers, due)) == 1
        now = due
