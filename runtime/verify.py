"""What is legal between two passes: which operators at which level, and that no atom can leave its values.

`check` is what makes the C runner safe: it holds for every view that each address lies inside its value, for
every operand that it has the type that the kernels expect, and for every node that its inputs are there
before it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from runtime.atoms import ATOMS, MAX_RANK
from runtime.control import CONTROL, If, Loop, While, subgraphs
from runtime.errors import EngineError, VerifyError
from runtime.fused import FUSED
from runtime.graph import ABSENT, DType, Graph, Node, Value
from runtime.operators import OPERATORS
from runtime.shapes import RULES
from runtime.shapes.operands import Operands
from runtime.verify_atoms import CHECKS, Site, require, written

Level = Literal["GRAPH", "ATOMIC", "PROGRAM"]
LEGAL: dict[Level, frozenset[str]] = {
    "GRAPH": frozenset({*OPERATORS, Loop.NAME}),
    "ATOMIC": frozenset(atom.NAME for atom in (*ATOMS, *CONTROL)),
    "PROGRAM": frozenset(kernel.NAME for kernel in (*ATOMS, *CONTROL, *FUSED)),
}
"""The operators of a model; what they are decomposed into; what the cpu backend runs of that, where several
nodes may write a value, each a part.
"""


def check(graph: Graph, level: Level) -> None:
    """Raises VerifyError naming the first node that is not legal at this level, and why."""
    parts = graph.in_parts() if level == "PROGRAM" else set[int]()
    ready = {i for i, value in enumerate(graph.values) if value.data is not None} | set(graph.starts)
    for value in graph.values:
        if len(value.shape) > MAX_RANK:
            raise VerifyError(f"value {value.name!r}: rank {len(value.shape)}")
        if (data := value.data) is not None and (data.shape, data.dtype) != (value.shape, value.dtype.numpy):
            raise VerifyError(f"value {value.name!r}: holds {data.dtype} {data.shape}")
        if value.dtype is DType.C64 and level != "GRAPH":
            raise VerifyError(f"value {value.name!r}: complex numbers are pairs to atoms")
    for position, node in enumerate(graph.nodes):
        where = f"node {position} {node.op} from {node.source or 'nowhere'}"
        legal = node.op in LEGAL[level] and (level != "GRAPH" or not isinstance(node.attrs, ATOMS))
        for part in subgraphs(node.attrs).values():
            check(part, level)
        require(legal, where, f"is not an operator of level {level}")
        unknown = [i for i in (*node.inputs, *node.outputs) if not ABSENT <= i < len(graph.values)]
        require(not unknown, where, f"values {unknown} do not exist")
        missing = [i for i in node.inputs if i != ABSENT and i not in ready]
        require(not missing, where, f"values {missing} are read before they are written")
        again = [i for i in node.outputs if i in ready and i not in parts]
        require(not again, where, f"values {again} are written twice")
        ready |= set(node.outputs)
        _check_node(graph, node, where, partly=not parts.isdisjoint(node.outputs))
    for i in parts:
        made = sum(written(node.attrs) for node in graph.nodes if i in node.outputs)
        value = graph.values[i]
        require(made == value.elements, f"value {value.name!r}", f"{made} of {value.elements} are written")
    lost = [i for i in graph.ends if i not in ready]
    require(not lost, "graph outputs", f"values {lost} are never written")
    for state in graph.states:
        _alike("a state", graph.values[state.value], graph.values[state.final])
        stored = (state.initial.shape, state.initial.dtype)
        value = graph.values[state.value]
        require(stored == (value.shape, value.dtype.numpy), f"state {value.name!r}", f"starts as {stored}")


def _check_node(graph: Graph, node: Node, where: str, partly: bool) -> None:
    if (rule := CHECKS.get(type(node.attrs))) is not None:
        require(node.op == node.attrs.NAME, where, f"has attributes of {node.attrs.NAME}")
        require(ABSENT not in node.inputs, where, "an atom has no optional inputs")
        values = [graph.values[i] for i in node.inputs], [graph.values[i] for i in node.outputs]
        rule(Site(where, *values, partly), node.attrs)
        return
    if isinstance(node.attrs, CONTROL):
        require(ABSENT not in node.inputs, where, "has no optional inputs")
        _check_control(graph, node, where)
        return
    require(node.op in OPERATORS, where, "is an atom without its attributes")
    require(isinstance(node.attrs, Mapping), where, f"has attributes {type(node.attrs).__name__}")
    operands = tuple(None if i == ABSENT else graph.values[i] for i in node.inputs)
    declared = [graph.values[i].shape for i in node.outputs]
    types = tuple(graph.values[i].dtype for i in node.outputs)
    try:
        inferred = RULES[node.op](Operands(node, operands, tuple(declared), types))
    except EngineError as error:
        raise VerifyError(f"{where}: {error}") from error
    require(inferred == declared, where, f"output shapes {declared}, expected {inferred}")


def _check_control(graph: Graph, node: Node, where: str) -> None:
    """What goes into a sub-graph and comes out of it is what its inputs and outputs are."""
    inputs, outputs = ([graph.values[i] for i in ids] for ids in (node.inputs, node.outputs))
    attrs = node.attrs
    if isinstance(attrs, If):
        _is_bool(inputs[0], where)
        for part in (attrs.then, attrs.orelse):
            _check_ends(part, inputs[1:], outputs, where)
    elif isinstance(attrs, While):
        require(len(attrs.cond.outputs) == 1, where, "the condition gives one value")
        test = attrs.cond.values[attrs.cond.outputs[0]]
        _is_bool(test, where)
        _check_ends(attrs.cond, inputs, [test], where)
        _check_ends(attrs.body, inputs, inputs, where)
        _check_ends(attrs.body, inputs, outputs, where)
    else:
        _check_loop(attrs, inputs, outputs, where)


def _check_loop(attrs: Loop, inputs: list[Value], outputs: list[Value], where: str) -> None:
    carried, body = attrs.carried, attrs.body
    sliced = len(inputs) - carried - attrs.fixed
    require(attrs.trips >= 1 and sliced >= 0 and 0 <= carried <= len(outputs), where, "counts")
    _check_ends(
        replace(body, inputs=(*body.inputs[:carried], *body.inputs[carried + sliced :])),
        [*inputs[:carried], *inputs[carried + sliced :]],
        inputs[:carried],
        where,
        outputs=body.outputs[:carried],
    )
    require(len(body.inputs) == len(inputs) and len(body.outputs) == len(outputs), where, "counts")
    for before, after in zip(inputs[:carried], outputs, strict=False):
        _alike(where, before, after)
    parts = (*body.inputs[carried : carried + sliced], *body.outputs[carried:])
    for i, whole in zip(parts, [*inputs[carried : carried + sliced], *outputs[carried:]], strict=True):
        part = body.values[i]
        fits = part.elements * attrs.trips == whole.elements and part.dtype is whole.dtype
        require(fits, where, f"{whole.name!r} is not {attrs.trips} times {part.name!r}")


def _check_ends(
    part: Graph, inputs: list[Value], results: list[Value], where: str, outputs: tuple[int, ...] | None = None
) -> None:
    require(not part.states, where, "a sub-graph has no states")
    given = part.outputs if outputs is None else outputs
    for ids, values, what in ((part.inputs, inputs, "inputs"), (given, results, "outputs")):
        require(len(ids) == len(values), where, f"{len(ids)} {what} of a sub-graph for {len(values)} values")
        for i, value in zip(ids, values, strict=True):
            _alike(where, part.values[i], value)


def _alike(where: str, a: Value, b: Value) -> None:
    """Of one size and type. Values are dense, so a pass may let one stand for a reshaped other."""
    same = (a.elements, a.dtype) == (b.elements, b.dtype)
    require(same, where, f"{a.name!r} is {a.dtype.value} {a.shape}, {b.name!r} {b.dtype.value} {b.shape}")


def _is_bool(test: Value, where: str) -> None:
    require(test.dtype is DType.BOOL and test.elements == 1, where, "a condition is a bool of one element")
