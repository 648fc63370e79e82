"""The sub-graphs of a file joined to one `Graph`: control flow gets its graphs, variables become states.

A variable tensor, and a resource variable, is an ordinary value at each moment: what an operator assigns is a
new value that later readers read, and the last one is what the next run starts from. A sub-graph gets the
resource variables that it uses as further inputs, and gives them back as further outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from runtime.control import MAX_DEPTH, If, While
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Array, DType, Graph, Node, State, Value
from runtime.importers.calls import Part, expanded
from runtime.operators import OPERATORS

MAX_VISITS = 1 << 18
"""Of operators of all graphs together, each graph counted as often as it is called and looked through."""
Key = tuple[str, str]
"""(container, shared name) of a resource variable."""
BRANCHES = {
    "IF": ("then_subgraph_index", "else_subgraph_index"),
    "WHILE": ("cond_subgraph_index", "body_subgraph_index"),
}


def link(name: str, parts: Sequence[Part], index: int = 0) -> Graph:
    """One sub-graph, by default the first, with all that it calls; `name` stands in messages.

    Raises ModelError where graphs do not fit together, UnsupportedError for variables whose first content is
    not a constant, that a sub-graph keeps for itself, or that one beside the first shares with others.
    """
    return _Linker(name, expanded(name, parts)).main(index)


class _Linker:
    """One file being linked. `initial` is the first content of its resource variables."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name, self.parts, self.budget = name, parts, MAX_VISITS
        self.initial: dict[Key, Array] = {}

    def bad(self, node: Node, what: str) -> ModelError:
        return ModelError(f"{self.name}: {node.source}: {what}")

    def lacking(self, node: Node, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.name}: {node.source}: {what}; the tflite backend may run this model")

    def part(self, node: Node, index: int) -> Part:
        if not 0 < index < len(self.parts):
            raise self.bad(node, f"sub-graph {index} is outside 1..{len(self.parts) - 1}")
        return self.parts[index]

    def charge(self, depth: int, nodes: int) -> None:
        """Bounds recursion, and graphs that call the same graphs over and over."""
        self.budget -= nodes + 1
        if depth > MAX_DEPTH:
            raise ModelError(f"{self.name}: sub-graphs call each other more than {MAX_DEPTH} deep")
        if self.budget < 0:
            raise ModelError(f"{self.name}: sub-graphs call each other for more than {MAX_VISITS} operators")

    # ---------------------------------------------------------------- the main graph

    def main(self, index: int) -> Graph:
        part = self.parts[index]
        for node in part.graph.nodes:
            if node.op == "CALL_ONCE":
                self.initialise(node)
        keys = self.keys(index, {}, 0)
        if index and keys:
            text = (
                f"{self.name}: sub-graph {index} uses variable {keys[0][1]!r}, which others may use as well"
            )
            raise UnsupportedError(f"{text}; the tflite backend may run this model")
        section = _Section(self, part, {}, keys, 0)
        linked = section.linked()
        states = [State(i, section.current[i], _zeros(part.graph.values[i])) for i in sorted(part.variables)]
        slots = linked.inputs[len(part.graph.inputs) :]
        for slot, final, key in zip(slots, section.finals, keys, strict=True):
            states.append(State(slot, final, self.initial[key], resource=True))
        outputs = linked.outputs[: len(part.graph.outputs)]
        return replace(linked, inputs=part.graph.inputs, outputs=outputs, states=tuple(states))

    def initialise(self, call: Node) -> None:
        """The constants that the graph of a CALL_ONCE assigns."""
        graph, handles = self.part(call, call.attrs["init_subgraph_index"]).graph, dict[int, Key]()
        for node in graph.nodes:
            if node.op == "VAR_HANDLE":
                handles[node.outputs[0]] = _key(node)
            elif node.op == "ASSIGN_VARIABLE":
                data = graph.values[node.inputs[1]].data
                if data is None:
                    raise self.lacking(node, "the first content of a variable is not a constant")
                self.initial[self.handle(node, handles)] = data
            else:
                raise self.lacking(node, f"{node.op} in the graph of a CALL_ONCE")

    def handle(self, node: Node, handles: Mapping[int, Key]) -> Key:
        if node.inputs[0] not in handles:
            raise self.bad(node, "input 0 is not the handle of a variable")
        return handles[node.inputs[0]]

    # ---------------------------------------------------------------- what a sub-graph uses

    def keys(self, index: int, handles: Mapping[int, Key], depth: int) -> tuple[Key, ...]:
        """The resource variables that a sub-graph and those it calls use, in the order of their first use."""
        graph, known, used = self.parts[index].graph, dict(handles), dict[Key, None]()
        self.charge(depth, len(graph.nodes))
        for node in graph.nodes:
            if node.op == "VAR_HANDLE":
                known[node.outputs[0]] = _key(node)
            elif node.op in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
                used[self.handle(node, known)] = None
            elif node.op in BRANCHES:
                used |= dict.fromkeys(self.keys_of(node, known, depth))
        if lost := [key for key in used if key not in self.initial]:
            text = f"{self.name}: variable {lost[0][1]!r} is used, but no CALL_ONCE gives it a first content"
            raise UnsupportedError(f"{text}; the tflite backend may run this model")
        return tuple(used)

    def keys_of(self, node: Node, handles: dict[int, Key], depth: int) -> tuple[Key, ...]:
        """The same of the two graphs of a node; the handles that a WHILE gives are those that it takes."""
        operands, used = _operands(node), dict[Key, None]()
        if ABSENT in node.inputs:
            raise self.bad(node, f"input {node.inputs.index(ABSENT)} is left out, but it is not optional")
        for field in BRANCHES[node.op]:
            inputs = self.part(node, node.attrs[field]).graph.inputs
            if len(inputs) != len(operands):
                raise self.bad(node, f"{len(operands)} operands for a sub-graph of {len(inputs)} inputs")
            inner = {to: handles[i] for i, to in zip(operands, inputs, strict=True) if i in handles}
            used |= dict.fromkeys(self.keys(node.attrs[field], inner, depth + 1))
        if node.op == "WHILE":
            pairs = zip(operands, node.outputs, strict=False)
            handles |= {result: handles[operand] for operand, result in pairs if operand in handles}
        return tuple(used)


class _Section:
    """One sub-graph being linked: `current` says which value a variable has by now."""

    def __init__(
        self, linker: _Linker, part: Part, handles: Mapping[int, Key], keys: Sequence[Key], depth: int
    ) -> None:
        self.linker, self.part, self.keys, self.depth = linker, part, keys, depth
        self.handles = dict(handles)
        self.values, self.nodes = list(part.graph.values), list[Node]()
        self.current: dict[int | Key, int] = {i: i for i in part.variables}
        self.slots = [self.value(key[1], linker.initial[key]) for key in keys]
        self.current |= dict(zip(keys, self.slots, strict=True))
        linker.charge(depth, len(part.graph.nodes))

    @property
    def finals(self) -> list[int]:
        return [self.current[key] for key in self.keys]

    def value(self, name: str, like: Array) -> int:
        self.values.append(Value(name, like.shape, DType.of(like)))
        return len(self.values) - 1

    def version(self, of: Value) -> int:
        self.values.append(replace(of, data=None))
        return len(self.values) - 1

    def linked(self) -> Graph:
        graph = self.part.graph
        for node in graph.nodes:
            _RULES.get(node.op, _Section.plain)(self, node)
        inputs = [i for i in graph.inputs if i not in self.handles]
        outputs = [i for i in graph.outputs if i not in self.handles]
        return Graph(
            tuple(self.values),
            tuple(self.nodes),
            (*inputs, *self.slots),
            (*outputs, *self.finals),
        )

    # ---------------------------------------------------------------- one rule per kind of operator

    def plain(self, node: Node) -> None:
        """Any other operator; one with a state reads the variable as it is now, and makes the next."""
        inputs, outputs = list(node.inputs), list(node.outputs)
        for position in OPERATORS[node.op].variables(node.attrs):
            variable = node.inputs[position] if position < len(node.inputs) else ABSENT
            if variable == ABSENT:
                continue
            if variable not in self.part.variables:
                raise self.linker.bad(node, f"input {position} is not a variable tensor")
            if self.depth:
                raise self.linker.lacking(node, "a variable tensor inside a sub-graph")
            inputs[position] = self.current[variable]
            outputs.append(self.version(self.part.graph.values[variable]))
            self.current[variable] = outputs[-1]
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs)))

    def handle(self, node: Node) -> None:
        self.handles[node.outputs[0]] = _key(node)

    def read(self, node: Node) -> None:
        """A copy, which no pass lets stand."""
        source = self.current[self.linker.handle(node, self.handles)]
        attrs = MappingProxyType({"new_shape": self.values[source].shape})
        self.nodes.append(replace(node, op="RESHAPE", inputs=(source,), attrs=attrs))

    def assign(self, node: Node) -> None:
        self.current[self.linker.handle(node, self.handles)] = node.inputs[1]

    def branch(self, node: Node) -> None:
        operands = _operands(node)
        keys = self.linker.keys_of(node, self.handles, self.depth)
        parts = [self.section(node, node.attrs[field], operands, keys) for field in BRANCHES[node.op]]
        outputs = [i for i in node.outputs if i not in self.handles]
        inputs = [i for i in operands if i not in self.handles] + [self.current[key] for key in keys]
        for key in keys:
            outputs.append(self.version(self.values[self.current[key]]))
            self.current[key] = outputs[-1]
        attrs: Any
        if node.op == "IF":
            attrs, inputs = If(*parts), [node.inputs[0], *inputs]
        else:
            cond, body = parts
            attrs = While(replace(cond, outputs=cond.outputs[: len(cond.outputs) - len(keys)]), body)
        self.nodes.append(replace(node, inputs=tuple(inputs), outputs=tuple(outputs), attrs=attrs))

    def section(self, node: Node, index: int, operands: Sequence[int], keys: Sequence[Key]) -> Graph:
        part = self.linker.part(node, index)
        if part.variables:
            raise self.linker.lacking(node, "a variable tensor inside a sub-graph")
        pairs = zip(operands, part.graph.inputs, strict=True)
        inner = {to: self.handles[i] for i, to in pairs if i in self.handles}
        return _Section(self.linker, part, inner, keys, self.depth + 1).linked()

    def once(self, node: Node) -> None:
        if self.depth:
            raise self.linker.lacking(node, "CALL_ONCE inside a sub-graph")


_RULES = {
    "VAR_HANDLE": _Section.handle,
    "READ_VARIABLE": _Section.read,
    "ASSIGN_VARIABLE": _Section.assign,
    "IF": _Section.branch,
    "WHILE": _Section.branch,
    "CALL_ONCE": _Section.once,
}


def _operands(node: Node) -> tuple[int, ...]:
    return node.inputs[1:] if node.op == "IF" else node.inputs


def _key(node: Node) -> Key:
    return node.attrs["container"], node.attrs["shared_name"]


def _zeros(value: Value) -> Array:
    """What TFLite resets a variable tensor to: the zero point where it is quantised, zeros elsewhere. One
    number in memory, however large the tensor says it is.
    """
    zero = value.quantization.zero_point[0] if value.quantization and value.dtype is DType.I8 else 0
    return np.broadcast_to(np.array(zero, value.dtype.numpy), value.shape)
