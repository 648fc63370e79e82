"""GRAPH -> ATOMIC: every TFLite operator as a few atoms, one rule per operator, one file per family.

The decomposition is the specification of an operator: a fused kernel is a backend's own rewrite of atoms
and has to give what they give.
"""

from __future__ import annotations

from dataclasses import replace

from runtime.control import CONTROL, map_subgraphs
from runtime.decompose import (
    bitcast,
    blocks,
    compare,
    conv,
    conv_3d,
    counts,
    detection,
    detection_postprocess,
    elementwise,
    index,
    lstm,
    matrix,
    norm,
    pads,
    pool,
    quantize,
    random,
    reduce,
    resize,
    rnn,
    scan,
    segment,
    slices,
    stablehlo,
    svdf,
    transpose_conv,
    views,
)
from runtime.decompose.rule import Kernels, Lowering, Rule
from runtime.errors import UnsupportedError
from runtime.graph import Graph, Node, Value

RULES: dict[str, Rule] = {
    **bitcast.RULES,
    **blocks.RULES,
    **compare.RULES,
    **conv.RULES,
    **conv_3d.RULES,
    **counts.RULES,
    **detection.RULES,
    **detection_postprocess.RULES,
    **elementwise.RULES,
    **index.RULES,
    **lstm.RULES,
    **matrix.RULES,
    **norm.RULES,
    **pads.RULES,
    **pool.RULES,
    **quantize.RULES,
    **random.RULES,
    **reduce.RULES,
    **resize.RULES,
    **rnn.RULES,
    **scan.RULES,
    **slices.RULES,
    **svdf.RULES,
    **stablehlo.RULES,
    **transpose_conv.RULES,
    **segment.RULES,
    **views.RULES,
}


def decompose(graph: Graph, kernels: Kernels) -> Graph:
    """The same graph in atoms, whose integers are those of one of TFLite's two sets of kernels.

    Shapes must be inferred. Raises UnsupportedError naming the operator for which there is no rule, or none
    for its element types; ModelError where an operator's operands contradict each other.
    """
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
    RULES[node.op](low)
    return low.nodes
