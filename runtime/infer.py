"""Shapes of every value from the shapes of the inputs, and the integers that shapes are computed from.

What the file declares is overridden, so that a resized input flows through the graph. Models compute shapes
at run time (SHAPE, STRIDED_SLICE, PACK, RESHAPE): with known inputs these are constants, and are folded on
the way, by the operators' own decomposition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runtime.backends import reference
from runtime.decompose import lowered
from runtime.errors import ModelError
from runtime.graph import ABSENT, Array, DType, Graph, Node, Shape, Value
from runtime.shapes import RULES
from runtime.shapes.operands import MAX_LIST, Operands, checked

COUNTS = frozenset({DType.I32, DType.I64, DType.BOOL})
"""Element types of what shapes are made of."""
OF_SHAPE = frozenset({"SHAPE", "RANK"})
"""Operators that read nothing of their operand but its shape."""


def infer(graph: Graph, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph with every shape inferred; `input_shapes` replaces those of graph inputs, by value id.

    Raises ModelError where shapes do not fit together, UnsupportedError where a shape depends on run-time
    data.
    """
    values, nodes = list(graph.values), list[Node]()
    for index, shape in (input_shapes or {}).items():
        if index not in graph.inputs:
            raise ModelError(f"value {index} is not an input of the graph: inputs are {list(graph.inputs)}")
        values[index] = replace(values[index], shape=checked(tuple(map(int, shape)), values[index].name))
    for node in graph.nodes:
        operands = tuple(None if index == ABSENT else values[index] for index in node.inputs)
        shapes = RULES[node.op](Operands(node, operands))
        if len(shapes) != len(node.outputs):
            raise ModelError(
                f"{node.source}: gives {len(shapes)} outputs, the model declares {len(node.outputs)}"
            )
        for index, shape in zip(node.outputs, shapes, strict=True):
            values[index] = replace(values[index], shape=checked(shape, f"output of {node.source}"))
        if _is_count(graph, node, values):
            for index, data in zip(node.outputs, _folded(node, values), strict=True):
                values[index] = replace(values[index], data=data)
        else:
            nodes.append(node)
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def _is_count(graph: Graph, node: Node, values: list[Value]) -> bool:
    """Whether a node makes a few integers of constants only, for other nodes."""
    known = node.op in OF_SHAPE or all(i == ABSENT or values[i].data is not None for i in node.inputs)
    small = all(values[i].dtype in COUNTS and values[i].elements <= MAX_LIST for i in node.outputs)
    return known and small and not set(node.outputs) & set(graph.outputs)


def _folded(node: Node, values: list[Value]) -> list[Array]:
    """The outputs of a node whose operands are constants, by its decomposition and the reference backend."""
    scope = list(values)
    atoms = lowered(scope, node, "reference")
    part = Graph(tuple(scope), tuple(atoms), (), node.outputs)
    return reference.run(part, [])
