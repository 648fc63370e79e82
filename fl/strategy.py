"""Who trains in a round, and how their updates become the next weights. Pure; `FedAvg` is the first strategy.

A strategy adds updates up in the order of their boards' names, one in memory at a time: who answered first
cannot change the bits, and memory does not grow with the number of boards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fl.weights import Array, Weights


@dataclass(frozen=True, slots=True)
class Contribution:
    """A board's accepted update; `load` brings its delta, finite and of the base's layout, at its turn."""

    board: str
    num_examples: int
    load: Callable[[], Weights]


class Strategy(Protocol):
    def configure(self, round: int, boards: Collection[str], rng: np.random.Generator) -> tuple[str, ...]:
        """The cohort: names out of `boards`, in the order in which to invite them."""

    def aggregate(self, base: Weights, updates: Iterable[Contribution]) -> dict[str, Array]:
        """The next weights, of the base's layout, from at least one update."""


@dataclass(frozen=True, slots=True)
class FedAvg:
    """The mean of the updates, weighted by their examples (McMahan et al. 2017, arXiv 1602.05629)."""

    size: Callable[[int], int]
    """Boards there are -> boards to invite."""

    def configure(
        self,
        round: int,  # noqa: ARG002  every round is drawn alike
        boards: Collection[str],
        rng: np.random.Generator,
    ) -> tuple[str, ...]:
        """A draw without replacement; the order of `boards` does not matter."""
        names = sorted(boards)
        return tuple(names[index] for index in rng.permutation(len(names))[: self.size(len(names))])

    def aggregate(self, base: Weights, updates: Iterable[Contribution]) -> dict[str, Array]:
        """Summed in float64, rounded once to the base's dtype. Past its range a number becomes infinite."""
        ordered = sorted(updates, key=lambda update: update.board)
        examples = math.fsum(update.num_examples for update in ordered)
        total = {name: np.zeros(array.shape, np.float64) for name, array in base.items()}
        with np.errstate(over="ignore", invalid="ignore"):
            for update in ordered:
                delta = update.load()
                for name, array in total.items():
                    array += delta[name].astype(np.float64) * (update.num_examples / examples)
            return {name: (array + total[name]).astype(array.dtype) for name, array in base.items()}
