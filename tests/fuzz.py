"""Long fuzz runs of every parser: `make fuzz` (FUZZ_SECONDS each, FUZZ_SEED to repeat one).

A target is a test module with `fuzz(data: bytes)`, which swallows the errors that its parser may raise, and
`seeds()`, its corpus. Inputs are mutations of the corpus; what fails is kept in build/fuzz/.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

TESTS = Path(__file__).parent
FOUND = TESTS.parent / "build" / "fuzz"
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def targets() -> Iterator[tuple[str, ModuleType]]:
    """Every test module that defines `fuzz`."""
    for path in sorted(TESTS.rglob("test_*.py")):
        if "\ndef fuzz(" in path.read_text():
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            try:
                spec.loader.exec_module(module)
            except pytest.skip.Exception as why:
                print(f"{path.stem:32} skipped: {why}")
                continue
            yield path.stem, module


def flip(data: bytearray, rng: Random) -> bytearray:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def overwrite(data: bytearray, rng: Random) -> bytearray:
    number, width = rng.choice(NUMBERS), rng.choice((1, 2, 4))
    at = rng.randrange(len(data) + 1)
    data[at : at + width] = (number & (256**width - 1)).to_bytes(width, rng.choice(("little", "big")))
    return data


def cut(data: bytearray, rng: Random) -> bytearray:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randrange(1, 1 + max(1, len(data) // 4))]
    return data


def repeat(data: bytearray, rng: Random) -> bytearray:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randrange(1, 17)] * rng.randrange(1, 5)
    return data


def insert(data: bytearray, rng: Random) -> bytearray:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.randbytes(rng.randrange(1, 9))
    return data


MUTATIONS: tuple[Callable[[bytearray, Random], bytearray], ...] = (flip, overwrite, cut, repeat, insert)


def mutated(corpus: list[bytes], rng: Random) -> bytes:
    """One of the corpus, sometimes spliced with another, changed one to eight times."""
    data = bytearray(rng.choice(corpus))
    if rng.random() < 0.1:
        other = rng.choice(corpus)
        data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other) + 1) :]
    for _ in range(rng.randrange(1, 9)):
        data = rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def run(name: str, module: ModuleType, seconds: float, seed: int) -> bool:
    """Feeds one target for a while; True when nothing unexpected escaped."""
    rng, corpus = Random(f"{name}/{seed}"), [*module.seeds(), b""]
    end, executions = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(corpus, rng)
        executions += 1
        try:
            module.fuzz(data)
        except Exception:
            FOUND.mkdir(parents=True, exist_ok=True)
            path = FOUND / f"{name}-{seed}-{executions}.bin"
            path.write_bytes(data)
            traceback.print_exc()
            print(f"{name}: input {executions} of seed {seed} kept in {path}", file=sys.stderr)
            return False
    print(f"{name:32} {executions:10} inputs, nothing escaped")
    return True


def main() -> int:
    logging.disable()  # what a parser says of a bad input, it would say a million times
    seconds, seed = float(os.environ.get("FUZZ_SECONDS", "60")), int(os.environ.get("FUZZ_SEED", "0"))
    results = [run(name, module, seconds, seed) for name, module in targets()]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
