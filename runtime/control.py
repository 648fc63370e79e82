"""Control flow: the nodes whose attributes are graphs, at every level, and their exact meaning.

A sub-graph sees its inputs and its own constants, nothing else of the graph around it, and has no states;
what it reads and writes is in the node's inputs and outputs. `map_subgraphs` takes a pass inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from runtime.graph import Graph

MAX_DEPTH = 16
"""Of graphs inside graphs."""
MAX_TRIPS = 1 << 20
"""Of one WHILE: more counts as a loop without an end, and stops the run with an error."""


@dataclass(frozen=True, slots=True)
class If:
    """Inputs: a bool of one element, operands. Outputs: those of `then` or of `orelse` on the operands."""

    NAME: ClassVar = "IF"
    then: Graph
    orelse: Graph


@dataclass(frozen=True, slots=True)
class While:
    """While cond(carried) is true, carried = body(carried); inputs are the first carried, outputs the last.

    `cond` gives a bool of one element. At most `MAX_TRIPS` trips, a run-time error beyond.
    """

    NAME: ClassVar = "WHILE"
    cond: Graph
    body: Graph


@dataclass(frozen=True, slots=True)
class Loop:
    """`trips` runs of `body`, along the first axis of its sequences: a recurrent layer.

    Inputs: `carried` values, then sequences whose first axis is `trips`, then values that stay the same (of
    which `fixed` says how many). The body's inputs are the carried values, one slice (without the first axis)
    of each sequence, the fixed ones; its outputs the next carried values, then slices. Outputs of the node:
    the last carried values, then the slices stacked. `reverse` goes through all sequences from the end.
    """

    NAME: ClassVar = "LOOP"
    body: Graph
    trips: int
    carried: int
    fixed: int = 0
    reverse: bool = False


Control = If | While | Loop
CONTROL: tuple[type[Control], ...] = (If, While, Loop)


def subgraphs(attrs: Any) -> dict[str, Graph]:
    """The graphs in a node's attributes, by the name of the field; none for a node without control flow."""
    if not isinstance(attrs, CONTROL):
        return {}
    found = {field.name: getattr(attrs, field.name) for field in fields(attrs)}
    return {name: graph for name, graph in found.items() if isinstance(graph, Graph)}


def map_subgraphs(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph with `change` done to each graph directly inside one of its nodes."""
    nodes = tuple(
        replace(node, attrs=replace(node.attrs, **{name: change(part) for name, part in parts.items()}))
        if (parts := subgraphs(node.attrs))
        else node
        for node in graph.nodes
    )
    return graph.with_nodes(nodes)


def everywhere(graph: Graph, change: Callable[[Graph], Graph]) -> Graph:
    """The graph after `change` of all graphs inside it, the innermost first, and of itself."""
    return change(map_subgraphs(graph, lambda part: everywhere(part, change)))
