"""The door of a sink: `when` and `fields` applied, then the sink itself; the last results are kept for
people to see."""

from __future__ import annotations

from collections import deque

from edge_agent.events import Batch, Row
from edge_agent.pipeline import StageBase
from edge_agent.results import select
from edge_agent.sinks.base import Sink
from edge_agent.spec.model import Item, SinkBase
from edge_agent.streams import Formula

RECENT = 100
Recent = deque[tuple[str, float, Item]]
"""Sink, event time, item: the newest results of a task."""


class SinkStage(StageBase):
    def __init__(self, name: str, spec: SinkBase, sink: Sink, recent: Recent) -> None:
        self.sink = sink
        self._name = name
        self._when = Formula(spec.when) if spec.when else None
        self._fields = spec.fields
        self._recent = recent

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        chosen = self._when.holds(batch) if self._when else batch
        rows = [Row(row.time, select(row.item, self._fields)) for row in chosen.rows()]
        if rows:
            self.sink.write(rows)
            self._recent.extend((self._name, row.time, row.item) for row in rows[-RECENT:])
        return []
