"""The one noun of the engine: a `Graph` of frozen nodes over values, at every level from model file to
atoms.

A pass is a function `Graph -> Graph`. The level decides which operators a node may name: GRAPH level holds
TFLite operators (attributes as a mapping), ATOMIC level holds the eight atoms of `runtime.atoms`
(attributes as one frozen dataclass). What is legal where is a table in `runtime.verify`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
ABSENT = -1
"""The value id of an optional input that a node does not have."""


class DType(Enum):
    """Element types, named as in the kernels; `.numpy` is the array type that holds them.

    C64 is at level GRAPH only: no atom knows it (`runtime.pairs`).
    """

    F32 = "f32"
    F16 = "f16"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    BOOL = "bool"
    F64 = "f64"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    C64 = "c64"

    __hash__ = object.__hash__
    """There is one of each, and they are the keys of many tables: Enum would hash their names."""

    @property
    def numpy(self) -> np.dtype[Any]:
        return _NUMPY[self]

    @property
    def size(self) -> int:
        """Bytes per element."""
        return _NUMPY[self].itemsize

    @staticmethod
    def of(array: Array) -> DType:
        """The element type of an array; raises KeyError for a type that no kernel knows."""
        return _FROM_NUMPY[array.dtype]


_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.I8: np.dtype(np.int8),
    DType.U8: np.dtype(np.uint8),
    DType.I16: np.dtype(np.int16),
    DType.I32: np.dtype(np.int32),
    DType.I64: np.dtype(np.int64),
    DType.BOOL: np.dtype(np.bool_),
    DType.F64: np.dtype(np.float64),
    DType.U16: np.dtype(np.uint16),
    DType.U32: np.dtype(np.uint32),
    DType.U64: np.dtype(np.uint64),
    DType.C64: np.dtype(np.complex64),
}
_FROM_NUMPY = {array_type: dtype for dtype, array_type in _NUMPY.items()}
FLOATS = (DType.F32, DType.F16, DType.F64)


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (stored - zero_point), one pair for the tensor or one per slice along `axis`.

    With a `block` each run of that many numbers along the last axis has a scale of its own, in order, and
    zero points are 0.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0
    block: int = 0


@dataclass(frozen=True, slots=True)
class Value:
    """One tensor: dense, row-major, of a static shape. `data` is set for constants only.

    `pairs` is set for floats that are the parts of complex numbers: the shape of those.
    """

    name: str
    shape: Shape
    dtype: DType
    quantization: Quantization | None = None
    data: Array | None = None
    pairs: Shape | None = None

    @property
    def elements(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.size


@dataclass(frozen=True, slots=True)
class Node:
    """`outputs = op(inputs)`; ids index `Graph.values`, `ABSENT` marks an optional input that is not there.

    `source` names the operator of the model file that this node came from ("CONV_2D#3"), for every message
    and every measurement downstream.
    """

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attrs: Any = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a model keeps from run to run: a run finds it in `value` and leaves that of `final` in its place.

    `initial` is what the first run finds. `resource` says that it is a resource variable, which TFLite's
    `reset_all_variables` leaves alone.
    """

    value: int
    final: int
    initial: Array
    resource: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Values and nodes; nodes stand in an order in which each input is produced before it is used."""

    values: tuple[Value, ...]
    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: Mapping[str, Signature] = field(default_factory=lambda: MappingProxyType({}))
    states: tuple[State, ...] = ()

    @property
    def starts(self) -> tuple[int, ...]:
        """The values that are there before the first node runs, constants apart."""
        return (*self.inputs, *(state.value for state in self.states))

    @property
    def ends(self) -> tuple[int, ...]:
        """The values that somebody reads after the last node: no pass may drop or rename them."""
        return (*self.outputs, *(state.final for state in self.states))

    def constants(self) -> Iterator[tuple[int, Array]]:
        """(value id, data) of every constant."""
        return ((i, value.data) for i, value in enumerate(self.values) if value.data is not None)

    def in_parts(self) -> set[int]:
        """The values that several nodes write, each a part: such a node leaves the rest of it alone."""
        counts = Counter(i for node in self.nodes for i in node.outputs)
        return {i for i, count in counts.items() if count > 1}

    def with_nodes(self, nodes: tuple[Node, ...]) -> Graph:
        return replace(self, nodes=nodes)


@dataclass(frozen=True, slots=True)
class Signature:
    """A named way to call the model: argument name -> value id.

    `subgraph` is which graph of the model file it calls, whose ids these are; None for the one that has it.
    """

    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    subgraph: int | None = None
