"""Write `.tflite` flatbuffers: `write(ModelSpec) -> bytes`, the mirror of `runtime/importers/tflite.py`.

One row of `OPERATORS` describes one operator: its options table, the fields with their defaults, and the
version that each feature asks for. Quantising a float model is left to `quantize.py`. Format: schema.fbs of
TensorFlow Lite, schema version 3; operator versions: tensorflow/lite/tools/versioning/op_version.cc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite as schema

from runtime.errors import ExportError

Array = npt.NDArray[Any]
Option = int | float | str | tuple[float, ...]

DTYPES: dict[str, int] = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
    "float64": schema.TensorType.FLOAT64,
    "uint16": schema.TensorType.UINT16,
    "uint32": schema.TensorType.UINT32,
    "uint64": schema.TensorType.UINT64,
    "complex64": schema.TensorType.COMPLEX64,
    "resource": schema.TensorType.RESOURCE,
    "int4": schema.TensorType.INT4,
}
HELD_AS = {"int4": "int8"}  # the array type of a constant, where it has no element type of that name
BUFFER_ALIGNMENT = 16  # the loader maps the file, so constants must be aligned in it
FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ABSENT = -1  # the position of an optional input that is left out


@dataclass(frozen=True, slots=True, eq=False)
class TensorSpec:
    """A tensor; a constant when it has `data`, quantised when it has `scale`. A size of -1 is dynamic; what a
    `variable` holds stays from run to run.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    data: Array | None = None
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    quantized_dimension: int = 0
    variable: bool = False

    @classmethod
    def constant(cls, name: str, data: Array) -> TensorSpec:
        """A constant with the shape and dtype of its data."""
        return cls(name, data.shape, str(data.dtype), data)


@dataclass(frozen=True, slots=True)
class OpSpec:
    """One operator; its tensors by name, "" for an optional input left out; options default to its row's."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One graph, operators in order of execution; `signature` is its key (its names are the tensors').

    `subgraphs` are what its control flow calls, or their own signatures, numbered from 1; they have no
    sub-graphs of their own.
    """

    tensors: tuple[TensorSpec, ...]
    operators: tuple[OpSpec, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    description: str = ""
    signature: str | None = None
    subgraphs: tuple[ModelSpec, ...] = ()


# ---------------------------------------------------------------- the table of operators

PADDING = {"SAME": schema.Padding.SAME, "VALID": schema.Padding.VALID}
ACTIVATION = {
    "NONE": schema.ActivationFunctionType.NONE,
    "RELU": schema.ActivationFunctionType.RELU,
    "RELU_N1_TO_1": schema.ActivationFunctionType.RELU_N1_TO_1,
    "RELU6": schema.ActivationFunctionType.RELU6,
    "TANH": schema.ActivationFunctionType.TANH,
    "SIGN_BIT": schema.ActivationFunctionType.SIGN_BIT,
}
WEIGHTS_FORMAT = {"DEFAULT": 0, "SHUFFLED4x16INT8": 1}
ENUMS = {"padding": PADDING, "fused_activation_function": ACTIVATION, "weights_format": WEIGHTS_FORMAT}

NOTHING = TensorSpec("", (), "")  # what stands for an input that is left out


@dataclass(frozen=True, slots=True)
class Use:
    """What the version of an operator depends on: its first two inputs, its options, the number of inputs."""

    x: TensorSpec
    y: TensorSpec
    options: Mapping[str, Option]
    arity: int


Needs = Callable[[Use], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """How an operator is written: options table ("" for none), its fields with defaults, versions by feature.

    `int8`, `int16`: for a first input of that type; `broadcast5`: for broadcasting more than four dimensions.
    """

    table: str = ""
    fields: Mapping[str, Option] = field(default_factory=dict)
    int8: int = 1
    int16: int = 1
    broadcast5: int = 1
    special: tuple[tuple[int, Needs], ...] = ()


def _hybrid(use: Use) -> bool:
    """Float activations with int8 weights."""
    return (use.x.dtype, use.y.dtype) == ("float32", "int8")


def _hybrid_per_channel(use: Use) -> bool:
    return _hybrid(use) and len(use.y.scale) > 1


def _grouped(use: Use) -> bool:
    return use.x.shape[-1:] != use.y.shape[-1:]


def _dilated(use: Use) -> bool:
    return (use.options["dilation_w_factor"], use.options["dilation_h_factor"]) != (1, 1)


def _free_scale_int16(use: Use) -> bool:
    """int16 with scales that are not powers of two."""
    return use.x.dtype == "int16" and not use.options["pot_scale_int16"]


def _is(dtype: str) -> Needs:
    return lambda use: use.x.dtype == dtype


def _rank_over(rank: int) -> Needs:
    return lambda use: len(use.x.shape) > rank


FUSED: dict[str, Option] = {"fused_activation_function": "NONE"}
SLIDING: dict[str, Option] = {"padding": "SAME", "stride_w": 1, "stride_h": 1, **FUSED}
DILATED: dict[str, Option] = {**SLIDING, "dilation_w_factor": 1, "dilation_h_factor": 1}
POOL = Row("Pool2DOptions", {**SLIDING, "filter_width": 2, "filter_height": 2}, int8=2, int16=3)
ELEMENTWISE = Row(int8=2, int16=3)

OPERATORS: dict[str, Row] = {
    "CONV_2D": Row(
        "Conv2DOptions", DILATED, int8=3, int16=4,
        special=((2, _hybrid), (5, _hybrid_per_channel), (6, _grouped)),
    ),
    "DEPTHWISE_CONV_2D": Row(
        "DepthwiseConv2DOptions", {**DILATED, "depth_multiplier": 1}, int8=3, int16=5,
        special=((2, _dilated), (4, _hybrid), (6, _hybrid_per_channel)),
    ),
    "AVERAGE_POOL_2D": POOL,
    "MAX_POOL_2D": POOL,
    "FULLY_CONNECTED": Row(
        "FullyConnectedOptions",
        {**FUSED, "weights_format": "DEFAULT", "keep_num_dims": False, "asymmetric_quantize_inputs": False},
        int8=4, int16=7,
        special=(
            (2, lambda use: use.options["weights_format"] != "DEFAULT"),
            (3, _hybrid),
            (5, lambda use: bool(use.options["keep_num_dims"])),
            (6, lambda use: use.arity == 2),
            (9, lambda use: _hybrid(use) and bool(use.options["asymmetric_quantize_inputs"])),
        ),
    ),
    "ADD": Row(
        "AddOptions", {**FUSED, "pot_scale_int16": True}, int8=2,
        special=((3, _free_scale_int16), (4, _is("int64"))),
    ),
    "SUB": Row(
        "SubOptions", {**FUSED, "pot_scale_int16": True}, int8=2, broadcast5=3,
        special=((4, _is("int64")), (5, _free_scale_int16)),
    ),
    "MUL": Row("MulOptions", FUSED, int8=3, int16=4, special=((5, _is("int64")),)),
    "DIV": Row("DivOptions", FUSED, broadcast5=2),
    "MAXIMUM": Row("MaximumMinimumOptions", int8=2, int16=4, broadcast5=3),
    "MINIMUM": Row("MaximumMinimumOptions", int8=2, int16=4, broadcast5=3),
    "RELU": ELEMENTWISE,
    "RELU6": ELEMENTWISE,
    "LOGISTIC": ELEMENTWISE,
    "TANH": ELEMENTWISE,
    "SOFTMAX": Row("SoftmaxOptions", {"beta": 1.0}, int8=2, int16=3),
    "RESHAPE": Row("ReshapeOptions", {"new_shape": ()}),
    "SQUEEZE": Row("SqueezeOptions", {"squeeze_dims": ()}),
    "TRANSPOSE": Row(
        "TransposeOptions", int8=2, int16=5,
        special=((3, _is("bool")), (4, _rank_over(4)), (6, _rank_over(5))),
    ),
    "CONCATENATION": Row("ConcatenationOptions", {"axis": 0, **FUSED}, int8=2, int16=3),
    "PAD": Row("PadOptions", int8=2, int16=3, special=((4, _rank_over(4)),)),
    "MEAN": Row("ReducerOptions", {"keep_dims": False}, int8=2, int16=3),
    "QUANTIZE": Row("QuantizeOptions"),
    "DEQUANTIZE": Row("DequantizeOptions", int8=2, int16=3, special=((3, _is("float16")),)),
}  # fmt: skip


def version_of(kind: str, use: Use) -> int:
    """The largest version that a feature of this use asks for."""
    row = OPERATORS[kind]
    versions = [1, {"int8": row.int8, "int16": row.int16}.get(use.x.dtype, 1)]
    if use.y is not NOTHING and use.x.shape != use.y.shape and max(len(use.x.shape), len(use.y.shape)) > 4:
        versions.append(row.broadcast5)
    return max(versions + [version for version, needs in row.special if needs(use)])


# ---------------------------------------------------------------- writing


def write(model: ModelSpec) -> bytes:
    """The model as a `.tflite` file; equal models give equal bytes. Raises ExportError naming the place."""
    return _Writer(model).model()


class _Scope:
    """One graph of the file: the position of each tensor by name, its operators completed."""

    def __init__(self, spec: ModelSpec, number: int) -> None:
        self.spec, self.number, self.index = spec, number, _tensor_index(spec)
        for end, names in (("input", spec.inputs), ("output", spec.outputs)):
            for name in names:
                _lookup(name, self.index, f"model {end}")
        self.operators = [self.resolved(op, f"operator {i} {op.kind}") for i, op in enumerate(spec.operators)]
        self.constants = [tensor for tensor in spec.tensors if tensor.data is not None]

    def resolved(self, op: OpSpec, where: str) -> tuple[OpSpec, Mapping[str, Option], int]:
        """The operator, its options completed by the defaults, its version."""
        if op.kind not in OPERATORS:
            raise ExportError(f"{where}: cannot be written; known kinds: {', '.join(OPERATORS)}")
        defaults = OPERATORS[op.kind].fields
        if unknown := sorted(set(op.options) - set(defaults)):
            known = ", ".join(defaults) or "none"
            raise ExportError(f"{where}: unknown options {', '.join(unknown)}; known: {known}")
        options = {**defaults, **op.options}
        for name, value in options.items():
            if name in ENUMS and not isinstance(value, tuple) and value not in ENUMS[name]:
                raise ExportError(f"{where}: {name} = {value!r}, expected one of {', '.join(ENUMS[name])}")
        tensors = [
            self.spec.tensors[_lookup(name, self.index, where)] if name else NOTHING
            for name in (*op.inputs, *op.outputs)
        ]
        x, y, *_ = (*tensors[: len(op.inputs)], NOTHING, NOTHING)
        return op, options, version_of(op.kind, Use(x, y, options, len(op.inputs)))

    def positions(self, names: Sequence[str]) -> list[int]:
        return [self.index[name] if name else ABSENT for name in names]


class _Writer:
    """One flatbuffer in the making. It grows from its end: every part is written before what refers to it."""

    def __init__(self, model: ModelSpec) -> None:
        self.scopes = [_Scope(spec, number) for number, spec in enumerate((model, *model.subgraphs))]
        self.codes = sorted(
            {(op.kind, version) for scope in self.scopes for op, _, version in scope.operators}
        )
        self.constants = [(scope.number, tensor) for scope in self.scopes for tensor in scope.constants]
        # buffer 0 is the empty one, of everything that is no constant
        self.buffers = {
            (number, tensor.name): i for i, (number, tensor) in enumerate(self.constants, start=1)
        }
        self.builder = flatbuffers.Builder(4096)

    def model(self) -> bytes:
        main = self.scopes[0]
        root = self.table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self.offsets([self.operator_code(kind, version) for kind, version in self.codes]),
            Subgraphs=self.offsets([self.subgraph(scope) for scope in self.scopes]),
            Description=self.builder.CreateString(main.spec.description),
            Buffers=self.offsets(
                [self.table("Buffer"), *(self.buffer(tensor) for _, tensor in self.constants)]
            ),
            SignatureDefs=self.offsets(
                [
                    self.signature(scope, scope.spec.signature)
                    for scope in self.scopes
                    if scope.spec.signature is not None
                ]
            ),
        )
        self.builder.Finish(root, FILE_IDENTIFIER)
        return bytes(self.builder.Output())

    def subgraph(self, scope: _Scope) -> int:
        return self.table(
            "SubGraph",
            Tensors=self.offsets([self.tensor(scope, tensor) for tensor in scope.spec.tensors]),
            Inputs=self.ids(scope, scope.spec.inputs),
            Outputs=self.ids(scope, scope.spec.outputs),
            Operators=self.offsets([self.operator(scope, *resolved) for resolved in scope.operators]),
            Name=self.builder.CreateString(f"graph{scope.number}" if scope.number else "main"),
        )

    def operator_code(self, kind: str, version: int) -> int:
        code = getattr(schema.BuiltinOperator, kind)
        deprecated = min(code, 127)  # the one-byte field of readers older than schema 3a
        return self.table("OperatorCode", DeprecatedBuiltinCode=deprecated, Version=version, BuiltinCode=code)

    def operator(self, scope: _Scope, op: OpSpec, options: Mapping[str, Option], version: int) -> int:
        row = OPERATORS[op.kind]
        fields = {
            "OpcodeIndex": self.codes.index((op.kind, version)),
            "Inputs": self.ids(scope, op.inputs),
            "Outputs": self.ids(scope, op.outputs),
        }
        if row.table:
            values = {_camel(name): self.option(name, value) for name, value in options.items()}
            union = "BuiltinOptions" if hasattr(schema.BuiltinOptions, row.table) else "BuiltinOptions2"
            fields[f"{union}Type"] = getattr(getattr(schema, union), row.table)
            fields[union] = self.table(row.table, **values)
        return self.table("Operator", **fields)

    def option(self, name: str, value: Option) -> float:
        """A scalar as it stands, an enum as its number, texts and lists as their offsets."""
        if isinstance(value, str):
            return int(ENUMS[name][value] if name in ENUMS else self.builder.CreateString(value))
        if not isinstance(value, tuple):
            return value
        return self.numbers(value, "float32" if any(isinstance(x, float) for x in value) else "int32")

    def tensor(self, scope: _Scope, tensor: TensorSpec) -> int:
        dynamic = any(size < 0 for size in tensor.shape)
        fields = {
            "Shape": self.numbers(
                [abs(size) for size in tensor.shape], "int32"
            ),  # a dynamic size is 1 until resized
            "Type": DTYPES[tensor.dtype],
            "Buffer": self.buffers.get((scope.number, tensor.name), 0),
            "IsVariable": tensor.variable,
            "Name": self.builder.CreateString(tensor.name),
            "HasRank": True,
        }
        if tensor.scale:
            fields["Quantization"] = self.table(
                "QuantizationParameters",
                Scale=self.numbers(tensor.scale, "float32"),
                ZeroPoint=self.numbers(tensor.zero_point, "int64"),
                QuantizedDimension=tensor.quantized_dimension,
            )
        if dynamic:
            fields["ShapeSignature"] = self.numbers(tensor.shape, "int32")
        return self.table("Tensor", **fields)

    def buffer(self, tensor: TensorSpec) -> int:
        array = np.ascontiguousarray(tensor.data)
        data = (_nibbles(array) if tensor.dtype == "int4" else array).tobytes()
        self.builder.StartVector(1, len(data), BUFFER_ALIGNMENT)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        return self.table("Buffer", Data=self.builder.EndVector())

    def signature(self, scope: _Scope, key: str) -> int:
        return self.table(
            "SignatureDef",
            Inputs=self.offsets([self.tensor_map(scope, name) for name in scope.spec.inputs]),
            Outputs=self.offsets([self.tensor_map(scope, name) for name in scope.spec.outputs]),
            SignatureKey=self.builder.CreateString(key),
            SubgraphIndex=scope.number,
        )

    def tensor_map(self, scope: _Scope, name: str) -> int:
        return self.table("TensorMap", Name=self.builder.CreateString(name), TensorIndex=scope.index[name])

    # the four shapes that a flatbuffer is made of: table, vector of numbers, vector of offsets, string

    def table(self, name: str, **fields: float) -> int:
        """Written through the functions of the schema bindings; vectors and strings are given as offsets."""
        getattr(schema, f"{name}Start")(self.builder)
        for key, value in fields.items():
            getattr(schema, f"{name}Add{key}")(self.builder, value)
        return int(getattr(schema, f"{name}End")(self.builder))

    def ids(self, scope: _Scope, names: Sequence[str]) -> int:
        return self.numbers(scope.positions(names), "int32")

    def numbers(self, values: Sequence[float], dtype: str) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, dtype)))

    def offsets(self, values: Sequence[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())


def _nibbles(numbers: Array) -> Array:
    """Two numbers of -8..7 in each byte, the first in the low bits."""
    if numbers.size and not -8 <= numbers.min() <= numbers.max() <= 7:
        raise ExportError(f"int4 numbers of {numbers.min()}..{numbers.max()}, expected -8..7")
    fields = np.zeros(-(-numbers.size // 2) * 2, np.uint8)
    fields[: numbers.size] = numbers.reshape(-1) & 15
    return np.asarray(fields[::2] | fields[1::2] << 4)


def _tensor_index(model: ModelSpec) -> dict[str, int]:
    """Name -> position of every tensor, each of them checked."""
    index: dict[str, int] = {}
    for position, tensor in enumerate(model.tensors):
        where, data = f"tensor {tensor.name!r}", tensor.data
        if not tensor.name or tensor.name in index:
            raise ExportError(f"{where}: expected a name that is not empty and not used twice")
        if tensor.dtype not in DTYPES:
            raise ExportError(f"{where}: dtype {tensor.dtype!r}, expected one of {', '.join(DTYPES)}")
        if any(size < -1 for size in tensor.shape):
            raise ExportError(
                f"{where}: shape {list(tensor.shape)}, expected sizes >= 0, or -1 for a dynamic one"
            )
        held = HELD_AS.get(tensor.dtype, tensor.dtype)
        if data is not None and (data.shape, str(data.dtype)) != (tensor.shape, held):
            got, expected = f"{data.dtype}{list(data.shape)}", f"{held}{list(tensor.shape)}"
            raise ExportError(f"{where}: data is {got}, expected {expected}")
        if len(tensor.scale) != len(tensor.zero_point):
            got = f"{len(tensor.scale)} scales and {len(tensor.zero_point)} zero points"
            raise ExportError(f"{where}: {got}, expected as many of each")
        index[tensor.name] = position
    return index


def _lookup(name: str, index: Mapping[str, int], where: str) -> int:
    if name not in index:
        raise ExportError(f"{where}: no tensor is named {name!r}; tensors: {', '.join(index)}")
    return index[name]


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
