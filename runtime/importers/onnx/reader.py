"""The protobuf of an ONNX model as checked Python values: tensors, nodes, attributes, declared inputs.

Nothing in the file is trusted: every count, name, type and size is checked before it is used. Data outside
the file is refused. Format: onnx.proto of ONNX, through the `onnx` package's bindings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from runtime.errors import ModelError, UnsupportedError
from runtime.graph import Array, DType, Shape
from runtime.shapes.operands import MAX_ELEMENTS, checked

OPSETS = range(13, 23)
"""Of the standard domain, that the translations of this package follow."""
MAX_NODES = 65_536
"""In the file, and again in the graph that is made of it."""
MAX_TENSORS = 65_536
STANDARD = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
"""The domain of onnxruntime's own operators; it stands before their names."""


class Kind(Enum):
    """Attribute types, by the number that AttributeProto.AttributeType gives them."""

    FLOAT = 1
    INT = 2
    STRING = 3
    TENSOR = 4
    GRAPH = 5
    FLOATS = 6
    INTS = 7
    STRINGS = 8


_TYPES: dict[int, tuple[DType, str]] = {
    1: (DType.F32, "float_data"),
    2: (DType.U8, "int32_data"),
    3: (DType.I8, "int32_data"),
    4: (DType.U16, "int32_data"),
    5: (DType.I16, "int32_data"),
    6: (DType.I32, "int32_data"),
    7: (DType.I64, "int64_data"),
    9: (DType.BOOL, "int32_data"),
    10: (DType.F16, "int32_data"),
    11: (DType.F64, "double_data"),
    12: (DType.U32, "uint64_data"),
    13: (DType.U64, "uint64_data"),
}
"""TensorProto.DataType -> our type, and the field that holds elements that are not raw bytes."""
_FIELDS: dict[str, type[np.generic]] = {
    "float_data": np.float32,
    "double_data": np.float64,
    "int32_data": np.int64,
    "int64_data": np.int64,
    "uint64_data": np.uint64,
}
"""What holds every number of such a field."""


def bindings() -> Any:
    """The `onnx` package; raises UnsupportedError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise UnsupportedError(
            "reading ONNX needs the onnx package: pip install 'walle-edge[onnx]'"
        ) from error
    return onnx


@dataclass(frozen=True, slots=True)
class Step:
    """One node of the file: names of its tensors, "" for one that is left out; attributes by name."""

    op: str
    source: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, tuple[Kind, Any]]


@dataclass(frozen=True, slots=True)
class Body:
    """A graph of the file: constants by name, nodes in order, names of inputs and outputs."""

    constants: Mapping[str, Array]
    steps: tuple[Step, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


Entry = tuple[DType, Shape]


def parse(data: bytes, name: str) -> tuple[Body, list[Entry], int]:
    """(main graph, its inputs' types, opset) of a model file; `name` stands in messages.

    Raises ModelError, UnsupportedError.
    """
    model = _message(data, name)
    if not model.HasField("graph"):
        raise ModelError(f"{name}: the model has no graph")
    if len(model.functions):
        raise UnsupportedError(f"{name}: functions of the model's own; inline them (onnx.inliner) first")
    opset, reader = _opset(model, name), Reader(name)
    try:
        body = reader.body(model.graph)
        return body, [reader.entry(e) for e in model.graph.input if e.name in body.inputs], opset
    except (UnicodeDecodeError, OverflowError) as error:
        raise ModelError(f"{name}: node {reader.steps}: {error}; the file is damaged") from error


def declared_shapes(data: bytes, name: str) -> dict[int, Shape]:
    """The shapes of inputs as the file has them, -1 where it leaves a dimension open; for bytes that `parse`
    took.
    """
    graph = _message(data, name).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in constants]
    return {
        i: tuple(d.dim_value if d.HasField("dim_value") else -1 for d in entry.type.tensor_type.shape.dim)
        for i, entry in enumerate(inputs)
    }


def _message(data: bytes, name: str) -> Any:
    onnx = bindings()
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        return onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(f"{name}: no ONNX model that can be read: {error}; the file is damaged") from error


def _opset(model: Any, name: str) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    if len(versions) != 1:
        raise ModelError(f"{name}: {len(versions)} versions of the standard operators, expected 1")
    if versions[0] not in OPSETS:
        raise UnsupportedError(
            f"{name}: opset {versions[0]}, expected {OPSETS.start}..{OPSETS.stop - 1}; "
            "convert the model (onnx.version_converter)"
        )
    return int(versions[0])


class Reader:
    """Reads the graphs of one file: a main one, and the branches of its nodes."""

    def __init__(self, name: str) -> None:
        self.name, self.steps = name, 0

    def bad(self, what: str) -> ModelError:
        return ModelError(f"{self.name}: {what}")

    def body(self, graph: Any) -> Body:
        if len(graph.sparse_initializer):
            raise UnsupportedError(f"{self.name}: sparse constants")
        if max(len(graph.initializer), len(graph.input), len(graph.output)) > MAX_TENSORS:
            raise self.bad(f"more than {MAX_TENSORS} tensors")
        constants: dict[str, Array] = {}
        for tensor in graph.initializer:
            name = self.text(tensor.name)
            if not name or name in constants:
                raise self.bad(f"constant {name!r}: expected a name of its own")
            constants[name] = self.tensor(tensor, f"constant {name!r}")
        inputs = tuple(self.text(entry.name) for entry in graph.input if entry.name not in constants)
        steps = tuple(self.step(node) for node in graph.node)
        return Body(constants, steps, inputs, tuple(self.text(entry.name) for entry in graph.output))

    def text(self, name: str | bytes) -> str:
        """A name; the bindings give bytes for one that is not UTF-8."""
        if isinstance(name, bytes):
            raise self.bad(f"name {name!r} is not UTF-8; the file is damaged")
        return name

    def entry(self, entry: Any) -> Entry:
        """Type and shape of an input; an open dimension is 1, as in TFLite, until it is set."""
        where = f"input {entry.name!r}"
        kind = entry.type.WhichOneof("value")
        if kind != "tensor_type":
            raise UnsupportedError(f"{self.name}: {where} is no tensor but {kind}")
        tensor = entry.type.tensor_type
        if not tensor.HasField("shape"):
            raise UnsupportedError(f"{self.name}: {where} has no shape; give it a rank when exporting")
        dims = [int(dim.dim_value) if dim.HasField("dim_value") else 1 for dim in tensor.shape.dim]
        return self.dtype(tensor.elem_type, where), checked(tuple(dims), where)

    def dtype(self, number: int, where: str) -> DType:
        if number not in _TYPES:
            types = bindings().TensorProto.DataType
            known = types.Name(number) if number in types.values() else number
            raise UnsupportedError(f"{self.name}: {where}: element type {known}")
        return _TYPES[number][0]

    def tensor(self, tensor: Any, where: str) -> Array:
        """A constant of the file."""
        dtype, shape = self.dtype(tensor.data_type, where), tuple(int(size) for size in tensor.dims)
        if tensor.data_location == tensor.EXTERNAL or len(tensor.external_data):
            raise UnsupportedError(f"{self.name}: {where}: data in another file; save the model as one file")
        if any(size < 0 for size in shape) or (count := math.prod(shape)) > MAX_ELEMENTS:
            raise self.bad(f"{where}: shape {shape}: expected sizes >= 0 and at most {MAX_ELEMENTS} elements")
        checked(tuple(max(size, 1) for size in shape), where)
        if tensor.HasField("raw_data"):
            if len(tensor.raw_data) != count * dtype.size:
                got, expected = len(tensor.raw_data), count * dtype.size
                raise self.bad(f"{where}: {got} bytes of data, expected {expected} for {dtype.value} {shape}")
            flat = np.frombuffer(tensor.raw_data, np.uint8)
            if dtype is DType.BOOL:
                flat = flat != 0  # a bool that is neither 0 nor 1 is not one
            return np.require(flat, requirements="C").view(dtype.numpy).reshape(shape)
        name = _TYPES[tensor.data_type][1]
        stored = getattr(tensor, name)
        if len(stored) != count:
            raise self.bad(f"{where}: {len(stored)} elements, expected {count} for {dtype.value} {shape}")
        numbers = np.array(stored, _FIELDS[name])
        if dtype is DType.F16:
            return numbers.astype(np.uint16).view(np.float16).reshape(shape)
        return numbers.astype(dtype.numpy).reshape(shape)

    def step(self, node: Any) -> Step:
        self.steps += 1
        if self.steps > MAX_NODES:
            raise self.bad(f"more than {MAX_NODES} nodes")
        op = self.text(node.op_type)
        source = f"{op}#{self.steps - 1}"
        if node.domain == MICROSOFT:
            op = f"{MICROSOFT}.{op}"
        elif node.domain not in STANDARD:
            raise UnsupportedError(
                f"{self.name}: {source} {node.name!r}: domain {node.domain!r} is not known"
            )
        attrs = {
            self.text(attr.name): self.attribute(attr, f"{source}: {attr.name}") for attr in node.attribute
        }
        inputs, outputs = (tuple(map(self.text, names)) for names in (node.input, node.output))
        return Step(op, source, inputs, outputs, attrs)

    def attribute(self, attr: Any, where: str) -> tuple[Kind, Any]:
        if attr.ref_attr_name or attr.type not in {kind.value for kind in Kind}:
            raise UnsupportedError(f"{self.name}: {where}: attribute type {attr.type} is not known")
        kind = Kind(attr.type)
        match kind:
            case Kind.FLOAT:
                return kind, self.finite(attr.f, where)
            case Kind.INT:
                return kind, int(attr.i)
            case Kind.STRING:
                return kind, attr.s.decode("utf-8", "replace")
            case Kind.TENSOR:
                return kind, self.tensor(attr.t, where)
            case Kind.GRAPH:
                return kind, self.body(attr.g)
            case Kind.FLOATS:
                return kind, tuple(self.finite(number, where) for number in attr.floats)
            case Kind.INTS:
                return kind, tuple(int(number) for number in attr.ints)
            case Kind.STRINGS:
                return kind, tuple(text.decode("utf-8", "replace") for text in attr.strings)

    def finite(self, number: float, where: str) -> float:
        if not math.isfinite(number):
            raise self.bad(f"{where} = {number}, expected a finite number")
        return float(number)
