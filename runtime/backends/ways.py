"""The choice between steps that do the same: the cheapest on this machine, by what they are counted to do.

Where the two cheapest are close to each other both are measured; what they took is kept with the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import ckernels
from runtime.backends.cost import Counts, Machine, key, of_counts, unmeasured
from runtime.graph import Graph, Node

CLOSE = 0.25
"""Ways are close whose costs differ by no more than this share: about what two are wrong by together."""

Kernels = Mapping[tuple[str, str], ckernels.Row]
"""By operator and element type, the best that this machine can run."""


@dataclass(frozen=True, slots=True)
class Way:
    """A node, the kernel that would run it, and what that is counted to do."""

    node: Node
    kernel: str = ""
    counts: Counts = field(default_factory=dict)


class Board:
    """Where the numbers are from: here from no board in particular, on which nothing can be measured."""

    def machine(self, kernels: Kernels) -> Machine:
        return unmeasured(kernels.values())

    def time(self, graph: Graph, node: Node, weights: int) -> float | None:
        """Nanoseconds that the last step of a node takes in a program with so many bytes of weights; None
        where nobody can tell.
        """

    def keep(self, machine: Machine) -> None:
        """With the times that were found."""


class Ways:
    """Chooses for one model of so many bytes of weights. On a board where nothing is measured the same model
    is always done in the same ways. The board is asked for when there is a choice: most models have none.
    """

    def __init__(self, kernels: Kernels, cache: int, weights: int, board: Callable[[], Board]) -> None:
        self.kernels, self.cache = kernels, cache
        self._weights, self._find_board = weights, board
        self._machine: Machine | None = None
        self._times = dict[str, float]()

    @cached_property
    def _board(self) -> Board:
        return self._find_board()

    @property
    def machine(self) -> Machine:
        """What steps cost here, with what was measured for this model."""
        if self._machine is None:
            self._machine = replace(self._board.machine(self.kernels), weights=self._weights)
        return self._machine

    def best(self, graph: Graph, ways: Sequence[Way]) -> Node:
        """The node of the cheapest way; of equals that of the first."""
        if len(ways) == 1:
            return ways[0].node
        first, second = sorted(ways, key=self.cost)[:2]
        if self.cost(second) > (1 + CLOSE) * self.cost(first):
            return first.node
        for way in (first, second):
            self._measure(graph, way)
        return min((first, second), key=self.cost).node

    def cost(self, way: Way) -> float:
        return of_counts(way.kernel, way.counts, self.machine)

    def _measure(self, graph: Graph, way: Way) -> None:
        name = key(way.kernel, way.counts, self.machine)
        if name in self.machine.times:
            return
        if (time := self._board.time(graph, way.node, self._weights)) is not None:
            self._times[name] = time
            self._machine = replace(self.machine, times={**self.machine.times, name: time})

    def keep(self) -> None:
        """What was measured for this model."""
        if self._times:
            self._board.keep(self.machine)
