"""Keeping tasks alive: a pure `step` for one task's life, and `Runner`, which holds the one that runs and
hands over.

A loop that ends on its own is started again after a pause that doubles. From the fifth death in a row on the
task is called failed; it is still tried again, once a minute, because nobody may ever come to the board. A
new version is started beside the old one, which stops only when the new one runs, so there is no gap and
nothing to undo when it cannot start.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from edge_agent.evidence import Evidence
from edge_agent.slots import Slot

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before a start again: doubling from the first to the longest."""
HOPELESS = 5
"""Deaths in a row after which a task is called failed."""
STEADY = 60.0
"""A loop that lived this many seconds starts over with a clean record."""
STOP_TIMEOUT = 5.0
"""Seconds that a task gets to flush its sinks."""


class Phase(StrEnum):
    STOPPED = "stopped"
    RUNNING = "running"
    BACKOFF = "backoff"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Life:
    """`deaths` counts those in a row; `retry_at` is when to start again, while waiting for it."""

    phase: Phase = Phase.STOPPED
    since: float = 0.0
    deaths: int = 0
    retry_at: float | None = None
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Began:
    """The loop runs; `fresh` when it is another version, whose record is clean."""

    fresh: bool


@dataclass(frozen=True, slots=True)
class Died:
    """The loop ended on its own, or could not be started."""

    cause: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """On purpose."""

    cause: str


@dataclass(frozen=True, slots=True)
class Tick:
    pass


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the running version once more."""


Event = Began | Died | Stopped | Tick


def step(life: Life, event: Event, now: float) -> tuple[Life, tuple[Restart, ...]]:
    match event:
        case Began(fresh):
            return Life(Phase.RUNNING, now, 0 if fresh else life.deaths), ()
        case Died(cause):
            steady = life.phase is Phase.RUNNING and now - life.since >= STEADY
            deaths = 1 if steady else life.deaths + 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(deaths - 1, 20))
            phase = Phase.FAILED if deaths >= HOPELESS else Phase.BACKOFF
            return Life(phase, now, deaths, now + (LONGEST_PAUSE if deaths >= HOPELESS else pause), cause), ()
        case Stopped(cause):
            return Life(Phase.STOPPED, now, cause=cause), ()
        case Tick() if life.retry_at is not None and now >= life.retry_at:
            return replace(life, retry_at=None), (Restart(),)
    return life, ()


class Task(Protocol):
    """A task as `topology.build` makes it."""

    def start(self) -> None:
        """Raises StartError."""

    def stop(self, timeout: float) -> object: ...

    def evidence(self) -> Evidence: ...


class Runner:
    """One task's running version. Used by the agent's thread alone; stopping happens aside."""

    def __init__(self) -> None:
        self.life = Life()
        self.slot: Slot | None = None
        self.before: Evidence | None = None
        """The last word of the version that ran before this one."""
        self._task: Task | None = None
        self._stopping: list[threading.Thread] = []

    @property
    def evidence(self) -> Evidence | None:
        """Of the version that runs, or that ran last."""
        return self._task.evidence() if self._task else None

    def hand_over(self, task: Task, slot: Slot, now: float) -> None:
        """`task` runs already: it takes the place of what ran, which is stopped."""
        fresh = self.slot is None or self.slot.id != slot.id
        if fresh:
            self.before = self.evidence
        old, self._task, self.slot = self._task, task, slot
        self.life, _ = step(self.life, Began(fresh), now)
        if old is not None:
            self.put_away(old)

    def died(self, cause: str, now: float) -> None:
        self.life, _ = step(self.life, Died(cause), now)

    def poll(self, now: float) -> bool:
        """Notice a loop that ended; True when the version is to be started again."""
        evidence = self.evidence
        if self.life.phase is Phase.RUNNING and evidence is not None and evidence.failed is not None:
            end = Stopped(evidence.failed) if evidence.final else Died(evidence.failed)
            self.life, _ = step(self.life, end, now)
        self.life, actions = step(self.life, Tick(), now)
        self._stopping = [thread for thread in self._stopping if thread.is_alive()]
        return bool(actions)

    def stop(self, cause: str, now: float) -> None:
        """Stop what runs; `join` waits for it."""
        task, self._task, self.slot = self._task, None, None
        self.life, _ = step(self.life, Stopped(cause), now)
        if task is not None:
            self.put_away(task)

    def put_away(self, task: Task) -> None:
        """Stop a task without waiting for it."""
        thread = threading.Thread(target=_stop, args=(task,), name="stopping", daemon=True)
        thread.start()
        self._stopping.append(thread)

    def join(self, timeout: float, clock: Callable[[], float]) -> None:
        """Wait for everything that is being stopped, `timeout` seconds in all."""
        until = clock() + timeout
        for thread in self._stopping:
            thread.join(max(0.0, until - clock()))


def _stop(task: Task) -> None:
    try:
        task.stop(STOP_TIMEOUT)
    except Exception:
        log.exception("a task did not stop cleanly")
