"""Where a model's time goes: `python -m runtime.bench --steps MODEL...`, a line for each C step.

A program is run step by step, many times; a step's time is the median of what the clock gained in it. Beside
it stands what `backends.cost` expects of the machine, as that was measured right before. Peak is what our
GEMM of the same element type reaches on matrices that stay in the caches, measured at the same time.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.atoms import Clamp, Gemm
from runtime.backends.cost import Machine, nanoseconds
from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import FlatProgram, Step
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.strides import dense

PEAK_SIZE = 256
SECONDS = 1.0
"""How long a program is run, at least twice."""
Clock = Callable[[], int]
"""Nanoseconds."""


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step: the operator of the model that it came from, its kernel with the tile of a Winograd
    convolution, in how many parts it is run, microseconds as measured and as expected, GFLOP/s (GOP/s of
    integers) and their share of the peak, where it is a product of matrices.
    """

    source: str
    kernel: str
    parts: int
    microseconds: float
    expected: float
    gflops: float | None
    share: float | None

    @property
    def error(self) -> float:
        return abs(self.expected / self.microseconds - 1)


def step_times(
    program: FlatProgram, inputs: Sequence[Array], machine: Machine, clock: Clock = time.thread_time_ns
) -> list[StepTime]:
    """A row for each step of the program, in order."""
    runs = [program.times(inputs, clock) for _ in range(2)]
    repeats = int(SECONDS * 1e9 / max(sum(runs[1]), 1))
    runs += [program.times(inputs, clock) for _ in range(min(repeats, 1000))]
    peaks = {name: gemm_peak(dtype, clock) for name, dtype in (("f32", DType.F32), ("q8", DType.I8))}
    medians = [statistics.median(times) for times in zip(*runs, strict=True)]
    here, parts = replace(machine, weights=program.weights), Counter(call.step for call in program.calls)
    return [
        _row(step, parts[at], max(ns, 1.0), nanoseconds(step, here) + (parts[at] - 1) * here.cold[0], peaks)
        for at, (step, ns) in enumerate(zip(program.steps, medians, strict=True))
    ]


def _row(step: Step, parts: int, ns: float, expected: float, peaks: dict[str, float]) -> StepTime:
    kernel = step.row.name.removeprefix("ck_")
    if step.row.operator == "WINOGRAD":
        kernel += f" F({step.params.tile},3)"
    rate = step.operations / ns if step.operations else None
    share = None if rate is None else rate / peaks["f32" if step.row.dtype == "F32" else "q8"]
    return StepTime(step.source, kernel, parts, ns / 1e3, expected / 1e3, rate, share)


def gemm_peak(dtype: DType, clock: Clock = time.thread_time_ns, repeats: int = 200) -> float:
    """The best rate of our GEMM of floats or of bytes on one core, in operations per nanosecond: that of its
    fastest tenth, for the clock of a virtual machine stands still now and then, and a minimum finds that.
    """
    a = np.ones((PEAK_SIZE, PEAK_SIZE), dtype.numpy)
    out, last = (dtype, Clamp()) if dtype is DType.F32 else (DType.I32, None)
    values = Value("a", a.shape, dtype), Value("b", a.shape, dtype, data=a), Value("c", a.shape, out)
    matrix, size = dense((1, PEAK_SIZE, PEAK_SIZE)), PEAK_SIZE
    gemm = Gemm(1, size, size, size, matrix, matrix, matrix, last)
    program = CpuBackend().lower(Graph(values, (Node("GEMM", (0, 1), (2,), gemm),), (0,), (2,)))
    best = sorted(sum(program.times([a], clock)) for _ in range(repeats))[repeats // 10]
    return float(2 * size**3 / max(best, 1))


def table(rows: Sequence[StepTime]) -> str:
    total, expected = (
        sum(times) for times in zip(*((r.microseconds, r.expected) for r in rows), strict=True)
    )
    head = f"{'operator':36} {'kernel':36} {'parts':>5} {'us':>9} {'time':>5} {'expected':>9} {'error':>5}"
    lines = [f"{head} {'GFLOP/s':>8} {'of peak':>7}"]
    for row in rows:
        rate = "" if row.gflops is None or row.share is None else f" {row.gflops:8.1f} {row.share:7.0%}"
        what = f"{row.source[-36:]:36} {row.kernel:36} {row.parts:5}"
        times = (
            f"{row.microseconds:9.1f} {row.microseconds / total:5.1%} {row.expected:9.1f} {row.error:5.0%}"
        )
        lines.append(f"{what} {times}{rate}")
    large = [row.error for row in rows if row.microseconds > total / 100]
    every = statistics.median(row.error for row in rows)
    median = f"{statistics.median(large):.0%}" if large else "none"
    return "\n".join(
        [
            *lines,
            f"{'all steps':79} {total:9.1f} {'':5} {expected:9.1f} {abs(expected / total - 1):5.0%}",
            f"median error of what was expected: {every:.0%}; of steps over 1 % of the time: {median}",
        ]
    )
