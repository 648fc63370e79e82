"""Time for the coordinator, and waiting in it: the system's, or a virtual one that never really waits."""

from __future__ import annotations

import time
from queue import Empty, Queue
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch."""

    def take(self, queue: Queue[T], until: float) -> T | None:
        """The queue's next item; None when there was none until then."""


class SystemClock:
    def now(self) -> float:
        return time.time()

    def take(self, queue: Queue[T], until: float) -> T | None:
        try:
            return queue.get(timeout=max(0.0, until - self.now()))
        except Empty:
            return None


class VirtualClock:
    """For a world in one thread: what is not in the queue will never come, so the time is `until` at once."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def take(self, queue: Queue[T], until: float) -> T | None:
        try:
            return queue.get_nowait()
        except Empty:
            self._now = max(self._now, until)
            return None
