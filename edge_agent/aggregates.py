"""Incremental aggregates: one small class per kind, each holding the state of many windows in arrays by slot.

Values are folded in strictly one after the other, so a result's bits do not depend on how events were cut
into batches.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.events import Column

Slots = NDArray[np.intp]


class Accumulator(Protocol):
    def resize(self, slots: int) -> None:
        """Make room; states of existing slots are kept."""

    def clear(self, slot: int) -> None:
        """The state of no events."""

    def add(self, slots: Slots, values: Column) -> None:
        """Fold values[i] into the state of slots[i], in order."""

    def result(self, slot: int, n: int) -> Any:
        """The aggregate of the `n` >= 1 events added since `clear`."""


class _Array:
    """States in one array; `EMPTY` is the state of no events."""

    EMPTY: Any = 0.0
    DTYPE: type = np.float64

    def __init__(self) -> None:
        self.state: Column = np.empty(0, self.DTYPE)

    def resize(self, slots: int) -> None:
        grown: Column = np.full(slots, self.EMPTY, self.DTYPE)
        grown[: len(self.state)] = self.state
        self.state = grown

    def clear(self, slot: int) -> None:
        self.state[slot] = self.EMPTY

    def result(self, slot: int, n: int) -> Any:  # noqa: ARG002  # only the mean needs it
        return self.state[slot].item()


class Sum(_Array):
    def add(self, slots: Slots, values: Column) -> None:
        np.add.at(self.state, slots, values.astype(np.float64))


class Mean(Sum):
    def result(self, slot: int, n: int) -> float:
        return float(self.state[slot]) / n


class Min(_Array):
    EMPTY = math.inf

    def add(self, slots: Slots, values: Column) -> None:
        np.minimum.at(self.state, slots, values.astype(np.float64))


class Max(_Array):
    EMPTY = -math.inf

    def add(self, slots: Slots, values: Column) -> None:
        np.maximum.at(self.state, slots, values.astype(np.float64))


class Last(_Array):
    """Of any kind of value, in order of arrival."""

    EMPTY: Any = None
    DTYPE = np.object_

    def add(self, slots: Slots, values: Column) -> None:
        for slot, value in zip(slots.tolist(), values.tolist(), strict=True):
            self.state[slot] = value

    def result(self, slot: int, n: int) -> Any:  # noqa: ARG002
        return self.state[slot]


class First(Last):
    EMPTY = _Array  # a value that no event can carry

    def add(self, slots: Slots, values: Column) -> None:
        for slot, value in zip(slots.tolist(), values.tolist(), strict=True):
            if self.state[slot] is _Array:
                self.state[slot] = value


class Std:
    """Population standard deviation by Welford's method (Technometrics 4(3), 1962)."""

    def __init__(self) -> None:
        self._states: list[
            tuple[int, float, float]
        ] = []  # count, mean, sum of squared distances from the mean

    def resize(self, slots: int) -> None:
        self._states += [(0, 0.0, 0.0)] * (slots - len(self._states))

    def clear(self, slot: int) -> None:
        self._states[slot] = (0, 0.0, 0.0)

    def add(self, slots: Slots, values: Column) -> None:
        states = self._states
        for slot, value in zip(slots.tolist(), values.astype(np.float64).tolist(), strict=True):
            count, mean, squares = states[slot]
            count += 1
            step = value - mean
            mean += step / count
            states[slot] = count, mean, squares + step * (value - mean)

    def result(self, slot: int, n: int) -> float:
        return math.sqrt(self._states[slot][2] / n)


ACCUMULATORS: dict[str, type[Accumulator]] = {
    "sum": Sum,
    "mean": Mean,
    "min": Min,
    "max": Max,
    "first": First,
    "last": Last,
    "std": Std,
}
"""Every aggregate over values; count() needs no state of its own."""
