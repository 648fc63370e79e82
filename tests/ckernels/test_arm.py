"""The kernels as ARM code, without a board: cross-compiled, and run by an emulator that refuses what the core
lacks.

`emulated/` puts them in the place of this machine's, so the suites below run unchanged: every registry row,
operator and primitive, and whole models. Which rows must have run is read from the other end's registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ckernels import build

pytestmark = pytest.mark.arm
ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
CORES = ["cortex-a53", "cortex-a72", "cortex-a76"]
SUITES = [
    "tests/ckernels/test_kernels.py",
    "tests/ckernels/test_kernel_models.py",
    "tests/runtime/test_backend_cpu.py",
]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static program of driver and kernels."""
    for command, package in (
        (COMPILER, "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"),
        (EMULATOR, "qemu-user"),
    ):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed: `make system-deps` (Debian: {package})")
    target = tmp_path_factory.mktemp("aarch64") / "kernels"
    build.executable(target, HERE / "emulated" / "driver.c", "aarch64", [COMPILER])
    return target


def introduction(command: list[str]) -> tuple[int, dict[str, int]]:
    """The features of the core, and of every row of its registry the instruction sets that it needs."""
    text = subprocess.run(command, input="", capture_output=True, text=True, check=True, timeout=60).stdout
    lines = [line.split() for line in text.splitlines()]
    features = next(int(words[1]) for words in lines if words[0:1] == ["features"])
    return features, {words[1]: int(words[4]) for words in lines if words[0:1] == ["row"]}


@pytest.mark.parametrize("core", CORES)
def test_the_suites_pass_on_arm(core: str, kernels: Path) -> None:
    command = [EMULATOR, "-cpu", core, str(kernels)]
    features, rows = introduction(command)
    settings = {"WALLE_CKERNELS": str(HERE / "emulated"), "WALLE_KERNEL_COMMAND": " ".join(command)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--color=no", *SUITES],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    ran = re.findall(r"\[(ck_\w+)(?:-\d+)?\] (PASSED|SKIPPED)", done.stdout)
    assert set(ran) == {(row, "PASSED" if isa & features == isa else "SKIPPED") for row, isa in rows.items()}
    assert len(re.findall(r"test_a_model_on_the_kernels\[\w+_(?:int8|f32)\] PASSED", done.stdout)) >= 2
