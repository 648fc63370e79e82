"""The tflite backend: TensorFlow Lite's own interpreter on the bytes of the model. The only importer of its
packages.

CPython 3.11 has `tflite_runtime`, later versions have its successor `ai_edge_litert`; either is imported when
needed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.backends.base import TensorInfo
from runtime.errors import RunError, UnsupportedError
from runtime.graph import Array, DType

if TYPE_CHECKING:
    from runtime.compile import Model

PACKAGES = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}
"""Module -> distribution, the preferred one first."""


class TfliteBackend:
    name = "tflite"

    def version(self) -> str:
        for module, distribution in PACKAGES.items():
            if importlib.util.find_spec(module) is not None:
                return f"{distribution} {importlib.metadata.version(distribution)}"
        return "absent"

    def compile(self, model: Model) -> TfliteExecutor:
        """Raises ModelError for a file that our reader finds damaged, UnsupportedError if TFLite refuses."""
        if model.keep_all:
            raise UnsupportedError(f"{model.name}: the tflite backend does not keep intermediate tensors")
        with contextlib.suppress(UnsupportedError):
            _ = model.graph  # TFLite does not check offsets: a damaged file would end the process
        try:
            interpreter = interpreter_module().Interpreter(model_content=model.data, num_threads=1)
            for index, shape in model.input_shapes.items():
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
            return TfliteExecutor(interpreter)
        except (ValueError, RuntimeError, KeyError) as error:
            raise UnsupportedError(f"{model.name}: the tflite backend refuses it: {error}") from error


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


class TfliteExecutor:
    """A TFLite interpreter behind the shape of an Executor."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self.inputs = tuple(map(_info, interpreter.get_input_details()))
        self.outputs = tuple(map(_info, interpreter.get_output_details()))
        self._inputs = [detail["index"] for detail in interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        try:
            for index, array in zip(self._inputs, inputs, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise RunError(f"tflite: {error}") from error
        return [self._interpreter.get_tensor(index) for index in self._outputs]


def _info(detail: dict[str, Any]) -> TensorInfo:
    scale, zero_point = detail["quantization"]
    shape = tuple(int(size) for size in detail["shape"])
    return TensorInfo(
        detail["name"], shape, DType.of(np.empty(0, detail["dtype"])), float(scale), int(zero_point)
    )
