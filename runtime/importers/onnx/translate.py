"""The walk over the nodes of an ONNX graph: each finds its row, and its outputs their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Graph, Node, Shape, Value
from runtime.importers.onnx import (
    conv,
    einsum,
    elementwise,
    index,
    integer,
    matrix,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    views,
)
from runtime.importers.onnx.layout import joined
from runtime.importers.onnx.reader import Body, Kind, Step, declared_shapes, parse
from runtime.importers.onnx.translation import Builder, Row, Translation
from runtime.shapes.operands import checked

__all__ = ["declared_shapes", "load"]

ROWS: dict[str, Row] = {
    **conv.ROWS,
    **einsum.ROWS,
    **elementwise.ROWS,
    **index.ROWS,
    **integer.ROWS,
    **matrix.ROWS,
    **norm.ROWS,
    **pool.ROWS,
    **quantize.ROWS,
    **recurrent.ROWS,
    **reduce.ROWS,
    **resize.ROWS,
    **views.ROWS,
}


def load(data: bytes, name: str, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph of a model file; value i is its input i. An open dimension is 1 unless `input_shapes` has it.

    Raises ModelError for bytes that are not a sound model, UnsupportedError for a sound one that uses what
    the engine does not have.
    """
    body, opset = parse(data, name)
    builder, scope = Builder(name, opset, len(data)), dict[str, int]()
    for i, (tensor, dtype, shape) in enumerate(body.inputs):
        given = checked(tuple(map(int, (input_shapes or {}).get(i, shape))), f"input {tensor!r}")
        if len(given) != len(shape):
            raise ModelError(f"{name}: input {tensor!r} has rank {len(shape)}, got shape {given}")
        _bind(builder, scope, tensor, builder.add(Value(tensor, given, dtype)))
    walk(builder, scope, body)
    if missing := [output for output in body.outputs if output not in scope]:
        raise ModelError(f"{name}: graph output {missing[0]!r} is produced by no node")
    inputs, outputs = list(range(len(body.inputs))), list[int]()
    for output in body.outputs:
        outputs.append(_own(builder, scope[output], output, {*inputs, *outputs}))
    return _numbered(builder, inputs, outputs)


def _numbered(builder: Builder, inputs: list[int], outputs: list[int]) -> Graph:
    """Inputs first, then outputs, whose ids so depend on no shape; then what else the nodes name."""
    needed = joined(builder.values, builder.nodes, outputs)
    named = (i for node in needed for i in (*node.inputs, *node.outputs) if i != ABSENT)
    new = {old: i for i, old in enumerate(dict.fromkeys([*inputs, *outputs, *named]))}
    nodes = tuple(
        replace(
            node,
            inputs=tuple(new.get(i, ABSENT) for i in node.inputs),
            outputs=tuple(new[i] for i in node.outputs),
        )
        for node in needed
    )
    values = tuple(builder.values[old] for old in new)
    return Graph(values, nodes, tuple(new[i] for i in inputs), tuple(new[i] for i in outputs))


def walk(builder: Builder, scope: dict[str, int], body: Body) -> None:
    """Translates the nodes of a graph, in their order; `scope` gains its names."""
    for tensor, data in body.constants.items():
        _bind(builder, scope, tensor, builder.constant(data, tensor))
    for step in body.steps:
        _translate(builder, scope, step)


def _bind(builder: Builder, scope: dict[str, int], name: str, index: int) -> None:
    if not name or name in scope:
        raise ModelError(
            f"{builder.name}: tensor {name!r}: expected a name of its own: a tensor has one source"
        )
    scope[name] = index


def _translate(builder: Builder, scope: dict[str, int], step: Step) -> None:
    where = f"{builder.name}: {step.source}"
    if step.op in ("If", "Loop", "Scan"):
        raise UnsupportedError(f"{where}: control flow is not known; unroll it when exporting")
    if step.op not in ROWS:
        raise UnsupportedError(
            f"{where}: operator {step.op} is not known; rewrite it with others when exporting"
        )
    row = ROWS[step.op]
    for names, (least, most), what in (
        (step.inputs, row.inputs, "inputs"),
        (step.outputs, row.outputs, "outputs"),
    ):
        if not least <= len(names) <= most:
            raise ModelError(f"{where}: {len(names)} {what}, expected {least}..{most}")
    if missing := [name for name in step.inputs if name and name not in scope]:
        raise ModelError(f"{where}: input {missing[0]!r} is not produced before it is used")
    before = len(builder.values)
    made = row.rule(Translation(builder, scope, step, _attributes(step, row, where)))
    results = [made] if isinstance(made, int) else list(made)
    for i, name in enumerate(step.outputs):
        if not name:
            continue
        if i >= len(results):
            raise UnsupportedError(f"{where}: output {i} ({name!r}) is not known")
        if results[i] >= before:
            builder.values[results[i]] = replace(builder.values[results[i]], name=name)
        _bind(builder, scope, name, results[i])


def _attributes(step: Step, row: Row, where: str) -> dict[str, Any]:
    """Those of the row, each of its kind; the default, or None, where the node has none."""
    if unknown := sorted(step.attrs.keys() - row.attrs.keys()):
        raise UnsupportedError(
            f"{where}: attribute {unknown[0]!r} is not known, expected {sorted(row.attrs)}"
        )
    found = {}
    for name, default in row.attrs.items():
        kind = default if isinstance(default, Kind) else _KINDS[type(default)]
        if name not in step.attrs:
            found[name] = None if isinstance(default, Kind) else default
        elif step.attrs[name][0] is kind:
            found[name] = step.attrs[name][1]
        else:
            raise ModelError(
                f"{where}: attribute {name!r} is {step.attrs[name][0].name}, expected {kind.name}"
            )
    return found


_KINDS = {int: Kind.INT, float: Kind.FLOAT, str: Kind.STRING}


def _own(builder: Builder, index: int, name: str, taken: set[int]) -> int:
    """The value itself, or a copy of one that is an input, a constant or another output already."""
    value = builder.values[index]
    if index not in taken and value.data is None:
        return index
    shape = builder.constant(_int32(value.shape), f"{name}/shape")
    copy = builder.add(Value(name, value.shape, value.dtype))
    attrs = {"new_shape": value.shape}
    builder.nodes.append(Node("RESHAPE", (index, shape), (copy,), attrs, f"output {name!r}"))
    return copy


def _int32(numbers: Shape) -> Any:
    import numpy as np

    return np.array(numbers, np.int32).reshape(-1)
