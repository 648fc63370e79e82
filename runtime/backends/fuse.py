"""Rewrites of atoms to the fused kernels of the cpu backend: convolutions without an im2col buffer.

The decomposition stays the definition; a rewrite applies where the atoms have exactly the form that the
kernel computes.

    RASTER (pad) -> RASTER (patches) -> GEMM                                  =>  INDIRECT_GEMM
    the same of few channels                                         =>  RASTER (pad) -> INDIRECT_GEMM
    RASTER (pad) -> RASTER (patches) -> GEMM, a batch per channel -> MAP      =>  DEPTHWISE
    RASTER (pad) -> RASTER (patches) -> REDUCE                                =>  INDIRECT_REDUCE
    MAPs and GATHERs of constants from byte to byte (tabulate.py)             =>  LOOKUP
    MAP -> MAP (join_maps.py)                                                 =>  MAP
    instructions of a MAP (superinstructions.py)                              =>  one of them

The patches of a depthwise convolution may also be a view of the GEMM itself, where one suffices.
All replace the gathered patches by a table that says where each chunk of them stands in the input.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from runtime.atoms import Clamp, Gemm, Map, Raster, Reduce, Region, Requantize, View
from runtime.backends.join_maps import join_maps
from runtime.backends.reference import window
from runtime.backends.superinstructions import shorten
from runtime.backends.tabulate import tabulate
from runtime.control import map_subgraphs
from runtime.fused import Depthwise, IndirectGemm, IndirectReduce, Table
from runtime.graph import Array, Graph, Node
from runtime.strides import collapse, dense, is_dense

LEAST_CHUNK = 3
"""Elements that an entry must stand for: for less, copying the patches first is as good."""

SHORT_CHUNK = 8
"""Elements: rather than to look up so few, a padded copy of an image is made, as for the first layer of a
network.
"""

MOST_ENTRIES = 1 << 22
"""Of a table: a larger one would cost more memory than it saves."""


def columns_first(taps: int) -> list[int]:
    """The order in which a window's taps are added: a square one column by column, as XNNPACK does.

    Any order is right; this one gives its floats bit for bit where there is FMA. Dynamic-range models need
    that: they round activations, and there one bit can move an output by a whole step.
    """
    side = math.isqrt(taps)
    if side * side != taps:
        return list(range(taps))
    return [row * side + column for column in range(side) for row in range(side)]


def fuse(graph: Graph) -> Graph:
    """The same function with its convolutions fused where possible, and without what that leaves unread."""
    graph = tabulate(map_subgraphs(graph, fuse))
    finder, nodes, done = _Finder(graph), list[Node](), set[int]()
    for node in graph.nodes:
        if done.isdisjoint(node.outputs):
            nodes.append(finder.fused(node))
            done |= set(nodes[-1].outputs)
    joined = shorten(join_maps(graph.with_nodes(tuple(nodes))))
    return joined.with_nodes(tuple(live(list(joined.nodes), graph.ends)))


def live(nodes: list[Node], outputs: Iterable[int]) -> list[Node]:
    """The nodes that the outputs depend on, in order."""
    needed, kept = set(outputs), list[Node]()
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            needed |= set(node.inputs)
            kept.append(node)
    return kept[::-1]


class _Finder:
    """Finds the patterns around one node."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.values = graph, graph.values
        self.makers = {i: node for node in graph.nodes for i in node.outputs}
        self.readers: dict[int, list[Node]] = {}
        for node in graph.nodes:
            for i in set(node.inputs):
                self.readers.setdefault(i, []).append(node)

    def fused(self, node: Node) -> Node:
        match node.attrs:
            case Gemm():
                return self.depthwise(node, node.attrs) or self.indirect(node, node.attrs) or node
            case Reduce():
                return self.pool(node, node.attrs) or node
        return node

    def pool(self, node: Node, reduce: Reduce) -> Node | None:
        if reduce.inner < LEAST_CHUNK:
            return None
        found = self.table(node.inputs[0], reduce.outer, reduce.axis * reduce.inner, reduce.inner)
        if found is None:
            return None
        return replace(
            node, op=IndirectReduce.NAME, inputs=(found[0],), attrs=IndirectReduce(reduce, found[1])
        )

    def indirect(self, node: Node, gemm: Gemm) -> Node | None:
        if gemm.batch != 1 or (gemm.a.offset, *gemm.a.strides[1:]) != (0, gemm.k, 1):
            return None
        found = self.table(node.inputs[0], gemm.m, gemm.k)
        if found is not None and found[1].chunk < SHORT_CHUNK:
            found = self.within_padded(node.inputs[0], gemm) or found
        if found is None or found[1].chunk < LEAST_CHUNK:
            return None
        attrs = IndirectGemm(gemm, joined(found[1]))
        return replace(node, op=IndirectGemm.NAME, inputs=(found[0], *node.inputs[1:]), attrs=attrs)

    def within_padded(self, index: int, gemm: Gemm) -> tuple[int, Table] | None:
        """The table into what has been padded, where a window's pixels follow each other in longer chunks."""
        base, patches = self.single_copy(index) or (index, None)
        if patches is None or self.single_copy(base) is None or patches.fill is not None:
            return None
        grain = math.gcd(granularity(patches), gemm.k)
        starts = np.arange(0, self.values[base].elements, grain, np.int32)
        table = Table(moved(patches, starts, gemm.m * gemm.k, grain).reshape(gemm.m, -1), grain, 0)
        longer = joined(table)
        return (base, longer) if longer.chunk >= SHORT_CHUNK else None

    def depthwise(self, node: Node, gemm: Gemm) -> Node | None:
        channels, weights = gemm.batch, self.values[node.inputs[1]].data
        side_by_side = View(0, (1, channels, 1))
        if channels == 1 or gemm.n != 1 or gemm.a.strides[0] != 1 or len(node.inputs) != 2:
            return None
        if (gemm.b, gemm.c) != (side_by_side, side_by_side):
            return None
        found = self.windows(node.inputs[0], gemm)
        readers = self.readers.get(node.outputs[0], [])
        if found is None or weights is None or len(readers) != 1 or node.outputs[0] in self.graph.ends:
            return None
        last = self.epilogue(readers[0], gemm.m, channels)
        if last is None:
            return None
        taps = weights.reshape(gemm.k, channels)
        if taps.dtype != np.float32:
            taps = taps.astype(np.int32) - np.int32(gemm.b_zero)
        source, table = found
        order = columns_first(gemm.k)
        table = replace(table, rows=np.ascontiguousarray(table.rows[:, order]))
        attrs = Depthwise(table, taps[order], last[0].astype(taps.dtype), gemm.a_zero, last[1])
        return replace(node, op=Depthwise.NAME, inputs=(source,), outputs=readers[0].outputs, attrs=attrs)

    # ---------------------------------------------------------------- RASTER -> table

    def table(self, index: int, m: int, k: int, chunk: int | None = None) -> tuple[int, Table] | None:
        """(value that the patches come from, table) for a gathered matrix (m, k), in chunks of `chunk` or the
        largest.
        """
        outer = self.single_copy(index)
        if outer is None or self.values[index].elements != m * k:
            return None
        return self.through(*outer, m, k, chunk)

    def windows(self, index: int, gemm: Gemm) -> tuple[int, Table] | None:
        """The table of a depthwise convolution: through patches, or where A reads the windows by its view."""
        channels, (_, step_m, step_k) = gemm.batch, gemm.a.strides
        k = gemm.k * channels
        if (gemm.a.offset, step_m, step_k) == (0, k, channels):
            found = self.table(index, gemm.m, k, channels)
            if found is not None:
                return found
        sizes = gemm.m, gemm.k, channels
        patches = Region(0, View(gemm.a.offset, (step_m, step_k, 1)), dense(sizes), sizes)
        return self.through(index, Raster((patches,)), gemm.m, k, channels)

    def through(
        self, base: int, patches: Raster, m: int, k: int, chunk: int | None
    ) -> tuple[int, Table] | None:
        """(value, table) for patches of a value, or of what was padded into it."""
        grain, fill, pad = math.gcd(granularity(patches), k), patches.fill, None
        if (inner := self.single_copy(base)) is not None and (fill is None or fill == inner[1].fill):
            pad, fill = inner[1], inner[1].fill
            grain = math.gcd(grain, granularity(pad), self.values[base].elements)
        grain = math.gcd(grain, chunk or grain)
        if chunk not in (None, grain) or m * k // grain > MOST_ENTRIES:
            return None
        source = base if inner is None or pad is None else inner[0]
        starts = np.arange(0, self.values[source].elements, grain, np.int32)
        if pad is not None:
            starts = moved(pad, starts, self.values[base].elements, grain)
        return source, Table(moved(patches, starts, m * k, grain).reshape(m, k // grain), grain, fill or 0)

    def single_copy(self, index: int) -> tuple[int, Raster] | None:
        """(input, atom) where a value is made by copying from one other value."""
        node = self.makers.get(index)
        if (
            node is None
            or not isinstance(node.attrs, Raster)
            or node.attrs.mode != "copy"
            or len(node.inputs) != 1
            or self.values[node.inputs[0]].dtype is not self.values[index].dtype
        ):
            return None
        return node.inputs[0], node.attrs

    # ---------------------------------------------------------------- MAP -> epilogue

    def epilogue(self, node: Node, m: int, channels: int) -> tuple[Array, Clamp | Requantize] | None:
        """(bias, epilogue) where a MAP does to sums (m, channels) what a kernel's epilogue does."""
        atom = node.attrs
        if (
            not isinstance(atom, Map)
            or not is_dense(atom.views[0], atom.sizes)
            or not is_dense(atom.output, atom.sizes)
        ):
            return None
        names = tuple(step.name for step in atom.program)
        biased = names[:3] == ("load", "load", "add")
        loads = [step.args[0] for step in atom.program if step.name == "load"]
        rows = [self.per_channel(node.inputs[i], atom, i, channels) for i in range(1, len(node.inputs))]
        if loads != list(range(len(node.inputs))) or math.prod(atom.sizes) != m * channels:
            return None
        operands = [row for row in rows if row is not None]
        if len(operands) != len(rows):
            return None
        bias = operands.pop(0) if biased else np.zeros(channels, np.int32)
        rest = names[3 if biased else 1 :]
        if atom.compute == "f32" and rest in ((), ("clamp",)):
            return bias, Clamp(*(map(float, atom.program[-1].args if rest else ())))
        if atom.compute == "i32" and rest == ("load", "load", "mulq_by", "const", "add", "clamp"):
            low, high = map(int, atom.program[-1].args)
            zero = int(atom.program[-3].args[0])
            multiplier, shift = (tuple(row.tolist()) for row in operands)
            return bias, Requantize(multiplier, shift, zero, low, high)
        return None

    def per_channel(self, index: int, atom: Map, operand: int, channels: int) -> Array | None:
        """What a constant operand gives for each channel; None where that depends on the row."""
        data, view = self.values[index].data, atom.views[operand]
        if data is None:
            return None
        flat = data.reshape(-1)[view.offset :]
        if not any(view.strides):
            return np.repeat(flat[:1], channels)
        axis, inner = len(atom.sizes), 1
        while axis and inner < channels:
            axis -= 1
            inner *= atom.sizes[axis]
        if inner != channels or any(view.strides[:axis]):
            return None
        strides = [stride * data.itemsize for stride in view.strides[axis:]]
        row = np.lib.stride_tricks.as_strided(flat, atom.sizes[axis:], strides, writeable=False)
        return row.reshape(channels).copy()


# -------------------------------------------------------------------- address arithmetic


def granularity(atom: Raster) -> int:
    """The largest g such that every region moves whole, aligned groups of g contiguous elements."""
    grain = 0
    for region in atom.regions:
        sizes, views = collapse(region.sizes, region.source, region.destination)
        if any(view.strides[-1] != 1 for view in views):
            return 1
        steps = [step for view in views for step in (view.offset, *view.strides[:-1])]
        grain = math.gcd(grain, sizes[-1], *steps)
    return grain or 1


def moved(atom: Raster, starts: Array, elements: int, grain: int) -> Array:
    """What the atom makes of its input, in groups of `grain` elements that are known by a number each; -1 for
    a group that it fills.
    """
    out = np.full(elements // grain, -1, np.int32)
    for region in atom.regions:
        sizes, views = collapse(region.sizes, region.source, region.destination)
        groups = (*sizes[:-1], sizes[-1] // grain)
        source, destination = (grouped(view, grain) for view in views)
        window(out, destination, groups)[...] = window(starts, source, groups)
    return out


def grouped(view: View, grain: int) -> View:
    """The same view, of groups."""
    return View(view.offset // grain, (*[stride // grain for stride in view.strides[:-1]], 1))


def joined(table: Table) -> Table:
    """The same table with fewer entries, where neighbouring chunks follow each other in every row."""
    rows, taps = table.rows, table.rows.shape[1]
    follow = ((rows[:, 1:] - rows[:, :-1] == table.chunk) & (rows[:, :-1] >= 0)).all(axis=0)
    step = math.gcd(taps, *(np.flatnonzero(~follow) + 1).tolist())
    return Table(np.ascontiguousarray(rows[:, ::step]), table.chunk * step, table.fill)
