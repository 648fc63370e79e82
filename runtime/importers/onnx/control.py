"""If, Loop and Scan: graphs of the file inside its nodes, as IF, WHILE and LOOP.

A graph inside sees the names of those around it. Here these become further inputs, constants excepted, and
operands of the node. A branch that a constant chooses takes the place of its If; a Loop whose trips are known
is a LOOP, any other a WHILE, which cannot stack what its trips give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtime.control import MAX_TRIPS, If, Loop, While
from runtime.graph import DType, Value
from runtime.importers.onnx.reader import Body, Kind
from runtime.importers.onnx.translation import ANY, Row, Translation
from runtime.importers.onnx.walk import bind, numbered, own, results_of, walk
from runtime.operators import MANY


class Inside:
    """A graph inside a node, translated: `inputs` are those of `entries`, `captured` what it reads around it.

    An entry with data is a constant in it.
    """

    def __init__(self, t: Translation, body: Body, entries: Sequence[Value], names: Sequence[str]) -> None:
        if len(body.inputs) != len(entries):
            raise t.bad(f"a graph of {len(body.inputs)} inputs, expected {len(entries)}")
        self.t, self.body, self.builder, scope = t, body, t.builder.inner(), dict[str, int]()
        self.inputs = [self.builder.add(value) for value in entries]
        self.captured = [self.builder.add(t.value(t.scope[name])) for name in names]
        for name, index in zip((*body.inputs, *names), (*self.inputs, *self.captured), strict=True):
            bind(self.builder, scope, name, index)
        walk(self.builder, scope, body)
        self.outputs = results_of(self.builder, scope, body)

    def values(self, outputs: Sequence[int]) -> list[Value]:
        """What the node gives, whose shapes are to be inferred."""
        return [replace(self.builder.values[i], shape=(), data=None) for i in outputs]


def captured(t: Translation, *bodies: Body) -> list[str]:
    """What graphs read of those around them; constants are theirs as well."""
    return [name for name in dict.fromkeys(n for body in bodies for n in _free(body)) if name in t.scope]


def _free(body: Body) -> list[str]:
    """The names that a graph, and those inside it, use and do not define."""
    used = dict.fromkeys(body.outputs)
    for step in body.steps:
        used |= dict.fromkeys(step.inputs)
        for kind, inner in step.attrs.values():
            used |= dict.fromkeys(_free(inner)) if kind is Kind.GRAPH else {}
    known = {*body.constants, *body.inputs, *(name for step in body.steps for name in step.outputs)}
    return [name for name in used if name not in known]


def branch(t: Translation) -> list[int]:
    test, bodies = t.value(t.input(0)), (t.graph("then_branch"), t.graph("else_branch"))
    names = captured(t, *bodies)
    if test.dtype is not DType.BOOL or test.elements != 1:
        raise t.bad(f"the condition is {test.dtype.value} {test.shape}, expected a bool of one element")
    if any(body.inputs for body in bodies):
        raise t.bad("a branch has inputs, expected none")
    if test.data is not None:
        body, scope = bodies[not test.data.item()], {name: t.scope[name] for name in names}
        walk(t.builder, scope, body)
        return results_of(t.builder, scope, body)
    parts = [Inside(t, body, (), names) for body in bodies]
    graphs = [numbered(part.builder, part.captured, part.outputs) for part in parts]
    operands = [t.input(0), *(t.scope[name] for name in names)]
    return t.control(If(*graphs), operands, parts[0].values(parts[0].outputs))


def loop(t: Translation) -> list[int]:
    """Inputs: the most trips, whether there is a first one, what is carried. The graph is given the number of
    the trip and the condition, which is true in every trip, and gives the next condition first.
    """
    body, carried = t.graph("body"), [t.input(i) for i in range(2, len(t.inputs))]
    entries = [
        Value("trip", (), DType.I64),
        Value("condition", (), DType.BOOL, data=np.array(True)),
        *(replace(t.value(i), data=None) for i in carried),
    ]
    names = captured(t, body)
    inside = Inside(t, body, entries, names)
    if len(inside.outputs) <= len(carried):
        raise t.bad(f"the graph gives {len(inside.outputs)} values, expected at least {len(carried) + 1}")
    limit, first = _given(t, 0, MAX_LIMIT, DType.I64), _given(t, 1, True, DType.BOOL)
    trips = _trips(t, limit, first, inside.builder.values[inside.outputs[0]])
    if trips == 0 or (trips is None and len(inside.outputs) > len(carried) + 1):
        if len(inside.outputs) == len(carried) + 1:
            return carried
        many = "no" if trips == 0 else "an unknown number of"
        raise t.lacking(f"stacks what {many} trips give, expected a number that is known and not 0")
    if trips is None:
        return _while(t, inside, names, [t.constant(0, DType.I64), first, *carried], limit)
    numbers = t.constant(np.arange(trips, dtype=np.int64))
    return stepped(t, inside, names, inside.inputs[2:], carried, [numbers], inside.outputs[1:])


LISTS = ("axes", "directions")
MAX_LIMIT = 2**63 - 1


def _given(t: Translation, i: int, default: int, dtype: DType) -> int:
    """Operand `i`, one element."""
    if not t.has(i):
        return t.constant(default, dtype)
    value = t.value(t.input(i))
    if value.dtype is not dtype or value.elements != 1:
        raise t.bad(f"input {i} is {value.dtype.value} {value.shape}, expected one {dtype.value}")
    return t.reshape(t.input(i), ())


def _trips(t: Translation, limit: int, first: int, again: Value) -> int | None:
    """How many trips a Loop makes, None where that is known at run time only."""
    most, begins = t.value(limit).data, t.value(first).data
    if (begins is not None and not begins.item()) or (most is not None and most.item() <= 0):
        return 0
    if begins is None or most is None or again.data is None or again.elements != 1:
        return None
    trips = int(most.item()) if again.data.item() else 1
    if trips > MAX_TRIPS:
        raise t.lacking(f"{trips} trips, at most {MAX_TRIPS}")
    return trips


def stepped(
    t: Translation,
    inside: Inside,
    names: Sequence[str],
    states: Sequence[int],
    carried: Sequence[int],
    sequences: Sequence[int],
    results: Sequence[int],
) -> list[int]:
    """A LOOP over sequences, whose slices are the inputs of the graph that are not its states."""
    slices = [i for i in inside.inputs if i not in states and inside.builder.values[i].data is None]
    inputs = [*states, *slices, *inside.captured]
    graph = numbered(inside.builder, inputs, own(inside.builder, t.source, results, inputs))
    operands = [*carried, *sequences, *(t.scope[name] for name in names)]
    attrs = Loop(graph, t.shape(sequences[0])[0], len(carried), len(names))
    return t.control(attrs, operands, inside.values(results))


def _while(t: Translation, inside: Inside, names: Sequence[str], carried: list[int], limit: int) -> list[int]:
    """A WHILE that carries trip, condition and values, then what its graphs read: that stays as it is."""
    operands = [*carried, *(t.scope[name] for name in names), limit]
    body, test = t.within(inside.builder), t.within(t.builder.inner())
    trip, _, *states = inside.inputs
    condition, end = (body.builder.add(replace(t.value(i), data=None)) for i in (carried[1], limit))
    kept = [*inside.captured, end]
    after = [
        body.emit("ADD", trip, body.like(1, trip)),
        body.reshape(inside.outputs[0], ()),
        *inside.outputs[1:],
    ]
    graph = numbered(body.builder, [trip, condition, *states, *kept], [*after, *kept])
    given = [test.builder.add(replace(t.value(i), data=None)) for i in operands]
    below = test.emit("LESS", given[0], given[-1], dtype=DType.BOOL)
    goes = numbered(test.builder, given, [test.emit("LOGICAL_AND", given[1], below)])
    results = [replace(t.value(i), shape=(), data=None) for i in operands]
    return t.control(While(goes, graph), operands, results)[2 : len(carried)]


def scan(t: Translation) -> list[int]:
    """Inputs: what is carried, then sequences, each along an axis of its own and from either end."""
    body, count = t.graph("body"), t.attr("num_scan_inputs")
    first = len(t.inputs) - count
    if count < 1 or first < 0:
        raise t.bad(f"num_scan_inputs = {count}, expected 1..{len(t.inputs)}")
    axes, backwards = (t.listed(f"scan_input_{name}", count) for name in ("axes", "directions"))
    carried = [t.input(i) for i in range(first)]
    sequences = [_sequence(t, t.input(first + i), axes[i], backwards[i]) for i in range(count)]
    if len({t.shape(i)[0] for i in sequences}) != 1:
        raise t.bad(f"sequences of {[t.shape(i)[0] for i in sequences]} elements, expected one number")
    entries = [replace(t.value(i), data=None) for i in carried]
    entries += [Value(t.value(i).name, t.shape(i)[1:], t.dtype(i)) for i in sequences]
    names = captured(t, body)
    inside = Inside(t, body, entries, names)
    scans = len(inside.outputs) - first
    if scans < 0:
        raise t.bad(f"the graph gives {len(inside.outputs)} values, expected at least {first}")
    axes, backwards = (t.listed(f"scan_output_{name}", scans) for name in ("axes", "directions"))
    made = stepped(t, inside, names, inside.inputs[:first], carried, sequences, inside.outputs)
    stacked = zip(made[first:], axes, backwards, strict=True)
    return [*made[:first], *(_stacked(t, i, axis, backward) for i, axis, backward in stacked)]


def _sequence(t: Translation, index: int, axis: int, backward: int) -> int:
    """With the axis first, and its elements in the order of the trips."""
    rank = len(t.shape(index))
    axis = t.axis(axis, rank)
    index = t.transpose(index, (axis, *(i for i in range(rank) if i != axis)))
    return t.emit("REVERSE_V2", index, t.sizes([0])) if backward else index


def _stacked(t: Translation, index: int, axis: int, backward: int) -> int:
    """What the trips give, along an axis and from either end."""
    rank = len(t.shape(index))
    axis = t.axis(axis, rank)
    index = t.emit("REVERSE_V2", index, t.sizes([0])) if backward else index
    return t.transpose(index, (*range(1, axis + 1), 0, *range(axis + 1, rank)))


ROWS: dict[str, Row] = {
    "If": Row(branch, attrs={"then_branch": Kind.GRAPH, "else_branch": Kind.GRAPH}, outputs=ANY),
    "Loop": Row(loop, (2, MANY), {"body": Kind.GRAPH}, ANY),
    "Scan": Row(
        scan,
        ANY,
        {
            "body": Kind.GRAPH,
            "num_scan_inputs": 0,
            **dict.fromkeys(
                (f"scan_{end}_{what}" for end in ("input", "output") for what in LISTS), Kind.INTS
            ),
        },
        ANY,
    ),
}
