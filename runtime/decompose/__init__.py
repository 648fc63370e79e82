"""GRAPH -> ATOMIC: every TFLite operator as a few atoms, one rule per operator, one file per family.

The decomposition is the specification of an operator: a fused kernel is a backend's own rewrite of atoms
and has to give what they give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runtime.control import CONTROL, map_subgraphs
from runtime.decompose.rule import Kernels, Lowering, Rule
from runtime.errors import UnsupportedError
from runtime.families import Rules
from runtime.graph import ABSENT, Graph, Node, Value
from runtime.pairs import OPERATORS, in_pairs

RULES: Mapping[str, Rule] = Rules(__name__)


def decompose(graph: Graph, kernels: Kernels) -> Graph:
    """The same graph in atoms, whose integers are those of one of TFLite's two sets of kernels.

    Shapes must be inferred. Raises UnsupportedError naming the operator for which there is no rule, or none
    for its element types; ModelError where an operator's operands contradict each other.
    """
    graph = in_pairs(graph)
    values, nodes = list(graph.values), list[Node]()
    for node in map_subgraphs(graph, lambda part: decompose(part, kernels)).nodes:
        nodes += [node] if isinstance(node.attrs, CONTROL) else lowered(values, node, kernels)
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def lowered(values: list[Value], node: Node, kernels: Kernels) -> list[Node]:
    """One node in atoms; `values` grows by what lies between them. Raises as `decompose`."""
    if node.op not in RULES:
        raise UnsupportedError(
            f"{node.source}: no rule for operator {node.op}; the tflite backend may run this model"
        )
    low = Lowering(values, node, kernels)
    ids = [i for i in (*node.inputs, *node.outputs) if i != ABSENT]
    if node.op not in OPERATORS and any(values[i].pairs is not None for i in ids):
        low.types()
    RULES[node.op](low)
    return low.nodes
