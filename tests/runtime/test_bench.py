"""The benchmark's arithmetic, on a clock that is passed in; what it measures is not asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime import footprint
from runtime.bench import Row, bench, main, random_input, table
from runtime.footprint import LOADS, footprints, peak

MODELS = Path(__file__).parents[2] / "specs" / "models"


class Ticks:
    """Every look at the clock is a millisecond later than the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-3
        return self.now


def test_a_row_per_model_and_a_reason_where_there_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"not a model at all")
    good, bad = bench([MODELS / "telemetry_ae_f32.tflite", broken], pairs=3, clock=Ticks())
    assert good.model == "telemetry_ae_f32.tflite" and good.error == ""
    assert good.ours_ms and good.tflite_ms and good.ratio and good.gflops
    assert (bad.ours_ms, bad.ratio) == (None, None) and "broken.tflite" in bad.error


def test_the_table_shows_ratios_and_their_mean() -> None:
    rows = [
        Row("a", 1.0, 2.0, 2.0, 3.0),
        Row("b", 1.0, 8.0, 8.0, 3.0),
        Row("c", None, None, None, None, "no rule"),
    ]
    text = table(rows, 100.0)
    assert (
        "no rule" in text
        and "geometric mean of ratios" in text
        and "4.00" in text
        and "100.0 GFLOP/s" in text
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint8, np.int64, np.bool_])
def test_random_inputs_have_the_type_and_the_range(dtype: Any) -> None:
    array = random_input(np.random.default_rng(0), (10_000,), dtype)
    assert array.dtype == dtype
    if np.dtype(dtype).kind != "f":
        expected = {np.int8: (-128, 127), np.uint8: (0, 255)}.get(dtype, (0, 1))
        assert (array.min(), array.max()) == expected


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "runtime.bench.bench", lambda models: [Row(path.name, 1.0, 2.0, 2.0, 3.0) for path in models]
    )
    monkeypatch.setattr("runtime.step_times.gemm_peak", lambda _: 50.0)
    assert main(["x.tflite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["gemm_peak_gflops"] == 50.0 and document["rows"][0]["ratio"] == 2.0


# -------------------------------------------------------------------- memory


def test_memory_of_a_model_and_a_reason_where_there_is_none(tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"not a model at all")
    good, bad = footprints([MODELS / "digits_int8.tflite", broken], clock=Ticks(), processes=1)
    assert good.error == "" and good.arena and good.bound
    assert good.ratio == good.arena / good.bound >= 1
    assert good.load_ms == pytest.approx(1.0)  # one tick
    assert good.ours_kib and good.tflite_kib and 10_000 < good.ours_kib < 1_000_000
    assert bad.arena is None and "broken.tflite" in bad.error
    text = footprint.table([good, bad])
    assert "tflite KiB" in text and str(good.ours_kib) in text and "broken.tflite" in text


@pytest.mark.parametrize(
    ("module", "reason"),
    [("no_such_module", "No module named"), ("runtime", "No such file"), ("json", "no attribute")],
)
def test_a_process_that_fails_says_why(tmp_path: Path, module: str, reason: str) -> None:
    with pytest.raises(RuntimeError, match=f"{module} ends with 1: .*{reason}"):
        peak(module, tmp_path / "absent.tflite", tmp_path, 1)


def test_the_first_load_is_not_counted() -> None:
    ticks = Ticks()
    footprints([MODELS / "digits_int8.tflite"], clock=ticks, processes=1)
    assert ticks.now == pytest.approx(2e-3 * (1 + LOADS))


def test_memory_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(MODELS / "digits_int8.tflite"), "--memory", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["model"] == "digits_int8.tflite" and row["arena"] >= row["bound"]
