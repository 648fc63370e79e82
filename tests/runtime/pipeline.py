"""What fuzz targets do with bytes that claim to be a model: everything that a user does, within bounds."""

from __future__ import annotations

import contextlib
import math
from unittest import mock

import numpy as np

from runtime import importers
from runtime.atoms import Gemm, Map, Raster
from runtime.backends import control_steps
from runtime.backends.base import TensorInfo
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.compile import Model
from runtime.control import Loop, subgraphs
from runtime.errors import ModelError, RunError, UnsupportedError
from runtime.graph import Array, Graph, Node
from runtime.verify import check

BACKEND = CpuBackend(cache=4096)
"""So small a cache that many models are run in strips."""
MOST_WORK = 1 << 20
"""Elements that a model may touch in a run, so that it is run at all."""
MOST_TRIPS = 20


def survive(data: bytes, name: str) -> None:
    """Whatever the bytes are, they are refused in the engine's own words, or become atoms that are sound, and
    where those are few they are compiled for the C kernels and run twice, on inputs made of the same bytes.
    """
    with contextlib.suppress(ModelError, UnsupportedError, RunError):
        model = Model(name, data)
        atoms = model.atoms
        importers.declared_shapes(data, name)
        if work(atoms) > MOST_WORK:
            return
        placed = place(fuse(atoms))
        check(placed, "PROGRAM")
        with mock.patch.object(control_steps, "MAX_TRIPS", MOST_TRIPS):
            program = BACKEND.lower(placed)
        for _ in range(2):
            program.run([drawn(data, tensor) for tensor in program.inputs])


def work(graph: Graph) -> int:
    """Elements that a run reads and writes, a WHILE counted once."""
    held = sum(value.elements for value in graph.values)
    return held + sum(_work(node) for node in graph.nodes)


def _work(node: Node) -> int:
    atom = node.attrs
    inside = sum(work(part) for part in subgraphs(atom).values())
    if isinstance(atom, Gemm):
        return atom.batch * atom.m * atom.n * atom.k
    if isinstance(atom, Map):
        return math.prod(atom.sizes) * len(atom.program)
    if isinstance(atom, Raster):
        return sum(math.prod(region.sizes) for region in atom.regions)
    return inside * atom.trips if isinstance(atom, Loop) else inside


def drawn(data: bytes, tensor: TensorInfo) -> Array:
    """The model's own bytes, for half of the models as small numbers, so that they are indices too."""
    dtype, count = tensor.dtype.numpy, math.prod(tensor.shape)
    array = np.resize(np.frombuffer(data, np.uint8), count * dtype.itemsize)
    if dtype.kind == "b":
        array = array & 1
    elif dtype.kind in "iu" and data[-1] & 1:
        return (array[:count] % 4).astype(dtype).reshape(tensor.shape)
    return array.view(dtype).reshape(tensor.shape)
