"""Values that live inside others: what a RASTER would copy whole into a part of its output is written there
by its producer, and its other readers read it there. A concatenation of concatenations becomes one value.

A value is then no longer written once: several nodes write it, each its part, and leave the rest of it alone.
No element is written twice, for the RASTER had only this region for it, nor read before it is written, for
who reads it read what its producer had made.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from runtime.atoms import MAX_RANK, Gemm, Map, Raster, Region
from runtime.compose import Source, trimmed
from runtime.control import map_subgraphs
from runtime.fused import IndirectGemm
from runtime.graph import ABSENT, Graph, Node
from runtime.memory import aligned
from runtime.raster import Copies, injective, one_view, split, unsplit
from runtime.strides import collapse

MAX_READERS = 16
"""Of a value that is placed: bounds the work per region."""
MAX_SPAN = 4096
"""Nodes between the producer of a value that is placed and its last reader: bounds the work of the same."""


def place(graph: Graph) -> Graph:
    """The same function with as many parts of RASTERs written in place as are possible without more bytes
    alive than before in the step that needs most.
    """
    graph = map_subgraphs(graph, place)
    placer = _Placer(graph)
    for at in reversed(range(len(graph.nodes))):
        placer.parts(at)
    return graph.with_nodes(tuple(node for node in placer.nodes if not _is_done(node)))


def _is_done(node: Node) -> bool:
    return isinstance(node.attrs, Raster) and not node.attrs.regions and node.attrs.fill is None


class _Placer:
    """The nodes as they are rewritten, and how many bytes are alive at each of them.

    RASTERs are met from the last to the first: where one writes by then into the output of a later one, what
    it copies goes there at once.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.nodes, self.ends = graph, list(graph.nodes), frozenset(graph.ends)
        self.targets = set[int]()
        self.maker = {i: at for at, node in enumerate(graph.nodes) for i in node.outputs}
        self.readers: dict[int, list[int]] = {}
        for at, node in enumerate(graph.nodes):
            for i in set(node.inputs) - {ABSENT}:
                self.readers.setdefault(i, []).append(at)
        self.spans = {i: self._span(i) for i in {*self.maker, *graph.starts}}
        self.alive = np.zeros(max(len(graph.nodes), 1) + 1, np.int64)
        for i, (first, last) in self.spans.items():
            self.alive[first] += self.bytes(i)
            self.alive[last + 1] -= self.bytes(i)
        self.alive = np.cumsum(self.alive)
        self.most = int(self.alive.max())

    def _span(self, index: int) -> tuple[int, int]:
        first = self.maker.get(index, 0)
        end = len(self.nodes) - 1 if index in self.ends else first
        return first, max(end, *self.readers.get(index, [end]))

    def bytes(self, index: int) -> int:
        return aligned(self.graph.values[index].nbytes)

    def parts(self, at: int) -> None:
        """Places what the RASTER at this position copies; its regions that are left cover the rest."""
        raster = self.nodes[at].attrs
        if not isinstance(raster, Raster) or raster.mode == "add" or raster.fill is not None:
            return
        out = self.graph.nodes[at].outputs[0]
        if sum(math.prod(r.sizes) for r in raster.regions) != self.graph.values[out].elements:
            return
        copied = [self.nodes[at].inputs[region.input] for region in raster.regions]
        left = [
            region
            for region, index in zip(raster.regions, copied, strict=True)
            if copied.count(index) > 1 or not self.place(at, region, index)
        ]
        self.nodes[at] = trimmed(self.nodes[at], replace(raster, regions=tuple(left)))

    def place(self, at: int, region: Region, index: int) -> bool:
        """Whether the value now lives where the region would have copied it."""
        value, target = self.graph.values[index], self.nodes[at].outputs[0]
        maker, readers = self.maker.get(index), self.readers.get(index, [])
        if maker is None or len(readers) > MAX_READERS or index in self.targets or index in self.ends:
            return False
        if self.spans[index][1] - maker > MAX_SPAN or value.dtype is not self.graph.values[target].dtype:
            return False
        if math.prod(region.sizes) != value.elements or not injective(region.source, region.sizes):
            return False
        back = Raster((Region(0, region.destination, region.source, region.sizes),))
        copies = Copies.of(back, value.elements)
        if copies is None or not self.fits(index, target):
            return False
        source = Source(self.graph, index, (target,), copies)
        new = {reader: source.read_by(self.nodes[reader]) for reader in readers if reader != at}
        new[maker] = _written(self.nodes[maker], copies, target, value.elements)
        found = {i: node for i, node in new.items() if node is not None}
        if len(found) < len(new):
            return False
        for i, node in found.items():
            self.nodes[i] = node
        self.move(index, target)
        return True

    def fits(self, index: int, target: int) -> bool:
        """Whether the target may be there from the first to the last moment of the value."""
        size = self.bytes(target) - self.bytes(index)
        spans = self.longer(index, target)
        return all((self.alive[at] + size <= self.most).all() for at in spans)

    def longer(self, index: int, target: int) -> tuple[slice, slice]:
        """When the value is there and the target is not yet, and when it would be no more."""
        (first, last), (begun, ended) = self.spans[index], self.spans[target]
        return slice(first, min(begun, last + 1)), slice(max(ended + 1, first), last + 1)

    def move(self, index: int, target: int) -> None:
        for at in self.longer(index, target):
            self.alive[at] += self.bytes(target)
        (first, last), (begun, ended) = self.spans.pop(index), self.spans[target]
        self.alive[first : last + 1] -= self.bytes(index)
        self.spans[target] = min(first, begun), max(last, ended)
        self.targets.add(target)


def _written(node: Node, copies: Copies, target: int, elements: int) -> Node | None:
    """The producer of a whole value, writing the target instead, which the value would be a copy of; None
    where it cannot.
    """
    attrs: Map | Gemm | IndirectGemm | Raster | None = None
    match node.attrs:
        case Map():
            attrs = _map(node.attrs, copies, elements)
        case Gemm():
            attrs = _gemm(node.attrs, copies, elements)
        case IndirectGemm(gemm, table):
            inner = _gemm(gemm, copies, elements)
            attrs = None if inner is None else IndirectGemm(inner, table)
        case Raster():
            attrs = _raster(node.attrs, copies, elements)
    return None if attrs is None else replace(node, outputs=(target,), attrs=attrs)


def _map(atom: Map, copies: Copies, elements: int) -> Map | None:
    if math.prod(atom.sizes) != elements or not injective(atom.output, atom.sizes):
        return None
    found = one_view(copies.read(atom.output, atom.sizes))
    if found is None:
        return None
    _, view, factors = found
    whole = unsplit(view, factors)
    if whole is not None:
        return replace(atom, output=whole)
    sizes, views = split(atom.sizes, factors, *atom.views)
    sizes, (output, *views) = collapse(sizes, view, *views)
    return None if len(sizes) > MAX_RANK else replace(atom, sizes=sizes, output=output, views=tuple(views))


def _gemm(atom: Gemm, copies: Copies, elements: int) -> Gemm | None:
    sizes = atom.batch, atom.m, atom.n
    if math.prod(sizes) != elements or not injective(atom.c, sizes):
        return None
    found = one_view(copies.read(atom.c, sizes))
    whole = None if found is None else unsplit(found[1], found[2])
    return None if whole is None else replace(atom, c=whole)


def _raster(atom: Raster, copies: Copies, elements: int) -> Raster | None:
    """Each region once more, with its destination there."""
    if atom.mode == "add" or atom.fill is not None:
        return None
    if sum(math.prod(region.sizes) for region in atom.regions) != elements:
        return None
    regions = []
    for region in atom.regions:
        found = one_view(copies.read(region.destination, region.sizes))
        if found is None:
            return None
        _, view, factors = found
        sizes, (source,) = split(region.sizes, factors, region.source)
        sizes, (source, destination) = collapse(sizes, source, view)
        if len(sizes) > MAX_RANK:
            return None
        regions.append(Region(region.input, source, destination, sizes))
    return replace(atom, regions=tuple(regions))
