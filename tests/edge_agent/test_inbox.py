import threading
from typing import Any

import pytest

from edge_agent.clock import ManualClock
from edge_agent.events import ItemError, Row
from edge_agent.evidence import Ledger
from edge_agent.inbox import Inbox, Outlet, Overflow, event_time
from edge_agent.spec.model import TimeField


def fill(overflow: Overflow) -> tuple[list[bool], list[int], int]:
    ledger = Ledger(0.0)
    inbox = Inbox(ledger)
    taken = [inbox.put("s", Row(0.0, {"i": i}), 0.0, 2, overflow) for i in range(4)]
    return taken, [entry.row.item["i"] for entry in inbox.take(0)], ledger.evidence().dropped


def test_the_overflow_policy_decides_who_goes_and_drops_are_counted() -> None:
    assert fill("drop-oldest") == ([True, True, True, True], [2, 3], 2)
    assert fill("drop-newest") == ([True, True, False, False], [0, 1], 2)


def test_a_blocked_source_waits_for_room_and_loses_nothing() -> None:
    ledger = Ledger(0.0)
    inbox = Inbox(ledger)
    thread = threading.Thread(
        target=lambda: [inbox.put("s", Row(0.0, {"i": i}), 0.0, 2, "block") for i in range(50)]
    )
    thread.start()
    got: list[int] = []
    while len(got) < 50:
        got += [entry.row.item["i"] for entry in inbox.take(20)]
    thread.join(20)
    assert got == list(range(50)) and ledger.evidence().dropped == 0


def test_closing_lets_a_blocked_source_go() -> None:
    inbox = Inbox(Ledger(0.0))
    inbox.put("s", Row(0.0, {}), 0.0, 1, "block")
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(inbox.put("s", Row(0.0, {}), 0.0, 1, "block")))
    thread.start()
    inbox.close()
    thread.join(20)
    assert answers == [False]
    assert len(inbox.take(0)) == 1 and inbox.take(20) == []


def test_sources_have_queues_of_their_own_but_order_is_kept() -> None:
    inbox = Inbox(Ledger(0.0))
    for i in range(6):
        inbox.put("slow" if i == 3 else "fast", Row(0.0, {"i": i}), 0.0, 2, "drop-oldest")
    assert [entry.row.item["i"] for entry in inbox.take(0)] == [3, 4, 5]


def test_sources_that_can_wait_are_taken_by_appetite() -> None:
    inbox = Inbox(Ledger(0.0))
    for i in range(6):
        inbox.put(
            "pushed" if i % 2 else "pulled", Row(0.0, {"i": i}), 0.0, 9, "drop-oldest" if i % 2 else "block"
        )

    def take(appetite: int) -> list[int]:
        return [entry.row.item["i"] for entry in inbox.take(0, appetite)]

    assert take(0) == [1, 3, 5]
    assert take(2) == [0, 2]
    assert take(2) == [4]


@pytest.mark.parametrize(
    ("item", "unit", "expected"),
    [
        ({"ts": 5}, "s", 5.0),
        ({"ts": 1_700_000_000_123}, "ms", 1_700_000_000.123),
        ({"ts": 2.5e6}, "us", 2.5),
        ({"ts": "1970-01-01T00:01:00Z"}, "iso", 60.0),
        ({"ts": "1970-01-01T02:00:00+01:00"}, "iso", 3600.0),
        ({"ts": "1970-01-01T00:01:00"}, "iso", 60.0),
    ],
)
def test_event_time_comes_from_the_data(item: dict[str, Any], unit: Any, expected: float) -> None:
    assert event_time(item, TimeField(field="ts", unit=unit), 99.0) == expected


@pytest.mark.parametrize(
    ("item", "unit"),
    [
        ({}, "s"),
        ({"ts": "5"}, "s"),
        ({"ts": True}, "s"),
        ({"ts": None}, "s"),
        ({"ts": -1}, "s"),
        ({"ts": float("nan")}, "s"),
        ({"ts": 10**400}, "s"),
        ({"ts": 1_700_000_000_000}, "s"),  # milliseconds, said to be seconds
        ({"ts": 5}, "iso"),
        ({"ts": "yesterday"}, "iso"),
    ],
)
def test_a_wrong_time_is_refused(item: dict[str, Any], unit: Any) -> None:
    with pytest.raises(ItemError, match="time field `ts`"):
        event_time(item, TimeField(field="ts", unit=unit), 99.0)


def test_an_outlet_counts_bad_times_and_stamps_the_rest() -> None:
    ledger, clock = Ledger(0.0), ManualClock(7.0)
    inbox = Inbox(ledger)
    with_time = Outlet("s", inbox, ledger, clock, TimeField(field="ts"), 10, "drop-oldest")
    plain = Outlet("p", inbox, ledger, clock, None, 10, "drop-oldest")
    assert not with_time.item({"v": 1})
    assert with_time.item({"ts": 3}) and plain.item({"v": 2})
    assert [(entry.row.time, entry.arrived) for entry in inbox.take(0)] == [(3.0, 7.0), (7.0, 7.0)]
    assert ledger.evidence().errors == 1
    assert ledger.evidence().last_error == "source s: no time field `ts`; fields here: v"
