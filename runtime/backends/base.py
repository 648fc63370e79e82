"""What a backend is: it turns a model into an executor, or says why it cannot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from runtime.graph import Array, DType, Shape, Value
from runtime.pairs import seen

if TYPE_CHECKING:
    from runtime.compile import Model


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output. real = scale * (stored - zero_point); scale 0 means that the tensor is not
    quantized.
    """

    name: str
    shape: Shape
    dtype: DType
    scale: float = 0.0
    zero_point: int = 0

    @staticmethod
    def of(value: Value) -> TensorInfo:
        q = value.quantization
        scale, zero_point = (q.scale[0], q.zero_point[0]) if q is not None and len(q.scale) == 1 else (0.0, 0)
        shape, dtype = seen(value)
        return TensorInfo(value.name, shape, dtype, scale, zero_point)


def zeros(tensors: Sequence[TensorInfo]) -> list[Array]:
    return [np.zeros(tensor.shape, tensor.dtype.numpy) for tensor in tensors]


class Executor(ABC):
    """A compiled model. `inputs` and `outputs` are in the order of the model file, and so are the arrays of
    the executor's own that `given` and `made` name: a run reads the one, which stay as they are, and fills
    the other, which stay until the next. All are zeros at first.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    given: Sequence[Array]
    made: Sequence[Array]

    @abstractmethod
    def execute(self) -> None:
        """One run. Raises RunError. A model with states finds what the last run left.

        One thread at a time: `Program` sees to it.
        """

    @abstractmethod
    def reset(self) -> None:
        """Variable tensors are as before the first run; resource variables stay, as TFLite has it."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs, each an array of its own, for arrays of the right shapes and types. Raises RunError."""
        for target, array in zip(self.given, inputs, strict=True):
            target[...] = array
        self.execute()
        return [array.copy() for array in self.made]


class Backend(Protocol):
    """Stateless; one instance serves every model."""

    name: str

    def version(self) -> str:
        """Changes whenever results or speed may change: a part of the search's cache key."""
        ...

    def compile(self, model: Model) -> Executor:
        """Raises UnsupportedError with the reason where this backend cannot run the model, RunError without
        memory.
        """
        ...
