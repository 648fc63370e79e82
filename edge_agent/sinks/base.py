"""What every sink is. `write` only takes rows in; `flush` carries them out and may fail, be tried again, and
lose none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edge_agent.events import Row


class Sink(Protocol):
    def open(self) -> None:
        """Raises OSError (or its like) when the sink can never work as things stand."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows in; quick, and never blocked by a slow receiver."""

    def flush(self) -> None:
        """Carry out what was taken in. Raises when that failed: rows stay for the next flush."""

    def close(self) -> None:
        """Flush as far as possible and let go."""


class Recorder:
    """Keeps everything in memory: stands in for any sink in replays, tests and dry runs."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def open(self) -> None:
        pass

    def write(self, rows: Sequence[Row]) -> None:
        self.rows += rows

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
