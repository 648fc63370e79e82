"""`Interpreter`: a drop-in for `tflite_runtime.interpreter.Interpreter`; change the import and nothing else.

Tensor indices, dictionaries and error types (ValueError, RuntimeError) are TFLite's. Two things are kinder:
an array that `tensor()` gave may be held across `invoke()`, and a batch dimension may be resized at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.compile import BACKENDS, Model, ModelFile, read
from runtime.errors import EngineError
from runtime.graph import Array, Shape
from runtime.importers import declared_shapes
from runtime.program import Program

Details = dict[str, Any]


class Interpreter:
    """Loads a model; `allocate_tensors` compiles it, `invoke` runs it once.

    A run uses up to `num_threads` threads (default: 1), no more than there are cores for; a small model stays
    on the calling thread. `experimental_op_resolver_type` BUILTIN_REF asks for the integers of TFLite's
    reference kernels, any other for those of its builtin ones. `experimental_disable_delegate_clustering`
    changes nothing, for there is no delegate.
    `experimental_preserve_all_tensors` makes every intermediate tensor readable. `backend` and `cache_dir`
    are ours: a row of `runtime.compile.BACKENDS`, and a folder for packed weights, as in `runtime.load`.
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        model_content: bytes | None = None,
        experimental_delegates: Sequence[Any] | None = None,
        num_threads: int | None = None,
        experimental_op_resolver_type: Any = None,
        experimental_preserve_all_tensors: bool = False,
        experimental_disable_delegate_clustering: bool = False,  # noqa: ARG002
        *,
        backend: str = "cpu",
        cache_dir: str | Path | None = None,
    ) -> None:
        if not model_path and not model_content:
            raise ValueError("`model_path` or `model_content` must be specified")
        if model_path and model_content:
            raise ValueError("only one of `model_path` and `model_content` can be given")
        if experimental_delegates:
            raise ValueError("delegates are not supported: choose a backend instead")
        if backend not in BACKENDS:
            raise ValueError(f"backend {backend!r} is unknown: expected {', '.join(BACKENDS)}")
        try:
            self._file = ModelFile(model_path) if model_path else None
            self._model = read(model_content or b"", cache_dir=cache_dir, threads=num_threads)
            if self._file is not None:
                self._model = replace(self._model, name=self._file.path.name, data=self._file.read())
        except EngineError as error:
            raise ValueError(str(error)) from error
        self._backend = BACKENDS[backend]()
        self._open()
        if getattr(experimental_op_resolver_type, "name", "") == "BUILTIN_REF":
            self._model = replace(self._model, kernels="reference")
        if experimental_preserve_all_tensors:
            self._model = replace(self._model, keep_all=True)

    def _open(self) -> None:
        """Reads the model, which no program runs yet. Raises ValueError."""
        try:
            self._graph = self._model.graph
            self._declared = declared_shapes(self._model.data, self._model.name, self._model.subgraph)
        except EngineError as error:
            raise ValueError(str(error)) from error
        self._inputs, self._outputs = self._graph.inputs, self._graph.outputs
        self._program: Program | None = None
        self._given: dict[int, Array] = {}
        self._arrays: dict[int, Array] = dict(self._graph.constants())
        self._constants: frozenset[int] = frozenset()
        self._others: dict[int, Interpreter] = {}

    def _other(self, subgraph: int) -> Interpreter:
        """This interpreter on another graph of the model file, made when first asked for."""
        if subgraph not in self._others:
            other = copy(self)
            try:
                whole = replace(self._whole_model(), input_shapes={}, subgraph=subgraph, keep_all=False)
            except EngineError as error:
                raise ValueError(str(error)) from error
            other._model = whole
            other._open()
            other._model = replace(whole, keep_all=self._model.keep_all)
            self._others[subgraph] = other
        return self._others[subgraph]

    # ---------------------------------------------------------------- life

    def allocate_tensors(self) -> None:
        """Compiles the model for the present input shapes; inputs start as zeros. Raises RuntimeError."""
        if self._program is not None:
            return
        try:
            self._model = self._whole_model()
            self._program = Program(self._backend.compile(self._model), self._backend.name)
            self._graph = self._model.graph
        except EngineError as error:
            raise RuntimeError(str(error)) from error
        self._arrays = dict(self._graph.constants())
        self._let_go()
        self._arrays |= zip(self._graph.outputs, self._program.made, strict=True)
        self._given = dict(zip(self._graph.inputs, self._program.given, strict=True))
        self._arrays |= self._given

    def _let_go(self) -> None:
        """The program has its own weights: what can be read again from the file is not kept."""
        if self._file is not None:
            self._constants, self._arrays = frozenset(self._arrays), {}
            values = tuple(replace(value, data=None) for value in self._graph.values)
            self._graph = replace(self._graph, values=values)
            self._model = replace(self._model, data=b"")

    def _whole_model(self) -> Model:
        """The model with its bytes; raises ModelError where they have to be read again and have changed."""
        if self._model.data or self._file is None:
            return self._model
        return replace(self._model, data=self._file.read())

    def resize_tensor_input(
        self, input_index: int, tensor_size: Sequence[int] | Array, strict: bool = False
    ) -> None:
        """Another shape for an input, from the next `allocate_tensors` on; `strict` lets only open dimensions
        (-1) change. The shape that it has changes nothing.

        Raises RuntimeError for a tensor that is no input, or a change that `strict` forbids.
        """
        if input_index not in self._inputs:
            raise RuntimeError(f"tensor {input_index} is no input: expected one of {list(self._inputs)}")
        shape, declared = tuple(int(size) for size in tensor_size), self._declared[input_index]
        open_ = len(shape) == len(declared) and all(
            d in (-1, s) for d, s in zip(declared, shape, strict=True)
        )
        if strict and not open_:
            name = self._graph.values[input_index].name
            raise RuntimeError(
                f"input {name!r} is {list(declared)}, only its -1 may change; got {list(shape)}"
            )
        if shape == self._shape(input_index):
            return
        self._model = replace(self._model, input_shapes={**self._model.input_shapes, input_index: shape})
        self._program, self._given = None, {}
        for i in (*self._inputs, *self._outputs):
            self._arrays.pop(i, None)

    def invoke(self) -> None:
        """Runs the model once, without the GIL. Raises RuntimeError before `allocate_tensors`, or when the
        run fails.
        """
        if self._program is None:
            raise RuntimeError("invoke() before allocate_tensors()")
        try:
            self._program.execute()
        except EngineError as error:
            raise RuntimeError(str(error)) from error

    def reset_all_variables(self) -> None:
        """Variable tensors are as before the first run; RuntimeError before `allocate_tensors`."""
        if self._program is None:
            raise RuntimeError("reset_all_variables() before allocate_tensors()")
        self._program.reset()

    # ---------------------------------------------------------------- tensors

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copies `value` into an input. Raises ValueError for another shape or type, or a tensor that is no
        input.
        """
        array, target = np.asarray(value), self._given.get(tensor_index)
        if target is not None and array.dtype == target.dtype and array.shape == target.shape:
            target[...] = array
            return
        if tensor_index not in self._inputs:
            raise ValueError(f"tensor {tensor_index} is no input: expected one of {list(self._inputs)}")
        target = self._array(tensor_index)
        name = self._graph.values[tensor_index].name
        if array.dtype != target.dtype:
            raise ValueError(
                f"input {tensor_index} ({name}): expected type {target.dtype}, got {array.dtype}"
            )
        raise ValueError(f"input {tensor_index} ({name}): expected shape {target.shape}, got {array.shape}")

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> Array:
        """A copy of an input, output or constant. Raises ValueError for any other tensor."""
        if subgraph_index:
            raise ValueError(f"subgraph {subgraph_index}: only tensors of the first can be read by index")
        array = self._arrays.get(tensor_index)
        return (self._array(tensor_index) if array is None else array).copy()

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that gives the array itself: writing to that of an input sets it, without a copy.

        It may be asked for at any time; calling it raises ValueError where `get_tensor` would.
        """
        return lambda: self._array(tensor_index)

    def get_input_details(self) -> list[Details]:
        return [self._details(i) for i in self._inputs]

    def get_output_details(self) -> list[Details]:
        return [self._details(i) for i in self._outputs]

    def get_tensor_details(self) -> list[Details]:
        return [self._details(i) for i in range(len(self._declared))]

    # ---------------------------------------------------------------- signatures

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        return {
            key: {"inputs": list(s.inputs), "outputs": list(s.outputs)}
            for key, s in self._graph.signatures.items()
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """One of a graph beside the first has a program of its own.

        Raises ValueError for an unknown key, or for none where there is not exactly one signature.
        """
        keys = list(self._graph.signatures)
        if signature_key is None and len(keys) != 1:
            raise ValueError(
                f"signature_key may be left out when there is one signature, this model has {len(keys)}"
            )
        key = keys[0] if signature_key is None else signature_key
        if key not in keys:
            raise ValueError(f"signature {key!r} is unknown: expected one of {keys}")
        subgraph = self._graph.signatures[key].subgraph
        return SignatureRunner(self if subgraph is None else self._other(subgraph), key)

    def _array(self, index: int) -> Array:
        if index in self._constants and index not in self._arrays:
            try:
                constants = dict(self._whole_model().graph.constants())
            except EngineError as error:
                raise ValueError(str(error)) from error
            self._arrays = {**constants, **self._arrays}
        if index not in self._arrays:
            why = (
                "call allocate_tensors() first"
                if self._program is None
                else "only inputs, outputs and constants are kept"
            )
            raise ValueError(f"tensor {index} has no data: {why}")
        return self._arrays[index]

    def _shape(self, index: int) -> Shape:
        return self._model.input_shapes.get(index, self._graph.values[index].shape)

    def _details(self, index: int) -> Details:
        value = self._graph.values[index]
        q = value.quantization
        return {
            "name": value.name,
            "index": index,
            "shape": np.array(self._shape(index), np.int32),
            "shape_signature": np.array(self._declared.get(index, value.shape), np.int32),
            "dtype": value.dtype.numpy.type,
            "quantization": (q.scale[0], q.zero_point[0])
            if q is not None and len(q.scale) == 1
            else (0.0, 0),
            "quantization_parameters": {
                "scales": np.array(q.scale if q is not None else (), np.float32),
                "zero_points": np.array(q.zero_point if q is not None else (), np.int32),
                "quantized_dimension": q.axis if q is not None else 0,
            },
            "sparsity_parameters": {},
        }


class SignatureRunner:
    """One signature as a function: arrays by argument name in, arrays by result name out."""

    def __init__(self, interpreter: Interpreter, key: str) -> None:
        self._interpreter, self._signature = interpreter, interpreter._graph.signatures[key]

    def __call__(self, **arguments: Any) -> dict[str, Array]:
        """Runs the model on inputs of any shape that it takes. Raises ValueError for a missing or unknown
        argument.
        """
        wanted = self._signature.inputs
        if wrong := sorted(wanted.keys() ^ arguments.keys()):
            raise ValueError(f"argument {wrong[0]!r}: expected {sorted(wanted)}, got {sorted(arguments)}")
        for name, value in arguments.items():
            self._interpreter.resize_tensor_input(wanted[name], np.shape(value))
        self._interpreter.allocate_tensors()
        for name, value in arguments.items():
            self._interpreter.set_tensor(wanted[name], value)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._signature.outputs.items()}

    def get_input_details(self) -> dict[str, Details]:
        return self._described(self._signature.inputs)

    def get_output_details(self) -> dict[str, Details]:
        return self._described(self._signature.outputs)

    def _described(self, ends: Mapping[str, int]) -> dict[str, Details]:
        return {name: self._interpreter._details(index) for name, index in ends.items()}
