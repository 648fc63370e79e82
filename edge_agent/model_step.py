"""The model of a task: pre steps, quantise, `Program.run`, dequantise, post steps; one item at a time.

Programs take and give the stored integers of quantised tensors: real = (stored - zero_point) * scale.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cloud_broker.wire.messages import Reason
from edge_agent import preprocess
from edge_agent.events import Batch, ItemError, Row, batches
from edge_agent.evidence import StartError
from edge_agent.pipeline import StageBase
from edge_agent.preprocess import Shape, Tensor
from edge_agent.spec.model import Model
from runtime.backends.base import TensorInfo
from runtime.errors import EngineError


class Program(Protocol):
    """What `runtime.load` gives."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...
    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...
    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]: ...


class OpenModel(Protocol):
    """A model ready to run: `runtime.load`, or a fake. Raises EngineError, ValueError or OSError for a bad
    file.
    """

    def __call__(self, path: Path, backend: str, /, *, num_threads: int) -> Program: ...


class ModelStage(StageBase):
    """Raises StartError (BAD_MODEL) when the file is not the one named, cannot be loaded, or takes another
    shape."""

    def __init__(self, spec: Model, directory: Path, open_model: OpenModel) -> None:
        self._spec = spec
        path = directory / spec.file
        try:
            if spec.sha256 is not None:
                _check_digest(path, spec.sha256)
            self._program = open_model(path, spec.backend, num_threads=spec.threads)
            self._shape = _fitting(preprocess.shape(spec.pre), self._program)
        except (EngineError, ValueError, OSError) as error:
            raise StartError(Reason.BAD_MODEL, f"model {spec.file}: {error}") from error

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        return batches(Row(row.time, {**row.item, **self._infer(row)}) for row in batch.rows())

    def _infer(self, row: Row) -> dict[str, Any]:
        fed = preprocess.apply(self._spec.pre, row.item)
        if fed.size != int(np.prod(self._shape)):
            raise ItemError(f"the item gives {_text(fed.shape)}, the model takes {_text(self._shape)}")
        source, target = self._program.inputs[0], self._program.outputs[0]
        stored = self._program.run({source.name: quantise(fed.reshape(self._shape), source)})
        return preprocess.outcome(self._spec.post, fed, dequantise(stored[target.name], target))


def quantise(x: Tensor, to: TensorInfo) -> NDArray[Any]:
    """Stored values of real ones: rounded half away from zero, as TFLite's QUANTIZE does, and clamped."""
    dtype = to.dtype.numpy
    if not to.scale:
        return x.astype(dtype)
    limits = np.iinfo(dtype)
    steps = np.nan_to_num(x / np.float32(to.scale), posinf=1e9, neginf=-1e9)
    rounded = np.trunc(steps + np.copysign(np.float32(0.5), steps)) + to.zero_point
    stored: NDArray[Any] = np.clip(rounded, limits.min, limits.max).astype(dtype)
    return stored


def dequantise(stored: NDArray[Any], of: TensorInfo) -> Tensor:
    """Real values of stored ones."""
    if not of.scale:
        return stored.astype(np.float32)
    return ((stored.astype(np.int32) - of.zero_point) * np.float32(of.scale)).astype(np.float32)


def _fitting(given: Shape, program: Program) -> tuple[int, ...]:
    """The model's input shape, when the pre steps can give it. Raises ValueError."""
    if len(program.inputs) != 1:
        names = ", ".join(tensor.name for tensor in program.inputs)
        raise ValueError(f"expected a model with one input, this one has {len(program.inputs)}: {names}")
    wanted = tuple(program.inputs[0].shape)
    source, target = _trimmed(given), _trimmed(wanted)
    if len(source) != len(target) or any(s not in (None, t) for s, t in zip(source, target, strict=True)):
        raise ValueError(
            f"the steps in `pre` give {_text(given)}, the model takes {_text(wanted)}; "
            "add or change a resize, gray or columns step"
        )
    return wanted


def _trimmed(shape: Shape) -> Shape:
    """Without sizes of one: what remains decides which values stand where."""
    return tuple(size for size in shape if size != 1)


def _check_digest(path: Path, expected: str) -> None:
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != expected:
        raise ValueError(
            f"its bytes have sha256 {got[:12]}…, the spec says {expected[:12]}…: not the same file"
        )


def _text(shape: Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "one number"
