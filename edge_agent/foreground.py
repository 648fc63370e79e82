"""`walle run`: one task in the foreground, on live sources, whose items go to the caller instead of the
sinks.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cloud_broker.wire.link import MqttLink
from edge_agent.clock import SystemClock
from edge_agent.config import this_host
from edge_agent.events import Row
from edge_agent.model_step import OpenModel
from edge_agent.spec.model import Item, Spec
from edge_agent.topology import Context, build

Emit = Callable[[str, Item], None]
"""Called with (sink, item)."""
LOOK = 0.2
"""Seconds between looks at the task."""


@dataclass(frozen=True, slots=True)
class Forward:
    """Stands in for a sink."""

    name: str
    emit: Emit

    def open(self) -> None:
        pass

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.emit(self.name, row.item)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def run(spec: Spec, directory: Path, *, mqtt: str, open_model: OpenModel, emit: Emit) -> str:
    """Run until SIGINT or SIGTERM, or until the task ends by itself; returns why it failed, or "".

    Raises StartError, and ValueError for a broker's address that is none.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    link = MqttLink(mqtt, f"walle-run-{this_host()}", rng=Random()) if mqtt else None
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        context = Context(
            this_host(), state, state, link, SystemClock(), open_model, lambda name: Forward(name, emit)
        )
        task = build(spec, directory, context)
        if link is not None:
            link.start()
        task.start()
        while not ended.wait(LOOK) and not task.evidence().failed:
            pass
        task.stop()
        if link is not None:
            link.stop()
        return task.evidence().failed or ""
