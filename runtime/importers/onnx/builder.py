"""The graph of operators that grows as an ONNX graph is translated.

All shapes are known while it grows, and small values that depend on constants only are computed on the way:
models work out shapes, axes and sizes in nodes of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.backends import reference
from runtime.control import MAX_DEPTH, Control
from runtime.decompose import decompose
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Array, DType, Graph, Node, Quantization, Value
from runtime.importers.onnx.layout import Order, put_off
from runtime.importers.onnx.reader import MAX_NODES
from runtime.infer import infer
from runtime.operators import OPERATORS
from runtime.shapes.operands import MAX_LIST

if TYPE_CHECKING:
    from runtime.importers.onnx.translation import Row

MAX_MADE, MAX_SHARING = 1 << 26, 8
"""Bytes of all constants together: a fixed number, and so many times the file."""
ATTRIBUTES: Mapping[str, Any] = MappingProxyType(
    {
        "fused_activation_function": "NONE",
        "padding": "VALID",
        **dict.fromkeys(("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor"), 1),
    }
)
"""What an attribute is that a translation does not give; any other is 0."""


@dataclass(slots=True)
class Room:
    """What all graphs of a file together may still take: bytes of constants, operators."""

    constants: int
    nodes: int = MAX_NODES

    @staticmethod
    def of(file_bytes: int) -> Room:
        return Room(MAX_MADE + MAX_SHARING * file_bytes)


class Builder:
    """A graph so far; `depth` says how many others it is inside of.

    `makers` has the node of each value, `stored` the integers that a float value is known to be of.
    """

    def __init__(self, name: str, opset: int, rows: Mapping[str, Row], room: Room, depth: int = 0) -> None:
        self.name, self.opset, self.rows, self.room, self.depth = name, opset, rows, room, depth
        self.values, self.nodes = list[Value](), list[Node]()
        self.turned = dict[int, tuple[int, Order]]()
        self.makers, self.stored = dict[int, Node](), dict[int, int]()
        self.alike = dict[tuple[int, Quantization | None], int]()

    def inner(self) -> Builder:
        """One for a graph inside this one."""
        if self.depth == MAX_DEPTH:
            raise ModelError(f"{self.name}: graphs inside each other more than {MAX_DEPTH} deep")
        return Builder(self.name, self.opset, self.rows, self.room, self.depth + 1)

    def add(self, value: Value) -> int:
        self.values.append(value)
        return len(self.values) - 1

    def constant(self, data: Array, name: str, quantization: Quantization | None = None) -> int:
        self.room.constants -= data.nbytes
        if self.room.constants < 0:
            raise UnsupportedError(f"{self.name}: {name}: the constants that the nodes make are too large")
        array = np.require(data, requirements="C")
        return self.add(Value(name, data.shape, DType.of(data), quantization, array))

    def emit(
        self, op: str, inputs: Sequence[int], outputs: Sequence[Value], source: str, **attrs: Any
    ) -> list[int]:
        """One GRAPH operator; the ids of its outputs, whose shapes are inferred.

        It comes before the transposes that made its operands where it can. Computed at once where everything
        is constant and small. Raises UnsupportedError for an operator that the engine does not have.
        """
        if op not in OPERATORS:
            raise UnsupportedError(f"{self.name}: {source}: needs {op}, which the engine does not have yet")
        inputs = [i if op == "DEQUANTIZE" else self._as_stored(i, source) for i in inputs]
        given = {name: ATTRIBUTES.get(name, 0) for name in OPERATORS[op].fields} | attrs
        if (plan := put_off(self.values, self.turned, op, inputs, given)) is None:
            return self._emit(op, inputs, outputs, source, given)
        operands = [
            o if isinstance(o, int) else self.constant(o, f"{source}/turned", self._scale_of(i))
            for o, i in zip(plan.operands, inputs, strict=True)
        ]
        made = self._emit(op, operands, outputs, source, plan.attrs)
        return [self.transpose(index, plan.order, source) for index in made]

    def _as_stored(self, index: int, source: str) -> int:
        """An operand of ONNX's own operators, which know of no scales."""
        if index == ABSENT or self.values[index].dtype not in (DType.I8, DType.U8):
            return index
        return self.scaled(index, None, source)

    def scaled(self, index: int, q: Quantization | None, source: str) -> int:
        """The same numbers as a value of that scale, or of none: a view."""
        value = self.values[index]
        if value.quantization == q:
            return index
        if index in self.turned:
            base, order = self.turned[index]
            return self.transpose(self.scaled(base, q, source), order, source)
        if (index, q) not in self.alike:
            node = Node("RESHAPE", (index,), (), MappingProxyType({"new_shape": value.shape}), source)
            self.alike[index, q] = self.again(node, replace(value, quantization=q, data=None))
        return self.alike[index, q]

    def _scale_of(self, index: int) -> Quantization | None:
        """One that holds wherever the elements go."""
        q = self.values[index].quantization
        return q if q is not None and len(q.scale) == 1 else None

    def transpose(self, index: int, order: Order, source: str) -> int:
        """A value with its axes in another order: of what it was made of, where a transpose made it."""
        if index in self.turned:
            index, first = self.turned[index]
            order = tuple(first[axis] for axis in order)
        if order == tuple(range(len(order))):
            return index
        value = self.values[index]
        axes = self.constant(np.array(order, np.int32), f"{source}/order")
        result = Value(f"{value.name}/turned", (), value.dtype, value.quantization)
        (made,) = self._emit("TRANSPOSE", [index, axes], [result], source, {})
        self.turned[made] = index, order
        return made

    def _emit(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[Value],
        source: str,
        attrs: Mapping[str, Any],
    ) -> list[int]:
        operands = [self.values[i] for i in inputs if i != ABSENT]
        ids = iter(range(len(operands)))
        local = tuple(ABSENT if i == ABSENT else next(ids) for i in inputs)
        ends = tuple(range(len(operands), len(operands) + len(outputs)))
        node = Node(op, local, ends, MappingProxyType(dict(attrs)), source)
        alone = infer(Graph((*operands, *outputs), (node,), (), ends))
        results = list(alone.values[len(operands) :])
        if all(v.data is not None for v in operands) and all(v.elements <= MAX_LIST for v in results):
            computed = reference.run(decompose(alone, "reference"), [])
            return [self.add(replace(v, data=data)) for v, data in zip(results, computed, strict=True)]
        numbers = [self.add(value) for value in results]
        self.append(replace(node, inputs=tuple(inputs), outputs=tuple(numbers)))
        return numbers

    def again(self, node: Node, output: Value) -> int:
        """A node like one that is there, of other operands and one output."""
        return self._emit(node.op, node.inputs, [output], node.source, node.attrs)[0]

    def control(
        self, attrs: Control, inputs: Sequence[int], outputs: Sequence[Value], source: str
    ) -> list[int]:
        """A node with graphs of its own; the ids of its outputs, whose shapes are inferred."""
        count = len(inputs)
        ends = tuple(range(count, count + len(outputs)))
        node = Node(attrs.NAME, tuple(range(count)), ends, attrs, source)
        alone = infer(Graph((*(self.values[i] for i in inputs), *outputs), (node,), (), ends))
        new = (*inputs, *(self.add(value) for value in alone.values[count:]))
        (node,) = alone.nodes
        ids = (tuple(new[i] for i in part) for part in (node.inputs, node.outputs))
        self.append(replace(node, inputs=next(ids), outputs=next(ids)))
        return list(new[count:])

    def append(self, node: Node) -> None:
        self.room.nodes -= 1
        if self.room.nodes < 0:
            raise UnsupportedError(f"{self.name}: {node.source}: more than {MAX_NODES} operators")
        self.nodes.append(node)
        self.makers |= dict.fromkeys(node.outputs, node)
