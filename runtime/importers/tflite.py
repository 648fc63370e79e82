"""Read a `.tflite` flatbuffer: `load(model, name) -> Graph` at GRAPH level.

The file is not trusted: each count, index, shape, type and size is checked before it is used, every list is
bounded, and whatever reading garbage raises becomes a ModelError. What an operator's tensors
must look like is left to `runtime.shapes` and `runtime.decompose`. Format: schema.fbs of TensorFlow Lite,
schema version 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.atoms import MAX_RANK
from runtime.control import subgraphs
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, FLOATS, Array, DType, Graph, Node, Quantization, Shape, Signature, Value
from runtime.importers import custom, schema, weights
from runtime.importers.calls import Part
from runtime.importers.link import link
from runtime.operators import CUSTOM, ENUMS, OPERATORS, TEXTS, Operator, Option

IDENTIFIER = b"TFL3"
MAX_SUBGRAPHS = 4096
MAX_TENSORS = 65_536
MAX_NODES = 65_536
MAX_LIST = 1_000_000
"""Numbers in all lists of a file together: many tables that share one long list cannot stall the reader."""
MAX_TEXT = 2**24
"""Bytes in all names of a file together, for the same reason."""
MAX_SHARING = 8
"""How often the constants of all tensors together may outweigh the file: they may share buffers."""
MAX_BYTES = 2**31 - 1
"""Of one tensor."""

DTYPES = {
    schema.TensorType.FLOAT32: DType.F32,
    schema.TensorType.FLOAT16: DType.F16,
    schema.TensorType.INT8: DType.I8,
    schema.TensorType.UINT8: DType.U8,
    schema.TensorType.INT16: DType.I16,
    schema.TensorType.INT32: DType.I32,
    schema.TensorType.INT64: DType.I64,
    schema.TensorType.BOOL: DType.BOOL,
    schema.TensorType.FLOAT64: DType.F64,
    schema.TensorType.UINT16: DType.U16,
    schema.TensorType.UINT32: DType.U32,
    schema.TensorType.UINT64: DType.U64,
    schema.TensorType.COMPLEX64: DType.C64,
}
PACKED = {schema.TensorType.INT4: 4, schema.TensorType.INT2: 2}
"""Bits of the types whose constants become i8."""
NEVER_QUANTIZED = frozenset({*FLOATS, DType.C64, DType.BOOL})
BLOCKWISE = 2
"""The number of BlockwiseQuantization among the details of a quantisation."""
MAX_SPARSITY = 32
"""How often a sparse constant may outweigh what the file stores of it; MAX_SHARING comes on top."""
_SPARSE_VECTORS = {1: schema.Int32Vector, 2: schema.Uint16Vector, 3: schema.Uint8Vector}
_OPERATOR_NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items()}
_TYPE_NAMES = {number: name for name, number in vars(schema.TensorType).items()}
_GARBAGE = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    AttributeError,
    MemoryError,
)
"""What the accessors, NumPy and this module's own look-ups raise when offsets point into nowhere."""


def load(model: bytes, name: str, subgraph: int = 0) -> Graph:
    """The graph of a model file, of several by default the first; `name` stands in messages.

    Raises ModelError for bytes that are not a sound model, UnsupportedError for a sound one that uses what
    the engine does not have (other operators, other element types).
    """
    reader = _Reader(model, name)
    try:
        return reader.graph(subgraph)
    except (ModelError, UnsupportedError):
        raise
    except _GARBAGE as error:
        raise ModelError(f"{name}: {reader.place} cannot be read ({error}); the file is damaged") from error


def declared_shapes(model: bytes, index: int = 0) -> dict[int, Shape]:
    """The shape of every tensor as the file has it, -1 where it leaves a dimension open; for bytes that
    `load` took, of which it has not looked at the open dimensions: ModelError where they are garbage.
    """
    subgraph = schema.Model.root(model).Subgraphs(index)
    try:
        return {i: _declared_shape(subgraph.Tensors(i)) for i in range(subgraph.TensorsLength())}
    except _GARBAGE as error:
        raise ModelError(f"a shape signature cannot be read ({error}); the file is damaged") from error


def _declared_shape(tensor: Any) -> Shape:
    whole = tensor.ShapeSignatureLength() == tensor.ShapeLength()
    return tuple((tensor.ShapeSignatureAsNumpy() if whole else tensor.ShapeAsNumpy()).tolist())


class _Reader:
    """One pass over one file. `place` names what is being read, for the message when it is garbage."""

    def __init__(self, model: bytes, name: str) -> None:
        self.bytes, self.name, self.place = model, name, "the header"
        self.budget, self.text_budget, self.data_budget = MAX_LIST, MAX_TEXT, MAX_SHARING * len(model)
        self.by_block = False
        """Whether a tensor is quantised by block: its scales are known when all tensors are."""

    def bad(self, what: str) -> ModelError:
        return ModelError(f"{self.name}: {self.place}: {what}")

    def lacking(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.name}: {self.place}: {what}; the tflite backend may run this model")

    # ---------------------------------------------------------------- lists

    def count(self, length: int, limit: int, what: str) -> int:
        """A length of the file, charged to the budget of the whole file."""
        self.budget -= length
        if not 0 <= length <= limit or self.budget < 0:
            raise self.bad(f"{length} {what}, at most {min(limit, self.budget + length)} can be read")
        return length

    def numbers(self, table: Any, field: str, what: str) -> Array:
        """A vector of numbers; an absent one is empty."""
        length = self.count(getattr(table, f"{field}Length")(), MAX_LIST, what)
        if length == 0:
            return np.empty(0, np.int64)
        vector: Array = getattr(table, f"{field}AsNumpy")()
        if len(vector) != length:
            raise self.bad(f"{what} end beyond the file")
        return vector

    def integers(self, table: Any, field: str, what: str) -> tuple[int, ...]:
        return tuple(self.numbers(table, field, what).tolist())

    def text(self, name: bytes | None) -> str:
        """A name; an absent one is empty."""
        self.text_budget -= len(name or b"")
        if self.text_budget < 0:
            raise self.bad(f"names of more than {MAX_TEXT} bytes together")
        return (name or b"").decode("utf-8", "replace")

    def present(self, table: Any, what: str) -> Any:
        """A table that must be there; one at a null offset is not."""
        if table is None:
            raise self.bad(f"{what} is missing")
        return table

    # ---------------------------------------------------------------- the model

    def graph(self, index: int) -> Graph:
        if len(self.bytes) < 16 or self.bytes[4:8] != IDENTIFIER:
            raise self.bad(f"expected a file of at least 16 bytes with {IDENTIFIER!r} at offset 4")
        model = schema.Model.root(self.bytes)
        if model.Version() != 3:
            raise self.bad(f"schema version {model.Version()}, expected 3")
        if not (count := self.count(model.SubgraphsLength(), MAX_SUBGRAPHS, "sub-graphs")):
            raise self.bad("no sub-graph, expected at least 1")
        parts = [self.part(model, i) for i in range(count)]
        signatures = self.signatures(model, parts)
        if not 0 <= index < count:
            raise self.bad(f"sub-graph {index} of {count}")
        graph = link(self.name, parts, index)
        self.check_order(graph)
        own = {key: replace(s, subgraph=None) for key, s in signatures.items() if s.subgraph == index}
        return replace(graph, signatures=MappingProxyType({**signatures, **own}))

    def part(self, model: Any, index: int) -> Part:
        """One sub-graph as it stands in the file. Its operators are named by their position, in all but the
        first after that of the sub-graph.
        """
        self.place = f"sub-graph {index}"
        subgraph = self.present(model.Subgraphs(index), "the table")
        values, variables = self.values(model, subgraph)
        self.place = f"sub-graph {index}"
        inputs = self.ids(self.integers(subgraph, "Inputs", "graph inputs"), len(values))
        outputs = self.ids(self.integers(subgraph, "Outputs", "graph outputs"), len(values))
        nodes = self.nodes(model, subgraph, values, f"{index}." if index else "")
        return Part(Graph(*_widened_constants(values, nodes), inputs, outputs), variables)

    def ids(self, ids: tuple[int, ...], tensors: int, optional: bool = False) -> tuple[int, ...]:
        for index in ids:
            if not (0 <= index < tensors or (optional and index == ABSENT)):
                raise self.bad(f"tensor index {index} is outside 0..{tensors - 1}")
        return ids

    def check_order(self, graph: Graph) -> None:
        """Each tensor has one source (constant, graph input or one node) and is there before it is used."""
        values = graph.values
        ready = {i for i, value in enumerate(values) if value.data is not None}
        self.place = "the graph"
        for index in graph.starts:
            self.claim(values, ready, index, "graph input")
        for node in graph.nodes:
            for part in subgraphs(node.attrs).values():
                self.check_order(part)
            self.place = node.source
            for index in node.inputs:
                if index != ABSENT and index not in ready:
                    raise self.bad(f"input {values[index].name!r} is not produced before it is used")
            for index in node.outputs:
                self.claim(values, ready, index, "output")
        self.place = "the graph"
        for index in graph.ends:
            if index not in ready:
                raise self.bad(f"graph output {values[index].name!r} is produced by no node")

    def claim(self, values: tuple[Value, ...], ready: set[int], index: int, role: str) -> None:
        if index in ready:
            raise self.bad(f"{role} {values[index].name!r} has a value already: a tensor has one source")
        ready.add(index)

    # ---------------------------------------------------------------- tensors

    def values(self, model: Any, subgraph: Any) -> tuple[tuple[Value, ...], frozenset[int]]:
        """The tensors, and which of them are variables."""
        buffers = model.BuffersLength()
        values, variables = [], set[int]()
        for i in range(self.count(subgraph.TensorsLength(), MAX_TENSORS, "tensors")):
            self.place = f"tensor {i}"
            tensor = self.present(subgraph.Tensors(i), "the table")
            values.append(self.value(model, tensor, buffers))
            if tensor.IsVariable():
                if values[i].data is not None:
                    raise self.bad("a variable tensor with data")
                variables.add(i)
        if self.by_block:
            self.scale_blocks(subgraph, values)
        return tuple(values), frozenset(variables)

    def scale_blocks(self, subgraph: Any, values: list[Value]) -> None:
        """Gives tensors that are quantised by block their scales, which are tensors of the same graph.

        Zero points are taken for 0, as TFLite's kernels do.
        """
        for i, value in enumerate(values):
            table = subgraph.Tensors(i).Quantization()
            if table is None or table.DetailsType() != BLOCKWISE:
                continue
            self.place = f"tensor {i} {value.name!r}"
            union = self.present(table.Details(), "the blocks")
            blocks = schema.BlockwiseQuantization(union.data, union.position)
            data = values[self.ids((blocks.Scales(),), len(values))[0]].data
            if data is None:
                raise self.lacking("scales of blocks that are computed at run time")
            self.count(data.size, MAX_LIST, "scales of blocks")
            values[i] = replace(value, quantization=weights.blockwise(value.shape, data, blocks.BlockSize()))

    def value(self, model: Any, tensor: Any, buffers: int) -> Value:
        name = self.text(tensor.Name())
        self.place += f" {name!r}" if name else ""
        kind, number = tensor.Type(), tensor.Buffer()
        if kind == schema.TensorType.RESOURCE:
            return Value(name, (), DType.I32)  # a handle, which the linker resolves
        bits = PACKED.get(kind, 0)
        if not bits and kind not in DTYPES:
            raise self.lacking(f"element type {_TYPE_NAMES.get(kind, kind)}")
        dtype = DType.I8 if bits else DTYPES[kind]
        shape = self.shape(tensor, dtype)
        if not 0 <= number < max(buffers, 1):
            raise self.bad(f"buffer {number} is outside 0..{buffers - 1}")
        buffer = self.stored(model.Buffers(number)) if buffers else None
        if bits or tensor.Sparsity() is not None:
            data: Array | None = self.unpacked(buffer, tensor, shape, dtype, bits)
        else:
            data = self.data(buffer, shape, dtype)
        return Value(name, shape, dtype, self.quantization(tensor, shape, dtype), data)

    def shape(self, tensor: Any, dtype: DType) -> Shape:
        shape = self.integers(tensor, "Shape", "dimensions")
        if len(shape) > MAX_RANK:
            raise self.lacking(f"rank {len(shape)}, the most is {MAX_RANK}")
        if any(size < 0 for size in shape) or math.prod(shape) * dtype.size > MAX_BYTES:
            raise self.bad(
                f"shape {shape} of {dtype.value}: expected sizes >= 0 and at most {MAX_BYTES} bytes"
            )
        return shape

    def stored(self, buffer: Any) -> Array | None:
        """The bytes of a buffer; None for the empty buffer of a tensor that is computed."""
        if (offset := self.present(buffer, "its buffer").Offset()) > 1:
            if offset + buffer.Size() > len(self.bytes):
                raise self.bad(f"data at {offset}..{offset + buffer.Size()} of {len(self.bytes)} bytes")
            raise self.lacking("data outside the flatbuffer")
        if not (length := buffer.DataLength()):
            return None
        self.charge(length)
        return np.asarray(buffer.DataAsNumpy())

    def charge(self, length: int) -> None:
        """Bytes of constants, charged to the budget of the whole file."""
        self.data_budget -= length
        if self.data_budget < 0:
            raise self.bad(f"the constants so far are more than {MAX_SHARING} times the file")

    def data(self, stored: Array | None, shape: Shape, dtype: DType) -> Array | None:
        expected = math.prod(shape) * dtype.size
        if stored is None:
            return np.zeros(shape, dtype.numpy) if expected == 0 else None
        if stored.size != expected:
            raise self.bad(f"{stored.size} bytes of data, expected {expected} for {dtype.value} {shape}")
        if dtype is DType.BOOL:
            stored = stored != 0  # a bool that is neither 0 nor 1 is not one
        data: Array = np.require(stored, requirements="C").view(dtype.numpy).reshape(shape)
        return data

    def unpacked(self, stored: Array | None, tensor: Any, shape: Shape, dtype: DType, bits: int) -> Array:
        """A constant of fewer bits or in sparse storage, dense."""
        table = tensor.Sparsity()
        if stored is None or (bits and table is not None):
            raise self.lacking("packed numbers that are computed at run time, or sparse as well")
        if bits:
            return weights.unpacked(stored, shape, bits)
        self.charge(math.prod(shape) * dtype.size // MAX_SPARSITY)
        sparsity = weights.Sparsity(
            self.integers(table, "TraversalOrder", "traversal order"),
            self.integers(table, "BlockMap", "block map"),
            tuple(
                self.level(self.present(table.DimMetadata(i), f"dimension {i}"))
                for i in range(self.count(table.DimMetadataLength(), 2 * MAX_RANK, "sparse dimensions"))
            ),
        )
        return weights.densified(stored.view(dtype.numpy), shape, sparsity)

    def level(self, table: Any) -> weights.Level:
        if table.Format() == schema.DimensionType.DENSE:
            return weights.Level(table.DenseSize())
        lists = (
            (table.ArraySegmentsType(), table.ArraySegments()),
            (table.ArrayIndicesType(), table.ArrayIndices()),
        )
        segments, indices = (self.sparse_numbers(kind, union) for kind, union in lists)
        return weights.Level(0, segments, indices)

    def sparse_numbers(self, kind: int, union: Any) -> Array:
        there = self.present(union, "a list of a sparse dimension")
        vector = _SPARSE_VECTORS[kind](there.data, there.position)
        return self.numbers(vector, "Values", "entries of a sparse dimension")

    def quantization(self, tensor: Any, shape: Shape, dtype: DType) -> Quantization | None:
        table = tensor.Quantization()
        if table is None:
            return None
        if (details := table.DetailsType()) == BLOCKWISE:
            self.by_block = True
            return None
        if dtype in NEVER_QUANTIZED or table.ScaleLength() == 0:
            return None
        if details:
            raise self.lacking("a custom quantization")
        scale = tuple(self.numbers(table, "Scale", "scales").tolist())
        zero_point = self.integers(table, "ZeroPoint", "zero points") or (0,) * len(scale)
        axis = table.QuantizedDimension()
        if not all(math.isfinite(number) and number >= 0 for number in scale):
            raise self.bad(f"scales {scale[:4]}: expected finite numbers that are not negative")
        if len(zero_point) != len(scale):
            raise self.bad(f"{len(scale)} scales and {len(zero_point)} zero points, expected as many of each")
        limits = np.iinfo(dtype.numpy)
        if not all(limits.min <= number <= limits.max for number in zero_point):
            raise self.bad(f"zero points {zero_point[:4]} do not fit {dtype.value}")
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise self.bad(f"{len(scale)} scales along axis {axis} of shape {shape}")
        return Quantization(scale, zero_point, axis if len(scale) > 1 else 0)

    # ---------------------------------------------------------------- operators

    def nodes(self, model: Any, subgraph: Any, values: tuple[Value, ...], prefix: str) -> tuple[Node, ...]:
        nodes = []
        for i in range(self.count(subgraph.OperatorsLength(), MAX_NODES, "operators")):
            self.place = f"operator {i}"
            operator = self.present(subgraph.Operators(i), "the table")
            nodes.append(self.node(model, operator, f"{prefix}{i}", values))
        return tuple(nodes)

    def node(self, model: Any, operator: Any, position: str, values: tuple[Value, ...]) -> Node:
        if operator.OpcodeIndex() >= model.OperatorCodesLength():
            raise self.bad(f"operator code {operator.OpcodeIndex()} of {model.OperatorCodesLength()}")
        code = self.present(model.OperatorCodes(operator.OpcodeIndex()), "its operator code")
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the one byte came first
        name = _OPERATOR_NAMES.get(builtin, f"number {builtin}")
        self.place = source = f"{name}#{position}"
        if name == "CUSTOM":
            name = self.text(code.CustomCode())
            if name not in CUSTOM:
                raise self.lacking(f"custom operator {name!r} is not known")
            self.place = source = f"{name}#{position}"
        if name not in OPERATORS:
            raise self.lacking(f"operator {name} is not known")
        row, tensors = OPERATORS[name], len(values)
        inputs = self.ids(self.integers(operator, "Inputs", "inputs"), tensors, optional=True)
        outputs = self.ids(self.integers(operator, "Outputs", "outputs"), tensors)
        for ids, (least, most), what in ((inputs, row.inputs, "inputs"), (outputs, row.outputs, "outputs")):
            if not least <= len(ids) <= most:
                raise self.bad(f"{len(ids)} {what}, expected {least}..{most}")
        if ABSENT in inputs[: row.inputs[0]]:
            raise self.bad(f"input {inputs.index(ABSENT)} is left out, but it is not optional")
        attributes = self.attributes(operator, row)
        if row.intermediates:
            between = self.ids(self.integers(operator, "Intermediates", "intermediates"), tensors)
            attributes["intermediates"] = tuple(values[i].quantization for i in between)
        return Node(name, inputs, outputs, MappingProxyType(attributes), source)

    def attributes(self, operator: Any, row: Operator) -> dict[str, Any]:
        """The fields of the options table; an operator without one has the defaults of the schema."""
        if row.custom is not None:
            return self.custom(operator, row.custom)
        if not row.fields:
            return {}
        union = "BuiltinOptions" if hasattr(schema.BuiltinOptions, row.table) else "BuiltinOptions2"
        given, kind = getattr(operator, union)(), getattr(operator, f"{union}Type")()
        if given is None:
            options = getattr(schema, row.table)(_EMPTY_TABLE, 4)
        elif kind != getattr(getattr(schema, union), row.table):
            raise self.bad(f"options of type {kind}, expected {row.table}")
        else:
            options = getattr(schema, row.table)(given.data, given.position)
        return {field: self.attribute(options, field) for field in row.fields}

    def custom(self, operator: Any, defaults: Mapping[str, Option]) -> dict[str, Any]:
        """The options of a custom operator."""
        if operator.CustomOptionsFormat():
            raise self.bad(f"custom options in format {operator.CustomOptionsFormat()}, expected 0")
        if operator.LargeCustomOptionsOffset() > 1:
            raise self.lacking("custom options outside the flatbuffer")
        try:
            data = self.numbers(operator, "CustomOptions", "bytes of custom options")
            return custom.options(data.tobytes(), defaults)
        except ModelError as error:
            raise self.bad(str(error)) from error

    def attribute(self, options: Any, field: str) -> Any:
        accessor = "".join(word.capitalize() for word in field.split("_"))
        if hasattr(options, f"{accessor}Length"):
            numbers = self.numbers(options, accessor, field)
            if not np.isfinite(numbers).all():
                raise self.bad(f"{field}: expected finite numbers")
            return tuple(numbers.tolist())
        read: Callable[[], Any] = getattr(options, accessor)
        if field in TEXTS:
            return self.text(read())
        number = read()
        if isinstance(number, float) and not math.isfinite(number):
            raise self.bad(f"{field} = {number}, expected a finite number")
        if field not in ENUMS:
            return number
        if number not in ENUMS[field]:
            raise self.bad(f"{field} = {number}, expected one of {', '.join(ENUMS[field].values())}")
        return ENUMS[field][number]

    # ---------------------------------------------------------------- signatures

    def signatures(self, model: Any, parts: Sequence[Part]) -> dict[str, Signature]:
        found = {}
        for i in range(self.count(model.SignatureDefsLength(), MAX_NODES, "signatures")):
            self.place = f"signature {i}"
            entry = self.present(model.SignatureDefs(i), "the table")
            key = self.text(entry.SignatureKey())
            if (index := entry.SubgraphIndex()) >= len(parts):
                raise self.bad(f"{key!r} calls sub-graph {index} of {len(parts)}")
            graph = parts[index].graph
            found[key] = Signature(
                self.arguments(entry.InputsLength(), entry.Inputs, graph.inputs),
                self.arguments(entry.OutputsLength(), entry.Outputs, graph.outputs),
                index,
            )
        return found

    def arguments(self, length: int, read: Callable[[int], Any], ends: tuple[int, ...]) -> Mapping[str, int]:
        arguments, known = {}, frozenset(ends)
        for i in range(self.count(length, MAX_TENSORS, "arguments")):
            entry = self.present(read(i), f"argument {i}")
            name = self.text(entry.Name())
            if entry.TensorIndex() not in known:
                raise self.bad(
                    f"argument {name!r} is tensor {entry.TensorIndex()}, not one of the graph's {ends}"
                )
            arguments[name] = entry.TensorIndex()
        return MappingProxyType(arguments)


_EMPTY_TABLE = struct.pack("<HHi", 4, 4, 4)
"""A vtable without fields, and at offset 4 a table that points back to it: every field has its default."""


def _widened_constants(
    values: tuple[Value, ...], nodes: tuple[Node, ...]
) -> tuple[tuple[Value, ...], tuple[Node, ...]]:
    """Float16 weights: DEQUANTIZE of a float16 constant becomes a float32 constant."""
    widened, kept = list(values), []
    for node in nodes:
        if node.op != "DEQUANTIZE" or (data := _half(node, values)) is None:
            kept.append(node)
        else:
            target = values[node.outputs[0]]
            widened[node.outputs[0]] = replace(target, shape=data.shape, data=data.astype(np.float32))
    return tuple(widened), tuple(kept)


def _half(node: Node, values: tuple[Value, ...]) -> Array | None:
    """The float16 constant that a DEQUANTIZE makes float32."""
    source, target = values[node.inputs[0]], values[node.outputs[0]]
    return source.data if (source.dtype, target.dtype) == (DType.F16, DType.F32) else None
