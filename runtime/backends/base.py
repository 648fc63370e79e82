"""What a backend is: it answers which operators it runs whole, and turns a model into something that runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.graph import Array, Graph


@dataclass(frozen=True, slots=True)
class Model:
    """One model on its way to a backend.

    `data` are the bytes of the file, `graph` is at GRAPH level with every shape inferred (so it may be resized against
    `data`), `atoms()` the same at ATOMIC level, made once and when first asked for; `name` stands in messages.
    """

    name: str
    data: bytes
    graph: Graph
    atoms: Callable[[], Graph]


class Executor(Protocol):
    """A compiled model."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs in the graph's order, each an array of its own, for checked inputs in the graph's order.

        Not to be called by two threads at once. Raises RunError.
        """
        ...


class Backend(Protocol):
    """Stateless; one instance serves every model."""

    name: str

    def version(self) -> str:
        """Changes whenever results or speed may change; a part of the search's cache key."""
        ...

    def compile(self, model: Model) -> Executor:
        """Raises UnsupportedError with the reason where this backend cannot run the model, RunError without memory."""
        ...
