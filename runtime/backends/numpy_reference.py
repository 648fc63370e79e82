"""The reference backend: `runtime.backends.reference`, the definition of the atoms, behind the Backend
protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.backends import reference
from runtime.backends.base import Executor, TensorInfo, zeros
from runtime.graph import Graph
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


class ReferenceExecutor(Executor):
    def __init__(self, graph: Graph) -> None:
        self.inputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.inputs)
        self.outputs = tuple(TensorInfo.of(graph.values[i]) for i in graph.outputs)
        self.given, self.made = zeros(self.inputs), zeros(self.outputs)
        self._graph = graph
        self._states = [state.initial for state in graph.states]

    def execute(self) -> None:
        values = self._graph.values
        given = [in_floats(array, values[i]) for i, array in zip(self._graph.inputs, self.given, strict=True)]
        outputs, states = reference.step(self._graph, given, self._states)
        self._states = [state.copy() for state in states]
        for made, i, output in zip(self.made, self._graph.outputs, outputs, strict=True):
            made[...] = as_seen(output, values[i])

    def reset(self) -> None:
        for i, state in enumerate(self._graph.states):
            if not state.resource:
                self._states[i] = state.initial
