"""What the kernels take on this machine, measured in less than a second and kept for the next start.

The program of `probes` is run some times, each step twice in a row: the nanoseconds of a kernel are those
that explain its second times best, none of them negative; what the first ones take longer is what a step
costs that no cache remembers.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime import kept
from runtime.backends.cost import FAR, MOVED, Counts, Machine, counts
from runtime.backends.flat import FlatProgram
from runtime.backends.ways import Board, Kernels
from runtime.errors import RunError
from runtime.graph import Array, Graph, Node
from runtime.probes import probes, weights
from runtime.search import cpu_model

if TYPE_CHECKING:
    from runtime.backends.cpu import CpuBackend

Clock = Callable[[], int]
"""Nanoseconds."""
SCHEMA = 1
FILE = "machine.json"
LEAST, MOST, NANOSECONDS = 3, 15, 500_000_000
"""Runs of a program, and after how long there are no more than the least."""
TIMED, OTHERS = 4, 1 << 26
"""Times that a step is run by itself, the first of which does not count; bytes that go by in between."""
SMALL = 0.3
"""The share of the probes whose first time is later than the second for nothing but the start."""
NOISE = 100
"""Nanoseconds that a time may be wrong by, whatever it is."""
NEAR, FARTHEST = 1 << 22, 3 << 24
"""Bytes of weights: more than most second caches have, and than most third ones keep of a program."""


NO_MEMORY = RunError, MemoryError
"""What lowering and timing raise where a model may still fit."""


class MeasuredBoard(Board):
    """This board, whose numbers are kept in a folder; one in particular only if it has the memory to be
    measured.
    """

    def __init__(self, backend: CpuBackend, cache_dir: Path) -> None:
        self._backend, self._folder = backend, cache_dir

    def machine(self, kernels: Kernels) -> Machine:
        try:
            return machine_of(self._folder, self._backend)
        except NO_MEMORY:
            return super().machine(kernels)

    def time(self, graph: Graph, node: Node, weights: int) -> float | None:
        with contextlib.suppress(*NO_MEMORY):
            return time_of(self._backend, graph, node, weights)
        return None

    def keep(self, machine: Machine) -> None:
        keep(self._folder, machine)


def machine_of(cache_dir: Path, backend: CpuBackend, clock: Clock = time.thread_time_ns) -> Machine:
    """This machine, as it was measured when it was first asked for."""
    fingerprint = f"{cpu_model()} {backend.version()}"
    known = read(cache_dir / FILE)
    if known is not None and known.fingerprint == fingerprint:
        return known
    machine = measure(backend, fingerprint, clock)
    keep(cache_dir, machine)
    return machine


def keep(cache_dir: Path, machine: Machine) -> None:
    """With the times of steps that others have kept since this machine was read."""
    known = read(cache_dir / FILE)
    if known is not None and known.fingerprint == machine.fingerprint:
        machine = replace(machine, times={**known.times, **machine.times})
    kept.write(cache_dir / FILE, SCHEMA, asdict(replace(machine, weights=0)))


def read(path: Path) -> Machine | None:
    """What the file holds, where all of it is as we write it."""
    try:
        document = kept.read(path, SCHEMA)
        far = tuple([(int(size), float(start), float(byte)) for size, start, byte in document["far"]])
        rates = {str(row): _rates(found) for row, found in document["rates"].items()}
        return Machine(str(document["fingerprint"]), rates, far, _rates(document["times"]))
    except kept.WRONG:
        return None


def _rates(found: Mapping[str, Any]) -> dict[str, float]:
    rates = {str(name): float(rate) for name, rate in found.items()}
    if not all(0 <= rate < float("inf") for rate in rates.values()):
        raise ValueError("a rate that no machine has")
    return rates


def measure(backend: CpuBackend, fingerprint: str, clock: Clock = time.thread_time_ns) -> Machine:
    """What this core takes, by the kernels of a backend."""
    far = far_of(backend, clock)  # before the memory of the probes is taken
    program = backend.lower(probes())
    cold, warm = twice(program, clock)
    found = [counts(step.row, step.params) for step in program.steps]
    rows = defaultdict[str, list[tuple[Counts, float]]](list)
    for step, counted, ns in zip(program.steps, found, warm, strict=True):
        rows[step.row.name].append((counted, ns))
    start = max(float(np.quantile(cold - warm, SMALL)), 0.0)
    rates = {name: rates_of(samples) for name, samples in rows.items()}
    bytes_far = tuple([(size, start, byte) for size, byte in far])
    return Machine(fingerprint, rates | _relatives(backend, rates), bytes_far)


def _relatives(backend: CpuBackend, rates: Mapping[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """For the kernels that no probe runs: the rates of another one of the same operator."""
    rows = backend.kernels.values()
    known = {row.operator: rates[row.name] for row in rows if row.name in rates}
    return {row.name: known[row.operator] for row in rows if row.name not in rates and row.operator in known}


def twice(program: FlatProgram, clock: Clock) -> tuple[Array, Array]:
    """Of each step of a program without strips: the median of what the clock gains in it, and once more
    right after that.
    """
    program.warm()
    order = [at for at in range(len(program.calls)) for _ in range(2)]
    every, until = list[list[int]](), clock() + NANOSECONDS
    while len(every) < LEAST or (len(every) < MOST and clock() < until):
        every.append(program.laps(order, clock))
    first, second = np.median(np.array(every).reshape(len(every), -1, 2), axis=0).T
    return np.maximum(first, 1), np.maximum(second, 1)


def rates_of(samples: Sequence[tuple[Counts, float]]) -> dict[str, float]:
    """The nanoseconds of what is counted, none negative, with the least squares of relative errors."""
    names = sorted({name for counted, _ in samples for name in counted} - {FAR, MOVED})
    times = np.array([ns for _, ns in samples])
    shares = np.array([[counted.get(name, 0) for name in names] for counted, _ in samples])
    shares, goals = shares / (times[:, None] + NOISE), times / (times + NOISE)
    rates, left = np.zeros(len(names)), np.flatnonzero(shares.any(axis=0))
    while len(left):
        rates[left] = np.linalg.lstsq(shares[:, left], goals, rcond=None)[0]
        worst = left[np.argmin(rates[left] * shares[:, left].mean(axis=0))]
        if rates[worst] >= 0:
            break
        rates[worst] = 0
        left = left[left != worst]
    return dict(zip(names, rates.tolist(), strict=True))


def far_of(backend: CpuBackend, clock: Clock) -> list[tuple[int, float]]:
    """What a byte of so many bytes of weights costs."""
    program = backend.lower(weights((NEAR, FARTHEST)))
    (_, far), (near, _) = twice(program, clock)
    return [(NEAR // 2, near / NEAR), (FARTHEST // 2, far / FARTHEST)]


def time_of(
    backend: CpuBackend, graph: Graph, node: Node, weights: int, clock: Clock = time.thread_time_ns
) -> float:
    """What the last step of a node takes, of some times the median; where weights are so many bytes that they
    are far away, each time after OTHERS were written: what is only read leaves some in the outer caches.
    """
    here = {i: at for at, i in enumerate(dict.fromkeys((*node.inputs, *node.outputs)))}
    inputs, outputs = (tuple(here[i] for i in ids) for ids in (node.inputs, node.outputs))
    given = tuple(here[i] for i in node.inputs if graph.values[i].data is None)
    values = tuple(graph.values[i] for i in here)
    program = backend.lower(Graph(values, (replace(node, inputs=inputs, outputs=outputs),), given, outputs))
    others = np.zeros(OTHERS if weights >= NEAR // 2 else 0, np.uint8)
    found, last = list[int](), len(program.calls) - 1
    for _ in range(TIMED):
        others += 1
        program.warm()
        found += program.laps([last], clock)
    return float(np.median(found[1:]))
