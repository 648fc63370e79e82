"""The memory plan: where each value of a program lives inside one arena.

Finding the least arena is NP-hard, so a few good rules are tried and the best result is kept: a sweep through
time that takes the tightest gap, forwards and backwards, and two greedy orders, biggest block first and
fullest step first (Pisarchyk and Lee, 2020, arXiv 2001.03288). The first that meets the lower bound, the most
bytes that any step needs at once, ends the search.
"""

from __future__ import annotations

import os
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""
SLACK = 64
"""Bytes behind the last value of a memory: kernels may read a few of them, which change nothing."""
MAX_BYTES = 1 << 32
"""Of one memory of a program, however much the machine has."""
MOST_PAIRS = 32
"""Blocks that a block may share a step with, on average, for the greedy orders to be tried: they look at
every pair. Beyond, as in a hostile file, the sweeps alone decide, in n log n.
"""


@dataclass(frozen=True, slots=True)
class Block:
    """`size` bytes that are needed in the steps first..last, both included."""

    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Offset of each block, in the order given, the bytes of the arena, and those that no plan can do
    without.
    """

    offsets: tuple[int, ...]
    size: int
    bound: int


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def limit() -> int:
    """The most bytes that one memory of a program may have: what this machine has, at most MAX_BYTES."""
    try:
        return min(MAX_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return MAX_BYTES


def lower_bound(blocks: Iterable[Block]) -> int:
    """The most bytes alive in one step, each block aligned."""
    changes = dict[int, int]()
    for block in blocks:
        changes[block.first] = changes.get(block.first, 0) + aligned(block.size)
        changes[block.last + 1] = changes.get(block.last + 1, 0) - aligned(block.size)
    most = alive = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most


def plan(blocks: Sequence[Block]) -> Plan:
    """Offsets such that no two blocks alive in the same step overlap; never more than the sum of all aligned
    sizes.
    """
    bound, offsets, best = lower_bound(blocks), list[int](), -1
    for candidate in _candidates(blocks):
        size = max((o + aligned(b.size) for o, b in zip(candidate, blocks, strict=True)), default=0)
        if best < 0 or size < best:
            offsets, best = candidate, size
        if best == bound:
            break
    return Plan(tuple(offsets), best, bound)


def _candidates(blocks: Sequence[Block]) -> Iterator[list[int]]:
    """Plans, the cheap ones first."""
    yield _sweep(blocks)
    end = max((block.last for block in blocks), default=0)
    yield _sweep([Block(block.size, end - block.last, end - block.first) for block in blocks])
    neighbours = _neighbours(blocks, MOST_PAIRS * len(blocks))
    if neighbours is not None:
        for order in (_by_size(blocks), _by_breadth(blocks)):
            for fit in (_lowest, _tightest):
                yield _greedy(blocks, neighbours, order, fit)


# -------------------------------------------------------------------- sweep


def _sweep(blocks: Sequence[Block]) -> list[int]:
    """Through time, the biggest of a step first, each in the tightest gap that the ended ones have left."""
    offsets, gaps = [0] * len(blocks), _Gaps()
    ends = iter(sorted(range(len(blocks)), key=lambda i: blocks[i].last))
    ending = next(ends, None)
    for i in sorted(range(len(blocks)), key=lambda i: (blocks[i].first, -blocks[i].size)):
        while ending is not None and blocks[ending].last < blocks[i].first:
            gaps.give(offsets[ending], aligned(blocks[ending].size))
            ending = next(ends, None)
        offsets[i] = gaps.take(aligned(blocks[i].size))
    return offsets


class _Gaps:
    """The free bytes below the top of a growing arena: by size, and by both ends to be joined again."""

    def __init__(self) -> None:
        self.top = 0
        self._sorted = list[tuple[int, int]]()
        self._size, self._start = dict[int, int](), dict[int, int]()

    def take(self, size: int) -> int:
        """The offset of the tightest gap of at least `size` bytes; the arena grows where there is none."""
        if size == 0:
            return 0
        at = bisect_left(self._sorted, (size, 0))
        if at < len(self._sorted):
            gap, start = self._sorted[at]
        else:  # the gap below the top, if there is one, and as much above as is lacking
            start = self._start.get(self.top, self.top)
            gap = self.top - start
            self.top = start + size
        if gap:
            self._drop(start, gap)
        if gap > size:
            self._add(start + size, gap - size)
        return start

    def give(self, start: int, size: int) -> None:
        if size == 0:
            return
        end = start + size
        if end in self._size:
            after = self._size[end]
            self._drop(end, after)
            end += after
        if start in self._start:
            before = self._start[start]
            self._drop(before, start - before)
            start = before
        self._add(start, end - start)

    def _add(self, start: int, size: int) -> None:
        insort(self._sorted, (size, start))
        self._size[start], self._start[start + size] = size, start

    def _drop(self, start: int, size: int) -> None:
        del self._sorted[bisect_left(self._sorted, (size, start))]
        del self._size[start], self._start[start + size]


# -------------------------------------------------------------------- greedy

Fit = Callable[[list[tuple[int, int]], int], int]
"""(taken ranges in order, size) -> offset of a gap between them, or behind the last."""


def _neighbours(blocks: Sequence[Block], most: int) -> list[list[int]] | None:
    """Of each block, those alive at the same time; None for more than `most` pairs."""
    found = [list[int]() for _ in blocks]
    alive, pairs = list[int](), 0
    for i in sorted(range(len(blocks)), key=lambda i: blocks[i].first):
        alive = [j for j in alive if blocks[j].last >= blocks[i].first]
        pairs += len(alive)
        if pairs > most:
            return None
        for j in alive:
            found[i].append(j)
            found[j].append(i)
        alive.append(i)
    return found


def _by_size(blocks: Sequence[Block]) -> list[int]:
    return sorted(range(len(blocks)), key=lambda i: (-blocks[i].size, i))


def _by_breadth(blocks: Sequence[Block]) -> list[int]:
    """The blocks of the fullest step first, in each step the biggest first."""
    total, starts, ends = 0, dict[int, list[int]](), dict[int, list[int]]()
    for i, block in enumerate(blocks):
        starts.setdefault(block.first, []).append(i)
        ends.setdefault(block.last, []).append(i)
    alive, steps = dict[int, None](), list[tuple[int, list[int]]]()
    for step in sorted({*starts, *ends}):
        for i in starts.get(step, ()):
            alive[i] = None
            total += aligned(blocks[i].size)
        steps.append((total, sorted(alive, key=lambda i: -blocks[i].size)))
        for i in ends.get(step, ()):
            del alive[i]
            total -= aligned(blocks[i].size)
    steps.sort(key=lambda step: -step[0])
    return list(dict.fromkeys(i for _, members in steps for i in members))


def _greedy(blocks: Sequence[Block], neighbours: list[list[int]], order: list[int], fit: Fit) -> list[int]:
    """One block after the other, each where `fit` wants it between the neighbours that have a place."""
    offsets = [-1] * len(blocks)
    for i in order:
        taken = [(offsets[j], offsets[j] + aligned(blocks[j].size)) for j in neighbours[i] if offsets[j] >= 0]
        offsets[i] = fit(sorted(taken), aligned(blocks[i].size))
    return offsets


def _lowest(taken: list[tuple[int, int]], size: int) -> int:
    offset = 0
    for start, end in taken:
        if start - offset >= size:
            break
        offset = max(offset, end)
    return offset


def _tightest(taken: list[tuple[int, int]], size: int) -> int:
    offset, best = 0, (-1, 0)
    for start, end in taken:
        gap = start - offset
        if gap >= size and (best[0] < 0 or gap < best[0]):
            best = gap, offset
        offset = max(offset, end)
    return best[1] if best[0] >= 0 else offset
