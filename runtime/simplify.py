"""Make an atomic graph smaller without changing a bit of its outputs.

Four passes in order: fold what depends on constants only, let identity copies share their input, read through
copies (vertical RASTER composition), drop what nobody reads. Fusion into faster kernels is left to the
backends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from runtime.atoms import ATOMS, Map, Raster, Region, Rng, View
from runtime.backends import reference
from runtime.control import map_subgraphs
from runtime.graph import ABSENT, Array, Graph, Node, Shape, Signature, Value
from runtime.strides import dense, is_dense

FOLD_LIMIT = 64 << 20
"""Bytes of folded constants in one graph; what is beyond is computed at run time."""


def simplify(graph: Graph) -> Graph:
    """The same function of the same inputs and outputs, with fewer nodes and values. Value ids change."""
    graph = map_subgraphs(graph, simplify)
    for rewrite in (fold, alias, compose, prune):
        graph = rewrite(graph)
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
    region = _whole_copy(graph, node)
    if region is None or len(node.inputs) != 1 or not is_dense(region.source, region.sizes):
        return False
    return _count(region.sizes) == graph.values[node.inputs[0]].elements


# ---------------------------------------------------------------- compose


def compose(graph: Graph) -> Graph:
    """RASTER and MAP that read a copy read what was copied, where the two address maps make one view."""
    copies: dict[int, tuple[int, Region]] = {}
    nodes = []
    for node in graph.nodes:
        if isinstance(node.attrs, Raster):
            node = _read_through(node, node.attrs, copies)
        elif isinstance(node.attrs, Map):
            node = _load_through(node, node.attrs, copies)
        nodes.append(node)
        if (region := _whole_copy(graph, node)) is not None:
            copies[node.outputs[0]] = node.inputs[region.input], region
    return graph.with_nodes(tuple(nodes))


def _whole_copy(graph: Graph, node: Node) -> Region | None:
    """The region of a RASTER whose output is, element by element, a view of one input."""
    raster = node.attrs
    if not isinstance(raster, Raster) or len(raster.regions) != 1 or (raster.mode == "add" and raster.fill):
        return None
    region, elements = raster.regions[0], graph.values[node.outputs[0]].elements
    return region if is_dense(region.destination, region.sizes) and _count(region.sizes) == elements else None


def _read_through(node: Node, raster: Raster, copies: Mapping[int, tuple[int, Region]]) -> Node:
    inputs, regions = list(node.inputs), []
    for region in raster.regions:
        origin, view = _through(node.inputs[region.input], region.source, region.sizes, copies)
        if origin not in inputs:
            inputs.append(origin)
        regions.append(replace(region, input=inputs.index(origin), source=view))
    used = sorted({region.input for region in regions})
    regions = [replace(region, input=used.index(region.input)) for region in regions]
    return replace(node, inputs=tuple(inputs[i] for i in used), attrs=replace(raster, regions=tuple(regions)))


def _load_through(node: Node, program: Map, copies: Mapping[int, tuple[int, Region]]) -> Node:
    loads = [
        _through(i, view, program.sizes, copies) for i, view in zip(node.inputs, program.views, strict=True)
    ]
    views = tuple(view for _, view in loads)
    return replace(node, inputs=tuple(i for i, _ in loads), attrs=replace(program, views=views))


def _through(
    index: int, view: View, sizes: Shape, copies: Mapping[int, tuple[int, Region]]
) -> tuple[int, View]:
    """(value, view) of what was copied into `index`, or the two unchanged where that is not one view."""
    if index in copies:
        origin, region = copies[index]
        if (composed := composition(view, sizes, region)) is not None:
            return origin, composed
    return index, view


def composition(view: View, sizes: Shape, copy: Region) -> View | None:
    """A view of a dense copy as a view of its source; None where it is not one.

    An address of the copy is a number in the mixed radix of its sizes, whose digits times the source strides
    give the address in the source. The digits of a sum are the sums of the digits as long as none of them
    carries.
    """
    if view.offset < 0 or min(view.strides, default=0) < 0 or 0 in sizes:
        return None
    radix = dense(copy.sizes).strides
    start, steps = _digits(view.offset, radix), [_digits(stride, radix) for stride in view.strides]
    for axis, size in enumerate(copy.sizes):
        reach = start[axis] + sum((n - 1) * step[axis] for n, step in zip(sizes, steps, strict=True))
        if reach >= size:
            return None
    strides = copy.source.strides
    offset = copy.source.offset + _dot(start, strides)
    return View(offset, tuple(_dot(step, strides) for step in steps))


def _digits(number: int, radix: Sequence[int]) -> list[int]:
    digits = []
    for weight in radix:
        digits.append(number // weight)
        number %= weight
    return digits


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _count(sizes: Shape) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count


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
        MappingProxyType({key: _signature(s, number) for key, s in graph.signatures.items()}),
        tuple(replace(s, value=number[s.value], final=number[s.final]) for s in graph.states),
    )


def _renumbered(node: Node, number: Mapping[int, int]) -> Node:
    inputs, outputs = (tuple(number.get(i, i) for i in ids) for ids in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def _signature(signature: Signature, number: Mapping[int, int]) -> Signature:
    inputs, outputs = (
        MappingProxyType({name: number[i] for name, i in ends.items()})
        for ends in (signature.inputs, signature.outputs)
    )
    return Signature(inputs, outputs)
