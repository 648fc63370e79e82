"""Convolutions by 3x3 with a stride of 1 as Winograd convolutions, where that costs less.

An INDIRECT_GEMM is one where its table proves it: it has the starts of the windows of an image, moved by one
pixel each. Which tiles are cheapest, if any, `ways` decides by what each way is counted to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

from ckernels import Row
from runtime.atoms import Gemm
from runtime.backends.atom_steps import tiles_at_once
from runtime.backends.cost import Counts, counts
from runtime.backends.flat import CONSTANTS
from runtime.backends.ways import Way, Ways
from runtime.control import map_subgraphs
from runtime.fused import IndirectGemm, Table, Winograd
from runtime.graph import Array, DType, Graph, Node

SIDE = 3
TAPS = SIDE * SIDE
TILES = (2, 4)
"""Tiles of 6 would save a tenth of the products of those of 4 at 56x56, and lose eight times as many bits."""


def winograd(graph: Graph, ways: Ways) -> Graph:
    """The same function, but for roundings, with its convolutions done in tiles where that is cheaper."""
    if ("WINOGRAD", "F32") not in ways.kernels:
        return graph
    graph = map_subgraphs(graph, lambda part: winograd(part, ways))
    return graph.with_nodes(tuple(ways.best(graph, ways_of(graph, node, ways)) for node in graph.nodes))


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


def ways_of(graph: Graph, node: Node, ways: Ways) -> list[Way]:
    """The node, and where it is a convolution of an image in floats the same in tiles."""
    fused, weights = node.attrs, [graph.values[i] for i in node.inputs[1:]]
    floats = all(value.dtype is DType.F32 and value.data is not None for value in weights)
    known = isinstance(fused, IndirectGemm) and fused.gemm.c.strides[2] == 1 and floats
    image = image_of(fused.gemm, fused.table) if known else None
    if image is None:
        return [Way(node)]
    direct, row = ways.kernels["GEMM", "F32"], ways.kernels["WINOGRAD", "F32"]
    found = [Way(node, direct.name, direct_counts(direct, fused.gemm))]
    for tile in TILES:
        attrs = tiled(image, fused.gemm, tile)
        tiles = tile_counts(row, attrs, tiles_at_once(attrs, row, ways.cache))
        found.append(Way(replace(node, op=Winograd.NAME, attrs=attrs), row.name, tiles))
    return found


def direct_counts(row: Row, gemm: Gemm) -> Counts:
    view = SimpleNamespace(strides=gemm.c.strides)
    sizes = {"batch": 1, "m": gemm.m, "n": gemm.n, "k": gemm.k, "taps": TAPS}
    return counts(
        row, SimpleNamespace(**sizes, rows=True, packed=SimpleNamespace(base=CONSTANTS), c_view=view)
    )


def tile_counts(row: Row, fused: Winograd, block: int) -> Counts:
    sizes = {"height": fused.gemm.m // fused.columns, "columns": fused.columns, "n": fused.gemm.n}
    return counts(row, SimpleNamespace(**sizes, tile=fused.tile, channels=fused.gemm.k // TAPS, block=block))


def tiled(image: Image, gemm: Gemm, tile: int) -> Winograd:
    width = image.width - image.left - image.right
    return Winograd(gemm, image.rows(tile), tile, image.width - SIDE + 1, width, int(image.left), image.step)
