"""How far the search's choices are from the best: `python -m tests.search_loss MODEL...`.

Every convolution that may be done in several ways is done in each, in the whole model: what the ways that
were chosen take, beside the shortest. Ways are timed in turns, so that they share the noise of the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import FlatProgram
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.backends.ways import Board, Way, Ways
from runtime.backends.winograd import TILES, winograd
from runtime.bench import random_input
from runtime.compile import Model, read
from runtime.graph import Graph, Node
from runtime.machine import MeasuredBoard

TURNS, PASSES = 15, 3
"""Turns of every way, and runs in a turn, the first of which brings the caches back."""
NOISE = 0.05
"""Of the time of a step: what no choice can be blamed for."""


@dataclass(frozen=True)
class Loss:
    """Of a model: the convolutions with a choice, how many of them would be faster by more than NOISE in
    another way, what they lose of their own time, and of the time of the whole model.
    """

    convolutions: int
    wrong: int
    own: float
    whole: float


class Forced(Ways):
    """Takes the same way everywhere."""

    def __init__(self, ways: Ways, way: int) -> None:
        super().__init__(ways.kernels, ways.cache, 0, Board)
        self.way = way

    def best(self, graph: Graph, ways: Sequence[Way]) -> Node:  # noqa: ARG002
        return ways[min(self.way, len(ways) - 1)].node


def loss(model: Model, backend: CpuBackend, folder: Path) -> Loss:
    graph = place(fuse(model.atoms))
    weights = sum(value.nbytes for value in graph.values if value.data is not None)
    ways = Ways(backend.kernels, backend.cache(), weights, lambda: MeasuredBoard(backend, folder))
    chosen = kinds(backend.lower(winograd(graph, ways)))
    ways.keep()
    forced = [Forced(ways, way) for way in range(1 + len(TILES))]
    programs = [backend.lower(winograd(graph, force)) for force in forced]
    every = list(zip(*times(programs), strict=True))
    known = list(zip(*map(kinds, programs), strict=True))
    mine = [took[known[at].index(chosen[at])] for at, took in enumerate(every)]
    choices = [at for at, found in enumerate(known) if len(set(found)) > 1]
    best = sum(min(every[at]) for at in choices)
    lost = sum(mine[at] for at in choices) - best
    wrong = sum(mine[at] > (1 + NOISE) * min(every[at]) for at in choices)
    return Loss(len(choices), wrong, lost / best if best else 0.0, lost / (sum(mine) - lost))


def kinds(program: FlatProgram) -> list[tuple[str, int]]:
    """What sets the ways apart, of every step but the TURNs, which stand at the end."""
    return [
        (step.row.name, step.params.tile if step.row.operator == "WINOGRAD" else 0)
        for step in program.steps
        if step.row.operator != "TURN"
    ]


def times(programs: Sequence[FlatProgram]) -> list[list[float]]:
    """Of the same steps of each program, the median of what the clock gained."""
    rng, found = np.random.default_rng(0), [list[list[int]]() for _ in programs]
    inputs = [random_input(rng, tensor.shape, tensor.dtype.numpy) for tensor in programs[0].inputs]
    for _ in range(TURNS):
        for program, runs in zip(programs, found, strict=True):
            runs += [program.times(inputs, time.thread_time_ns) for _ in range(PASSES)][1:]
    steps = len(kinds(programs[0]))
    return [[statistics.median(step) for step in list(zip(*runs, strict=True))[:steps]] for runs in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("models", nargs="+", type=Path)
    print(f"{'model':28} {'choices':>7} {'wrong':>5} {'lost':>6} {'of the model':>12}")
    with TemporaryDirectory() as folder:
        for path in parser.parse_args().models:
            found = loss(read(path), CpuBackend(), Path(folder))
            lost = f"{found.own:6.1%} {found.whole:12.1%}"
            print(f"{path.name:28} {found.convolutions:7} {found.wrong:5} {lost}", flush=True)


if __name__ == "__main__":
    main()
