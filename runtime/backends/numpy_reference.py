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
        outputs, states = reference.step(self._graph, inputs, self._states)
        self._states = [state.copy() for state in states]
        return [output.copy() for output in outputs]

    def reset(self) -> None:
        for i, state in enumerate(self._graph.states):
            if not state.resource:
                self._states[i] = state.initial
