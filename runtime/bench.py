"""Latency against the TFLite interpreter: `python -m runtime.bench [MODELS...] [--json]`; with
`--memory` what `runtime.footprint` measures, with `--steps` what `runtime.step_times` does, which stands
below the latency of a single model.

Both sides run in one process, in turns (A B A B), so that they share the noise of the machine; a run is
inputs set, invoked and outputs read, the time is CPU time of the process, and the ratio is the median over
pairs of neighbouring turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime import footprint, step_times
from runtime.atoms import Gemm
from runtime.backends.cpu import CpuBackend
from runtime.backends.tflite import interpreter_module
from runtime.compile import read
from runtime.control import If, Loop, While
from runtime.errors import EngineError
from runtime.graph import Array, DType, Graph
from runtime.interpreter import Interpreter
from runtime.machine import measure

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "specs" / "models", ROOT.parent / "shared" / "models")
"""Where models are looked for when none is named."""
TURN_SECONDS = 0.01
"""A turn repeats the model until it takes about this long."""
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One model: milliseconds per run of ours and of TFLite, tflite / ours (above 1: ours is faster), GFLOP/s
    of ours where the `operations` of a run are known.
    """

    model: str
    ours_ms: float | None
    tflite_ms: float | None
    ratio: float | None
    gflops: float | None
    error: str = ""


def bench(models: Iterable[Path], pairs: int = 15, clock: Clock = time.process_time) -> list[Row]:
    """A row per model; one that either side cannot run has its reason in `error`."""
    return [_row(model, pairs, clock) for model in models]


def _row(path: Path, pairs: int, clock: Clock) -> Row:
    try:
        ours = _Side(Interpreter(model_path=path))
        flops = operations(read(path).atoms)
        theirs = _Side(interpreter_module().Interpreter(model_path=str(path), num_threads=1))
    except (EngineError, ValueError, RuntimeError) as error:
        return Row(path.name, None, None, None, None, str(error))
    ours_times, their_times = [], []
    for _ in range(pairs):
        ours_times.append(ours.turn(clock))
        their_times.append(theirs.turn(clock))
    ratio = statistics.median(b / a for a, b in zip(ours_times, their_times, strict=True))
    seconds = statistics.median(ours_times)
    gflops = None if flops is None else flops / seconds / 1e9
    return Row(path.name, seconds * 1e3, statistics.median(their_times) * 1e3, ratio, gflops)


def operations(atoms: Graph) -> int | None:
    """Multiplications and additions of all matrix products of one run, by the direct algorithm; None for a
    graph with an IF or a WHILE, which run as often as the data says.
    """
    counts = [_operations(node.attrs) for node in atoms.nodes]
    return None if None in counts else sum(count or 0 for count in counts)


def _operations(atom: Any) -> int | None:
    match atom:
        case Gemm(batch=batch, m=m, n=n, k=k):
            return 2 * batch * m * n * k
        case Loop(body=body, trips=trips):
            inside = operations(body)
            return None if inside is None else trips * inside
        case If() | While():
            return None
    return 0


class _Side:
    """One interpreter with its inputs ready."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        rng = np.random.default_rng(0)
        self._inputs = [
            (d["index"], random_input(rng, d["shape"], d["dtype"])) for d in interpreter.get_input_details()
        ]
        self._outputs = [detail["index"] for detail in interpreter.get_output_details()]
        self.run()
        start = time.perf_counter()
        self.run()
        self._repeats = max(1, min(1000, int(TURN_SECONDS / max(time.perf_counter() - start, 1e-6))))

    def run(self) -> list[Array]:
        for index, array in self._inputs:
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]

    def turn(self, clock: Clock) -> float:
        """Seconds per run. The first run brings the caches back and is not counted."""
        self.run()
        start = clock()
        for _ in range(self._repeats):
            self.run()
        return (clock() - start) / self._repeats


def random_input(rng: np.random.Generator, shape: Sequence[int], dtype: Any) -> Array:
    """Standard normal floats, or integers over the whole range of the type; 0 and 1 for a truth, and for an
    integer of 32 bits or more, which is an index in nearly every model.
    """
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal(shape).astype(dtype)
    if dtype is np.bool_ or np.dtype(dtype).itemsize >= 4:
        return rng.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def table(rows: Sequence[Row], peak: float) -> str:
    lines = [f"{'model':28} {'ours ms':>9} {'tflite ms':>9} {'ratio':>6} {'GFLOP/s':>8}"]
    for row in rows:
        if row.error:
            lines.append(f"{row.model:28} {row.error}")
        else:
            rate = "" if row.gflops is None else f" {row.gflops:8.1f}"
            lines.append(f"{row.model:28} {row.ours_ms:9.3f} {row.tflite_ms:9.3f} {row.ratio:6.2f}{rate}")
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if ratios:
        lines.append(f"{'geometric mean of ratios':48} {statistics.geometric_mean(ratios):6.2f}")
    return "\n".join([*lines, f"one core's float32 GEMM peak, measured now: {peak:.1f} GFLOP/s"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m runtime.bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument(
        "models", nargs="*", type=Path, help="default: every model of the project and beside it"
    )
    parser.add_argument("--json", action="store_true", help="rows as JSON")
    parser.add_argument("--memory", action="store_true", help="arena, load time and peak memory instead")
    parser.add_argument("--steps", action="store_true", help="where the time goes, step by step, instead")
    options = parser.parse_args(arguments)
    models = options.models or [path for folder in FOLDERS for path in sorted(folder.glob("*.tflite"))]
    if not models:
        print(f"no models: name some, or put them into {FOLDERS[0]}", file=sys.stderr)
        return 1
    if options.memory:
        return _memory(models, options.json)
    if options.steps:
        return _steps(models, options.json)
    rows, peak = bench(models), step_times.gemm_peak(DType.F32)
    if options.json:
        print(json.dumps({"gemm_peak_gflops": peak, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(table(rows, peak))
    failed = any(row.error for row in rows)
    if len(options.models) == 1 and not failed and not options.json:
        print()
        return _steps(models, False)
    return 1 if failed else 0


def _memory(models: Sequence[Path], as_json: bool) -> int:
    rows = footprint.footprints(models)
    print(json.dumps([asdict(row) for row in rows], indent=1) if as_json else footprint.table(rows))
    return 1 if any(row.error for row in rows) else 0


def _steps(models: Sequence[Path], as_json: bool) -> int:
    found, machine = {}, measure(CpuBackend(), "now")
    for path in models:
        try:
            program = CpuBackend().compile(read(path))
        except EngineError as error:
            print(error, file=sys.stderr)
            return 1
        rng = np.random.default_rng(0)
        inputs = [random_input(rng, tensor.shape, tensor.dtype.numpy) for tensor in program.inputs]
        found[path.name] = step_times.step_times(program, inputs, machine)
    if as_json:
        print(json.dumps({name: [asdict(row) for row in rows] for name, rows in found.items()}, indent=1))
    else:
        print("\n\n".join(f"{name}\n{step_times.table(rows)}" for name, rows in found.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
