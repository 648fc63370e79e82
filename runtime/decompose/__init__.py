"""GRAPH -> ATOMIC: every TFLite operator as a few atoms, one rule per operator, one file per family.

The decomposition is the specification of an operator. A backend with a fused kernel may keep a node whole;
the reference backend runs such a node through `isolated`, which is what the kernel has to equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from runtime.atoms import ATOMS
from runtime.decompose import conv, elementwise, norm, pool, quantize, reduce, views
from runtime.decompose.rule import Lowering, Rule
from runtime.errors import UnsupportedError
from runtime.graph import ABSENT, Graph, Node, Value

RULES: dict[str, Rule] = {
    **conv.RULES,
    **elementwise.RULES,
    **norm.RULES,
    **pool.RULES,
    **quantize.RULES,
    **reduce.RULES,
    **views.RULES,
}
Keep = Callable[[Graph, Node], bool]


def decompose(graph: Graph, keep: Keep | None = None) -> Graph:
    """The same graph in atoms; nodes for which `keep(graph, node)` is true stay as they are.

    Shapes must be inferred. Raises UnsupportedError naming the operator for which there is no rule, or none
    for its element types; ModelError where an operator's operands contradict each other.
    """
    values, nodes = list(graph.values), list[Node]()
    for node in graph.nodes:
        if isinstance(node.attrs, ATOMS) or (keep is not None and keep(graph, node)):
            nodes.append(node)
        else:
            nodes += _lowered(values, node)
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def _lowered(values: list[Value], node: Node) -> list[Node]:
    if node.op not in RULES:
        raise UnsupportedError(
            f"{node.source}: no rule for operator {node.op}; the tflite backend may run this model"
        )
    low = Lowering(values, node)
    RULES[node.op](low)
    return low.nodes


def isolated(graph: Graph, node: Node) -> Graph:
    """One node as a graph of its own, in atoms: its inputs are the node's operands that are not constants."""
    operands = dict.fromkeys(i for i in node.inputs if i != ABSENT and graph.values[i].data is None)
    alone = Graph(graph.values, (node,), tuple(operands), node.outputs)
    return decompose(alone)
