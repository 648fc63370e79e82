"""Shapes of operators that move blocks of pixels into another axis and back."""

from __future__ import annotations

import math

from runtime.graph import Shape
from runtime.shapes.operands import MAX_ELEMENTS, Operands, Rule


def _space_to_depth(x: Operands) -> list[Shape]:
    (batch, height, width, depth), block = x.shape(0, rank=4), x.positive("block_size")
    if height % block or width % block:
        raise x.bad(f"an image of {(height, width)} does not fall into blocks of {block}")
    return [(batch, height // block, width // block, depth * block * block)]


def _depth_to_space(x: Operands) -> list[Shape]:
    (batch, height, width, depth), block = x.shape(0, rank=4), x.positive("block_size")
    if depth % (block * block):
        raise x.bad(f"{depth} channels are not blocks of {block} by {block}")
    return [(batch, height * block, width * block, depth // (block * block))]


def block(x: Operands) -> tuple[int, ...]:
    """Sizes of a block along the axes after the batch."""
    shape, sizes = x.shape(0), x.constant(1)
    if not 1 <= len(sizes) < len(shape) or any(not 1 <= size <= MAX_ELEMENTS for size in sizes):
        raise x.bad(f"blocks of {sizes}: expected sizes >= 1 of axes after the first of {shape}")
    return sizes


def margins(x: Operands) -> list[tuple[int, int]]:
    """(before, after) of each axis of a block: what is padded, or cropped."""
    sizes, numbers = block(x), x.constant(2)
    if len(numbers) != 2 * len(sizes) or any(not 0 <= number <= MAX_ELEMENTS for number in numbers):
        raise x.bad(f"margins {numbers}: expected two numbers >= 0 for each axis of a block of {sizes}")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _space_to_batch(x: Operands) -> list[Shape]:
    shape, sizes = x.shape(0), block(x)
    padded = [n + sum(margin) for n, margin in zip(shape[1:], margins(x), strict=False)]
    if any(n % size for n, size in zip(padded, sizes, strict=True)):
        raise x.bad(f"{tuple(padded)} with its paddings does not fall into blocks of {sizes}")
    inner = tuple(n // size for n, size in zip(padded, sizes, strict=True))
    return [(shape[0] * math.prod(sizes), *inner, *shape[1 + len(sizes) :])]


def _batch_to_space(x: Operands) -> list[Shape]:
    shape, sizes = x.shape(0), block(x)
    if shape[0] % math.prod(sizes):
        raise x.bad(f"a batch of {shape[0]} is not whole blocks of {sizes}")
    whole = [n * size for n, size in zip(shape[1:], sizes, strict=False)]
    cropped = tuple(n - sum(margin) for n, margin in zip(whole, margins(x), strict=True))
    if min(cropped) < 1:
        raise x.bad(f"crops {margins(x)} leave nothing of {tuple(whole)}")
    return [(shape[0] // math.prod(sizes), *cropped, *shape[1 + len(sizes) :])]


RULES: dict[str, Rule] = {
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
}
