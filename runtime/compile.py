"""From the bytes of a model to a Program: the whole pipeline on one screen.

bytes -> importers -> shapes -> decompose -> simplify -> verify -> backend (steps, memory) -> Program
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from runtime import importers
from runtime.backends.base import Backend
from runtime.backends.cpu import CpuBackend
from runtime.backends.numpy_reference import ReferenceBackend
from runtime.backends.tflite import TfliteBackend
from runtime.decompose import decompose
from runtime.decompose.rule import Kernels
from runtime.errors import ModelError
from runtime.graph import Graph, Shape
from runtime.infer import infer
from runtime.program import Program
from runtime.simplify import simplify
from runtime.verify import check

BACKENDS: dict[str, Callable[[], Backend]] = {
    "cpu": CpuBackend,
    "tflite": TfliteBackend,
    "reference": ReferenceBackend,
}
SEARCHED = ("cpu", "tflite")
"""What `backend="auto"` chooses from; the reference is complete but never the fastest."""


@dataclass(frozen=True)
class Model:
    """A model file and what each stage makes of it, made once and when first asked for.

    `input_shapes` replaces the shapes that the file declares, by tensor index; `kernels` says which of
    TFLite's sets of kernels the integers follow; `keep_all` makes every intermediate tensor of the file one
    more output; `name` stands in messages; a backend may keep in `cache_dir` what it makes of the weights;
    `subgraph` is which of the file's graphs it is, that of a signature; `threads` is the most that a run may
    use.
    """

    name: str
    data: bytes
    input_shapes: Mapping[int, Shape] = field(default_factory=dict)
    kernels: Kernels = "builtin"
    keep_all: bool = False
    cache_dir: Path | None = None
    subgraph: int = 0
    threads: int = 1

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def graph(self) -> Graph:
        """GRAPH level, every shape known. Raises ModelError, UnsupportedError."""
        graph = importers.load(self.data, self.name, self.input_shapes, self.subgraph)
        graph = infer(graph, self.input_shapes)
        if not self.keep_all:
            return graph
        made = dict.fromkeys(i for node in graph.nodes for i in node.outputs)
        return replace(graph, outputs=tuple(dict.fromkeys([*graph.outputs, *made])))

    @cached_property
    def atoms(self) -> Graph:
        """ATOMIC level, simplified. Raises UnsupportedError where an operator has no rule."""
        atoms = simplify(decompose(self.graph, self.kernels))
        check(atoms, "ATOMIC")
        return atoms


class ModelFile:
    """A model file that stays open: its bytes can be let go and read again, whatever becomes of its name."""

    def __init__(self, path: str | Path) -> None:
        """Raises ModelError for a file that cannot be opened."""
        self.path = Path(path)
        try:
            self._file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise ModelError(f"{path}: the model cannot be read: {error.strerror}") from error
        self._seen = self._state()

    def read(self) -> bytes:
        """Raises ModelError where the file is not what it was."""
        try:
            self._file.seek(0)
            data = self._file.readall()
        except OSError as error:
            raise ModelError(f"{self.path}: the model cannot be read: {error.strerror}") from error
        if self._state() != self._seen:
            raise ModelError(f"{self.path}: the file has changed since it was opened; load it anew")
        return data

    def _state(self) -> tuple[int, int]:
        stat = os.fstat(self._file.fileno())
        return stat.st_size, stat.st_mtime_ns


def read(
    model: str | Path | bytes,
    input_shapes: Mapping[int, Shape] | None = None,
    cache_dir: str | Path | None = None,
    threads: int | None = None,
) -> Model:
    """A model from a path or from bytes; raises ModelError for a file that cannot be read, ValueError for
    `threads` that are no number of them.
    """
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"num_threads: expected an int of at least 1, got {threads!r}")
    cache, shapes = Path(cache_dir) if cache_dir else None, input_shapes or {}
    if isinstance(model, bytes | bytearray | memoryview):
        return Model("model", bytes(model), shapes, cache_dir=cache, threads=threads or 1)
    try:
        data = Path(model).read_bytes()
    except OSError as error:
        raise ModelError(f"{model}: the model cannot be read: {error.strerror}") from error
    return Model(Path(model).name, data, shapes, cache_dir=cache, threads=threads or 1)


def load(
    model: str | Path | bytes,
    backend: str = "auto",
    cache_dir: str | Path | None = None,
    *,
    input_shapes: Mapping[int, Shape] | None = None,
    num_threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Program:
    """A Program for the model on a backend of `BACKENDS`, or on the one that measures fastest here ("auto").

    `cache_dir` keeps what "auto" has measured, and packed weights, for the next start and for other
    processes; without it nothing is kept. A run uses up to `num_threads` threads (default: 1), no more than
    there are cores for. Raises ModelError for bytes that are no model, UnsupportedError where the backend
    cannot run it, ValueError for an unknown backend.
    """
    source = read(model, input_shapes, cache_dir, num_threads)
    if backend == "auto":
        from runtime import search  # costs memory that a small model on a named backend has no use for

        candidates = {name: BACKENDS[name]() for name in SEARCHED}
        choice, executor = search.choose(source, candidates, source.cache_dir, clock)
        return Program(executor, choice.backend)
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown: expected auto, {', '.join(BACKENDS)}")
    return Program(BACKENDS[backend]().compile(source), backend)
