"""`Program`: a model ready to run, whatever backend runs it.

It checks what comes in, names what goes out, and lets one run happen at a time; programs are independent of
each other and run side by side in different threads. How a model becomes one is in `runtime.compile`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.backends.base import Executor
from runtime.backends.base import TensorInfo as TensorInfo
from runtime.errors import RunError
from runtime.graph import Array


class Program:
    """Runs one model. A lock makes the runs of one Program take turns, for they share one arena."""

    def __init__(self, executor: Executor, backend: str) -> None:
        self.inputs, self.outputs = distinct(executor.inputs), distinct(executor.outputs)
        self.backend, self._executor, self._lock = backend, executor, threading.Lock()

    def __repr__(self) -> str:
        sides = (
            ", ".join(f"{t.name}: {t.dtype.value}{list(t.shape)}" for t in side)
            for side in (self.inputs, self.outputs)
        )
        return f"<Program on {self.backend}: ({') -> ('.join(sides)})>"

    def run(self, inputs: Mapping[str, Array] | Sequence[Array]) -> dict[str, Array]:
        """Outputs by name, in arrays of their own, for one array per input, by name or in order.

        Raises RunError where a name, shape or element type is not the expected one, and where a run-time
        index leaves its rows.
        """
        arrays = self._in_order(inputs)
        for tensor, array in zip(self.inputs, arrays, strict=True):
            check(tensor, array)
        return dict(zip((t.name for t in self.outputs), self.run_checked(arrays), strict=True))

    def run_checked(self, arrays: Sequence[Array]) -> list[Array]:
        """`run` in order, for a caller that has checked the arrays itself."""
        with self._lock:
            return self._executor.run(arrays)

    @property
    def given(self) -> Sequence[Array]:
        """The arrays that `execute` reads, one for each input; they are zeros at first."""
        return self._executor.given

    @property
    def made(self) -> Sequence[Array]:
        """The arrays that `execute` fills, one for each output."""
        return self._executor.made

    def execute(self) -> None:
        """`run` on what is in `given`, without a copy on either side."""
        with self._lock:
            self._executor.execute()

    def reset(self) -> None:
        """A model that keeps variable tensors from run to run has those of its first run again."""
        with self._lock:
            self._executor.reset()

    def _in_order(self, inputs: Mapping[str, Array] | Sequence[Array]) -> Sequence[Any]:
        names = [t.name for t in self.inputs]
        if isinstance(inputs, Mapping):
            if wrong := [name for name in names if name not in inputs]:
                raise RunError(f"input {wrong[0]!r} is missing: expected {names}, got {list(inputs)}")
            if wrong := [name for name in inputs if name not in names]:
                raise RunError(f"there is no input {wrong[0]!r}: expected {names}")
            return [inputs[name] for name in names]
        if (one := hasattr(inputs, "dtype")) or len(inputs) != len(names):
            got = "one array" if one else f"{len(inputs)} arrays"
            raise RunError(f"expected a list of {len(names)} arrays, for {', '.join(names)}; got {got}")
        return inputs


def distinct(tensors: Sequence[TensorInfo]) -> tuple[TensorInfo, ...]:
    """The tensors, each under a name of its own: where a file repeats one, the later gets its number."""
    named: dict[str, TensorInfo] = {}
    for i, tensor in enumerate(tensors):
        name = tensor.name
        while name in named:
            name += f"#{i}"
        named[name] = replace(tensor, name=name)
    return tuple(named.values())


def check(tensor: TensorInfo, array: Any) -> None:
    """Raises RunError unless `array` is of the tensor's shape and element type."""
    if not isinstance(array, np.ndarray):
        got = type(array).__name__
    elif array.dtype != tensor.dtype.numpy or array.shape != tensor.shape:
        got = f"{array.dtype} {list(array.shape)}"
    else:
        return
    raise RunError(f"input {tensor.name!r}: expected {tensor.dtype.numpy} {list(tensor.shape)}, got {got}")
