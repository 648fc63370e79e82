"""Sub-graphs that stand for operators, put where they are called; what is left to link is control flow.

CALL and STABLEHLO_COMPOSITE become the operators of the sub-graph that they name, STABLEHLO_WHILE a WHILE,
STABLEHLO_CASE an IF whose other branch is the rest of the cases. A body of STABLEHLO_REDUCE,
STABLEHLO_REDUCE_WINDOW or STABLEHLO_SCATTER that is one binary operator becomes the attribute `computation`,
a comparator of STABLEHLO_SORT that compares one pair of its inputs the attributes `key` and `descending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from runtime.control import MAX_DEPTH
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, DType, Graph, Node, Value

MAX_COPIES = 1 << 18
"""Of operators and values of all calls of a file together: sub-graphs may call others more than once."""
CALLED = {"CALL": "subgraph", "STABLEHLO_COMPOSITE": "decomposition_subgraph_index"}
BODIES = {
    "STABLEHLO_REDUCE": "body_subgraph_index",
    "STABLEHLO_REDUCE_WINDOW": "body_subgraph_index",
    "STABLEHLO_SCATTER": "update_computation_subgraph_index",
}
COMPARATOR = "comparator_subgraph_index"
RENAMED = {"STABLEHLO_WHILE": "WHILE"}
COMPUTATIONS = {
    "add": ("ADD", "STABLEHLO_ADD"),
    "mul": ("MUL", "STABLEHLO_MULTIPLY"),
    "max": ("MAXIMUM", "STABLEHLO_MAXIMUM"),
    "min": ("MINIMUM", "STABLEHLO_MINIMUM"),
    "and": ("LOGICAL_AND", "STABLEHLO_AND"),
    "or": ("LOGICAL_OR", "STABLEHLO_OR"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One sub-graph as the file has it; `variables` are its variable tensors."""

    graph: Graph
    variables: frozenset[int]


def expanded(name: str, parts: Sequence[Part]) -> list[Part]:
    """The sub-graphs of a file without calls; `name` stands in messages.

    Raises ModelError where a sub-graph calls itself or does not fit its call, UnsupportedError for a body
    that is more than one operator.
    """
    expander = _Expander(name, parts)
    for index in range(len(parts)):
        expander.part(index, 0)
    return [expander.done[index] for index in range(len(expander.parts))]


class _Expander:
    """`done` are the sub-graphs that have no calls any more; `parts` grows by those that no file has."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        self.name, self.parts, self.budget = name, list(parts), MAX_COPIES
        self.given, self.done = len(parts), dict[int, Part]()

    def bad(self, node: Node, what: str) -> ModelError:
        return ModelError(f"{self.name}: {node.source}: {what}")

    def lacking(self, node: Node, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.name}: {node.source}: {what}; the tflite backend may run this model")

    def part(self, index: int, depth: int) -> Part:
        if depth > MAX_DEPTH:
            raise ModelError(f"{self.name}: sub-graphs call each other more than {MAX_DEPTH} deep")
        if index not in self.done:
            graph = self.parts[index].graph
            values, nodes = list(graph.values), list[Node]()
            for node in graph.nodes:
                nodes += self.rewritten(node, values, depth)
            self.done[index] = replace(
                self.parts[index], graph=replace(graph, values=tuple(values), nodes=tuple(nodes))
            )
        return self.done[index]

    def rewritten(self, node: Node, values: list[Value], depth: int) -> list[Node]:
        if node.op in CALLED:
            return self.called(node, self.part(self.index(node, CALLED[node.op]), depth + 1), values)
        if node.op == "STABLEHLO_CASE":
            branches = self.branches(node)
            return self.case(node, [self.part(index, depth + 1) for index in branches], values)
        if node.op in BODIES:
            attrs = dict(node.attrs)
            attrs["computation"] = self.computation(node, values)
            return [replace(node, attrs=MappingProxyType(attrs))]
        if node.op == "STABLEHLO_SORT":
            attrs = {**node.attrs, **self.order(node, values)}
            return [replace(node, attrs=MappingProxyType(attrs))]
        return [replace(node, op=RENAMED.get(node.op, node.op))]

    def index(self, node: Node, field: str) -> int:
        return self.known(node, int(node.attrs[field]))

    def known(self, node: Node, index: int) -> int:
        if not 0 < index < self.given:
            raise self.bad(node, f"sub-graph {index} is outside 1..{self.given - 1}")
        return index

    def charge(self, node: Node, copies: int) -> None:
        self.budget -= copies
        if self.budget < 0:
            raise self.bad(node, f"sub-graphs are called for more than {MAX_COPIES} operators and values")

    # ---------------------------------------------------------------- calls

    def called(self, node: Node, part: Part, values: list[Value]) -> list[Node]:
        """The operators of a sub-graph between the values of its call; `values` grows by its own."""
        graph = part.graph
        if part.variables:
            raise self.lacking(node, "a variable tensor inside a sub-graph")
        self.charge(node, len(graph.values) + len(graph.nodes))
        self.check(node, graph, values)
        made = {i for inner in graph.nodes for i in inner.outputs}
        place = {ABSENT: ABSENT, **dict(zip(graph.inputs, node.inputs, strict=True))}
        copies = list[Node]()
        for index, output in zip(graph.outputs, node.outputs, strict=True):
            if index in made and index not in place:
                place[index] = output
            else:  # an input or a constant as it is, or the same twice
                copies.append(Node("DENSIFY", (index,), (output,), source=node.source))
        for index, value in enumerate(graph.values):
            if index not in place:
                place[index] = len(values)
                values.append(value)
        moved = [
            replace(
                inner,
                inputs=tuple(place[i] for i in inner.inputs),
                outputs=tuple(place[i] for i in inner.outputs),
            )
            for inner in graph.nodes
        ]
        return moved + [replace(copy, inputs=(place[copy.inputs[0]],)) for copy in copies]

    def check(self, node: Node, graph: Graph, values: Sequence[Value]) -> None:
        """What goes into a sub-graph and comes out of it is what it has as inputs and outputs."""
        inputs = set(graph.inputs)
        if len(inputs) != len(graph.inputs) or any(graph.values[i].data is not None for i in inputs):
            raise self.bad(node, "the inputs of its sub-graph are not distinct tensors without data")
        for given, own, what in (
            (node.inputs, graph.inputs, "inputs"),
            (node.outputs, graph.outputs, "outputs"),
        ):
            if len(given) != len(own) or ABSENT in given:
                raise self.bad(node, f"{len(given)} {what}, its sub-graph has {len(own)}, none optional")
            for a, b in zip((values[i] for i in given), (graph.values[i] for i in own), strict=True):
                if a.dtype is not b.dtype:
                    raise self.bad(node, f"{a.name!r} is {a.dtype.value}, the sub-graph has {b.dtype.value}")
                if a.quantization != b.quantization:
                    raise self.lacking(node, f"{a.name!r} is quantised in another way inside the sub-graph")

    # ---------------------------------------------------------------- cases

    def branches(self, node: Node) -> list[int]:
        indices = node.attrs["branch_subgraph_indices"]
        if not indices:
            raise self.bad(node, "no branch, expected 1 or more")
        if len(indices) > MAX_DEPTH:
            raise self.lacking(node, f"{len(indices)} branches, at most {MAX_DEPTH}")
        return [self.known(node, index) for index in indices]

    def case(self, node: Node, branches: Sequence[Part], values: list[Value], number: int = 0) -> list[Node]:
        """Branch `number` where input 0 is that number, else one of those that follow, or the last."""
        branch = replace(node, inputs=node.inputs[1:])
        if len(branches) == 1:
            return self.called(branch, branches[0], values)
        index = values[node.inputs[0]]
        literal, test = len(values), len(values) + 1
        values.append(
            Value(f"{index.name}/{number}", (), index.dtype, data=np.array(number, index.dtype.numpy))
        )
        values.append(Value(f"{index.name}=={number}", index.shape, DType.BOOL))
        inside, inner = self.inside(node, values)
        then = self.called(replace(inner, inputs=inner.inputs[1:]), branches[0], inside)
        attrs = {"then_subgraph_index": self.new(inner, inside, then)}
        inside, inner = self.inside(node, values)
        attrs["else_subgraph_index"] = self.new(
            inner, inside, self.case(inner, branches[1:], inside, number + 1)
        )
        return [
            Node("EQUAL", (node.inputs[0], literal), (test,), source=node.source),
            Node("IF", (test, *node.inputs), node.outputs, MappingProxyType(attrs), node.source),
        ]

    def inside(self, node: Node, values: Sequence[Value]) -> tuple[list[Value], Node]:
        """The node in a graph of its own, of which its inputs and outputs are the values so far."""
        ends = [replace(values[i], data=None) for i in (*node.inputs, *node.outputs)]
        self.charge(node, len(ends))
        inputs = tuple(range(len(node.inputs)))
        return ends, replace(node, inputs=inputs, outputs=tuple(range(len(inputs), len(ends))))

    def new(self, node: Node, values: Sequence[Value], nodes: Sequence[Node]) -> int:
        """The number of a sub-graph of these operators, with the inputs and outputs of the node."""
        self.parts.append(Part(Graph(tuple(values), tuple(nodes), node.inputs, node.outputs), frozenset()))
        self.done[len(self.parts) - 1] = self.parts[-1]
        return len(self.parts) - 1

    # ---------------------------------------------------------------- bodies

    def computation(self, node: Node, values: Sequence[Value]) -> str:
        """What a body does with its two inputs; "set" if it gives the second one."""
        body = self.parts[self.index(node, BODIES[node.op])].graph
        ends = [body.values[i].dtype for i in (*body.inputs, *body.outputs)]
        if len(body.inputs) != 2 or len(body.outputs) != 1:
            raise self.lacking(node, f"a body of {len(body.inputs)} inputs and {len(body.outputs)} outputs")
        if set(ends) != {values[node.inputs[0]].dtype}:
            raise self.bad(
                node, f"its body is of {' '.join(dtype.value for dtype in ends)}, its operand is not"
            )
        if not body.nodes and body.outputs == body.inputs[1:]:
            return "set"
        for name, operators in COMPUTATIONS.items():
            if [inner.op for inner in body.nodes] in [[operator] for operator in operators]:
                (inner,) = body.nodes
                fused = inner.attrs.get("fused_activation_function", "NONE")
                if (
                    set(inner.inputs) == set(body.inputs)
                    and inner.outputs == body.outputs
                    and fused == "NONE"
                ):
                    return name
        known = ", ".join(operators[-1] for operators in COMPUTATIONS.values())
        raise self.lacking(node, f"a body that is not one operator of its two inputs: {known}")

    def order(self, node: Node, values: Sequence[Value]) -> dict[str, int | bool]:
        """Which operand a sort goes by, and whether its greatest element comes first."""
        body = self.parts[self.index(node, COMPARATOR)].graph
        expected = [values[i].dtype for i in node.inputs for _ in range(2)]
        if ABSENT in node.inputs or [body.values[i].dtype for i in body.inputs] != expected:
            raise self.bad(node, "the inputs of its comparator are not two elements of each operand")
        if len(body.nodes) == 1 and body.outputs == body.nodes[0].outputs:
            inner, direction = body.nodes[0], _direction(body.nodes[0])
            for key, pair in enumerate(zip(body.inputs[::2], body.inputs[1::2], strict=True)):
                if direction in ("LT", "GT") and inner.inputs in (pair, pair[::-1]):
                    return {"key": key, "descending": (direction == "GT") == (inner.inputs == pair)}
        raise self.lacking(
            node, "a comparator that is not one LESS or GREATER of two elements of one operand"
        )


def _direction(comparison: Node) -> str:
    """How a node compares numbers, as STABLEHLO_COMPARE has it; nothing where it does something else."""
    if comparison.op == "STABLEHLO_COMPARE" and comparison.attrs["compare_type"] != "FLOAT_TOTAL_ORDER":
        return str(comparison.attrs["comparison_direction"])
    return {"LESS": "LT", "GREATER": "GT"}.get(comparison.op, "")
