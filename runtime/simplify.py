"""Make an atomic graph smaller without changing a bit of its outputs.

`PASSES` in order: fold what depends on constants only; compute once what does not change along a dimension
(repeats.py); bring RASTERs into normal form, let identity copies share their input, read through the others,
and drop the identities that this leaves; compute what is the same once; drop what nobody reads. Fusion into
faster kernels is left to the backends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from runtime.atoms import ATOMS, Raster, Rng
from runtime.backends import reference
from runtime.compose import compose, normalise
from runtime.control import everywhere
from runtime.graph import ABSENT, Array, Graph, Node, Signature, Value
from runtime.repeats import once
from runtime.strides import is_dense

FOLD_LIMIT = 64 << 20
"""Bytes of folded constants in one graph; what is beyond is computed at run time."""


def simplify(graph: Graph) -> Graph:
    """The same function of the same inputs and outputs, with fewer nodes and values. Value ids change."""
    for _, rewrite in PASSES:
        graph = everywhere(graph, rewrite)
    return graph


# ---------------------------------------------------------------- fold


def fold(graph: Graph) -> Graph:
    """Atoms on constants become constants, computed by the reference backend."""
    values, nodes, budget = list(graph.values), list[Node](), FOLD_LIMIT
    ends = frozenset(graph.ends)
    for node in graph.nodes:
        outputs = [values[i] for i in node.outputs]
        size = sum(value.nbytes for value in outputs)
        operands = _foldable(node, values)
        if operands is None or size > budget or not ends.isdisjoint(node.outputs):
            nodes.append(node)
            continue
        budget -= size
        for index, data in zip(node.outputs, reference.run_atom(node.attrs, operands, outputs), strict=True):
            values[index] = replace(values[index], data=data)
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def _foldable(node: Node, values: Sequence[Value]) -> list[Array] | None:
    """The operands of an atom that depends on constants only."""
    if not isinstance(node.attrs, ATOMS) or isinstance(node.attrs, Rng):
        return None
    operands = [data for i in node.inputs if (data := values[i].data) is not None]
    return operands if len(operands) == len(node.inputs) else None


# ---------------------------------------------------------------- alias


def alias(graph: Graph) -> Graph:
    """Drops identity copies: readers of the copy read its input, or the input's producer writes the copy.

    `origin` has the input of each copy that is dropped, `written` the copy that stands for its input.
    """
    produced, ends = {i for node in graph.nodes for i in node.outputs}, frozenset(graph.ends)
    origin, written = dict[int, int](), dict[int, int]()
    nodes = []
    for node in graph.nodes:
        if not _is_identity(graph, node):
            nodes.append(node)
            continue
        copy, source = node.outputs[0], origin.get(node.inputs[0], node.inputs[0])
        if copy not in ends:
            origin[copy] = source
        elif source in produced and source not in ends and source not in written:
            origin[copy], written[source] = source, copy
        else:
            nodes.append(node)
    number = written | {copy: written.get(source, source) for copy, source in origin.items()}
    return graph.with_nodes(tuple(_renumbered(node, number) for node in nodes))


def _is_identity(graph: Graph, node: Node) -> bool:
    raster = node.attrs
    if not isinstance(raster, Raster) or len(raster.regions) != 1 or raster.mode != "copy":
        return False
    region, ends = raster.regions[0], (*node.inputs, *node.outputs)
    if len(ends) != 2 or {graph.values[i].elements for i in ends} != {math.prod(region.sizes)}:
        return False
    if graph.values[ends[0]].dtype is not graph.values[ends[1]].dtype:
        return False
    return is_dense(region.source, region.sizes) and is_dense(region.destination, region.sizes)


# ---------------------------------------------------------------- share


def share(graph: Graph) -> Graph:
    """Atoms that compute the same from the same inputs are computed once; outputs of the graph stay."""
    ends, number = frozenset(graph.ends), dict[int, int]()
    seen, nodes = dict[object, dict[str, Node]](), []
    for node in graph.nodes:
        node = _renumbered(node, number)
        first = _first(seen.setdefault(_operands(graph, node), {}), node)
        if first is node or not ends.isdisjoint(node.outputs):
            nodes.append(node)
        else:
            number.update(zip(node.outputs, first.outputs, strict=True))
    return graph.with_nodes(tuple(nodes))


def _operands(graph: Graph, node: Node) -> object:
    """Equal for atoms that read the same and give as much."""
    if not isinstance(node.attrs, ATOMS):
        return node.outputs
    outputs = tuple([(graph.values[i].elements, graph.values[i].dtype) for i in node.outputs])
    return node.op, node.inputs, outputs


def _first(alike: dict[str, Node], node: Node) -> Node:
    """The first of the nodes on these operands that gives the same bits. Numbers are compared by their text,
    in which -0.0 is not 0.0; of an only node nobody needs it ("").
    """
    if not alike:
        alike[""] = node
        return node
    if (only := alike.pop("", None)) is not None:
        alike[repr(only.attrs)] = only
    return alike.setdefault(repr(node.attrs), node)


# ---------------------------------------------------------------- prune


def prune(graph: Graph) -> Graph:
    """Drops nodes and values that no output depends on; graph inputs stay. The rest is numbered anew."""
    needed, nodes = set(graph.ends), []
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed |= {i for i in node.inputs if i != ABSENT} | set(node.outputs)
            nodes.append(node)
    kept = sorted(needed | set(graph.starts))
    number = {old: new for new, old in enumerate(kept)}
    return Graph(
        tuple(graph.values[i] for i in kept),
        tuple(_renumbered(node, number) for node in reversed(nodes)),
        tuple(number[i] for i in graph.inputs),
        tuple(number[i] for i in graph.outputs),
        MappingProxyType(
            {key: _signature(s, number) for key, s in graph.signatures.items() if s.subgraph is None}
        ),
        tuple(replace(s, value=number[s.value], final=number[s.final]) for s in graph.states),
    )


def _renumbered(node: Node, number: Mapping[int, int]) -> Node:
    inputs, outputs = (tuple([number.get(i, i) for i in ids]) for ids in (node.inputs, node.outputs))
    if (inputs, outputs) == (node.inputs, node.outputs):
        return node
    return Node(node.op, inputs, outputs, node.attrs, node.source)


def _signature(signature: Signature, number: Mapping[int, int]) -> Signature:
    inputs, outputs = (
        MappingProxyType({name: number[i] for name, i in ends.items()})
        for ends in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)


Pass = Callable[[Graph], Graph]
PASSES: tuple[tuple[str, Pass], ...] = (
    ("fold", fold),
    ("once", once),
    ("normalise", normalise),
    ("alias", alias),
    ("compose", compose),
    ("alias again", alias),
    ("share", share),
    ("prune", prune),
)
