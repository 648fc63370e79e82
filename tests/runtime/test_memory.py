"""The memory plan: what lives at the same time never overlaps, and sharing never costs more than not
sharing.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.memory import ALIGNMENT, Block, aligned, plan

spans = st.tuples(st.integers(0, 9), st.integers(0, 4)).map(lambda s: (s[0], s[0] + s[1]))
blocks = st.lists(st.builds(lambda size, span: Block(size, *span), st.integers(0, 2000), spans), max_size=25)


@given(blocks)
def test_blocks_alive_together_do_not_overlap(given_blocks: list[Block]) -> None:
    layout = plan(given_blocks)
    placed = list(zip(given_blocks, layout.offsets, strict=True))
    for at, (a, start) in enumerate(placed):
        assert start % ALIGNMENT == 0 and start + a.size <= layout.size
        for b, other in placed[:at]:
            together = a.first <= b.last and b.first <= a.last
            assert not together or start + a.size <= other or other + b.size <= start


@given(blocks)
def test_the_arena_lies_between_the_peak_and_the_sum(given_blocks: list[Block]) -> None:
    size = plan(given_blocks).size
    alive = [sum(aligned(b.size) for b in given_blocks if b.first <= step <= b.last) for step in range(14)]
    assert max(alive) <= size <= sum(aligned(b.size) for b in given_blocks)


CHAIN = [Block(640, 0, 1), Block(640, 1, 2), Block(640, 2, 3), Block(640, 3, 4)]


@pytest.mark.parametrize(
    ("given_blocks", "size"),
    [
        ([], 0),
        ([Block(1, 0, 0)], ALIGNMENT),
        ([Block(64, 0, 0), Block(64, 1, 1)], 64),  # one after the other: the same bytes
        (CHAIN, 1280),  # a chain needs two buffers, however long it is
        ([Block(128, 0, 9), Block(64, 0, 1), Block(64, 2, 3)], 192),
    ],
)
def test_known_arenas(given_blocks: list[Block], size: int) -> None:
    assert plan(given_blocks).size == size
