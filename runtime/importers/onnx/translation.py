"""What every translation of an ONNX operator works with: one node of the file.

A translation is a function of one `Translation`: it reads operands and attributes, emits GRAPH operators, and
returns the ids of the node's outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.control import Control
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import Array, DType, Shape, Value
from runtime.importers.onnx.builder import Builder
from runtime.importers.onnx.reader import Body, Kind, Step
from runtime.operators import MANY
from runtime.shapes.operands import MAX_LIST

MAX_CONSTANT = 1 << 24
"""Elements of a constant that no file holds but a node describes (ConstantOfShape, Range, Expand ...)."""


class Translation:
    """One node of the file being translated."""

    def __init__(self, builder: Builder, scope: dict[str, int], step: Step, attrs: Mapping[str, Any]) -> None:
        self.builder, self.scope, self.step, self.attrs = builder, scope, step, attrs
        self.opset, self.source = builder.opset, step.source
        self.inputs = [scope[name] if name else None for name in step.inputs]

    def bad(self, what: str) -> ModelError:
        return ModelError(f"{self.builder.name}: {self.source}: {what}")

    def lacking(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.builder.name}: {self.source}: {what}")

    # ---------------------------------------------------------------- what the node says

    def has(self, i: int) -> bool:
        return i < len(self.inputs) and self.inputs[i] is not None

    def input(self, i: int) -> int:
        index = self.inputs[i] if i < len(self.inputs) else None
        if index is None:
            raise self.bad(f"input {i} is left out, but it is not optional")
        return index

    def value(self, index: int) -> Value:
        return self.builder.values[index]

    def shape(self, index: int) -> Shape:
        return self.builder.values[index].shape

    def dtype(self, index: int) -> DType:
        return self.builder.values[index].dtype

    def data(self, i: int) -> Array:
        """The elements of operand `i`, which has to be a constant."""
        value = self.value(self.input(i))
        if value.data is None:
            raise self.lacking(f"input {i} ({value.name!r}) must be a constant")
        return value.data

    def integers(self, i: int) -> tuple[int, ...]:
        """The numbers of a constant list of axes, sizes or positions."""
        data = self.data(i)
        if data.dtype.kind != "i" or data.size > MAX_LIST:
            raise self.bad(f"input {i} is {data.size} of {data.dtype}, expected at most {MAX_LIST} integers")
        return tuple(int(number) for number in data.reshape(-1))

    def number(self, i: int) -> float:
        """The one number of a constant operand."""
        data = self.data(i)
        if data.size != 1:
            raise self.bad(f"input {i} has {data.size} elements, expected 1")
        return data.reshape(-1)[0].item()  # type: ignore[no-any-return]

    def integer(self, i: int) -> int:
        """The one whole number of a constant operand."""
        numbers = self.integers(i)
        if len(numbers) != 1:
            raise self.bad(f"input {i} has {len(numbers)} elements, expected 1")
        return numbers[0]

    def attr(self, name: str) -> Any:
        return self.attrs[name]

    def graph(self, name: str) -> Body:
        """An attribute that is a graph, which no node of its kind can be without."""
        if self.attrs[name] is None:
            raise self.bad(f"{name} is left out, but it is not optional")
        body: Body = self.attrs[name]
        return body

    def listed(self, name: str, count: int) -> tuple[int, ...]:
        """An attribute that is a list of so many numbers, zeros where it is left out."""
        numbers = (0,) * count if self.attrs[name] is None else tuple(self.attrs[name])
        if len(numbers) != count:
            raise self.bad(f"{name} = {numbers}, expected {count} numbers")
        return numbers

    def choice(self, name: str, known: Sequence[Any]) -> Any:
        """An attribute that has to be one of a few."""
        if self.attrs[name] not in known:
            raise self.lacking(f"{name} = {self.attrs[name]!r}, expected one of {', '.join(map(str, known))}")
        return self.attrs[name]

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.bad(f"axis {axis} is outside -{rank}..{rank - 1}")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Distinct axes, in the order given."""
        found = tuple(self.axis(axis, rank) for axis in axes)
        if len(set(found)) != len(found):
            raise self.bad(f"axes {tuple(axes)} repeat")
        return found

    # ---------------------------------------------------------------- what it becomes

    def emit_all(self, op: str, inputs: Sequence[int], dtypes: Sequence[DType], **attrs: Any) -> list[int]:
        values = [Value(f"{self.source}/{len(self.builder.values)}", (), dtype) for dtype in dtypes]
        return self.builder.emit(op, inputs, values, self.source, **attrs)

    def emit(self, op: str, *inputs: int, dtype: DType | None = None, **attrs: Any) -> int:
        """One operator of one output, of the type of its first operand if no other is given."""
        return self.emit_all(op, inputs, [dtype or self.dtype(inputs[0])], **attrs)[0]

    def control(self, attrs: Control, inputs: Sequence[int], outputs: Sequence[Value]) -> list[int]:
        """A node with graphs; `outputs` have no shapes yet."""
        return self.builder.control(attrs, inputs, outputs, self.source)

    def on(self, operands: Sequence[int], **attrs: Any) -> Translation:
        """The same node, of other operands, with further attributes."""
        made = Translation(self.builder, {}, replace(self.step, inputs=()), {**self.attrs, **attrs})
        made.inputs = [*operands]
        return made

    def within(self, builder: Builder) -> Translation:
        """The same node, for operators of a graph inside it."""
        return Translation(builder, {}, replace(self.step, inputs=()), {})

    def constant(self, data: Any, dtype: DType | None = None) -> int:
        array = np.asarray(data, None if dtype is None else dtype.numpy)
        return self.builder.constant(array, f"{self.source}/{len(self.builder.values)}")

    def like(self, number: float, index: int) -> int:
        """A scalar of the type of a value."""
        dtype = self.dtype(index)
        if dtype.numpy.kind != "f":
            limits = (0, 1) if dtype is DType.BOOL else (np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max)
            number = int(min(max(number, limits[0]), limits[1]))
        return self.constant(number, dtype)

    def sizes(self, numbers: Sequence[int]) -> int:
        """A constant list of axes, sizes or positions."""
        if any(abs(number) >= 2**31 for number in numbers):
            raise self.bad(f"{tuple(numbers)}: expected numbers of 32 bits")
        return self.constant(np.array(numbers, np.int32).reshape(-1))

    def filled(self, shape: Shape, number: Any, dtype: DType) -> int:
        if math.prod(shape) > MAX_CONSTANT:
            raise self.lacking(f"a constant of {math.prod(shape)} elements, at most {MAX_CONSTANT}")
        return self.constant(np.full(shape, number, dtype.numpy))

    def transpose(self, index: int, order: Sequence[int]) -> int:
        """A constant is transposed here and now, so that weights have one layout in the graph."""
        data, q = self.value(index).data, self.value(index).quantization
        if tuple(order) == tuple(range(len(order))):
            return index
        if data is not None:
            q = None if q is None else replace(q, axis=order.index(q.axis))
            return self.builder.constant(data.transpose(order), f"{self.source}/turned", q)
        return self.builder.transpose(index, tuple(order), self.source)

    def reshape(self, index: int, shape: Shape) -> int:
        value = self.value(index)
        if value.shape == tuple(shape):
            return index
        if value.data is not None and value.elements == math.prod(shape):
            q = value.quantization
            kept = q is not None and (len(q.scale) == 1 or (q.axis == 0 and shape[:1] == value.shape[:1]))
            return self.builder.constant(value.data.reshape(shape), self.source, q if kept else None)
        return self.emit("RESHAPE", index, self.sizes(shape), new_shape=tuple(shape))

    def cast(self, index: int, dtype: DType) -> int:
        return index if self.dtype(index) is dtype else self.emit("CAST", index, dtype=dtype)

    def last(self, index: int) -> int:
        """NC... -> N...C"""
        rank = len(self.shape(index))
        return self.transpose(index, (0, *range(2, rank), 1))

    def first(self, index: int) -> int:
        """N...C -> NC..."""
        rank = len(self.shape(index))
        return self.transpose(index, (0, rank - 1, *range(1, rank - 1)))

    def cut(self, index: int, begin: Sequence[int], size: Sequence[int]) -> int:
        """A box of a value."""
        if tuple(size) == self.shape(index):
            return index
        if (data := self.value(index).data) is not None:
            return self.constant(data[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))])
        return self.emit("SLICE", index, self.sizes(begin), self.sizes(size))

    def along(self, index: int, axis: int, begin: int, size: int) -> int:
        """A part of a value along one axis."""
        shape = self.shape(index)
        return self.cut(
            index,
            [begin if i == axis else 0 for i in range(len(shape))],
            (*shape[:axis], size, *shape[axis + 1 :]),
        )

    def every(self, index: int, axis: int, begin: int, step: int, count: int) -> int:
        """`count` elements of one axis, each `step` after the last."""
        if step == 1:
            return self.along(index, axis, begin, count)
        shape, rank = self.shape(index), len(self.shape(index))
        starts = self.sizes([begin if i == axis else 0 for i in range(rank)])
        ends = self.sizes([begin + (count - 1) * step + 1 if i == axis else n for i, n in enumerate(shape)])
        steps = self.sizes([step if i == axis else 1 for i in range(rank)])
        return self.emit("STRIDED_SLICE", index, starts, ends, steps)

    def join(self, indices: Sequence[int], axis: int) -> int:
        return indices[0] if len(indices) == 1 else self.emit("CONCATENATION", *indices, axis=axis)

    def pad(self, index: int, pads: Sequence[tuple[int, int]], number: float = 0.0) -> int:
        """(before, after) more elements of one number along each axis."""
        if not any(before or after for before, after in pads):
            return index
        numbers = [number for pair in pads for number in pair]
        paddings = self.reshape(self.sizes(numbers), (len(pads), 2))
        if number == 0.0 and self.dtype(index) is DType.F32:
            return self.emit("PAD", index, paddings)
        return self.emit("PADV2", index, paddings, self.like(number, index))

    def take(self, index: int, rows: int, axis: int) -> int:
        """Rows along an axis, which indices of any shape choose."""
        shape, chosen = self.shape(index), len(self.shape(rows))
        first = self.transpose(index, (axis, *(i for i in range(len(shape)) if i != axis)))
        taken = self.emit("GATHER", first, rows)
        before = range(chosen, chosen + axis)
        return self.transpose(taken, (*before, *range(chosen), *range(chosen + axis, len(self.shape(taken)))))

    def folded(self, op: str, indices: Sequence[int]) -> int:
        """An operator of two operands between all values, from left to right."""
        result = indices[0]
        for index in indices[1:]:
            result = self.emit(op, result, index)
        return result

    def broadcast(self, *shapes: Shape) -> Shape:
        """The shape that all of them broadcast to."""
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            raise self.bad(f"shapes {', '.join(map(str, shapes))} do not broadcast together") from None

    def repeated(self, index: int, shape: Shape) -> int:
        """A value broadcast to a shape."""
        value = self.value(index)
        if self.broadcast(value.shape, shape) != tuple(shape):
            raise self.bad(f"shape {value.shape} does not broadcast to {tuple(shape)}")
        if value.data is not None and math.prod(shape) <= MAX_LIST:
            return self.constant(np.broadcast_to(value.data, shape))
        own = self.reshape(index, (1,) * (len(shape) - len(value.shape)) + value.shape)
        times = [n // m for n, m in zip(shape, self.shape(own), strict=True)]
        return own if set(times) <= {1} else self.emit("TILE", own, self.sizes(times))


Rule = Callable[[Translation], int | Sequence[int]]
"""Returns the ids of the outputs, one for each that the operator has or as many as there are names for."""


@dataclass(frozen=True, slots=True)
class Row:
    """One ONNX operator. `attrs` has its attributes: a default, or the kind of one that may be left out."""

    rule: Rule
    inputs: tuple[int, int] = (1, 1)
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    outputs: tuple[int, int] = (1, 1)


ANY = (1, MANY)
__all__ = ["ANY", "Body", "Kind", "Row", "Rule", "Translation"]
