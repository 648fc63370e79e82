"""What is known of a running task, counted where it happens; its state is computed from this and from
nothing else."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import NamedTuple

from cloud_broker.wire.messages import Reason


class StartError(Exception):
    """A task could not be started: a reason code for machines, a sentence for people."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class NearMiss(NamedTuple):
    """A trigger that almost fired, and why it did not."""

    trigger: str
    time: float
    why: str


class Counts(NamedTuple):
    """What the stages of a task have seen so far and done nothing with."""

    late: int = 0
    """Events that came after their window was forgotten."""
    near_misses: int = 0
    missed: tuple[NearMiss, ...] = ()
    """The newest of the near misses, newest last."""


NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class Evidence:
    """A snapshot; times are seconds since the epoch on the task's clock."""

    started: float
    heartbeat: float
    """The loop's last sign of life."""
    last_event: float | None = None
    last_result: float | None = None
    events: int = 0
    """Items from all sources."""
    results: int = 0
    """Items that came to the sinks' door."""
    errors: int = 0
    """Items, or writes, that failed; the task went on."""
    dropped: int = 0
    """Items given up because a bounded queue was full, or by run.mode and run.debounce."""
    counts: Counts = NOTHING
    last_error: str | None = None
    failed: str | None = None
    """Why the loop itself ended, when it did so on its own."""
    final: bool = False
    """The spec asked for that end (limits.on_breach): it is not started again."""


class Ledger:
    """The current `Evidence`. Safe from any thread."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._evidence = Evidence(started=now, heartbeat=now)

    def evidence(self) -> Evidence:
        return self._evidence

    def beat(self, now: float, counts: Counts) -> None:
        self._change(heartbeat=now, counts=counts)

    def events(self, count: int, now: float) -> None:
        with self._lock:
            total = self._evidence.events + count
            self._evidence = replace(self._evidence, events=total, last_event=now)

    def results(self, count: int, now: float) -> None:
        with self._lock:
            total = self._evidence.results + count
            self._evidence = replace(self._evidence, results=total, last_result=now)

    def dropped(self, count: int = 1) -> None:
        with self._lock:
            self._evidence = replace(self._evidence, dropped=self._evidence.dropped + count)

    def error(self, text: str) -> None:
        with self._lock:
            self._evidence = replace(self._evidence, errors=self._evidence.errors + 1, last_error=text)

    def failed(self, text: str, *, final: bool = False) -> None:
        self._change(failed=text, final=final)

    def _change(self, **fields: object) -> None:
        with self._lock:
            self._evidence = replace(self._evidence, **fields)  # type: ignore[arg-type]
