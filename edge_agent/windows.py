"""Tumbling windows in event time, per key: pure, time comes in with the events and as `now`.

    watermark = newest event time - out_of_order            everything before it is believed to have arrived
              | after `idle` of silence it follows the clock as far as windows are open
    window [start, end) of a key:  collecting --watermark >= end--> emitted, revision 0
                                   emitted    --late event-------> emitted again, revision + 1
                                   --watermark >= end + lateness--> forgotten; later events only count as late

Each event meets the watermark left by the event before it, so results do not depend on how events are
batched. The definition, in a dozen slow lines, is the naive model in tests/edge_agent/test_windows.py.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.aggregates import ACCUMULATORS, Accumulator
from edge_agent.events import Batch, Column, ItemError, Row, batches
from edge_agent.spec.model import Window

MAX_OPEN = 100_000
"""Windows times keys held at once; events that would open more are refused."""
Index = int
"""Number of a window: it spans [index * size, (index + 1) * size)."""


@dataclass(slots=True)
class _Pane:
    """One key's share of one window."""

    slot: int
    n: int = 0
    revision: int = 0


class Tumbling:
    """`kinds`: result column -> name of its aggregate ("count" or one of `ACCUMULATORS`)."""

    def __init__(self, window: Window, kinds: Mapping[str, str]) -> None:
        self.late = 0
        """Events that came after their window was forgotten."""
        self._window = window
        self._kinds = dict(kinds)
        self._states: dict[str, Accumulator] = {
            name: ACCUMULATORS[kind]() for name, kind in kinds.items() if kind != "count"
        }
        self._panes: dict[Index, dict[Hashable, _Pane]] = {}
        self._free: list[int] = []
        self._slots = 0
        self._newest = -math.inf  # watermark by events alone
        self._watermark = -math.inf
        self._silent_since = -math.inf
        self._closed = -math.inf  # windows below this number were emitted

    def push(
        self, times: NDArray[np.float64], keys: Sequence[Hashable], values: Mapping[str, Column], now: float
    ) -> list[Batch]:
        """Results due after these events. `values` has a column per aggregate but count; raises ItemError
        before any change when a key cannot be grouped or too many windows are open."""
        self._check(keys, len(times))
        size = self._window.size
        index = number(times, size).astype(np.int64)
        marks = np.maximum.accumulate(np.append(self._watermark, times - self._window.out_of_order))
        before = marks[:-1]
        self._newest = max(self._newest, float((times - self._window.out_of_order).max()))
        self._silent_since = now
        closed = number(before, size)
        late = index < number(before - self._window.lateness, size)
        self.late += int(late.sum())
        rows: list[Row] = []
        for part in _runs(closed):
            rows += self._advance(float(before[part.start]))
            rows += self._collect(index, keys, values, part, closed[part.start], late)
        rows += self._advance(float(marks[-1]))
        return batches(rows)

    def tick(self, now: float) -> list[Batch]:
        """Results that are due because of silence: the watermark goes on at the clock's pace, from open
        window to open window, so it does not matter how late a tick comes."""
        due = [end for end in self._open_ends() if self._due(end) <= now]
        return batches(self._advance(max(due))) if due else []

    def due(self) -> float | None:
        """When `tick` will next have results if nothing arrives."""
        return min((self._due(end) for end in self._open_ends()), default=None)

    def _due(self, end: float) -> float:
        return self._silent_since + max(self._window.idle, end - self._newest)

    def _open_ends(self) -> Iterator[float]:
        return ((i + 1) * self._window.size for i in self._panes if i >= self._closed)

    def _check(self, keys: Sequence[Hashable], count: int) -> None:
        for key in keys:
            if not isinstance(key, str | int | float | None) or key != key:
                raise ItemError(f"cannot group by {key!r}: a key is text or a number")
        if sum(map(len, self._panes.values())) + count > MAX_OPEN:
            raise ItemError(f"more than {MAX_OPEN} windows are open; use fewer keys or a smaller lateness")

    def _collect(
        self,
        index: NDArray[np.int64],
        keys: Sequence[Hashable],
        values: Mapping[str, Column],
        part: slice,
        closed: float,
        late: NDArray[np.bool_],
    ) -> list[Row]:
        """Fold the events of `part`, during which no window closes, into their panes; re-emit closed
        windows."""
        fresh, rows = [], []
        slots = np.zeros(len(index), np.intp)
        for i in range(part.start, part.stop):
            if late[i]:
                continue
            pane = self._pane(int(index[i]), keys[i])
            pane.n += 1
            slots[i] = pane.slot
            if index[i] >= closed:
                fresh.append(i)
            else:
                self._add(slots, values, [i])
                rows.append(self._result(int(index[i]), keys[i], pane))
        self._add(slots, values, fresh)
        return rows

    def _add(self, slots: NDArray[np.intp], values: Mapping[str, Column], chosen: list[int]) -> None:
        for name, state in self._states.items():
            state.add(slots[chosen], values[name][chosen])

    def _advance(self, watermark: float) -> list[Row]:
        """Move the watermark: emit what it closes, forget what is past lateness."""
        self._watermark = watermark
        marks = np.array([watermark, watermark - self._window.lateness])
        closed, forgotten = number(marks, self._window.size).tolist()
        rows = [
            self._result(i, key, pane)
            for i in sorted(i for i in self._panes if self._closed <= i < closed)
            for key, pane in self._panes[i].items()
        ]
        for i in [i for i in self._panes if i < forgotten]:
            self._free += [pane.slot for pane in self._panes.pop(i).values()]
        self._closed = max(self._closed, closed)
        return rows

    def _pane(self, index: Index, key: Hashable) -> _Pane:
        panes = self._panes.setdefault(index, {})
        if key not in panes:
            panes[key] = _Pane(self._allocate())
        return panes[key]

    def _allocate(self) -> int:
        if not self._free:
            self._free = list(range(self._slots, max(16, 2 * self._slots)))
            self._slots = max(16, 2 * self._slots)
            for state in self._states.values():
                state.resize(self._slots)
        slot = self._free.pop()
        for state in self._states.values():
            state.clear(slot)
        return slot

    def _result(self, index: Index, key: Hashable, pane: _Pane) -> Row:
        start, end = round(index * self._window.size, 6), round((index + 1) * self._window.size, 6)
        item: dict[str, Any] = {
            "start": start,
            "end": end,
            "key": key,
            "revision": pane.revision,
            "n": pane.n,
        }
        for name, kind in self._kinds.items():
            item[name] = pane.n if kind == "count" else self._states[name].result(pane.slot, pane.n)
        pane.revision += 1
        return Row(end, item)


def number(times: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """k with k * size <= time < (k + 1) * size, exactly so in floating point."""
    k: NDArray[np.float64] = np.floor(times / size)
    k -= k * size > times
    k += (k + 1) * size <= times
    return k


def _runs(values: NDArray[np.float64]) -> Iterator[slice]:
    """Slices of equal neighbours."""
    edges = [0, *(np.flatnonzero(values[1:] != values[:-1]) + 1).tolist(), len(values)]
    return (slice(a, b) for a, b in pairwise(edges))
