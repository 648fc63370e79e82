"""A long fuzz run of the C kernels under AddressSanitizer and UBSan: `make fuzz` (FUZZ_SECONDS, FUZZ_SEED).

`tests/ckernels/fuzz/programs.c` makes programs of libFuzzer's inputs; it starts from tests/corpora/kernels.
What it has learned stays in build/fuzz/kernels/corpus for the next run, an input that fails is kept beside
it. `python -m tests.fuzz_kernels keep` adds to tests/corpora what reaches more code.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ckernels.build import PACKAGE, SANITIZED, STANDARD, WARNINGS, isa_flags, source_digest, sources

CORPUS = Path(__file__).parent / "corpora" / "kernels"
WORK = PACKAGE.parent / "build" / "fuzz" / "kernels"
HARNESS = Path(__file__).parent / "ckernels" / "fuzz" / "programs.c"
LONGEST = 2048
"""Bytes of an input."""


def build(clang: str) -> Path:
    """The fuzzer, with every kernel of this machine in it; compiled again when a source has changed."""
    program, stamp = WORK / "fuzzer", WORK / "digest"
    digest = source_digest((clang, hashlib.sha256(HARNESS.read_bytes()).hexdigest(), *STANDARD, *SANITIZED))
    if program.exists() and stamp.exists() and stamp.read_text() == digest:
        return program
    WORK.mkdir(parents=True, exist_ok=True)
    flags, objects = [*STANDARD, *SANITIZED], list[str]()
    for source in [*sources(), HARNESS]:
        target = WORK / f"{source.stem}.o"
        extra = [f"-I{PACKAGE}", *WARNINGS] if source == HARNESS else isa_flags(source)
        command = [clang, *flags, "-fsanitize=fuzzer-no-link", *extra, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        objects.append(str(target))
    sanitizers = [flag for flag in SANITIZED if flag.startswith("-fsanitize")]
    subprocess.run([clang, *sanitizers, "-fsanitize=fuzzer", *objects, "-o", str(program), "-lm"], check=True)
    stamp.write_text(digest)
    return program


def options(seed: int) -> list[str]:
    return [f"-seed={seed}", f"-max_len={LONGEST}", f"-artifact_prefix={WORK}/", "-print_final_stats=1"]


def main(arguments: Sequence[str] = ()) -> int:
    clang = shutil.which("clang")
    if clang is None:
        print("kernels                          skipped: clang is missing: make system-deps")
        return 0
    learned = WORK / "corpus"
    for folder in (learned, CORPUS):
        folder.mkdir(parents=True, exist_ok=True)
    seconds, seed = os.environ.get("FUZZ_SECONDS", "60"), int(os.environ.get("FUZZ_SEED", "0")) + 1
    if arguments == ["keep"]:
        command = ["-set_cover_merge=1", "-use_counters=0", *options(seed), str(CORPUS), str(learned)]
    else:
        command = [f"-max_total_time={float(seconds):.0f}", *options(seed), str(learned), str(CORPUS)]
    done = subprocess.run([str(build(clang)), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{done.stderr[-8000:]}\nkernels: the input is kept in {WORK}", file=sys.stderr)
        return 1
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    print(f"{'kernels':32} {int(executed[1]) if executed else 0:10} inputs, nothing escaped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
