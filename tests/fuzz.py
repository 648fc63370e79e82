"""Long fuzz runs of every parser, guided by coverage: `make fuzz` (FUZZ_SECONDS each, FUZZ_SEED to vary one).

A target is a test module with `fuzz(data: bytes)`, which swallows the errors that its parser may raise, and
`seeds()`, what it starts from, as well as from the folder of its name in tests/corpora; it may have
`mutate(data, rng)`, which changes an input by what it knows of the format. What a target has learned stays in
build/fuzz/NAME/corpus for the next run, an input that fails is kept beside it: put it into tests/corpora with
the repair, the test suite replays that. Atheris, the fuzzer, never returns, so each target has a process of
its own:

    python -m tests.fuzz                       # all of them
    python -m tests.fuzz NAME [OPTION...]      # one, with further options of libFuzzer
    python -m tests.fuzz keep NAME             # adds to tests/corpora what reaches more code
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).parent
CORPORA = TESTS / "corpora"
WORK = TESTS.parent / "build" / "fuzz"
INSTRUMENTED = ["runtime", "fl", "edge_agent", "cloud_broker"]
LIMITS = ["-max_len=16384", "-timeout=20", "-rss_limit_mb=2048"]
"""Bytes of an input, seconds and megabytes for one: more is a finding."""
STRUCTURED = 0.7
"""The share of inputs that a target's own `mutate` makes, where it has one."""


def targets() -> dict[str, Path]:
    """Every test module that defines `fuzz`, by its name."""
    paths = sorted(TESTS.rglob("test_*.py"))
    return {path.stem: path for path in paths if "\ndef fuzz(" in path.read_text()}


def loaded(name: str) -> ModuleType:
    """The module of a target; raises pytest's Skipped where it lacks something here."""
    spec = importlib.util.spec_from_file_location(name, targets()[name])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- one target, in this process


def run(name: str, arguments: Sequence[str]) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    imports: AbstractContextManager[None] = atheris.instrument_imports(include=INSTRUMENTED)
    with imports:
        module = loaded(name)
    logging.disable()  # what a parser says of a bad input, it would say a million times
    more: dict[str, Any] = {}
    if hasattr(module, "mutate"):
        more["custom_mutator"] = mutator(module.mutate, lambda d, n: atheris.Mutate(d, n))
    command = f"{sys.executable} -m tests.fuzz {name}"  # what libFuzzer starts again to merge
    atheris.Setup([command, *LIMITS, f"-artifact_prefix={WORK / name}/", *arguments], module.fuzz, **more)
    atheris.Fuzz()


def mutator(
    structured: Callable[[bytes, Random], bytes], plain: Callable[[bytes, int], bytes]
) -> Callable[[bytes, int, int], bytes]:
    def mutated(data: bytes, longest: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < STRUCTURED:
            return structured(data, rng)[:longest]
        return plain(data, longest)

    return mutated


# ---------------------------------------------------------------- all of them, each in its own process


def corpus(name: str) -> list[str]:
    """The folders of a target's inputs, the first for new ones; its seeds written to the last."""
    learned, kept, given = WORK / name / "corpus", CORPORA / name, WORK / name / "seeds"
    shutil.rmtree(given, ignore_errors=True)
    for folder in (learned, given):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in loaded(name).seeds():
        (given / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    return [str(folder) for folder in (learned, kept, given) if folder.is_dir()]


def fuzz(name: str, seconds: float, seed: int, more: Sequence[str] = ()) -> bool:
    """One target for a while; True when nothing unexpected escaped."""
    try:
        folders = corpus(name)
    except pytest.skip.Exception as why:
        print(f"{name:32} skipped: {why}")
        return True
    options = [f"-max_total_time={seconds:.0f}", f"-seed={seed + 1}", "-print_final_stats=1", *more]
    done = started(name, [*options, *folders])
    if done.returncode:
        print(f"{done.stdout[-8000:]}\n{name}: the input is kept in {WORK / name}", file=sys.stderr)
        return False
    executed = re.search(r"number_of_executed_units: (\d+)", done.stdout)
    print(f"{name:32} {int(executed[1]) if executed else 0:10} inputs, nothing escaped", flush=True)
    return True


def started(name: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", name, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def keep(name: str) -> int:
    (CORPORA / name).mkdir(parents=True, exist_ok=True)
    folders = [str(CORPORA / name), *(folder for folder in corpus(name) if folder != str(CORPORA / name))]
    return started(name, ["-set_cover_merge=1", "-use_counters=0", *folders]).returncode


def main(arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("atheris") is None:
        print("parsers                          skipped: atheris has no wheel for this Python and machine")
        return 0
    seconds, seed = float(os.environ.get("FUZZ_SECONDS", "60")), int(os.environ.get("FUZZ_SEED", "0"))
    match arguments:
        case []:
            results = [fuzz(name, seconds, seed) for name in targets()]
            return 0 if all(results) else 1
        case ["keep", name]:
            return keep(name)
        case [name, *more]:
            run(name, more)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
