"""The walk over the nodes of an ONNX graph: each finds its row, and its outputs their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Graph, Node
from runtime.importers.onnx.builder import Builder
from runtime.importers.onnx.layout import joined
from runtime.importers.onnx.reader import Body, Kind, Step
from runtime.importers.onnx.translation import Row, Translation


def numbered(builder: Builder, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
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
        bind(builder, scope, tensor, builder.constant(data, tensor))
    for step in body.steps:
        _translate(builder, scope, step)


def bind(builder: Builder, scope: dict[str, int], name: str, index: int) -> None:
    if not name or name in scope:
        raise ModelError(
            f"{builder.name}: tensor {name!r}: expected a name of its own: a tensor has one source"
        )
    scope[name] = index


def _translate(builder: Builder, scope: dict[str, int], step: Step) -> None:
    where = f"{builder.name}: {step.source}"
    if step.op not in builder.rows:
        raise UnsupportedError(
            f"{where}: operator {step.op} is not known; rewrite it with others when exporting"
        )
    row = builder.rows[step.op]
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
        bind(builder, scope, name, results[i])


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


def results_of(builder: Builder, scope: Mapping[str, int], body: Body) -> list[int]:
    """The values of a graph's outputs, once it is translated."""
    if missing := [output for output in body.outputs if output not in scope]:
        raise ModelError(f"{builder.name}: graph output {missing[0]!r} is produced by no node")
    return [scope[output] for output in body.outputs]


def own(builder: Builder, where: str, results: Sequence[int], inputs: Sequence[int]) -> list[int]:
    """The results, with a copy of each that is an input, a constant or another result already."""
    found = list[int]()
    for index in results:
        value = builder.values[index]
        if index not in inputs and index not in found and value.data is None:
            found.append(index)
            continue
        shape = builder.constant(np.array(value.shape, np.int32).reshape(-1), f"{where}/shape")
        found.append(builder.add(replace(value, data=None)))
        attrs = {"new_shape": value.shape}
        builder.append(Node("RESHAPE", (index, shape), (found[-1],), attrs, where))
    return found
