"""How sparse weights, StableHLO's options, tensors between the steps of an operator and custom operators are
written, which the project itself only reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite as schema
from flatbuffers import flexbuffers

from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import OpSpec, TensorSpec
from runtime.importers.weights import Level, Sparsity
from runtime.operators import CUSTOM

Array = np.ndarray[Any, np.dtype[Any]]

SHORT = frozenset({"new_shape", "squeeze_dims", "boundaries"})
"""Options that are lists of 32 bits."""
LISTS = {
    "window_reversal": "bool",
    "precision_config": "uint32",
    "composite_attributes": "uint8",
    "branch_subgraph_indices": "int32",
}
"""Element types of the lists of StableHLO's options that are not of 64 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Sparse(TensorSpec):
    """A constant whose `data` is dense and is written sparse."""

    order: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int], ...] = ()
    compressed: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Blocked(TensorSpec):
    """A constant with a scale for each `block` numbers of a row, in the tensor at position `scales`."""

    scales: int = 0
    block: int = 0


@dataclass(frozen=True, slots=True)
class Stepped(OpSpec):
    """An operator with names of tensors between its steps."""

    intermediates: tuple[str, ...] = ()


def encoded(data: Array, spec: Sparse) -> tuple[Array, Sparsity]:
    """(values that are stored, sparsity) by the format: dimensions in traversal order, some compressed.

    `spec.blocks` are (dimension, size); `spec.compressed` are positions in the order.
    """
    sizes, inner = list(data.shape), []
    split: list[int] = []
    for dimension, size in enumerate(data.shape):
        block = dict(spec.blocks).get(dimension)
        if block is not None:
            sizes[dimension] = size // block
            inner.append(2 * dimension + 1)
        split += [sizes[dimension], block or 1]
    axes = [2 * dimension for dimension in range(data.ndim)] + inner
    whole = data.reshape(split).transpose([*axes, *sorted(set(range(2 * data.ndim)) - set(axes))])
    whole = whole.reshape(whole.shape[: len(axes)]).transpose(spec.order)
    parts, levels = [whole], []
    for position in range(whole.ndim):
        size = whole.shape[position]
        if position not in spec.compressed:
            levels.append(Level(size))
            parts = [part[i] for part in parts for i in range(size)]
            continue
        found = [[i for i in range(size) if np.any(part[i])] for part in parts]
        segments = np.cumsum([0, *map(len, found)])
        levels.append(Level(0, segments, np.array([i for row in found for i in row], np.int64)))
        parts = [part[i] for part, row in zip(parts, found, strict=True) for i in row]
    values = np.array([np.asarray(part) for part in parts], data.dtype)
    return values, Sparsity(spec.order, tuple(d for d, _ in spec.blocks), tuple(levels))


class Writer(exporter._Writer):
    """Writes `Sparse` tensors, `Stepped` and custom operators, which the project's own does not."""

    sparsity: int = 0
    blockwise: int = 0
    intermediates: int = 0
    custom: int = 0

    def operator_code(self, kind: str, version: int) -> int:
        if kind not in CUSTOM:
            return super().operator_code(kind, version)
        number, name = schema.BuiltinOperator.CUSTOM, self.builder.CreateString(kind)
        return self.table(
            "OperatorCode", DeprecatedBuiltinCode=number, CustomCode=name, Version=version, BuiltinCode=number
        )

    def operator(self, scope: Any, op: OpSpec, options: Any, version: int) -> int:
        if isinstance(op, Stepped):
            self.intermediates = self.ids(scope, op.intermediates)
        if op.kind in CUSTOM:  # those that are given only
            self.custom = self.builder.CreateByteVector(bytes(flexbuffers.Dumps(dict(op.options))))
        return super().operator(scope, op, options, version)

    def buffer(self, tensor: TensorSpec) -> int:
        if isinstance(tensor, Sparse) and tensor.data is not None:
            values = encoded(tensor.data, tensor)[0]
            return super().buffer(TensorSpec(tensor.name, values.shape, tensor.dtype, values))
        return super().buffer(tensor)

    def tensor(self, scope: Any, tensor: TensorSpec) -> int:
        if isinstance(tensor, Sparse) and tensor.data is not None:
            sparsity = encoded(tensor.data, tensor)[1]
            metadata = self.offsets([self.level(level) for level in sparsity.levels])
            order, blocks = (self.numbers(x, "int32") for x in (sparsity.order, sparsity.blocks))
            self.sparsity = self.table(
                "SparsityParameters", TraversalOrder=order, BlockMap=blocks, DimMetadata=metadata
            )
        if isinstance(tensor, Blocked):
            self.builder.StartObject(3)
            for slot, number in enumerate((tensor.scales, -1, tensor.block)):
                self.builder.PrependInt32Slot(slot, number, 0)
            details = self.builder.EndObject()
            self.blockwise = self.table("QuantizationParameters", DetailsType=2, Details=details)
        return super().tensor(scope, tensor)

    def option(self, name: str, value: exporter.Option) -> float:
        """The lists of StableHLO's options are of 64 bits."""
        if isinstance(value, tuple) and name not in SHORT:
            return self.numbers(value, LISTS.get(name, "int64"))
        return super().option(name, value)

    def level(self, level: Level) -> int:
        if level.segments is None or level.indices is None:
            return self.table("DimensionMetadata", DenseSize=level.size)
        segments = self.table("Int32Vector", Values=self.numbers(level.segments, "int32"))
        indices = self.table("Uint8Vector", Values=self.numbers(level.indices, "uint8"))
        return self.table(
            "DimensionMetadata",
            Format=schema.DimensionType.SPARSE_CSR,
            ArraySegmentsType=schema.SparseIndexVector.Int32Vector,
            ArraySegments=segments,
            ArrayIndicesType=schema.SparseIndexVector.Uint8Vector,
            ArrayIndices=indices,
        )

    def table(self, name: str, **fields: float) -> int:
        if name == "StablehloCaseOptions":
            self.builder.StartObject(1)
            self.builder.PrependUOffsetTRelativeSlot(0, fields["BranchSubgraphIndices"], 0)
            return int(self.builder.EndObject())
        if name == "Tensor" and self.sparsity:
            fields, self.sparsity = {**fields, "Sparsity": self.sparsity}, 0
        if name == "Tensor" and self.blockwise:
            fields, self.blockwise = {**fields, "Quantization": self.blockwise}, 0
        if name == "Operator" and self.intermediates:
            fields, self.intermediates = {**fields, "Intermediates": self.intermediates}, 0
        if name == "Operator" and self.custom:
            fields, self.custom = {**fields, "CustomOptions": self.custom}, 0
        return super().table(name, **fields)
