"""The bounded queues between a task's sources and its loop: one per source, each with its overflow policy."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from edge_agent.clock import Clock
from edge_agent.events import ItemError, Row
from edge_agent.evidence import Ledger
from edge_agent.spec.model import Item, TimeField

Overflow = Literal["drop-oldest", "drop-newest", "block"]
TAKE = 1024
"""Events handed to the loop at a time."""
AHEAD = 4
"""Of sources that can wait: events on their way while one is worked on."""
LATEST = 1e11
"""Seconds since the epoch, about the year 5000: a larger time is a wrong unit."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


class Entry(NamedTuple):
    """A row on its way into a task. `done` is called once its results are written."""

    order: int
    source: str
    row: Row
    arrived: float
    done: Callable[[], None] | None = None


class Inbox:
    """Queues of all sources; the loop takes entries in the order in which they arrived."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._changed = threading.Condition()
        self._queues: dict[str, deque[Entry]] = {}
        self._patient: set[str] = set()  # sources that wait for room
        self._order = 0
        self._closed = False

    def put(
        self,
        source: str,
        row: Row,
        arrived: float,
        limit: int,
        overflow: Overflow,
        done: Callable[[], None] | None = None,
    ) -> bool:
        """False when the row was not taken: the queue is full (drop-newest) or the inbox closed."""
        with self._changed:
            queue = self._queues.setdefault(source, deque())
            if overflow == "block":
                self._patient.add(source)
            while overflow == "block" and len(queue) >= limit and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            if len(queue) >= limit:
                self._ledger.dropped()
                if overflow == "drop-newest":
                    return False
                queue.popleft()
            self._order += 1
            queue.append(Entry(self._order, source, row, arrived, done))
            self._changed.notify_all()
        return True

    def take(self, seconds: float, appetite: int = TAKE) -> list[Entry]:
        """What waits, oldest first, at most `TAKE`, and of sources that can wait at most `appetite`; after
        at most `seconds`."""
        with self._changed:
            if not any(self._queues.values()) and not self._closed:
                self._changed.wait(max(0.0, seconds))
            taken: list[Entry] = []
            while len(taken) < TAKE:
                queues = (
                    queue
                    for source, queue in self._queues.items()
                    if queue and (appetite > 0 or source not in self._patient)
                )
                queue = min(queues, key=lambda queue: queue[0].order, default=None)
                if queue is None:
                    break
                taken.append(queue.popleft())
                appetite -= taken[-1].source in self._patient
            self._changed.notify_all()
            return taken

    def close(self) -> None:
        """Refuse what comes, wake who waits; what waits can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Outlet:
    """A source's only door into its task."""

    source: str
    inbox: Inbox
    ledger: Ledger
    clock: Clock
    time: TimeField | None
    limit: int
    overflow: Overflow

    def item(self, item: Item, done: Callable[[], None] | None = None) -> bool:
        """Hand over an event; a bad event time is counted as an error. False when it was not taken."""
        now = self.clock.now()
        try:
            row = Row(event_time(item, self.time, now), item)
        except ItemError as error:
            self.error(str(error))
            return False
        return self.inbox.put(self.source, row, now, self.limit, self.overflow, done)

    def error(self, text: str) -> None:
        self.ledger.error(f"source {self.source}: {text}")


def event_time(item: Item, field: TimeField | None, now: float) -> float:
    """Seconds since the epoch from the item's time field, or `now` without one. Raises ItemError."""
    if field is None:
        return now
    if field.field not in item:
        raise ItemError(f"no time field `{field.field}`; fields here: {', '.join(item) or 'none'}")
    value = item[field.field]
    time = _from_iso(value) if field.unit == "iso" else _from_number(value, UNITS[field.unit])
    if time is None or not 0 <= time < LATEST:
        raise ItemError(f"time field `{field.field}`: {value!r} is not a time in unit {field.unit!r}")
    return time


def _from_number(value: Any, unit: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e18 < value < 1e18:
        return None
    return round(value * unit, 6)


def _from_iso(value: Any) -> float | None:
    """Without a zone, UTC."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
