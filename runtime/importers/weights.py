"""How a file packs weights, undone: fewer bits per number, sparse storage, scales by block.

Nothing here trusts the file: every count, segment and index is checked before it is used, and whatever does
not hold raises ValueError, which the importer turns into a ModelError that names the tensor. Formats:
schema.fbs of TensorFlow Lite, SparsityParameters; bits as TFLite's tensor_utils unpack them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runtime.graph import Array, Quantization, Shape


def unpacked(stored: Array, shape: Shape, bits: int) -> Array:
    """Signed numbers of 2 or 4 bits from bytes, the low bits first, as int8."""
    count, each = math.prod(shape), 8 // bits
    if stored.size != -(-count // each):
        raise ValueError(f"{stored.size} bytes hold {count} numbers of {bits} bits each?")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    fields = stored.view(np.uint8)[:, None] >> shifts & (2**bits - 1)
    sign = 2 ** (bits - 1)
    numbers: Array = ((fields.astype(np.int16) ^ sign) - sign).astype(np.int8)
    return numbers.reshape(-1)[:count].reshape(shape)


def blockwise(shape: Shape, scales: Array, block: int) -> Quantization:
    """The quantisation of blocks along the last axis, from the tensor that holds their scales."""
    if block < 1 or not shape or shape[-1] % block or scales.size != math.prod(shape) // block:
        raise ValueError(f"{scales.size} scales for blocks of {block} in {shape}")
    numbers = tuple(float(scale) for scale in scales.reshape(-1))
    if scales.dtype.kind != "f" or not all(math.isfinite(scale) and scale >= 0 for scale in numbers):
        raise ValueError(f"scales {numbers[:4]} of blocks, expected finite numbers that are not negative")
    return Quantization(numbers, (0,) * len(numbers), len(shape) - 1, block)


@dataclass(frozen=True, slots=True)
class Level:
    """One dimension of a sparse tensor in the order of its traversal.

    Dense: `size` indices for each entry of the level before. Compressed (`segments` is not None): entry p has
    the indices `indices[segments[p] : segments[p + 1]]`.
    """

    size: int = 0
    segments: Array | None = None
    indices: Array | None = None


@dataclass(frozen=True, slots=True)
class Sparsity:
    """n dimensions and k of a block inside: `order` is a permutation of the first n, then one of the others;
    `blocks[i]` is the dimension that block dimension n + i subdivides; one level for each entry of `order`.
    """

    order: tuple[int, ...]
    blocks: tuple[int, ...]
    levels: tuple[Level, ...]


def densified(values: Array, shape: Shape, sparsity: Sparsity) -> Array:
    """The dense tensor of a sparse one's values; zero where none is stored."""
    sizes = _sizes(shape, sparsity)
    coordinates = np.zeros((0, 1), np.int64)
    most = max(
        [values.size, *(level.segments.size for level in sparsity.levels if level.segments is not None)]
    )
    for level, dimension in zip(sparsity.levels, sparsity.order, strict=True):
        if level.segments is None and coordinates.shape[1] * level.size > most:
            raise ValueError(
                f"{coordinates.shape[1]} entries of {level.size} indices are more than it stores"
            )
        coordinates = _deeper(coordinates, level, sizes[dimension])
    if coordinates.shape[1] != values.size:
        raise ValueError(f"{values.size} values for {coordinates.shape[1]} places")
    of = dict(zip(sparsity.order, coordinates, strict=True))
    at = [of[dimension] for dimension in range(len(shape))]
    for i, dimension in enumerate(sparsity.blocks):
        at[dimension] = at[dimension] * sizes[len(shape) + i] + of[len(shape) + i]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(at)] = values
    return dense


def _sizes(shape: Shape, sparsity: Sparsity) -> list[int]:
    """How many indices each dimension has: those of the tensor counted in blocks, then those of the block."""
    n, blocks = len(shape), sparsity.blocks
    first, rest = sparsity.order[:n], sparsity.order[n:]
    if sorted(first) != list(range(n)) or sorted(rest) != list(range(n, n + len(blocks))):
        raise ValueError(f"traversal order {sparsity.order} of {n} dimensions and {len(blocks)} of a block")
    if sorted(set(blocks)) != list(blocks) or not set(blocks) <= set(range(n)):
        raise ValueError(f"block map {blocks}, expected dimensions below {n} that ascend")
    if len(sparsity.levels) != len(sparsity.order):
        raise ValueError(f"{len(sparsity.levels)} levels, expected {len(sparsity.order)}")
    sizes = list(shape)
    for i, dimension in enumerate(blocks):
        level = sparsity.levels[sparsity.order.index(n + i)]
        if level.segments is not None or level.size < 1 or shape[dimension] % level.size:
            raise ValueError(f"blocks of {level.size} along dimension {dimension} of {shape}")
        sizes[dimension] //= level.size
        sizes.append(level.size)
    return sizes


def _deeper(coordinates: Array, level: Level, size: int) -> Array:
    """The coordinates (dimension, entry) of all entries, with one more dimension of `size` indices.

    Indices ascend within a segment, so no place comes twice and there are never more entries than places.
    """
    entries = coordinates.shape[1]
    if level.segments is None or level.indices is None:
        if level.size != size:
            raise ValueError(f"a dense level of {level.size} indices, expected {size}")
        indices, counts = np.tile(np.arange(size), entries), np.full(entries, size)
    else:
        segments, indices = level.segments.astype(np.int64), level.indices.astype(np.int64)
        counts = np.diff(segments)
        if (
            segments.size != entries + 1
            or segments[0] != 0
            or segments[-1] != indices.size
            or (counts < 0).any()
        ):
            raise ValueError(f"{segments.size} segments of {indices.size} indices under {entries} entries")
        starts = np.zeros(indices.size, bool)
        starts[segments[:-1][counts > 0]] = True
        ascend = np.diff(indices, prepend=-1) > 0
        if not (ascend | starts).all() or (indices < 0).any() or (indices >= size).any():
            raise ValueError(f"indices that do not ascend within 0..{size - 1}")
    return np.vstack([np.repeat(coordinates, counts, axis=1), indices])
