"""What fuzzing has found stays found: the inputs in tests/corpora, once each."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests import fuzz, fuzz_kernels

KEPT = sorted(path.name for path in fuzz.CORPORA.iterdir())


def test_every_folder_is_that_of_a_target() -> None:
    assert set(KEPT) <= {"kernels", *fuzz.targets()}


@pytest.mark.parametrize("name", [name for name in KEPT if name != "kernels"])
def test_inputs_of_a_parser(name: str) -> None:
    target = fuzz.loaded(name)
    for path in sorted((fuzz.CORPORA / name).iterdir()):
        try:
            target.fuzz(path.read_bytes())
        except Exception as error:
            error.add_note(f"on {path}")
            raise


@pytest.mark.slow
@pytest.mark.timeout(600)  # a compiler's minutes on a busy machine
def test_programs_for_the_kernels() -> None:
    """Under both sanitizers; compiling them takes a while where that has not been done."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is missing: make system-deps")
    command = [str(fuzz_kernels.build(clang)), "-runs=0", str(fuzz_kernels.CORPUS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
