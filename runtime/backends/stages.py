"""The calls of a program cut into parts that threads run side by side: its stages (see `ck_program`)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ckernels import ffi, lib
from runtime.backends.cost import Machine, nanoseconds
from runtime.backends.flat import Call, Step

SMALLEST = 5000
"""Nanoseconds of a part: in less the threads would look for work most of the time."""
WORTH = 150_000
"""Nanoseconds of a program: what takes less is done before another thread is awake."""
PARTS = 3
"""Of a call for each thread: who is late, or on a slower core, does fewer."""
ELEMENTS = 1024
"""Of a MAP or a table: a part is a multiple of them, which in most cases is whole rows."""
COLUMNS = 64
"""Of a REDUCE: a vector of any of its types."""
MOST_THREADS = 64


def stages(
    calls: Sequence[Call], steps: Sequence[Step], threads: int, machine: Machine
) -> Iterator[list[Call]]:
    """The calls in order, each with what may run beside it."""
    costs = costs_of(steps, machine)
    for call in calls:
        units = steps[call.step].units
        most = 1 if units <= 1 else int(costs[call.step] * (call.end - call.begin) / units / SMALLEST)
        yield list(_parts(call, steps[call.step], threads, most))


def is_worth_threads(steps: Sequence[Step], machine: Machine) -> bool:
    return sum(costs_of(steps, machine)) >= WORTH


def costs_of(steps: Sequence[Step], machine: Machine) -> list[float]:
    """Those of a machine that has all in its caches: to wait for memory takes as long with another thread."""
    cached = replace(machine, far=())
    return [nanoseconds(step, cached) for step in steps]


def _parts(call: Call, step: Step, threads: int, most: int) -> Iterator[Call]:
    """At most so many parts, that are even shares of the threads where there are more of them."""
    grain, units = _grain(step), call.end - call.begin
    each = 1 if step.row.operator == "WINOGRAD" and step.params.by_columns else PARTS
    count = max(min(each * threads, units // grain, most), 1)
    count -= count % threads if count > threads else 0
    begin = call.begin
    for part in range(1, count + 1):
        end = call.end if part == count else call.begin + units * part // (count * grain) * grain
        yield Call(call.step, begin, end)
        begin = end


def _grain(step: Step) -> int:
    """Units of which a part is a multiple: tiles are whole then, and vectors full."""
    match step.row.operator:
        case "GEMM" | "WINOGRAD" if step.params.by_columns:
            return step.row.nr
        case "GEMM":
            return step.row.mr
        case "DEPTHWISE":
            return 2
        case "MAP" | "LOOKUP":
            return ELEMENTS
        case "REDUCE" if step.params.outer == 1:
            return COLUMNS
    return 1


@cache
def cores() -> tuple[int, ...]:
    """Those of the largest capacity that this process may use; the workers of the process run there."""
    allowed = sorted(os.sched_getaffinity(0))
    capacities = {core: _capacity(core) for core in allowed}
    found = tuple(core for core in allowed if capacities[core] == max(capacities.values()))
    lib.ck_team_cores(ffi.new("int32_t[]", found), len(found))
    return found


def _capacity(core: int) -> int:
    """As Linux rates cores of different kinds; the same for all where it does not."""
    try:
        return int(Path(f"/sys/devices/system/cpu/cpu{core}/cpu_capacity").read_text())
    except (OSError, ValueError):
        return 0


def usable(threads: int) -> int:
    """So many of `threads` as have a core."""
    return min(threads, len(cores()), MOST_THREADS)
