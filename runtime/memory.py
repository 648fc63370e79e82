"""The memory plan: where each value of a program lives inside one arena.

Greedy by size (Pisarchyk and Lee, 2020, arXiv 2001.03288, "greedy by size"): the biggest block is placed
first, each at the lowest offset where it overlaps no block that is alive at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


@dataclass(frozen=True, slots=True)
class Block:
    """`size` bytes that are needed in the steps first..last, both included."""

    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Offset of each block, in the order given, and the bytes of the arena."""

    offsets: tuple[int, ...]
    size: int


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan(blocks: Sequence[Block]) -> Plan:
    """Offsets such that no two blocks alive in the same step overlap; never more than the sum of all aligned
    sizes.
    """
    offsets = [0] * len(blocks)
    placed: list[tuple[int, int]] = []
    for index in sorted(range(len(blocks)), key=lambda i: (-blocks[i].size, i)):
        block, offset = blocks[index], 0
        for start, other in placed:
            if start >= offset + aligned(block.size):
                break
            if blocks[other].first <= block.last and block.first <= blocks[other].last:
                offset = max(offset, start + aligned(blocks[other].size))
        offsets[index] = offset
        placed.append((offset, index))
        placed.sort()
    return Plan(
        tuple(offsets), max((o + aligned(b.size) for o, b in zip(offsets, blocks, strict=True)), default=0)
    )
