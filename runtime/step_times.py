"""Where a model's time goes: `python -m runtime.bench --steps MODEL...`, a line for each C step.

A program is run step by step, many times; a step's time is the median of what the clock gained in it. Peak is
what our GEMM of the same element type reaches on matrices that stay in the caches, measured at the same time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.atoms import Clamp, Gemm
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
    """One step: the operator of the model that it came from, its kernel, microseconds, GFLOP/s (GOP/s of
    integers) and their share of the peak, where it is a product of matrices.
    """

    source: str
    kernel: str
    microseconds: float
    gflops: float | None
    share: float | None


def step_times(
    program: FlatProgram, inputs: Sequence[Array], clock: Clock = time.perf_counter_ns
) -> list[StepTime]:
    """A row for each step of the program, in order."""
    runs = [program.times(inputs, clock) for _ in range(2)]
    repeats = int(SECONDS * 1e9 / max(sum(runs[1]), 1))
    runs += [program.times(inputs, clock) for _ in range(min(repeats, 1000))]
    peaks = {name: gemm_peak(dtype, clock) for name, dtype in (("f32", DType.F32), ("q8", DType.I8))}
    medians = [statistics.median(times) for times in zip(*runs, strict=True)]
    return [_row(step, max(ns, 1.0), peaks) for step, ns in zip(program.steps, medians, strict=True)]


def _row(step: Step, nanoseconds: float, peaks: dict[str, float]) -> StepTime:
    kernel = step.row.name.removeprefix("ck_")
    if not step.operations:
        return StepTime(step.source, kernel, nanoseconds / 1e3, None, None)
    rate = step.operations / nanoseconds
    peak = peaks["f32" if step.row.dtype == "F32" else "q8"]
    return StepTime(step.source, kernel, nanoseconds / 1e3, rate, rate / peak)


def gemm_peak(dtype: DType, clock: Clock = time.perf_counter_ns, repeats: int = 200) -> float:
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
    total = sum(row.microseconds for row in rows)
    lines = [f"{'operator':44} {'kernel':32} {'us':>9} {'time':>5} {'GFLOP/s':>8} {'of peak':>7}"]
    for row in rows:
        rate = "" if row.gflops is None or row.share is None else f" {row.gflops:8.1f} {row.share:7.0%}"
        part = row.microseconds / total
        lines.append(f"{row.source[-44:]:44} {row.kernel:32} {row.microseconds:9.1f} {part:5.1%}{rate}")
    return "\n".join([*lines, f"{'all steps':77} {total:9.1f}"])
