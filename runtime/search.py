"""The choice of a backend, by measurement: every candidate runs the model a few times, the fastest is kept.

What was measured is kept in one JSON file under a key that holds everything that changes the answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime import kept
from runtime.backends.base import Backend, Executor
from runtime.errors import ModelError, RunError, UnsupportedError

if TYPE_CHECKING:
    from runtime.compile import Model

SCHEMA = 1
FILE = "search.json"
WARM_UP, RUNS = 2, 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate: its median seconds per run, or the reason why it does not run the model."""

    backend: str
    seconds: float | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    backend: str
    trials: tuple[Trial, ...]


def choose(
    model: Model, backends: Mapping[str, Backend], cache_dir: Path | None, clock: Callable[[], float]
) -> tuple[Choice, Executor]:
    """The fastest candidate and its compiled model. Raises UnsupportedError with every reason when none runs
    it, ModelError when the bytes are no model for any of them.
    """
    place, key = cache_dir and cache_dir / FILE, cache_key(model, backends)
    known = read_cache(place).get(key) if place else None
    if known is not None and known.backend in backends:
        try:
            return known, backends[known.backend].compile(model)
        except (ModelError, UnsupportedError, RunError):
            pass  # what ran before does not now, for instance for want of memory: measure again
    choice, executor = measure_all(model, backends, clock)
    if place:
        write_cache(place, {**read_cache(place), key: choice})
    return choice, executor


def measure_all(
    model: Model, backends: Mapping[str, Backend], clock: Callable[[], float]
) -> tuple[Choice, Executor]:
    trials, best, errors = list[Trial](), dict[float, tuple[str, Executor]](), list[Exception]()
    for name, backend in backends.items():
        try:
            executor = backend.compile(model)
            seconds = measure(executor, clock)
        except (ModelError, UnsupportedError, RunError) as error:
            trials.append(Trial(name, None, str(error)))
            errors.append(error)
            continue
        trials.append(Trial(name, seconds))
        best.setdefault(seconds, (name, executor))
    if not best:
        kind = ModelError if any(isinstance(error, ModelError) for error in errors) else UnsupportedError
        told = {t.reason: ", ".join(s.backend for s in trials if s.reason == t.reason) for t in trials}
        reasons = "; ".join(f"{names}: {reason}" for reason, names in told.items())
        raise kind(f"{model.name}: no backend runs it: {reasons}")
    name, executor = best[min(best)]
    return Choice(name, tuple(trials)), _fresh(model, backends[name], executor)


def _fresh(model: Model, backend: Backend, executor: Executor) -> Executor:
    """An executor whose states are those of the first run; measuring has changed them."""
    with contextlib.suppress(ModelError, UnsupportedError):
        if not model.graph.states:
            return executor
    return backend.compile(model)


def measure(executor: Executor, clock: Callable[[], float]) -> float:
    """Median seconds of a run with zeros as inputs."""
    for array in executor.given:
        array[...] = 0
    for _ in range(WARM_UP):
        executor.execute()
    times = []
    for _ in range(RUNS):
        start = clock()
        executor.execute()
        times.append(clock() - start)
    return sorted(times)[RUNS // 2]


# -------------------------------------------------------------------- cache


def cache_key(model: Model, backends: Mapping[str, Backend]) -> str:
    """Everything that changes the answer."""
    parts = {
        "model": model.digest,
        "input_shapes": sorted((index, list(shape)) for index, shape in model.input_shapes.items()),
        "cpu": cpu_model(),
        "threads": model.threads,
        "backends": {name: backend.version() for name, backend in backends.items()},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cpu_model() -> str:
    """This CPU as Linux names it (x86: "model name", ARM boards: "Model", "CPU part"), and the number of
    cores.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = {
        line for line in lines if line.startswith(("model name", "Model", "CPU part", "CPU implementer"))
    }
    return f"{os.uname().machine} {os.cpu_count()} {sorted(names)}"


def read_cache(path: Path) -> dict[str, Choice]:
    """What the file holds; nothing where anything in it is not as we write it."""
    with contextlib.suppress(*kept.WRONG):
        found = kept.read(path, SCHEMA).get("choices", {})
        return {str(key): _choice(entry) for key, entry in found.items()}
    return {}


def _choice(entry: dict[str, Any]) -> Choice:
    return Choice(str(entry["backend"]), tuple(Trial(**trial) for trial in entry["trials"]))


def write_cache(path: Path, choices: Mapping[str, Choice]) -> None:
    kept.write(path, SCHEMA, {"choices": {key: asdict(choice) for key, choice in choices.items()}})
