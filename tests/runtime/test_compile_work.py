"""The work of compiling grows with the number of nodes, not with its square: calls are counted, not time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import numpy as np
import pytest

import runtime
from runtime.exporters.tflite import ModelSpec, OpSpec, Option, TensorSpec
from tests.conformance.case import ints, written

NODES = 100
CONV = (np.ones((4, 3, 3, 4), np.float32), np.zeros(4, np.float32))
SAME: Mapping[str, Option] = {"padding": "SAME", "stride_w": 1, "stride_h": 1}


def chain(
    op: str, shape: tuple[int, ...], *constants: np.ndarray, options: Mapping[str, Option] | None = None
) -> Callable[[int], ModelSpec]:
    """One operator after the other."""

    def of(nodes: int) -> ModelSpec:
        names = [f"constant {i}" for i in range(len(constants))]
        tensors = [TensorSpec(f"x{i}", shape) for i in range(nodes + 1)]
        tensors += [TensorSpec.constant(name, data) for name, data in zip(names, constants, strict=True)]
        ops = [OpSpec(op, (f"x{i}", *names), (f"x{i + 1}",), options or {}) for i in range(nodes)]
        return ModelSpec(tuple(tensors), tuple(ops), ("x0",), (f"x{nodes}",))

    return of


def fan(nodes: int) -> ModelSpec:
    """All read one value, and each gives an output."""
    tensors = [TensorSpec("x", (4,))]
    tensors += [TensorSpec.constant(f"c{i}", np.array([i], np.float32)) for i in range(nodes)]
    tensors += [TensorSpec(f"y{i}", (4,)) for i in range(nodes)]
    ops = [OpSpec("ADD", ("x", f"c{i}"), (f"y{i}",)) for i in range(nodes)]
    return ModelSpec(tuple(tensors), tuple(ops), ("x",), tuple(f"y{i}" for i in range(nodes)))


def parts(nodes: int) -> ModelSpec:
    """A value in parts, each computed on its own and put together again."""
    tensors = [TensorSpec("x", (2 * nodes,)), TensorSpec.constant("axis", ints(0).reshape(()))]
    tensors += [TensorSpec(f"{name}{i}", (2,)) for name in "yz" for i in range(nodes)]
    tensors.append(TensorSpec("out", (2 * nodes,)))
    ys, zs = (tuple(f"{name}{i}" for i in range(nodes)) for name in "yz")
    ops = [OpSpec("SPLIT", ("axis", "x"), ys, {"num_splits": nodes})]
    ops += [OpSpec("TANH", (y,), (z,)) for y, z in zip(ys, zs, strict=True)]
    ops.append(OpSpec("CONCATENATION", zs, ("out",), {"axis": 0}))
    return ModelSpec(tuple(tensors), tuple(ops), ("x",), ("out",))


def residual(nodes: int) -> ModelSpec:
    """Each step adds to what the one before it gave."""
    tensors, ops = [TensorSpec("x0", (4, 6))], []
    for i in range(nodes // 2):
        tensors += [TensorSpec(f"h{i}", (4, 6)), TensorSpec(f"x{i + 1}", (4, 6))]
        ops += [OpSpec("TANH", (f"x{i}",), (f"h{i}",)), OpSpec("ADD", (f"x{i}", f"h{i}"), (f"x{i + 1}",))]
    return ModelSpec(tuple(tensors), tuple(ops), ("x0",), (f"x{nodes // 2}",))


def calls(model: bytes) -> int:
    """How many functions a load calls."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        runtime.load(model, "cpu")
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "graphs",
    [
        pytest.param(chain("TANH", (4, 6)), id="element-wise"),
        pytest.param(chain("TRANSPOSE", (6, 6), ints(1, 0)), id="copies"),
        pytest.param(chain("CONV_2D", (1, 5, 5, 4), *CONV, options=SAME), id="convolutions"),
        fan,
        parts,
        residual,
    ],
)
def test_four_times_the_nodes_are_about_four_times_the_work(graphs):
    runtime.load(written(graphs(8)), "cpu")  # so that nothing is imported while it is counted
    few, many = (calls(written(graphs(nodes))) for nodes in (NODES, 4 * NODES))
    assert 3 < many / few < 4.5
