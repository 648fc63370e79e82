"""Time as an argument: what a task asks of a clock, the machine's clock, and one moved by hand.

Everything below the shells takes `now`, seconds since the epoch, as a number; only sources, sinks and the
task's loop hold a clock. Replays and tests hand them a `ManualClock`.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

STEP = 1.0
"""Seconds forward at once that are a step, not a correction."""


class Clock(Protocol):
    stepped: float
    """Seconds by which it was set forward so far, in steps: time that nobody lived through."""

    def now(self) -> float:
        """Seconds since the epoch; never goes back."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Until `event` is set (True) or `seconds` have passed (False)."""


class SystemClock:
    """The wall clock, made monotone: a step forward (time service on a board without its own clock) is
    followed at once; after a step back, time goes on from where it was at the machine's own pace."""

    def __init__(self) -> None:
        self.stepped = 0.0
        self._lock = threading.Lock()
        self._now, self._steady = time.time(), time.monotonic()

    def now(self) -> float:
        with self._lock:
            steady = time.monotonic()
            lived = self._now + steady - self._steady
            self._now, self._steady = max(time.time(), lived), steady
            if self._now - lived > STEP:
                self.stepped += self._now - lived
            return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


class ManualClock:
    """Stands still until `advance`, `set` or `step` moves it."""

    def __init__(self, now: float = 0.0) -> None:
        self.stepped = 0.0
        self._now = now
        self._moved = threading.Condition()

    def now(self) -> float:
        return self._now

    def set(self, now: float) -> None:
        with self._moved:
            self._now = max(self._now, now)
            self._moved.notify_all()

    def advance(self, seconds: float) -> None:
        self.set(self._now + seconds)

    def step(self, seconds: float) -> None:
        """As a time service does."""
        self.stepped += seconds
        self.advance(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        until = self._now + seconds
        with self._moved:
            while not event.is_set() and self._now < until:
                self._moved.wait(0.05)  # also looks at the event, which has no way to wake us
        return event.is_set()
