"""The memory plan: what lives at the same time never overlaps, sharing never costs more than not sharing,
and no plan beats the bound.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import memory
from runtime.backends import flat
from runtime.backends.cpu import CpuBackend
from runtime.compile import read
from runtime.errors import RunError
from runtime.memory import ALIGNMENT, Block, aligned, lower_bound, plan

MODELS = Path(__file__).parents[2] / "specs" / "models"
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
    layout = plan(given_blocks)
    alive = [sum(aligned(b.size) for b in given_blocks if b.first <= step <= b.last) for step in range(14)]
    assert layout.bound == lower_bound(given_blocks) == max(alive)
    assert layout.bound <= layout.size <= sum(aligned(b.size) for b in given_blocks)


CHAIN = [Block(640, 0, 1), Block(640, 1, 2), Block(640, 2, 3), Block(640, 3, 4)]


@pytest.mark.parametrize(
    ("given_blocks", "size"),
    [
        ([], 0),
        ([Block(1, 0, 0)], ALIGNMENT),
        ([Block(64, 0, 0), Block(64, 1, 1)], 64),  # one after the other: the same bytes
        (CHAIN, 1280),  # a chain needs two buffers, however long it is
        ([Block(128, 0, 9), Block(64, 0, 1), Block(64, 2, 3)], 192),
        ([Block(256, 0, 1), Block(64, 1, 3), Block(128, 2, 3), Block(128, 2, 4)], 320),  # a gap taken twice
    ],
)
def test_known_arenas(given_blocks: list[Block], size: int) -> None:
    assert plan(given_blocks).size == size


@given(blocks)
def test_time_runs_either_way(given_blocks: list[Block]) -> None:
    mirrored = [Block(b.size, -b.last, -b.first) for b in given_blocks]
    assert plan(mirrored).bound == plan(given_blocks).bound


@pytest.mark.parametrize("length", [1, 3, 40_000], ids=["chain", "windows", "all at once"])
def test_many_values_take_little_time(length: int) -> None:
    """As many blocks as a file may have tensors; a quadratic plan would take minutes."""
    count = 60_000
    many = [Block(64 * (1 + i * 7919 % 50), i, min(i + length, count)) for i in range(count)]
    start = time.process_time()
    layout = plan(many)
    assert time.process_time() - start < 10
    assert layout.size <= 1.3 * layout.bound


def test_no_shared_model_wastes_more_than_a_twentieth(shared_models: Path) -> None:
    layouts = [CpuBackend().compile(read(path)).layout for path in sorted(shared_models.glob("*.tflite"))]
    assert layouts
    assert all(layout.size <= 1.05 * layout.bound for layout in layouts)


def test_a_memory_beyond_the_machine_is_refused_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(MODELS / "digits_int8.tflite")
    size = CpuBackend().compile(model).layout.size
    monkeypatch.setattr(memory, "limit", lambda: size - 1)
    monkeypatch.setattr(flat, "lib", None)  # nothing of C is asked
    with pytest.raises(RunError, match=f"arena of the model.* {size} bytes.*at most {size - 1} "):
        CpuBackend().compile(model)


def test_the_limit_is_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < memory.limit() <= memory.MAX_BYTES
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}[name])
    assert memory.limit() == 40960
    monkeypatch.setattr("os.sysconf", _unknown)
    assert memory.limit() == memory.MAX_BYTES


def _unknown(name: str) -> int:
    raise ValueError(f"unrecognized configuration name {name}")
