"""The arithmetic of step times, on a clock that is passed in; what they measure is not asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from runtime.backends.cost import Machine
from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import IDLE_CALLS
from runtime.bench import main
from runtime.compile import read
from runtime.graph import DType
from runtime.probes import probes
from runtime.step_times import PEAK_SIZE, StepTime, gemm_peak, step_times, table

MACHINE = Machine("none", {})
MODEL = Path(__file__).parents[2] / "specs" / "models" / "digits_int8.tflite"


class Ticks:
    """The time between two looks at the clock grows by a microsecond with each look."""

    def __init__(self) -> None:
        self.now = self.step = 0

    def __call__(self) -> int:
        self.step += 1000
        self.now += self.step
        return self.now


def test_a_row_for_each_step_with_a_rate_for_each_product() -> None:
    program = CpuBackend().compile(read(MODEL))
    rows = step_times(program, [np.zeros((1, 8, 8, 1), np.int8)], MACHINE, Ticks())
    assert len(rows) == len(program.steps)
    assert all(row.expected > 0 and row.parts == 1 for row in rows)
    products = [row for row in rows if "gemm" in row.kernel or "depthwise" in row.kernel]
    assert products and all(row.gflops and row.share for row in products)
    assert all(row.gflops is None for row in rows if row not in products)
    assert [row.source for row in rows] == [step.source for step in program.steps]


def test_what_the_clock_gains_around_nothing_is_taken_off() -> None:
    program = CpuBackend().compile(read(MODEL))
    times = program.times([np.zeros((1, 8, 8, 1), np.int8)], Ticks())
    assert times == [2000 * (at + IDLE_CALLS) for at in range(len(program.steps))]  # two looks each


def test_laps_are_of_the_calls_that_are_asked_for() -> None:
    program = CpuBackend().compile(read(MODEL))
    assert program.laps([0, 0, 1], Ticks()) == [2000 * (at + IDLE_CALLS) for at in range(3)]


def test_stepping_through_a_program_is_running_it() -> None:
    program = CpuBackend().compile(read(MODEL))
    picture = np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 1), np.int8)
    expected = program.run([picture])
    program.times([picture], Ticks())
    for got, want in zip(program.made, expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [DType.F32, DType.I8])
def test_the_peak_is_counted_in_operations_per_nanosecond(dtype: DType) -> None:
    first_step = 2000 * IDLE_CALLS  # of Ticks, in the first run
    assert gemm_peak(dtype, Ticks(), repeats=1) == pytest.approx(2 * PEAK_SIZE**3 / first_step, rel=0.5)


def test_the_table_has_shares_of_the_time_and_of_the_peak() -> None:
    gemm = StepTime("CONV_2D#0", "f32_gemm", 3, 30.0, 33.0, 50.0, 0.5)
    text = table([gemm, StepTime("RELU#1", "f32_map", 1, 10.0, 5.0, None, None)])
    assert "75.0%" in text and "25.0%" in text and " 50%" in text and "40.0" in text
    assert text.endswith("median error of what was expected: 30%; of steps over 1 % of the time: 30%")


def test_a_winograd_convolution_has_its_tile() -> None:
    program = CpuBackend().lower(probes())
    rows = step_times(program, [np.ones(t.shape, t.dtype.numpy) for t in program.inputs], MACHINE, Ticks())
    tiles = {row.kernel[-6:] for row in rows if "winograd" in row.kernel}
    assert tiles == {"F(2,3)", "F(4,3)"}


def test_the_command_prints_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--steps", str(MODEL)]) == 0
    assert "CONV_2D#0" in capsys.readouterr().out
    assert main(["--steps", "--json", str(MODEL)]) == 0
    assert json.loads(capsys.readouterr().out)[MODEL.name]
