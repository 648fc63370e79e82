"""The worked specs: each loads, its files are right, its own `[[test]]`s pass, and it says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

import runtime
from cloud_broker import bundle
from edge_agent.replay import run_tests
from edge_agent.spec import check

SPECS = Path(__file__).parents[2] / "specs"
TASKS = sorted((SPECS / "tasks").glob("*/*.toml"))


def open_bytes(model: bytes) -> runtime.Program:
    return runtime.load(model)


def open_model(path: Path, backend: str, *, num_threads: int) -> runtime.Program:  # noqa: ARG001  # all the same
    return runtime.load(path)


def test_they_are_all_here() -> None:
    assert {path.stem for path in TASKS} >= {"digits", "door", "hot", "telemetry"}
    assert all(path.stem == path.parent.name for path in TASKS)


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_it_checks(path: Path) -> None:
    report = check(path, open_model=open_bytes, env={})
    assert report.ok, str(report)
    assert report.spec is not None and report.spec.task.name == path.stem


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_its_bundle_is_whole_and_its_own_tests_pass(path: Path, tmp_path: Path) -> None:
    """From the files of a release alone, as a board has them."""
    _, files = bundle.build(path, created=0.0)
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    spec = check(tmp_path / path.name, env={}).spec
    assert spec is not None
    results = run_tests(spec, tmp_path, open_model=open_model)
    assert [result for result in results if not result.passed or result.detail] == []
    assert len(results) == len(spec.test) and (results or path.stem == "hot")


def test_the_smallest_spec_is_the_one_in_the_readme() -> None:
    assert (SPECS / "tasks" / "hot" / "hot.toml").read_text() in (SPECS.parent / "README.md").read_text()


@pytest.mark.parametrize(
    ("copy", "original"),
    [
        ("tasks/digits/digits_int8.tflite", "models/digits_int8.tflite"),
        ("tasks/telemetry/telemetry_ae_f32.tflite", "models/telemetry_ae_f32.tflite"),
    ],
)
def test_models_are_those_that_were_trained(copy: str, original: str) -> None:
    assert (SPECS / copy).read_bytes() == (SPECS / original).read_bytes()
