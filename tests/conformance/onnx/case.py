"""A case: one ONNX operator, its operands and attributes, and the opsets to write it for; and its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from tests.conformance.case import Array, X

Operand = X | Array | None


@dataclass(frozen=True)
class Case:
    """One operator. `X` is a model input, an array a constant, None an operand that is left out.

    `attrs` are those of the node; `outer` are inputs and constants that graphs inside it read as "outer 0",
    "outer 1" ...; `tolerance` is by how much floats may differ, of the largest expected one, `steps`
    by how much integers may.
    """

    op: str
    operands: tuple[Operand, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    opsets: tuple[int, ...] = (13, 22)
    outputs: int = 1
    outer: tuple[X | Array, ...] = ()
    tolerance: float = 1e-5
    steps: int = 0

    def __str__(self) -> str:
        shapes = [str(list(o.shape)) if o is not None else "" for o in self.operands]
        attrs = [f"{key}={_said(value)}" for key, value in self.attrs.items()]
        return "-".join([self.op, *shapes, *attrs]).replace(" ", "")

    @property
    def named(self) -> list[tuple[str, Operand]]:
        operands = [(f"operand {i}", operand) for i, operand in enumerate(self.operands)]
        return [*operands, *((f"outer {i}", operand) for i, operand in enumerate(self.outer))]

    @property
    def inputs(self) -> list[tuple[str, X]]:
        return [(name, operand) for name, operand in self.named if isinstance(operand, X)]

    def model(self, opset: int) -> bytes:
        constants = [
            numpy_helper.from_array(operand, name)
            for name, operand in self.named
            if isinstance(operand, np.ndarray)
        ]
        names = ["" if operand is None else f"operand {i}" for i, operand in enumerate(self.operands)]
        outputs = [f"output {i}" for i in range(self.outputs)]
        attrs = {
            key: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
            for key, value in self.attrs.items()
        }
        domain, _, op = self.op.rpartition(".")
        node = helper.make_node(op, names, outputs, domain=domain, **attrs)
        inputs = [
            helper.make_tensor_value_info(name, element(operand), operand.shape)
            for name, operand in self.inputs
        ]
        ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
        return written([node], inputs, ends, constants, opset)

    def drawn(self) -> dict[str, Array]:
        """One array per model input; the same in every run."""
        rng = np.random.default_rng(len(str(self)))
        return {name: _drawn(rng, operand) for name, operand in self.inputs}


def _said(value: Any) -> Any:
    if isinstance(value, GraphProto):
        return ",".join(node.op_type for node in value.node)
    return value if np.ndim(value) < 2 else ...


def element(x: X) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype or "float32")))


def _drawn(rng: np.random.Generator, x: X) -> Array:
    dtype = np.dtype(x.dtype or "float32")
    if dtype.kind == "f":
        return rng.uniform(*x.span, x.shape).astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, x.shape).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = x.span if x.span != X.span else (max(limits.min, -50), min(limits.max, 50))
    return rng.integers(int(low), int(high) + 1, x.shape).astype(dtype)


def written(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[TensorProto], opset: int = 17
) -> bytes:
    """The bytes of a model; onnxruntime infers the types of outputs that say nothing."""
    graph = helper.make_graph(nodes, "case", inputs, outputs, constants)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model: ModelProto = helper.make_model(graph, opset_imports=domains, ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def longs(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def number(value: float, dtype: str = "float32") -> Array:
    return np.array(value, dtype)


def weights(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
