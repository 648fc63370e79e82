"""The tflite backend: TensorFlow Lite's own interpreter on the bytes of the model. The only importer of its
packages.

CPython 3.11 has `tflite_runtime`, later versions have its successor `ai_edge_litert`; either is imported when
needed. TFLite trusts the offsets in a file: a hostile model ends the process that opens it. So what our own
reader finds damaged never gets there, and everything else is rehearsed in a process of its own first.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.backends import tflite_rehearsal as rehearsal
from runtime.backends.base import Executor, TensorInfo, zeros
from runtime.errors import RunError, UnsupportedError
from runtime.graph import DType
from runtime.importers import format_of

if TYPE_CHECKING:
    from runtime.compile import Model

PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
"""Module -> distribution, the preferred one first."""


class TfliteBackend:
    name = "tflite"

    def version(self) -> str:
        from importlib import metadata  # costs more memory than small models need

        for module, distribution in PACKAGES.items():
            if importlib.util.find_spec(module) is not None:
                return f"{distribution} {metadata.version(distribution)}"
        return "absent"

    def compile(self, model: Model) -> TfliteExecutor:
        """Raises ModelError for a file that our reader finds damaged, UnsupportedError if TFLite refuses."""
        if format_of(model.data, model.name) != "tflite":
            raise UnsupportedError(f"{model.name}: the tflite backend reads .tflite files alone")
        if model.keep_all:
            raise UnsupportedError(f"{model.name}: the tflite backend does not keep intermediate tensors")
        if model.subgraph:
            raise UnsupportedError(
                f"{model.name}: the tflite backend runs the first of the file's graphs alone"
            )
        with contextlib.suppress(UnsupportedError):
            _ = model.graph
        rehearse(model)
        try:
            padded = model.data + bytes(rehearsal.ALIGNMENT)
            interpreter = interpreter_module().Interpreter(model_content=padded, num_threads=model.threads)
            for index, shape in model.input_shapes.items():
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
            return TfliteExecutor(interpreter)
        except (ValueError, RuntimeError, KeyError) as error:
            raise UnsupportedError(f"{model.name}: the tflite backend refuses it: {error}") from error


PATIENCE = 120
"""Seconds after which a rehearsal counts as hung."""
_survived: set[str] = set()
"""Digests and shapes that this process has seen rehearsed."""


def rehearse(model: Model) -> None:
    """Open and run a model once in a process of its own. Raises UnsupportedError when that dies or hangs.

    What TFLite merely refuses is told by the real attempt.
    """
    shapes = repr(tuple(model.input_shapes.items()))
    if model.digest + shapes in _survived:
        return
    import subprocess

    argv = [sys.executable, str(rehearsal.__file__), interpreter_module().__name__, shapes]
    try:
        done = subprocess.run(argv, input=model.data, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"{model.name}: TFLite hangs on it: no end after {PATIENCE} s") from None
    if done.returncode < 0:
        raise UnsupportedError(f"{model.name}: TFLite dies of it: signal {-done.returncode}")
    _survived.add(model.digest + shapes)


def interpreter_module() -> Any:
    """The module that has `Interpreter` and `OpResolverType`; raises UnsupportedError where neither package
    is.
    """
    for module in PACKAGES:
        try:
            return importlib.import_module(f"{module}.interpreter")
        except ImportError:
            continue
    raise UnsupportedError(
        f"the tflite backend needs {' or '.join(PACKAGES.values())}: pip install one of them"
    )


class TfliteExecutor(Executor):
    """A TFLite interpreter behind the shape of an Executor."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.inputs = tuple(map(_info, interpreter.get_input_details()))
        self.outputs = tuple(map(_info, interpreter.get_output_details()))
        self.given, self.made = zeros(self.inputs), zeros(self.outputs)
        self._inputs = [detail["index"] for detail in interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def execute(self) -> None:
        try:
            for index, array in zip(self._inputs, self.given, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise RunError(f"tflite: {error}") from error
        for index, array in zip(self._outputs, self.made, strict=True):
            array[...] = self._interpreter.get_tensor(index)

    def reset(self) -> None:
        self._interpreter.reset_all_variables()


def _info(detail: dict[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return TensorInfo(
        detail["name"], shape, DType.of(np.empty(0, detail["dtype"])), float(scale), int(zero_point)
    )
