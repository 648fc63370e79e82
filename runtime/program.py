"""`Program`: a model ready to run, whatever backend runs it.

It checks what comes in, names what goes out, and lets one run happen at a time; programs are independent of each other
and run side by side in different threads. How a model becomes one is in `runtime.compile`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.backends.base import Executor
from runtime.errors import RunError
from runtime.graph import Array, DType, Graph, Shape, Value


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output. real = scale * (stored - zero_point); scale 0 means that the tensor is not quantized."""

    name: str
    shape: Shape
    dtype: DType
    scale: float = 0.0
    zero_point: int = 0

    @staticmethod
    def of(value: Value) -> TensorInfo:
        q = value.quantization
        scale, zero_point = (q.scale[0], q.zero_point[0]) if q is not None and len(q.scale) == 1 else (0.0, 0)
        return TensorInfo(value.name, value.shape, value.dtype, scale, zero_point)


class Program:
    """Runs one model. A lock makes runs of one Program take turns, for it owns one arena."""

    def __init__(self, graph: Graph, executor: Executor, backend: str) -> None:
        self.inputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.inputs)
        self.outputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.outputs)
        self.backend = backend
        self._executor = executor
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        def side(tensors: tuple[TensorInfo, ...]) -> str:
            return ", ".join(f"{t.name}: {t.dtype.value}{list(t.shape)}" for t in tensors)

        return f"<Program on {self.backend}: ({side(self.inputs)}) -> ({side(self.outputs)})>"

    def run(self, inputs: Mapping[str, Array] | Sequence[Array]) -> dict[str, Array]:
        """Outputs by name, in arrays of their own, for one array per input, by name or in order.

        Raises RunError where a name, shape or element type is not the expected one, and where a run-time index leaves
        its rows.
        """
        arrays = self._in_order(inputs)
        for tensor, array in zip(self.inputs, arrays, strict=True):
            check(tensor, array)
        return dict(zip((t.name for t in self.outputs), self.run_checked(arrays), strict=True))

    def run_checked(self, arrays: Sequence[Array]) -> list[Array]:
        """`run` without names and checks, for callers that have done them."""
        with self._lock:
            return self._executor.run(arrays)

    def _in_order(self, inputs: Mapping[str, Array] | Sequence[Array]) -> Sequence[Any]:
        names = [t.name for t in self.inputs]
        if isinstance(inputs, Mapping):
            if missing := [name for name in names if name not in inputs]:
                raise RunError(f"input {missing[0]!r} is missing: expected {names}, got {list(inputs)}")
            if unknown := [name for name in inputs if name not in names]:
                raise RunError(f"there is no input {unknown[0]!r}: expected {names}")
            return [inputs[name] for name in names]
        if isinstance(inputs, np.ndarray) or len(inputs) != len(names):
            got = "one array" if isinstance(inputs, np.ndarray) else f"{len(inputs)} arrays"
            raise RunError(f"expected a sequence of {len(names)} arrays ({', '.join(names)}), got {got}")
        return inputs


def check(tensor: TensorInfo, array: Any) -> None:
    """Raises RunError unless `array` is of the tensor's shape and element type."""
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if dtype != tensor.dtype.numpy or shape != tensor.shape:
        got = f"{dtype} {list(shape)}" if shape is not None else type(array).__name__
        raise RunError(f"input {tensor.name!r}: expected {tensor.dtype.numpy} {list(tensor.shape)}, got {got}")
