"""A MAP that only one other MAP reads becomes a part of it: its numbers are not written down in between.

That changes no bit where what is in between has the type that both compute in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from runtime.atoms import Instruction, Map, View
from runtime.graph import Graph, Node, Shape
from runtime.primitives import MAX_STACK, deepest
from runtime.strides import collapse, dense, is_dense

MOST_INSTRUCTIONS = 64


def join_maps(graph: Graph) -> Graph:
    """The same function with fewer MAPs; those that nobody reads any more stay."""
    readers = Counter(i for node in graph.nodes for i in node.inputs)
    alone = {i for i, count in readers.items() if count == 1} - set(graph.ends)
    makers: dict[int, Node] = {}
    nodes = []
    for node in graph.nodes:
        if isinstance(node.attrs, Map):
            node = _joined(graph, node, makers, alone)
            makers[node.outputs[0]] = node
        nodes.append(node)
    return graph.with_nodes(tuple(nodes))


def _joined(graph: Graph, node: Node, makers: Mapping[int, Node], alone: set[int]) -> Node:
    """The node with everything in it that can be."""
    for position, i in enumerate(node.inputs):
        maker = makers.get(i) if i in alone else None
        if maker is not None and graph.values[i].dtype.value == maker.attrs.compute == node.attrs.compute:
            both = _with(node, position, maker)
            if both is not None:
                return _joined(graph, both, makers, alone)
    return node


def _with(node: Node, position: int, maker: Node) -> Node | None:
    """The node with the maker's instructions in the place of the load of what it makes."""
    aligned = _aligned(node.attrs, position, maker.attrs)
    if aligned is None or node.attrs.program.count(Instruction("load", (position,))) != 1:
        return None
    sizes, output, views, inner = aligned
    operands: dict[tuple[int, View], int] = {}

    def load(step: Instruction, inputs: Sequence[int], views: Sequence[View]) -> Instruction:
        i = int(step.args[0])
        return Instruction("load", (operands.setdefault((inputs[i], views[i]), len(operands)),))

    program = list[Instruction]()
    for step in node.attrs.program:
        if step.name != "load":
            program.append(step)
        elif step.args[0] != position:
            program.append(load(step, node.inputs, views))
        else:
            made = maker.attrs.program
            program += [load(step, maker.inputs, inner) if step.name == "load" else step for step in made]
    if len(program) > MOST_INSTRUCTIONS or deepest(program) > MAX_STACK:
        return None
    inputs, read = zip(*operands, strict=True)
    attrs = Map(sizes, read, output, tuple(program), node.attrs.compute)
    return replace(node, inputs=inputs, attrs=attrs)


def _aligned(outer: Map, position: int, inner: Map) -> tuple[Shape, View, list[View], list[View]] | None:
    """(sizes, the outer output, the outer inputs, the inner inputs) over the same elements in the same order,
    where both MAPs go through what is between them without a gap.
    """
    sizes, (output, *views) = collapse(outer.sizes, outer.output, *outer.views)
    made, (between, *inner_views) = collapse(inner.sizes, inner.output, *inner.views)
    if (
        not is_dense(between, made)
        or not is_dense(views[position], sizes)
        or math.prod(sizes) != math.prod(made)
    ):
        return None
    if sizes == made:
        return sizes, output, views, inner_views
    if len(made) == 1:
        return sizes, output, views, [_over(sizes, view) for view in inner_views]
    if len(sizes) == 1:
        return made, _over(made, output), [_over(made, view) for view in views], inner_views
    return None


def _over(sizes: Shape, view: View) -> View:
    """A view of one dimension as one of several."""
    return View(view.offset, tuple([stride * view.strides[0] for stride in dense(sizes).strides]))
