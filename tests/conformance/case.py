"""A case: one operator, its operands and options, and the element types to try it on; and its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np
import tflite as bindings

from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, Row, TensorSpec
from runtime.importers import schema
from runtime.importers.calls import BODIES
from runtime.importers.tflite import load
from runtime.infer import infer
from runtime.operators import OPERATORS, TEXTS, Operator
from tests.conformance.packed import Sparse, Stepped, Writer

Array = np.ndarray[Any, np.dtype[Any]]
Options = Mapping[str, Any]

ENUM_DEFAULTS = {
    "padding": "SAME",
    "fused_activation_function": "NONE",
    "weights_format": "DEFAULT",
    **dict.fromkeys((*TEXTS, "name"), ""),
}


def _options(row: Operator) -> dict[str, Any]:
    """Every field of the options table, as an operator has it that nobody gave any."""
    if not row.table:
        return dict(row.custom or {})
    lists, default = getattr(schema, row.table), {}
    for option in (*row.fields, *row.hints):
        several = hasattr(lists, f"{exporter._camel(option)}Length")
        default[option] = () if several else ENUM_DEFAULTS.get(option, 0)
    return default


OPTIONS = {kind: _options(row) for kind, row in OPERATORS.items()}
FIRST_VERSION = {"BROADCAST_TO": 2}
"""Of an operator whose first version TFLite does not have."""
WRITTEN = {
    kind: replace(written, fields={**OPTIONS[kind], **written.fields})
    for kind, written in {
        **{
            kind: Row(row.table, special=((FIRST_VERSION.get(kind, 1), lambda _: True),))
            for kind, row in OPERATORS.items()
        },
        **exporter.OPERATORS,
    }.items()
}
"""How operators are written, also those that the project reads but never writes: every option that its
exporter does not know is zero unless given."""


@dataclass(frozen=True)
class X:
    """A model input: uniform in `span` when float, over its whole type when quantised.

    It has the type of the case, or `dtype`; plain integers lie within `span`, by default -20..20. `stored` is
    its (scale, zero point) as int8, or of an `int32`; half of the floats are some `among` these.
    """

    shape: tuple[int, ...]
    span: tuple[float, float] = (-3.0, 3.0)
    dtype: str = ""
    stored: tuple[float, int] | None = None
    among: tuple[float, ...] = ()


@dataclass(frozen=True)
class W:
    """Constant weights: in int8 one scale per slice of `axis` (None: one for all), in uint8 a zero point.

    Their type is that of the case, int8 under int16, or `dtype`; one scale for all is `scale`, the zero point
    in uint8 `zero`. Sparse ones are written as (traversal order, blocks, which dimensions in the order are
    compressed)."""

    shape: tuple[int, ...]
    axis: int | None = 0
    dtype: str = ""
    sparse: tuple[tuple[int, ...], tuple[tuple[int, int], ...], frozenset[int]] | None = None
    scale: float = 0.01
    zero: int = 121


@dataclass(frozen=True)
class B:
    """A constant bias, on the scale of input times weights under integer types: int32, under int16 int64.

    It has that type, or `dtype`."""

    size: int
    dtype: str = ""


@dataclass(frozen=True)
class V:
    """A variable tensor, of the type of the case or `dtype`; `stored` are its scale and zero point."""

    shape: tuple[int, ...]
    dtype: str = ""
    stored: tuple[float, int] | None = None


Operand = X | W | B | V | TensorSpec | Array | None
QUANTIZED = ("int8", "uint8", "int16")


@dataclass(frozen=True)
class Case:
    """One operator and the element types to try it on.

    `same` keeps one quantisation through the operator; `out_type` is the element type of all outputs or of
    each, by default that of the case; `out_scale` is the output's (scale, zero point) as int8; `steps` is by
    how much integers may differ, `tolerance` by how much floats, of the largest expected one. Where TFLite
    has no kernel or a wrong one, `expect` computes the outputs from the operands and the options; of a `late`
    kernel tflite-runtime 2.14 knows nothing, but ai-edge-litert is asked as well; one that is not among the
    `reference` kernels is asked for among the builtin ones. On the element types
    `builtin` TFLite's other set of kernels is held against ours as well. A model of more than the operator is
    given by `graphs`, for its element type; `runs` are how often it runs in a row, for what it keeps;
    `between` are scales and zero points of the tensors between its steps. A `body` is a sub-graph of one
    operator on scalars, "" for the second of them as it is; `out_shape` is what the model says of an output
    whose shape nothing else tells.
    """

    op: str
    operands: tuple[Operand, ...]
    options: Options = field(default_factory=dict)
    types: tuple[str, ...] = ("float32", "int8", "uint8")
    same: bool = False
    outputs: int = 1
    out_type: str | tuple[str, ...] | None = None
    out_scale: tuple[float, int] | None = None
    steps: int = 0
    tolerance: float = 1e-5
    expect: Callable[..., Sequence[Array]] | None = None
    late: bool = False
    reference: bool = True
    builtin: tuple[str, ...] = ()
    graphs: Callable[[str], ModelSpec] | None = None
    runs: int = 1
    between: tuple[tuple[float, int], ...] = ()
    body: str | None = None
    out_shape: tuple[int, ...] = (1,)

    def __str__(self) -> str:
        shapes = [str(list(o.shape)) for o in self.operands if isinstance(o, X | W)]
        options = [f"{key}={value}" for key, value in self.options.items()]
        return "-".join([self.op, *shapes, *options]).replace(" ", "")


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


FLOAT = ("float32",)
BYTES = ("int8", "uint8")
ALL = (*FLOAT, *BYTES)
EVERY = (*ALL, "int16", "int32", "int64", "bool")


def without(*types: str) -> tuple[str, ...]:
    """Every element type but these."""
    return tuple(dtype for dtype in EVERY if dtype not in types)


RELU, RELU6, RELU_N1 = ({"fused_activation_function": name} for name in ("RELU", "RELU6", "RELU_N1_TO_1"))


class Maker:
    """Writes the model of a case in one element type, with inputs that use the whole range."""

    def __init__(self, case: Case, dtype: str) -> None:
        self.case, self.dtype, self.tensors = case, dtype, list[TensorSpec]()
        self.rng = np.random.default_rng(len(str(case)))

    def scale(self, i: int, dtype: str, stored: tuple[float, int] | None = None) -> dict[str, Any]:
        """The quantisation of the i-th tensor; the output's, where all share one, is that of input 0."""
        if dtype not in QUANTIZED:
            return {}
        default = (0.05, 3) if self.case.same else (0.05 - 0.011 * (i % 4), 3 + 9 * (i % 4))
        scale, zero = stored or default
        if dtype == "int16":
            return {"scale": (scale / 256,), "zero_point": (0,)}
        return {"scale": (scale,), "zero_point": (zero + 128 * (dtype == "uint8"),)}

    def operand(self, i: int, operand: Operand) -> str:
        if operand is None:
            return ""
        name = f"operand {i}"
        if isinstance(operand, X):
            dtype = operand.dtype or self.dtype
            scale = self.scale(i, dtype, operand.stored)
            if operand.dtype == "int32" and operand.stored:
                scale = exactly(*operand.stored)
            self.tensors.append(TensorSpec(name, operand.shape, dtype, **scale))
        elif isinstance(operand, V):
            dtype = operand.dtype or self.dtype
            scale = self.scale(i, dtype) if operand.stored is None else exactly(*operand.stored)
            self.tensors.append(TensorSpec(name, operand.shape, dtype, **scale, variable=True))
        elif isinstance(operand, W):
            dense = self.weights(name, operand)
            self.tensors.append(dense if operand.sparse is None else self.thinned(dense, *operand.sparse))
        elif isinstance(operand, B):
            self.tensors.append(self.bias(name, operand))
        elif isinstance(operand, TensorSpec):
            self.tensors.append(replace(operand, name=name))
        else:
            self.tensors.append(TensorSpec.constant(name, operand))
        return name

    def weights(self, name: str, w: W) -> TensorSpec:
        dtype = w.dtype or {"int16": "int8"}.get(self.dtype, self.dtype)
        if dtype == "float32":
            return TensorSpec.constant(name, self.rng.normal(size=w.shape).astype(np.float32))
        if dtype == "float16":
            return TensorSpec.constant(name, self.rng.normal(size=w.shape).astype(np.float16))
        low, high = {"uint8": (0, 256), "int4": (-7, 8), "int16": (1 - 2**15, 2**15)}.get(dtype, (-127, 128))
        data = self.rng.integers(low, high, w.shape).astype(exporter.HELD_AS.get(dtype, dtype))
        if dtype == "uint8" or w.axis is None:
            return TensorSpec(name, w.shape, dtype, data, (w.scale,), (w.zero if dtype == "uint8" else 0,))
        count = w.shape[w.axis]
        scales = tuple(float(s) for s in self.rng.uniform(0.001, 0.02, count).astype(np.float32))
        return TensorSpec(name, w.shape, dtype, data, scales, (0,) * count, w.axis)

    def thinned(self, dense: TensorSpec, order: Any, blocks: Any, compressed: Any) -> Sparse:
        """The same weights with two of three blocks zero, to be written sparse."""
        kept = self.rng.random([n // dict(blocks).get(i, 1) for i, n in enumerate(dense.shape)]) < 0.33
        for axis, size in blocks:
            kept = kept.repeat(size, axis)
        assert dense.data is not None
        data, scale = np.where(kept, dense.data, 0).astype(dense.data.dtype), (dense.scale, dense.zero_point)
        axis = dense.quantized_dimension
        return Sparse(
            dense.name, dense.shape, dense.dtype, data, *scale, axis, False, order, blocks, compressed
        )

    def bias(self, name: str, b: B) -> TensorSpec:
        if self.dtype == "float32":
            return TensorSpec.constant(name, self.rng.normal(size=b.size).astype(np.float32))
        dtype = b.dtype or ("int64" if self.dtype == "int16" else "int32")
        data = self.rng.integers(-2000, 2000, b.size).astype(dtype)
        x, w = (
            next(t for t, o in zip(self.tensors, self.case.operands, strict=False) if isinstance(o, kind))
            for kind in (X, W)
        )
        scale = tuple(float(np.float32(x.scale[0]) * np.float32(s)) for s in w.scale)
        return TensorSpec(name, (b.size,), str(data.dtype), data, scale, (0,) * len(scale))

    def output(self, i: int) -> str:
        case, types = self.case, self.case.out_type or self.dtype
        dtype = types if isinstance(types, str) else types[i]
        quantization: dict[str, Any] = {}
        if dtype in QUANTIZED:
            scale, zero = case.out_scale or ((0.05, 3) if case.same else (0.043, -7))
            if dtype == "int16":
                quantization = {"scale": (scale / 256,), "zero_point": (0,)}
            else:
                quantization = {"scale": (scale,), "zero_point": (zero + 128 * (dtype == "uint8"),)}
        self.tensors.append(TensorSpec(f"output {i}", self.case.out_shape, dtype, **quantization))
        return f"output {i}"

    def model(self) -> bytes:
        """Written twice: TFLite does not size every output by itself, so it gets what we infer."""
        if self.case.graphs is not None:
            return written(self.case.graphs(self.dtype))
        operands = tuple(self.operand(i, operand) for i, operand in enumerate(self.case.operands))
        inputs = tuple(name for name, o in zip(operands, self.case.operands, strict=True) if isinstance(o, X))
        outputs = tuple(self.output(i) for i in range(self.case.outputs))
        body = self.case.body is not None
        options = {**self.case.options, BODIES[self.case.op]: 1} if body else self.case.options
        op = Stepped(self.case.op, operands, outputs, options, self.between())
        subgraphs = (self.body(),) if body else ()
        spec = ModelSpec(tuple(self.tensors), (op,), inputs, outputs, subgraphs=subgraphs)
        inferred = {value.name: value.shape for value in infer(load(written(spec), "draft")).values}
        sized = tuple(replace(tensor, shape=inferred[tensor.name]) for tensor in spec.tensors)
        return written(replace(spec, tensors=sized))

    def between(self) -> tuple[str, ...]:
        names = tuple(f"between {i}" for i in range(len(self.case.between)))
        for name, stored in zip(names, self.case.between, strict=True):
            self.tensors.append(TensorSpec(name, (0,), "int16", **exactly(*stored)))
        return names

    def body(self) -> ModelSpec:
        names = ("a", "b", "c")
        tensors = tuple(TensorSpec(name, (), self.dtype) for name in names)
        if not self.case.body:
            return ModelSpec(tensors, (), names[:2], names[1:2])
        return ModelSpec(tensors, (OpSpec(self.case.body, names[:2], names[2:]),), names[:2], names[2:])

    def inputs(self) -> list[Array]:
        return [self.drawn(operand) for operand in self.case.operands if isinstance(operand, X)]

    def reals(self, x: X) -> Array:
        drawn = self.rng.uniform(*x.span, x.shape)
        if x.among:
            drawn = np.where(self.rng.random(x.shape) < 0.5, self.rng.choice(x.among, x.shape), drawn)
        return drawn

    def drawn(self, x: X) -> Array:
        dtype = np.dtype(x.dtype or self.dtype)
        if dtype.kind == "f":
            return self.reals(x).astype(dtype)
        if dtype.kind == "c":
            parts = np.stack((self.reals(x), self.reals(x)), -1).astype(np.float32)
            return parts.reshape(-1).view(dtype).reshape(x.shape)
        if dtype.kind == "b":
            return self.rng.integers(0, 2, x.shape).astype(dtype)
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        if x.dtype or str(dtype) not in QUANTIZED:
            low, high = (-20, 20) if x.span == X.span else (int(x.span[0]), int(x.span[1]))
        return self.rng.integers(low, high + 1, x.shape).astype(dtype)


def exactly(scale: float, zero_point: int) -> dict[str, Any]:
    return {"scale": (scale,), "zero_point": (zero_point,)}


CASE, CASE_OPTIONS = "STABLEHLO_CASE", "StablehloCaseOptions"
"""Newer than the bindings."""


def written(spec: ModelSpec) -> bytes:
    operators = mock.patch.object(
        bindings.BuiltinOperator, CASE, schema.BuiltinOperator.STABLEHLO_CASE, create=True
    )
    options = mock.patch.object(
        bindings.BuiltinOptions2, CASE_OPTIONS, schema.BuiltinOptions2.StablehloCaseOptions, create=True
    )
    with mock.patch.object(exporter, "OPERATORS", WRITTEN), operators, options:
        return Writer(spec).model()
