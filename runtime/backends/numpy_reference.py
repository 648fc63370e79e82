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

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        return [output.copy() for output in reference.run(self._graph, inputs)]
