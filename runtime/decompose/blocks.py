"""Operators that move blocks of pixels into another axis and back: RASTER with the axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.atoms import Region, View
from runtime.decompose.rule import Lowering
from runtime.graph import Shape
from runtime.shapes.blocks import block, margins
from runtime.strides import dense


def permuted(shape: Shape, order: Sequence[int]) -> tuple[View, Shape]:
    """A dense tensor of `shape` read with its axes in another order, and their sizes in that order."""
    strides = dense(shape).strides
    return View(0, tuple(strides[axis] for axis in order)), tuple(shape[axis] for axis in order)


def space_to_depth(low: Lowering) -> None:
    batch, height, width, depth = low.out.shape
    size = low.x.positive("block_size")
    low.copy(*permuted((batch, height, size, width, size, depth // size**2), (0, 1, 3, 2, 4, 5)))


def depth_to_space(low: Lowering) -> None:
    batch, height, width, depth = low.x.shape(0)
    size = low.x.positive("block_size")
    low.copy(*permuted((batch, height, width, size, size, depth // size**2), (0, 1, 3, 2, 4, 5)))


def space_to_batch(low: Lowering) -> None:
    """Padded with zero, as PAD; then the places in a block come before the batch."""
    shape, sizes = low.x.shape(0), block(low.x)
    rest = shape[1 + len(sizes) :]
    fill = low.quantized(low.out)[1] if low.out.quantization else 0
    pads = [(0, 0), *margins(low.x), *((0, 0) for _ in rest)]
    padded = low.padded(low.node.inputs[0], pads, fill)
    inner = low.out.shape[1 : 1 + len(sizes)]
    split = (shape[0], *(n for pair in zip(inner, sizes, strict=True) for n in pair), *rest)
    places, blocks = range(2, 2 * len(sizes) + 1, 2), range(1, 2 * len(sizes), 2)
    order = (*places, 0, *blocks, *range(2 * len(sizes) + 1, len(split)))
    view, out = permuted(split, order)
    low.raster([Region(0, view, dense(out), out)], [padded])


def batch_to_space(low: Lowering) -> None:
    """The places in a block go back between the pixels; then the crops are cut off."""
    shape, sizes, count = low.x.shape(0), block(low.x), len(block(low.x))
    split = (*sizes, low.out.shape[0], *shape[1:])
    pixels = [axis for i in range(count) for axis in (count + 1 + i, i)]
    view, out = permuted(split, (count, *pixels, *range(2 * count + 1, len(split))))
    whole = (out[0], *(n * size for n, size in zip(shape[1:], sizes, strict=False)), *shape[1 + count :])
    if whole == low.out.shape:
        low.copy(view, out)
        return
    spread = low.copy(view, out, low.temp(whole, low.x.value(0).dtype))
    strides = dense(whole).strides
    start = sum(before * stride for (before, _), stride in zip(margins(low.x), strides[1:], strict=False))
    low.raster([Region(0, View(start, strides), dense(low.out.shape), low.out.shape)], [spread])


RULES = {
    "SPACE_TO_DEPTH": space_to_depth,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_BATCH_ND": space_to_batch,
    "BATCH_TO_SPACE_ND": batch_to_space,
}
