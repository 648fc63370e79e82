"""What sets a task's work off: events in a pattern, a schedule, a message, a window's result, the start.
Pure.

Patterns of all triggers share one trie (Lv et al., OSDI 2022, §4.2). Per event only two lists are looked at:
the static pending list (the root's children: every pattern may begin now) and the dynamic one (the children
of the nodes that the events so far have reached), so the cost does not grow with patterns that share no
prefix with the event. A pattern matches consecutive events; "*" stands for any one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from edge_agent.events import Batch, ItemError, Row, batches
from edge_agent.evidence import NOTHING, Counts, NearMiss
from edge_agent.pipeline import StageBase
from edge_agent.spec.model import (
    EventTrigger,
    Item,
    ScheduleTrigger,
    StartTrigger,
    Trigger,
    WindowTrigger,
)
from edge_agent.streams import Formula

ANY = "*"
COLUMN = re.compile(r"\{(\w+)\}")
NEAR_MISSES = 20
"""The newest near misses that are kept."""


class Pattern(NamedTuple):
    id: str
    names: tuple[str, ...]
    within: float | None = None
    """Seconds from the first event to the last."""


class Matched(NamedTuple):
    id: str
    began: float


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    ends: list[Pattern] = field(default_factory=list)
    """Patterns complete here."""
    patience: float = 0.0
    """The longest `within` of the patterns through here."""


class Trie:
    """Many patterns matched at once; `step` per event."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._root = _Node()
        self._pending: list[tuple[_Node, float]] = []  # nodes reached by the events so far, and since when
        for pattern in patterns:
            self._add(pattern)

    def _add(self, pattern: Pattern) -> None:
        node = self._root
        for name in pattern.names:
            node = node.children.setdefault(name, _Node())
            within = float("inf") if pattern.within is None else pattern.within
            node.patience = max(node.patience, within)
        node.ends.append(pattern)

    def step(self, name: str, time: float) -> tuple[list[Matched], list[NearMiss]]:
        """The patterns that the event `name` at `time` completes, and those it came too late for."""
        matched: list[Matched] = []
        missed: list[NearMiss] = []
        reached: list[tuple[_Node, float]] = []
        for parent, since in [*self._pending, (self._root, time)]:
            for node in (parent.children.get(name), parent.children.get(ANY) if name != ANY else None):
                if node is None:
                    continue
                for pattern in node.ends:
                    if pattern.within is None or time - since <= pattern.within:
                        matched.append(Matched(pattern.id, since))
                    else:
                        missed.append(_too_late(pattern, name, time, since))
                if node.children and time - since <= node.patience:
                    reached.append((node, since))
                elif node.children:
                    missed += (_too_late(p, name, time, since) for p in islice(_below(node), NEAR_MISSES))
        self._pending = reached
        return matched, missed


def _below(node: _Node) -> Sequence[Pattern]:
    """The patterns that continue through `node`."""
    found: list[Pattern] = []
    for child in node.children.values():
        found += child.ends
        found += _below(child)
        if len(found) >= NEAR_MISSES:
            break
    return found


def _too_late(pattern: Pattern, name: str, time: float, since: float) -> NearMiss:
    text = f"{name} came too late ({time - since:g} s > {pattern.within:g} s)"
    return NearMiss(pattern.id, time, text)


class TriggerStage(StageBase):
    """All triggers of a task. A firing gives one item: the newest of the work's `input` where one is named,
    then the fields of what fired it, then `trigger`, the id.

    `events`: source -> event name, `{column}` in it filled in per event. `mqtt`: source -> id, the
    subscriptions made for triggers of kind mqtt.
    """

    ends = False

    def __init__(
        self,
        triggers: Sequence[Trigger],
        events: Mapping[str, str],
        mqtt: Mapping[str, str],
        input: str | None,
        now: float,
    ) -> None:
        self._counts = NOTHING
        self._events = events
        self._mqtt = mqtt
        self._input = input
        self._newest: Item = {}
        self._when = {trigger.id: Formula(trigger.when) for trigger in triggers if trigger.when}
        self._trie = Trie(
            [Pattern(t.id, t.pattern, t.within) for t in triggers if isinstance(t, EventTrigger)]
        )
        self._windows: dict[str, list[str]] = {}
        for trigger in triggers:
            if isinstance(trigger, WindowTrigger):
                self._windows.setdefault(trigger.stream, []).append(trigger.id)
        self._dues = {t.id: now for t in triggers if isinstance(t, StartTrigger)}
        self._periods = {t.id: t.every for t in triggers if isinstance(t, ScheduleTrigger)}
        self._dues |= {id: _next(every, now) for id, every in self._periods.items()}

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        fired: list[Row] = []
        event = self._events.get(origin, "")
        for name in COLUMN.findall(event):
            if name not in batch.columns:
                raise ItemError(
                    f"no column `{name}`, which names the event; columns here: {', '.join(batch.columns)}"
                )
        for row in batch.rows():
            if origin == self._input:
                self._newest = row.item
            for id in self._set_off(origin, event, row):
                fired += self._fire(id, row)
        return batches(fired)

    def _set_off(self, origin: str, event: str, row: Row) -> list[str]:
        ids = list(self._windows.get(origin, ()))
        if origin in self._mqtt:
            ids.append(self._mqtt[origin])
        if event:
            name = COLUMN.sub(lambda match: str(row.item[match[1]]), event)
            matched, missed = self._trie.step(name, row.time)
            self._miss(missed)
            ids += (match.id for match in matched)
        return ids

    def _fire(self, id: str, row: Row) -> list[Row]:
        item = {**self._newest, **row.item, "trigger": id}
        fired = Row(row.time, item)
        try:
            if id not in self._when or len(self._when[id].holds(batches([fired])[0])):
                return [fired]
            why = "its condition `when` was false"
        except ItemError as error:
            why = f"its condition `when`: {error}"
        self._miss([NearMiss(id, row.time, why)])
        return []

    def _miss(self, missed: Sequence[NearMiss]) -> None:
        if missed:
            total, newest = self._counts.near_misses + len(missed), (*self._counts.missed, *missed)
            self._counts = Counts(near_misses=total, missed=newest[-NEAR_MISSES:])

    def tick(self, now: float) -> list[Batch]:
        """A schedule fires at multiples of `every` since the epoch, so it never drifts; what was slept
        through is skipped but for the newest."""
        fired: list[Row] = []
        for id, due in sorted(self._dues.items(), key=lambda entry: entry[1]):
            if due > now:
                break
            if id in self._periods:
                self._dues[id] = _next(self._periods[id], now)
                due = self._dues[id] - self._periods[id]
            else:
                del self._dues[id]
            fired += self._fire(id, Row(due, {}))
        return batches(fired)

    def counts(self) -> Counts:
        return self._counts

    def due(self) -> float | None:
        return min(self._dues.values(), default=None)


def _next(every: float, now: float) -> float:
    """The first multiple of `every` after `now`."""
    turn = now // every + 1
    return turn * every if turn * every > now else (turn + 1) * every
