"""Memory and load of models against the TFLite interpreter: `python -m runtime.bench --memory`.

Peak memory is that of a fresh process which imports one of the two interpreters, loads the model, runs it
once and reads its outputs: the most that was ever resident (VmHWM of Linux), the least of a few processes.
Both sides run as they are installed, with their bytecode compiled, and with what an earlier run of ours left
in its cache.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.backends.cpu import CpuBackend
from runtime.backends.tflite import interpreter_module
from runtime.compile import read
from runtime.errors import EngineError
from runtime.interpreter import Interpreter

ROOT = Path(__file__).resolve().parents[1]
LOADS, PROCESSES = 9, 3
PATIENCE = 300
"""Seconds for one process."""

_CHILD = """
import importlib, sys
import numpy as np
module, path, options = sys.argv[1], sys.argv[2], dict(pair.split("=", 1) for pair in sys.argv[3:])
interpreter = importlib.import_module(module).Interpreter(model_path=path, **options)
interpreter.allocate_tensors()
for detail in interpreter.get_input_details():
    interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
interpreter.invoke()
outputs = [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@dataclass(frozen=True, slots=True)
class Footprint:
    """One model: bytes of its arena, the most bytes alive in one step, their ratio; median milliseconds of
    CPU time of a load in a warm process with warm caches; peak KiB of a process, ours and of TFLite.
    """

    model: str
    arena: int | None
    bound: int | None
    ratio: float | None
    load_ms: float | None
    ours_kib: int | None
    tflite_kib: int | None
    error: str = ""


def footprints(
    models: Iterable[Path], clock: Callable[[], float] = time.process_time, processes: int = PROCESSES
) -> list[Footprint]:
    """A row per model; one that either side cannot run has its reason in `error`."""
    with tempfile.TemporaryDirectory() as cache:
        return [_footprint(model, Path(cache), clock, processes) for model in models]


def _footprint(path: Path, cache: Path, clock: Callable[[], float], processes: int) -> Footprint:
    try:
        layout = CpuBackend().compile(read(path, cache_dir=cache)).layout
        load = _load_seconds(path, cache, clock)
        ours = peak("runtime", path, cache, processes, [f"cache_dir={cache}"])
        theirs = peak(interpreter_module().__name__, path, cache, processes)
    except EngineError as error:
        return Footprint(path.name, None, None, None, None, None, None, str(error))
    except (ValueError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Footprint(path.name, None, None, None, None, None, None, f"{path.name}: {error}")
    ratio = layout.size / layout.bound if layout.bound else 1.0
    return Footprint(path.name, layout.size, layout.bound, ratio, load * 1e3, ours, theirs)


def _load_seconds(path: Path, cache: Path, clock: Callable[[], float]) -> float:
    times = []
    for _ in range(1 + LOADS):
        start = clock()
        Interpreter(path, cache_dir=cache).allocate_tensors()
        times.append(clock() - start)
    return statistics.median(times[1:])


def peak(module: str, model: Path, cache: Path, processes: int, options: Sequence[str] = ()) -> int:
    """KiB; the first process writes bytecode and is not counted. Raises RuntimeError when a process fails."""
    search = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": search, "PYTHONPYCACHEPREFIX": str(cache / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    argv = [sys.executable, "-c", _CHILD, module, str(model), *options]
    peaks = []
    for _ in range(1 + processes):
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise RuntimeError(f"{module} ends with {done.returncode}: {lines[-1] if lines else 'no word'}")
        peaks.append(int(done.stdout))
    return min(peaks[1:])


def table(rows: Sequence[Footprint]) -> str:
    lines = [
        f"{'model':28} {'arena B':>10} {'bound B':>10} {'ratio':>6} {'load ms':>8} "
        f"{'ours KiB':>9} {'tflite KiB':>10}"
    ]
    for row in rows:
        if row.error:
            lines.append(f"{row.model:28} {row.error}")
        else:
            lines.append(
                f"{row.model:28} {row.arena:10} {row.bound:10} {row.ratio:6.3f} {row.load_ms:8.1f} "
                f"{row.ours_kib:9} {row.tflite_kib:10}"
            )
    return "\n".join(lines)
