"""The threads that share a program's calls (ckernels/team.c): `team_stress.c`, as it is and under
ThreadSanitizer.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ckernels import build

HERE = Path(__file__).parent
SOURCES = [build.PACKAGE / "team.c", build.PACKAGE / "alloc.c", HERE / "team_stress.c"]
RUNS = 5


def compiled(folder: Path, *flags: str) -> Path:
    target = folder / "stress"
    command = [*build.compiler(), *build.STANDARD, *build.WARNINGS, "-O1", "-g", *flags, f"-I{build.PACKAGE}"]
    done = subprocess.run(
        [*command, *map(str, SOURCES), "-o", str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode and "tsan" in done.stderr:
        pytest.skip("the compiler has no ThreadSanitizer: `make system-deps`")
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize(
    ("flags", "arguments"), [((), ["fork"]), (("-fsanitize=thread",), [])], ids=["forks", "sanitized"]
)
def test_teams_run_every_call_once_in_its_stage(
    tmp_path: Path, flags: tuple[str, ...], arguments: list[str]
) -> None:
    stress = compiled(tmp_path, *flags)
    alone = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # sanitizers exclude
    for _ in range(RUNS):  # each other
        done = subprocess.run(
            [stress, *arguments], env=alone, capture_output=True, text=True, timeout=300, check=False
        )
        assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
