"""Shapes of every value from the shapes of the inputs, and the integers that shapes are computed from.

What the file declares is overridden, so that a resized input flows through the graph. Models compute shapes
at run time (SHAPE, STRIDED_SLICE, PACK, RESHAPE): with known inputs these are constants, and are folded on
the way, by the operators' own decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from runtime.backends import reference
from runtime.control import CONTROL, If, Loop, While
from runtime.decompose import lowered
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Array, DType, Graph, Node, Shape, Value
from runtime.shapes import RULES
from runtime.shapes.operands import MAX_LIST, Operands, checked

COUNTS = frozenset({DType.I32, DType.I64, DType.BOOL})
"""Element types of what shapes are made of."""
OF_SHAPE = frozenset({"SHAPE", "RANK"})
"""Operators that read nothing of their operand but its shape."""


def infer(graph: Graph, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph with every shape inferred; `input_shapes` replaces those of graph inputs, by value id.

    Raises ModelError where shapes do not fit together, UnsupportedError where a shape depends on run-time
    data.
    """
    values, nodes = list(graph.values), list[Node]()
    for index, shape in (input_shapes or {}).items():
        if index not in graph.inputs:
            raise ModelError(f"value {index} is not an input of the graph: inputs are {list(graph.inputs)}")
        values[index] = replace(values[index], shape=checked(tuple(map(int, shape)), values[index].name))
    for node in graph.nodes:
        if isinstance(node.attrs, CONTROL):
            nodes.append(_CONTROL[type(node.attrs)](node, node.attrs, values))
            continue
        operands = tuple(None if index == ABSENT else values[index] for index in node.inputs)
        declared = tuple(values[index].shape for index in node.outputs)
        types = tuple(values[index].dtype for index in node.outputs)
        shapes = RULES[node.op](Operands(node, operands, declared, types))
        if len(shapes) != len(node.outputs):
            raise ModelError(
                f"{node.source}: gives {len(shapes)} outputs, the model declares {len(node.outputs)}"
            )
        counts = _makes_counts(graph, node, values)
        for index, shape in zip(node.outputs, shapes, strict=True):
            if not (counts and shape == (0,)):
                checked(shape, f"output of {node.source}")
            values[index] = replace(values[index], shape=shape)
        if counts and all(values[i].elements <= MAX_LIST for i in node.outputs):
            for index, data in zip(node.outputs, _folded(node, values), strict=True):
                values[index] = replace(values[index], data=data)
        else:
            nodes.append(node)
    for state in graph.states:
        _same(f"variable {values[state.value].name!r}", values[state.value], values[state.final])
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def _makes_counts(graph: Graph, node: Node, values: list[Value]) -> bool:
    """Whether a node makes integers of constants only, for other nodes."""
    known = node.op in OF_SHAPE or all(i == ABSENT or values[i].data is not None for i in node.inputs)
    integers = all(values[i].dtype in COUNTS for i in node.outputs)
    return known and integers and not set(node.outputs) & set(graph.outputs)


def _folded(node: Node, values: list[Value]) -> list[Array]:
    """The outputs of a node whose operands are constants, by its decomposition and the reference backend."""
    scope = list(values)
    atoms = lowered(scope, node, "reference")
    part = Graph(tuple(scope), tuple(atoms), (), node.outputs)
    return reference.run(part, [])


# ---------------------------------------------------------------- control flow


def _if(node: Node, attrs: If, values: list[Value]) -> Node:
    """Both branches on the operands; what is constant becomes a constant inside them."""
    test, *operands = (values[i] for i in node.inputs)
    _test(node, test)
    then, orelse = (infer(_bound(node, part, operands)) for part in (attrs.then, attrs.orelse))
    _results(node, orelse, [then.values[i] for i in then.outputs])
    _give(node, then, values)
    inputs = [i for i in node.inputs[1:] if values[i].data is None]
    return replace(node, inputs=(node.inputs[0], *inputs), attrs=If(then, orelse))


def _while(node: Node, attrs: While, values: list[Value]) -> Node:
    """A carried constant that the body hands on as it is becomes a constant inside it, and is a result."""
    body, operands = attrs.body, [values[i] for i in node.inputs]
    if len(body.outputs) != len(operands):
        raise ModelError(
            f"{node.source}: the body gives {len(body.outputs)} values, carried are {len(operands)}"
        )
    changed = [
        value.data is None or before != after
        for value, before, after in zip(operands, body.inputs, body.outputs, strict=True)
    ]
    carried = [replace(v, data=None) if moves else v for v, moves in zip(operands, changed, strict=True)]
    cond, body = _bound(node, attrs.cond, carried), _bound(node, body, carried)
    kept = [i for i, moves in enumerate(changed) if moves]
    cond, body = infer(cond), infer(replace(body, outputs=tuple(body.outputs[i] for i in kept)))
    if len(cond.outputs) != 1:
        raise ModelError(f"{node.source}: the condition gives {len(cond.outputs)} values, expected 1")
    _test(node, cond.values[cond.outputs[0]])
    _results(node, body, [carried[i] for i in kept])
    if len(node.outputs) != len(operands):
        raise ModelError(f"{node.source}: {len(node.outputs)} outputs, expected {len(operands)}")
    for output, value in zip(node.outputs, carried, strict=True):
        _given(node, values[output], value)
        values[output] = replace(values[output], shape=value.shape, data=value.data)
    inputs, outputs = (tuple(ids[i] for i in kept) for ids in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs, attrs=While(cond, body))


def _loop(node: Node, attrs: Loop, values: list[Value]) -> Node:
    """What is carried keeps its shape; what stays the same and is constant becomes a constant inside."""
    operands, first = [values[i] for i in node.inputs], len(node.inputs) - attrs.fixed
    if attrs.trips < 1 or not 0 <= attrs.carried <= first or attrs.fixed < 0:
        raise ModelError(f"{node.source}: {attrs.trips} trips, {attrs.carried} carried, {attrs.fixed} fixed")
    sequences = operands[attrs.carried : first]
    if any(value.shape[:1] != (attrs.trips,) for value in sequences):
        raise ModelError(
            f"{node.source}: sequences of {[v.shape for v in sequences]} for {attrs.trips} trips"
        )
    carried = [replace(value, data=None) for value in operands[: attrs.carried]]
    slices = [replace(value, shape=value.shape[1:], data=None) for value in sequences]
    body = infer(_bound(node, attrs.body, [*carried, *slices, *operands[first:]]))
    if not attrs.carried <= len(body.outputs) == len(node.outputs):
        raise ModelError(f"{node.source}: {len(node.outputs)} outputs, the body gives {len(body.outputs)}")
    _results(node, replace(body, outputs=body.outputs[: attrs.carried]), carried)
    for i, (output, index) in enumerate(zip(node.outputs, body.outputs, strict=True)):
        value = body.values[index]
        _given(node, values[output], value)
        stacked = () if i < attrs.carried else (attrs.trips,)
        shape = checked((*stacked, *value.shape), f"output of {node.source}")
        values[output] = replace(values[output], shape=shape)
    kept = [i for i in node.inputs[first:] if values[i].data is None]
    return replace(
        node, inputs=(*node.inputs[:first], *kept), attrs=replace(attrs, body=body, fixed=len(kept))
    )


_CONTROL: dict[type[Any], Callable[[Node, Any, list[Value]], Node]] = {If: _if, While: _while, Loop: _loop}


def _bound(node: Node, part: Graph, operands: Sequence[Value]) -> Graph:
    """A sub-graph whose inputs have the shapes of the operands, and their data where those have any."""
    if len(part.inputs) != len(operands):
        raise ModelError(
            f"{node.source}: {len(operands)} operands, the sub-graph has {len(part.inputs)} inputs"
        )
    values = list(part.values)
    for index, value in zip(part.inputs, operands, strict=True):
        if (expected := values[index].dtype) != value.dtype:
            text = f"{value.name!r} is {value.dtype.value}, the sub-graph expects {expected.value}"
            raise ModelError(f"{node.source}: {text}")
        values[index] = replace(values[index], shape=value.shape, data=value.data)
    inputs = tuple(i for i in part.inputs if values[i].data is None)
    return replace(part, values=tuple(values), inputs=inputs)


def _test(node: Node, test: Value) -> None:
    if test.dtype is not DType.BOOL or test.elements != 1:
        got = f"{test.dtype.value} {test.shape}"
        raise ModelError(f"{node.source}: the condition is {got}, expected a bool of one element")


def _results(node: Node, part: Graph, wanted: Sequence[Value]) -> None:
    """The outputs of a sub-graph are as many as wanted, of the same types and shapes."""
    if len(part.outputs) != len(wanted):
        raise ModelError(f"{node.source}: sub-graphs give {len(part.outputs)} and {len(wanted)} values")
    for index, want in zip(part.outputs, wanted, strict=True):
        _same(f"{node.source}: {want.name!r}", part.values[index], want)


def _same(what: str, a: Value, b: Value) -> None:
    if a.dtype != b.dtype:
        raise ModelError(f"{what}: {a.dtype.value} on one way, {b.dtype.value} on the other")
    if a.shape != b.shape:
        raise UnsupportedError(f"{what}: its shape is {a.shape} or {b.shape}, by what happens at run time")


def _give(node: Node, part: Graph, values: list[Value]) -> None:
    if len(node.outputs) != len(part.outputs):
        raise ModelError(
            f"{node.source}: {len(node.outputs)} outputs, the sub-graph gives {len(part.outputs)}"
        )
    for output, index in zip(node.outputs, part.outputs, strict=True):
        _given(node, values[output], part.values[index])
        values[output] = replace(values[output], shape=part.values[index].shape)


def _given(node: Node, output: Value, value: Value) -> None:
    if output.dtype is not value.dtype:
        text = f"output {output.name!r} is {output.dtype.value}, the sub-graph gives {value.dtype.value}"
        raise ModelError(f"{node.source}: {text}")
