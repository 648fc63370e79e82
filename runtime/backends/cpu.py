"""The cpu backend: atoms fused where that is faster (`fuse`), their results written where they are
wanted (`place`), convolutions transformed (`winograd`), then laid out as C steps (`emitter`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ckernels
from runtime import packed
from runtime.backends.cost import Machine
from runtime.backends.emitter import Emitter
from runtime.backends.flat import FlatProgram
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.backends.stages import usable
from runtime.backends.strips import cache_bytes
from runtime.backends.ways import Board, Ways
from runtime.backends.winograd import winograd
from runtime.graph import Graph
from runtime.packed import Store

if TYPE_CHECKING:
    from runtime.compile import Model


class CpuBackend:
    """The C kernels of this build, on the instruction sets in `features` (bits of `ck_isa`; default: all that
    are here), for a second cache of `cache` bytes (default: that of this machine), as a thread has it.
    """

    name = "cpu"

    def __init__(self, features: int | None = None, cache: int | None = None) -> None:
        self._features = ckernels.cpu_features() if features is None else features
        self._cache = cache
        available = [row for row in ckernels.rows() if row.isa & self._features == row.isa]
        self.kernels = {(row.operator, row.dtype): row for row in available}

    def version(self) -> str:
        return f"{ckernels.build_digest()}/{self._features}"

    def compile(self, model: Model) -> FlatProgram:
        """With a `cache_dir` in ways that suit this machine, as it was measured; without one always in the
        same. They depend on no number of threads, and so the results do not.
        """
        graph = place(fuse(model.atoms))
        weights = sum(value.nbytes for value in graph.values if value.data is not None)
        ways = Ways(self.kernels, self.cache(), weights, partial(self._board, model.cache_dir))
        graph = winograd(graph, ways)
        ways.keep()
        return self.lower(graph, _store(model.cache_dir), model.threads, lambda: ways.machine)

    def _board(self, cache_dir: Path | None) -> Board:
        if cache_dir is None:
            return Board()
        from runtime.machine import MeasuredBoard  # measures by running what is lowered here

        return MeasuredBoard(self, cache_dir)

    def cache(self, threads: int = 1) -> int:
        """Bytes of the second cache that a thread has."""
        return cache_bytes(usable(threads)) if self._cache is None else self._cache

    def lower(
        self,
        graph: Graph,
        store: Store | None = None,
        threads: int = 1,
        machine: Callable[[], Machine] | None = None,
    ) -> FlatProgram:
        """A graph at ATOMIC level as a flat program; raises UnsupportedError, RunError."""
        threads = usable(threads)
        emitter = Emitter(graph, self.kernels, store, self.cache(threads), threads, machine)
        for node in graph.nodes:
            emitter.emit(node)
        return emitter.finish()


def _store(cache_dir: Path | None) -> Store | None:
    return None if cache_dir is None else Store(cache_dir / packed.FOLDER)
