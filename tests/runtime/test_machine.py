"""The machine as it is measured and kept: on a clock that is passed in, and on files of all sorts."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import load, machine
from runtime.backends.cost import FAR, Counts, Machine
from runtime.backends.cpu import CpuBackend
from runtime.errors import RunError
from runtime.machine import FILE, SCHEMA, machine_of, measure, rates_of, read
from tests.runtime.test_winograd import Net

FOUND = Machine("here", {"ck_f32_gemm": {"step": 1.0, "products": 0.25}}, ((1000, 2.0, 0.5),))


class Ticks:
    """Every look at the clock is 100 ns later than the last."""

    now = 0

    def __call__(self) -> int:
        self.now += 100
        return self.now


def exact(*samples: dict[str, float], rates: dict[str, float]) -> list[tuple[Counts, float]]:
    return [(s, sum(rates.get(name, 0) * times for name, times in s.items())) for s in samples]


SAMPLES: tuple[dict[str, float], ...] = (
    {"step": 1, "a": 10},
    {"step": 1, "a": 1000, "b": 3},
    {"step": 1, "b": 500},
    {"step": 1},
)


@pytest.mark.parametrize("rates", [{"step": 100, "a": 2, "b": 7}, {"step": 0, "a": 1, "b": 0}])
def test_rates_that_explain_the_times_are_found(rates: dict[str, float]) -> None:
    assert rates_of(exact(*SAMPLES, rates=rates)) == pytest.approx(rates, abs=1e-6)


def test_no_rate_is_negative_and_far_bytes_are_none_of_them() -> None:
    rng = np.random.default_rng(0)
    samples = [({"step": 1, "a": float(i), "b": 9.0 - i, FAR: 5}, rng.uniform(1, 1000)) for i in range(10)]
    rates = rates_of(samples)
    assert rates.keys() == {"step", "a", "b"} and min(rates.values()) >= 0


def test_measuring_finds_a_rate_for_every_kernel_of_an_operator_that_is_probed() -> None:
    found = measure(CpuBackend(), "here", Ticks())
    assert found.fingerprint == "here"
    assert [size for size, _, _ in found.far] == [machine.NEAR // 2, machine.FARTHEST // 2]
    kernels = CpuBackend().kernels
    for operator in ("GEMM", "DEPTHWISE", "WINOGRAD", "MAP", "REDUCE", "RASTER", "LOOKUP", "ADD", "MUL"):
        assert all(row.name in found.rates for row in kernels.values() if row.operator == operator)
    assert all(rate >= 0 for rates in found.rates.values() for rate in rates.values())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fingerprints of the machines that were measured."""
    seen = list[str]()

    def fake(_: Any, fingerprint: str, __: Any) -> Machine:
        seen.append(fingerprint)
        return replace(FOUND, fingerprint=fingerprint)

    monkeypatch.setattr(machine, "measure", fake)
    return seen


def test_a_second_start_measures_nothing(measured: list[str], tmp_path: Path) -> None:
    first, second = machine_of(tmp_path, CpuBackend()), machine_of(tmp_path, CpuBackend())
    assert first == second and len(measured) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_another_machine_is_measured_anew(
    measured: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_of(tmp_path, CpuBackend())
    monkeypatch.setattr(machine, "cpu_model", lambda: "aarch64 4 ['Model : Raspberry Pi 5']")
    there = machine_of(tmp_path, CpuBackend())
    assert len(measured) == 2 and "Raspberry" in there.fingerprint and read(tmp_path / FILE) == there


@pytest.mark.parametrize("lacking", [RunError("no memory"), MemoryError()])
def test_a_model_needs_no_memory_for_what_is_measured(
    lacking: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise lacking

    model, x = Net(1, 30, 30, 16).conv(17).model().data, np.ones((1, 30, 30, 16), np.float32)
    (want,) = load(model, "cpu").run([x]).values()
    for missing in ("measure", "time_of"):
        monkeypatch.setattr(machine, missing, fails)
    (got,) = load(model, "cpu", tmp_path).run([x]).values()
    np.testing.assert_array_equal(got, want)
    assert not (tmp_path / FILE).exists()


def document(**changes: Any) -> bytes:
    return json.dumps({"schema": SCHEMA, **asdict(FOUND), **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        document(schema=99),
        document(rates=7),
        document(rates={"k": {"step": "fast"}}),
        document(rates={"k": {"step": -1}}),
        document(rates={"k": {"step": float("nan")}}),
        document(far=[[1, 2]]),
        document(far=None),
        document(times={"k": -1}),
    ],
)
def test_a_damaged_or_foreign_file_is_measured_anew(
    measured: list[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert read(tmp_path / FILE) is None
    assert machine_of(tmp_path, CpuBackend()) == read(tmp_path / FILE) and len(measured) == 1


def test_what_is_kept_is_what_was_measured(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(document())
    assert read(tmp_path / FILE) == FOUND


def test_a_folder_that_cannot_be_written_costs_only_the_memory(measured: list[str], tmp_path: Path) -> None:
    (blocked := tmp_path / "file").write_text("not a folder")
    assert machine_of(blocked, CpuBackend()) == machine_of(blocked, CpuBackend()) and len(measured) == 2
