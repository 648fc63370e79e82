"""A flat program: an array of C steps over one arena, run in one crossing.

`FlatProgram` owns the memory and the NumPy views of inputs and outputs in it; the steps come from
`runtime.backends.emitter`.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

import ckernels
from ckernels import ffi, lib
from runtime import memory
from runtime.backends.base import Executor, TensorInfo
from runtime.control import MAX_TRIPS
from runtime.errors import RunError
from runtime.graph import Array, Value
from runtime.pairs import seen

IDLE_CALLS = 5
"""Of no step, before others are timed; the first of them find cold caches."""
ARENA, CONSTANTS, INPUTS, SCRATCH, RINGS = 0, 1, 2, 3, 4
"""The base addresses of a program, by their index in `ck_operand.base`; from RINGS on those of rings."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is: a base, and the bytes from there."""

    base: int
    offset: int


@dataclass(frozen=True, slots=True)
class Step:
    """A C kernel, its parameter struct, and whatever the struct points to; `operations` as in `Pending`."""

    row: ckernels.Row
    params: Any
    keep: tuple[Any, ...]
    source: str
    operations: int = 0

    @property
    def units(self) -> int:
        return self.row.units(self.params)


@dataclass(frozen=True, slots=True)
class Call:
    """Units [begin, end) of a step, known by its position in the program."""

    step: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """Where a state is, and what the first run finds there."""

    place: Place
    initial: Array
    resource: bool


class Memory:
    """`size` bytes, aligned for every kernel, freed with the last view of them; RunError when there
    are none, or when they are more than the machine has.
    """

    def __init__(self, size: int, what: str) -> None:
        if size > (most := memory.limit()):
            raise RunError(
                f"the {what} of the model: {size} bytes are needed, at most {most} can be had here"
            )
        pointer = lib.ck_alloc(size + memory.SLACK)
        if pointer == ffi.NULL:
            raise RunError(
                f"no memory for the {what} of the model: {size} bytes; free some, or run a smaller model"
            )
        self.pointer = ffi.gc(ffi.cast("char *", pointer), lib.ck_free, size)
        self.bytes = np.frombuffer(ffi.buffer(self.pointer, size), np.uint8)

    @staticmethod
    def of(mapping: mmap.mmap, start: int) -> Memory:
        """What is mapped from `start` on, for reading only."""
        mapped = object.__new__(Memory)
        mapped.bytes = np.frombuffer(mapping, np.uint8)[start:]
        mapped.pointer = ffi.from_buffer("char *", mapped.bytes)
        return mapped

    def view(self, offset: int, value: Value) -> Array:
        """A value as a caller sees it."""
        shape, dtype = seen(value)
        return self.bytes[offset : offset + value.nbytes].view(dtype.numpy).reshape(shape)


class FlatProgram(Executor):
    """Executor of `stages` of calls of `steps`, by up to `threads` threads; `inputs` and `outputs` say where
    the values of the graph's ends are.

    `memories` are those of the base addresses, but for `n_rings` that the steps keep themselves; of the
    scratch each thread has its share. `layout` is the plan of the arena.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        stages: Sequence[Sequence[Call]],
        threads: int,
        memories: Sequence[Memory],
        n_rings: int,
        inputs: Sequence[tuple[Place, Value]],
        outputs: Sequence[tuple[Place, Value]],
        states: Sequence[Slot],
        layout: memory.Plan,
    ) -> None:
        self.layout = layout
        self.inputs = tuple(TensorInfo.of(value) for _, value in inputs)
        self.outputs = tuple(TensorInfo.of(value) for _, value in outputs)
        self.steps, self._memories = tuple(steps), tuple(memories)
        self.calls = tuple(call for stage in stages for call in stage)
        kernels = [(step.row.kernel, step.params) for step in steps]
        self._calls = ffi.new(
            "ck_step[]", [(*kernels[call.step], call.begin, call.end) for call in self.calls]
        )
        self._bases = ffi.new("char *[]", [*(m.pointer for m in memories), *[ffi.NULL] * n_rings])
        self._n_calls, self._failed = len(self.calls), ffi.new("int32_t *")
        self._team = self._form_team(stages, threads) if len(stages) < len(self.calls) else None
        self.given = [memories[place.base].view(place.offset, value) for place, value in inputs]
        self.made = [memories[place.base].view(place.offset, value) for place, value in outputs]
        for (place, _), array in zip((*inputs, *outputs), (*self.given, *self.made), strict=True):
            if place.base != CONSTANTS:
                array[...] = 0
        self._states = [(memories[s.place.base].bytes[s.place.offset :], s) for s in states]
        for room, state in self._states:
            _fill(room, state.initial)

    @property
    def weights(self) -> int:
        """Bytes of constants."""
        return int(self._memories[CONSTANTS].bytes.size)

    def _form_team(self, stages: Sequence[Sequence[Call]], threads: int) -> Any:
        """Raises RunError."""
        program = {
            "steps": self._calls,
            "ends": ffi.new("int32_t[]", list(accumulate(map(len, stages)))),
            "n_stages": len(stages),
            "n_bases": len(self._bases),
            "bases": self._bases,
            "scratch": SCRATCH,
            "scratch_bytes": len(self._memories[SCRATCH].bytes) // threads,
        }
        team = lib.ck_team_new(ffi.new("ck_program *", program), threads)
        if team == ffi.NULL:
            raise RunError(f"no memory for {threads} threads; free some, or use fewer")
        return ffi.gc(team, lib.ck_team_free)

    def execute(self) -> None:
        """Crosses into C once, without the GIL."""
        if self._team is None:
            status = lib.ck_run(self._calls, self._n_calls, self._bases, self._failed)
        else:
            status = lib.ck_team_run(self._team, self._failed)
        if status:
            step = self.steps[self.calls[self._failed[0]].step]
            raise RunError(f"{step.source}: {FAILURES[status]}")

    def times(self, inputs: Sequence[Array], clock: Callable[[], int]) -> list[int]:
        """One run, call by call: what `clock` gained in each step."""
        for target, array in zip(self.given, inputs, strict=True):
            target[...] = array
        gained = [0] * len(self.steps)
        for call, passed in zip(self.calls, self.laps(range(len(self.calls)), clock), strict=True):
            gained[call.step] += passed
        return gained

    def laps(self, calls: Iterable[int], clock: Callable[[], int]) -> list[int]:
        """Runs these calls: what `clock` gains in each, less the least that it gains around none."""
        idle, gained = list[int](), list[int]()
        for at in (*[-1] * IDLE_CALLS, *calls):
            begun = clock()
            lib.ck_run(self._calls + max(at, 0), at >= 0, self._bases, self._failed)
            (idle if at < 0 else gained).append(clock() - begun)
        return [passed - min(idle) for passed in gained]

    def warm(self) -> None:
        """Brings inputs and arena into the caches, as steps leave them there."""
        for array in (*self.given, *(self._memories[base].bytes for base in (ARENA, SCRATCH))):
            array[...] = 1

    def reset(self) -> None:
        for place, state in self._states:
            if not state.resource:
                _fill(place, state.initial)


FAILURES = {
    lib.CK_BAD_INDEX: "an index is outside the rows of its tensor",
    lib.CK_NO_END: f"no end after {MAX_TRIPS} trips",
}


def _fill(place: Array, data: Array) -> None:
    place[: data.nbytes] = np.frombuffer(data.tobytes(), np.uint8)
