"""Vertical composition: what reads a RASTER reads what the RASTER copied, wherever that is a view as well.

Producers are met in order, so each is in terms of its furthest sources when its readers are rewritten, and
every reader is rewritten once per producer: the work is the number of edges times a bound on regions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from runtime.atoms import MAX_RANK, Gemm, Map, Raster, Reduce, Region, View
from runtime.graph import Graph, Node
from runtime.raster import (
    MAX_REGIONS,
    Copies,
    Piece,
    clipped,
    disjoint,
    grid_boxes,
    injective,
    normalised,
    one_view,
    same_bits,
    split,
    unsplit,
)
from runtime.strides import collapse


def normalise(graph: Graph) -> Graph:
    """Every RASTER in normal form."""
    return graph.with_nodes(tuple(normal_node(graph, node) for node in graph.nodes))


def normal_node(graph: Graph, node: Node) -> Node:
    """A RASTER in normal form, with each input once and only those that are read; any other node as it is."""
    if not isinstance(node.attrs, Raster):
        return node
    out = graph.values[node.outputs[0]]
    return trimmed(node, normalised(node.attrs, out.elements, out.dtype))


def trimmed(node: Node, raster: Raster) -> Node:
    """The node with this RASTER of its inputs, each of them once and only those that are read."""
    used = tuple(dict.fromkeys(node.inputs[region.input] for region in raster.regions))
    number = {value: i for i, value in enumerate(used)}
    regions = tuple(replace(r, input=number[node.inputs[r.input]]) for r in raster.regions)
    return replace(node, inputs=used, attrs=replace(raster, regions=regions))


def compose(graph: Graph) -> Graph:
    """RASTER, MAP, GEMM and REDUCE read through copies. A reader that becomes no bigger is rewritten for
    itself; one that is clipped into more regions only where with it the copy has no reader left.
    """
    nodes, ends = list(graph.nodes), frozenset(graph.ends)
    readers: dict[int, list[int]] = {}
    for at, node in enumerate(nodes):
        for i in set(node.inputs):
            readers.setdefault(i, []).append(at)
    for maker in range(len(nodes)):
        source = Source.of(graph, nodes[maker])
        if source is None:
            continue
        found = {at: source.read_by(nodes[at]) for at in readers.get(source.value, [])}
        dies = source.value not in ends and all(new is not None for new in found.values())
        for at, new in found.items():
            if new is not None and (dies or _size(new) <= _size(nodes[at])):
                for i in set(new.inputs) - set(nodes[at].inputs):
                    readers.setdefault(i, []).append(at)
                nodes[at] = new
    return graph.with_nodes(tuple(nodes))


def _size(node: Node) -> tuple[int, int]:
    return len(node.inputs), len(node.attrs.regions) if isinstance(node.attrs, Raster) else 0


@dataclass(frozen=True, slots=True)
class Source:
    """A value made by copying from others of its type, its sources, and how to read through it."""

    graph: Graph
    value: int
    inputs: tuple[int, ...]
    copies: Copies

    @staticmethod
    def of(graph: Graph, node: Node) -> Source | None:
        if not isinstance(node.attrs, Raster):
            return None
        out = graph.values[node.outputs[0]]
        if any(graph.values[i].dtype is not out.dtype for i in node.inputs):
            return None
        copies = Copies.of(node.attrs, out.elements)
        return None if copies is None else Source(graph, node.outputs[0], node.inputs, copies)

    def read_by(self, node: Node) -> Node | None:
        """The reader without this value among its inputs; None where that cannot be, or where the reader is
        so wide that looking at it once for each of its inputs would be too much work.
        """
        if max(_size(node)) > MAX_REGIONS:
            return None
        match node.attrs:
            case Raster():
                return self._raster(node, node.attrs)
            case Map():
                return self._map(node, node.attrs)
            case Gemm():
                return self._gemm(node, node.attrs)
            case Reduce():
                return self._reduce(node, node.attrs)
        return None

    def _raster(self, node: Node, raster: Raster) -> Node | None:
        regions: list[Region] = []
        inputs = (*node.inputs, *self.inputs)
        filled = False
        for region in raster.regions:
            if node.inputs[region.input] != self.value:
                regions.append(region)
                continue
            reading = self.copies.read(region.source, region.sizes)
            if reading is None or (
                len(reading.pieces) > 1 and not injective(region.destination, region.sizes)
            ):
                return None
            if math.prod(region.sizes) > self.graph.values[self.value].elements and tears(
                region, reading.pieces
            ):
                return None
            pieces = [replace(p, input=p.input + len(node.inputs)) for p in clipped(region, reading)]
            if any(len(piece.sizes) > MAX_RANK for piece in pieces):
                return None
            filled |= len(pieces) < len(reading.pieces)
            regions += pieces
        if len(regions) > MAX_REGIONS:
            return None
        fill = raster.fill
        if filled:
            out = self.graph.values[node.outputs[0]]
            boxes = grid_boxes(raster.regions, out.elements)
            mine = self.copies.raster.fill
            if raster.mode == "add" or mine is None or boxes is None or not disjoint(boxes):
                return None
            if out.dtype is not self.graph.values[self.value].dtype:
                return None
            if fill is not None and not same_bits(fill, mine, out.dtype):
                return None
            fill = mine
        return normal_node(
            self.graph, replace(node, inputs=inputs, attrs=replace(raster, regions=tuple(regions), fill=fill))
        )

    def _map(self, node: Node, atom: Map) -> Node | None:
        for at, index in enumerate(node.inputs):
            if index != self.value:
                continue
            found = one_view(self.copies.read(atom.views[at], atom.sizes))
            if found is None:
                return None
            source, view, factors = found
            whole = unsplit(view, factors)
            if whole is None:
                sizes, (output, *views) = split(atom.sizes, factors, atom.output, *atom.views)
                views[at] = view
                sizes, (output, *views) = collapse(sizes, output, *views)
                if len(sizes) > MAX_RANK:
                    return None
                atom = replace(atom, sizes=sizes, output=output, views=tuple(views))
            else:
                atom = replace(atom, views=(*atom.views[:at], whole, *atom.views[at + 1 :]))
            node = replace(node, inputs=_put(node.inputs, at, self.inputs[source]), attrs=atom)
        return node

    def _gemm(self, node: Node, gemm: Gemm) -> Node | None:
        if self.value in node.inputs[2:]:
            return None
        sizes = (gemm.batch, gemm.m, gemm.k), (gemm.batch, gemm.k, gemm.n)
        views = [gemm.a, gemm.b]
        inputs = node.inputs
        for at in (0, 1):
            if inputs[at] != self.value:
                continue
            found = one_view(self.copies.read(views[at], sizes[at]))
            whole = None if found is None else unsplit(found[1], found[2])
            if found is None or whole is None:
                return None
            views[at], inputs = whole, _put(inputs, at, self.inputs[found[0]])
        return replace(node, inputs=inputs, attrs=replace(gemm, a=views[0], b=views[1]))

    def _reduce(self, node: Node, reduce: Reduce) -> Node | None:
        """A matrix that is reduced along its other axis. Sums of floats keep the order of their memory."""
        sizes = reduce.outer, reduce.axis, reduce.inner
        if 1 not in (reduce.outer, reduce.inner) or reduce.op in ("sum", "prod"):
            return None
        view = View(0, (reduce.axis * reduce.inner, reduce.inner, 1))
        found = one_view(self.copies.read(view, sizes))
        whole = None if found is None else unsplit(found[1], found[2])
        if found is None or whole is None or whole.offset:
            return None
        source, others = self.inputs[found[0]], reduce.outer * reduce.inner
        step = whole.strides[0] if reduce.inner == 1 else whole.strides[2]
        if self.graph.values[source].elements != others * reduce.axis:
            return None
        for form, strides in (
            ((others, reduce.axis, 1), (reduce.axis, 1)),
            ((1, reduce.axis, others), (1, others)),
        ):
            if (step, whole.strides[1]) == strides:
                return replace(node, inputs=(source,), attrs=Reduce(reduce.op, *form))
        return None


def _put(ids: tuple[int, ...], at: int, value: int) -> tuple[int, ...]:
    return (*ids[:at], value, *ids[at + 1 :])


def tears(region: Region, pieces: Sequence[Piece]) -> bool:
    """Whether what lay side by side in the copy is apart in its source: windows that overlap read each
    element many times, and read it faster from the copy.
    """
    return _contiguous(region.source, region.sizes) and not all(
        piece.view is None or _contiguous(piece.view, piece.sizes) for piece in pieces
    )


def _contiguous(view: View, sizes: Sequence[int]) -> bool:
    return any(stride == 1 and size > 1 for stride, size in zip(view.strides, sizes, strict=True))
