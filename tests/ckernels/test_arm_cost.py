"""The NEON kernels stay as fast as they are, as far as it shows without a board (tests/arm_cost.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import arm_cost
from tests.arm_cost import PI4, PI5, Loop

pytestmark = pytest.mark.arm
KEPT = json.loads(arm_cost.KEPT.read_text())
NEAR, WORSE, MORE = 1.10, 1.02, 1.01
"""How far a loop may be from the least, how much slower than it was, how many more a model may execute."""


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    if lacking := arm_cost.missing():
        pytest.skip(f"not installed: {', '.join(lacking)}; `make system-deps`")


@pytest.fixture(scope="module")
def hot() -> dict[str, Loop]:
    return arm_cost.micro_kernels()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aarch64")


def test_the_kept_figures_are_of_these_kernels(hot: dict[str, Loop]) -> None:
    assert set(hot) == set(KEPT["kernels"]) >= set(arm_cost.LEAST)


@pytest.mark.parametrize("name", arm_cost.LEAST)
def test_the_loop_of_a_tile_is_as_fast_as_its_pipes(name: str, hot: dict[str, Loop]) -> None:
    assert hot[name].stores == 0, "sums that found no register"
    for core, least in arm_cost.LEAST[name].items():
        assert hot[name].cycles(core) <= NEAR * least, core


@pytest.mark.parametrize("name", KEPT["kernels"])
def test_no_loop_is_slower_than_it_was(name: str, hot: dict[str, Loop]) -> None:
    figures, kept = hot[name].figures(), KEPT["kernels"][name]
    assert set(figures["cycles"]) == set(kept["cycles"]), "which cores have its instructions"
    for core, cycles in figures["cycles"].items():
        assert cycles <= WORSE * kept["cycles"][core], core


@pytest.mark.parametrize("core", [PI4.emulated, PI5.emulated])
def test_no_model_takes_more_instructions_than_it_did(core: str, work: Path) -> None:
    paths = [path for path in arm_cost.models() if path.stem in KEPT["models"]]
    assert paths
    for name, counts in arm_cost.counted(core, paths, work).items():
        kept = arm_cost.Counts(**KEPT["models"][name][core])
        assert counts.instructions <= MORE * kept.instructions, name
        assert counts.fmla + counts.smlal + counts.sdot <= MORE * (kept.fmla + kept.smlal + kept.sdot), name
