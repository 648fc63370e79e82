"""What every source is: something that runs on a thread of its own and hands items to the task's outlet."""

from __future__ import annotations

import threading
from typing import Protocol

from edge_agent.clock import Clock
from edge_agent.inbox import Outlet


class Source(Protocol):
    """`run`, once; `close` when the results of all that it emitted are as safe as they will be."""

    def run(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:
        """Emit until `stop` is set or there is no more. Bad input goes to `outlet.error`; raising ends the
        source and is counted as an error too."""

    def close(self) -> None: ...


class SourceBase:
    """A source with nothing to let go of."""

    def close(self) -> None:
        pass
