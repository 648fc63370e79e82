"""The reference backend: `runtime.backends.reference`, the definition of the atoms, behind the Backend
protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from runtime.backends import reference
from runtime.backends.base import TensorInfo
from runtime.graph import Array, Graph
from runtime.pairs import as_seen, in_floats

if TYPE_CHECKING:
    from runtime.compile import Model


class ReferenceBackend:
    """Runs every model that has a decomposition; slow."""

    name = "reference"

    def version(self) -> str:
        return f"numpy {np.__version__}"

    def compile(self, model: Model) -> ReferenceExecutor:
        return ReferenceExecutor(model.atoms)


class ReferenceExecutor:
    def __init__(self, graph: Graph) -> None:
        self.inputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.inputs)
        self.outputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.outputs)
        self._graph = graph
        self._states = [state.initial for state in graph.states]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        values = self._graph.values
        given = [in_floats(array, values[i]) for i, array in zip(self._graph.inputs, inputs, strict=True)]
        outputs, states = reference.step(self._graph, given, self._states)
        self._states = [state.copy() for state in states]
        return [
            as_seen(output, values[i]).copy() for i, output in zip(self._graph.outputs, outputs, strict=True)
        ]

    def reset(self) -> None:
        for i, state in enumerate(self._graph.states):
            if not state.resource:
                self._states[i] = state.initial
