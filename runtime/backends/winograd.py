"""Convolutions by 3x3 with a stride of 1 as Winograd convolutions, where the model of costs says so.

An INDIRECT_GEMM is one where its table proves it: it has the starts of the windows of an image, moved by one
pixel each. Which tiles are cheapest, if any, is computed from the sizes, the kernel's tile and the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ckernels import Row
from runtime.atoms import Gemm
from runtime.control import map_subgraphs
from runtime.fused import IndirectGemm, Table, Winograd
from runtime.graph import Array, DType, Graph, Node

SIDE = 3
TAPS = SIDE * SIDE
TILES = (2, 4)
"""Tiles of 6 would save a tenth of the products of those of 4 at 56x56, and lose eight times as many bits."""
FETCHED, MOVED = 0.7, 0.5
"""What a weight that comes from memory costs, and a number that is transformed or summed from a transform: so
many products of a vector of a panel. With them the costs are within 30 % of the times of 12 layers of ResNet,
DenseNet and SqueezeNet, direct and in both tiles, on a core with AVX-512 and 13 GB/s from memory.
"""


def winograd(graph: Graph, row: Row | None) -> Graph:
    """The same function, but for roundings, with its convolutions done by this kernel where that is faster.
    The choice depends on nothing but sizes and the kernel, and so do the results.
    """
    if row is None:
        return graph
    graph = map_subgraphs(graph, lambda part: winograd(part, row))
    return graph.with_nodes(tuple(cheapest(graph, node, row) for node in graph.nodes))


@dataclass(frozen=True, slots=True)
class Image:
    """An image of `height` x `width` pixels, of which those at the sides are zeros where `top`, `left`,
    `bottom` and `right` say so; pixels are `step` elements apart, rows `row`, the first is at `origin`.
    """

    origin: int
    row: int
    step: int
    height: int
    width: int
    top: bool
    left: bool
    bottom: bool
    right: bool

    def places(self) -> Array:
        """Where the pixels are; -1 for zeros."""
        down, across = (np.arange(n, dtype=np.int32)[:, None] for n in (self.height, self.width))
        found = self.origin + down * self.row + across.T * self.step
        found[: self.top], found[:, : self.left] = -1, -1
        found[self.height - self.bottom :], found[:, self.width - self.right :] = -1, -1
        return found

    def windows(self) -> Array:
        return np.lib.stride_tricks.sliding_window_view(self.places(), (SIDE, SIDE)).reshape(-1, TAPS)

    def rows(self, tile: int) -> Array:
        """Of each row of tiles, the first pixels of the rows that it reads; -1 for zeros and past the end."""
        starts = self.places()[:, int(self.left)]
        tiles = -(-(self.height - SIDE + 1) // tile)
        padded = np.full(tiles * tile + SIDE - 1, -1, np.int32)
        padded[: self.height] = starts
        return np.lib.stride_tricks.sliding_window_view(padded, tile + SIDE - 1)[::tile].copy()


def image_of(gemm: Gemm, table: Table) -> Image | None:
    """The image whose windows, of all channels, are the rows of A, one column of windows after the other."""
    channels, rest = divmod(gemm.k, TAPS)
    if rest or table.fill or table.chunk % channels or gemm.m == 1:
        return None
    starts = each(table, channels)
    centre = starts[:, TAPS // 2]
    step = int(centre[1] - centre[0])
    turns = (starts[1:, 3] < 0) | (starts[:-1, 5] < 0) | (np.diff(centre) != step)
    columns = int(np.argmax(turns)) + 1
    if not turns.any() or gemm.m % columns or columns == 1:
        return None
    row, (top, left, right, bottom) = int(centre[columns] - centre[0]), _zeros(starts)
    origin, border = int(centre[0]) - row - step, SIDE - 1
    image = Image(origin, row, step, gemm.m // columns + border, columns + border, top, left, bottom, right)
    return image if np.array_equal(image.windows(), starts) else None


def each(table: Table, channels: int) -> Array:
    """The starts of single pixels, where the chunks of a table are some of them side by side."""
    inner = np.arange(0, table.chunk, channels, dtype=np.int32)
    starts = np.where(table.rows[:, :, None] < 0, np.int32(-1), table.rows[:, :, None] + inner)
    return starts.reshape(len(table.rows), -1)


def _zeros(starts: Array) -> tuple[bool, bool, bool, bool]:
    """Whether zeros are above and left of the middle of the first window, right and below the last one's."""
    first, last = starts[0] < 0, starts[-1] < 0
    return bool(first[1]), bool(first[3]), bool(last[5]), bool(last[7])


def cheapest(graph: Graph, node: Node, row: Row) -> Node:
    """The node, or a Winograd convolution in its place."""
    fused = node.attrs
    if not isinstance(fused, IndirectGemm) or fused.gemm.c.strides[2] != 1:
        return node
    weights = [graph.values[i] for i in node.inputs[1:]]
    if any(value.dtype is not DType.F32 or value.data is None for value in weights):
        return node
    image = image_of(fused.gemm, fused.table)
    if image is None:
        return node
    costs = {tile: cost(image, fused.gemm, tile, row.nr) for tile in TILES}
    tile = min(costs, key=costs.__getitem__)
    if costs[tile] >= fused.gemm.k * fused.gemm.n * (fused.gemm.m + FETCHED * row.nr):
        return node
    return replace(node, op=Winograd.NAME, attrs=tiled(image, fused.gemm, tile))


def cost(image: Image, gemm: Gemm, tile: int, nr: int) -> float:
    """Of a convolution in tiles, in products, by a kernel with panels of nr columns."""
    positions, channels = (tile + SIDE - 1) ** 2, gemm.k // TAPS
    tiles = math.prod(-(-(side - SIDE + 1) // tile) for side in (image.height, image.width))
    weights, moved = positions * channels * gemm.n, positions * tiles * (channels + gemm.n)
    return weights * tiles + nr * (FETCHED * weights + MOVED * moved)


def tiled(image: Image, gemm: Gemm, tile: int) -> Winograd:
    width = image.width - image.left - image.right
    return Winograd(gemm, image.rows(tile), tile, image.width - SIDE + 1, width, int(image.left), image.step)
