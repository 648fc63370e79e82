"""What is legal between two passes: which operators at which level, and that no atom can leave its values.

`check` is what makes the C runner safe: it holds for every view that each address lies inside its value, for
every operand that it has the type that the kernels expect, and for every node that its inputs are there
before it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from runtime.atoms import (
    ATOMS,
    MAX_RANK,
    Clamp,
    Gather,
    Gemm,
    Map,
    Raster,
    Reduce,
    Requantize,
    Rng,
    Scatter,
    Sort,
    View,
)
from runtime.control import CONTROL, If, Loop, While, subgraphs
from runtime.errors import EngineError, VerifyError
from runtime.graph import ABSENT, DType, Graph, Node, Shape, Value
from runtime.operators import OPERATORS
from runtime.primitives import COMPUTE_TYPES, FLOAT, PRIMITIVES
from runtime.quantized import I32_MAX
from runtime.shapes import RULES
from runtime.shapes.operands import Operands
from runtime.strides import extent

Level = Literal["GRAPH", "ATOMIC"]
LEGAL: dict[Level, frozenset[str]] = {
    "GRAPH": frozenset({*OPERATORS, Loop.NAME}),
    "ATOMIC": frozenset(atom.NAME for atom in (*ATOMS, *CONTROL)),
}
MAX_STACK = 32
"""Scalars that a MAP program may hold at once; kernels keep that many."""

BYTES = frozenset({DType.I8, DType.U8})
SMALL = BYTES | {DType.I16}
NUMBERS = frozenset({DType.F32, DType.I8, DType.U8, DType.I16, DType.I32, DType.I64})
INDEX = frozenset({DType.I32, DType.I64})
RANGES = {dtype: (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max)) for dtype in SMALL | INDEX}


def check(graph: Graph, level: Level) -> None:
    """Raises VerifyError naming the first node that is not legal at this level, and why."""
    ready = {i for i, value in enumerate(graph.values) if value.data is not None} | set(graph.starts)
    for value in graph.values:
        _require(len(value.shape) <= MAX_RANK, f"value {value.name!r}", f"rank {len(value.shape)}")
        if value.data is not None:
            stored = (value.data.shape, value.data.dtype)
            _require(stored == (value.shape, value.dtype.numpy), f"value {value.name!r}", f"holds {stored}")
    for position, node in enumerate(graph.nodes):
        where = f"node {position} {node.op} from {node.source or 'nowhere'}"
        legal = node.op in LEGAL[level] and (level == "ATOMIC" or not isinstance(node.attrs, ATOMS))
        for part in subgraphs(node.attrs).values():
            check(part, level)
        _require(legal, where, f"is not an operator of level {level}")
        for i in (*node.inputs, *node.outputs):
            _require(i == ABSENT or 0 <= i < len(graph.values), where, f"value {i} does not exist")
        missing = [i for i in node.inputs if i != ABSENT and i not in ready]
        _require(not missing, where, f"values {missing} are read before they are written")
        again = [i for i in node.outputs if i in ready]
        _require(not again, where, f"values {again} are written twice")
        ready |= set(node.outputs)
        _check_node(graph, node, where)
    lost = [i for i in graph.ends if i not in ready]
    _require(not lost, "graph outputs", f"values {lost} are never written")
    for state in graph.states:
        _alike("a state", graph.values[state.value], graph.values[state.final])
        stored = (state.initial.shape, state.initial.dtype)
        value = graph.values[state.value]
        _require(stored == (value.shape, value.dtype.numpy), f"state {value.name!r}", f"starts as {stored}")


def _require(condition: bool, where: str, what: str) -> None:
    if not condition:
        raise VerifyError(f"{where}: {what}")


def _check_node(graph: Graph, node: Node, where: str) -> None:
    if isinstance(node.attrs, ATOMS):
        _require(node.op == node.attrs.NAME, where, f"has attributes of {node.attrs.NAME}")
        _require(ABSENT not in node.inputs, where, "an atom has no optional inputs")
        values = [graph.values[i] for i in node.inputs], [graph.values[i] for i in node.outputs]
        _CHECKS[type(node.attrs)](_Atom(where, *values), node.attrs)
        return
    if isinstance(node.attrs, CONTROL):
        _require(ABSENT not in node.inputs, where, "has no optional inputs")
        _check_control(graph, node, where)
        return
    _require(node.op in OPERATORS, where, "is an atom without its attributes")
    _require(isinstance(node.attrs, Mapping), where, f"has attributes {type(node.attrs).__name__}")
    operands = tuple(None if i == ABSENT else graph.values[i] for i in node.inputs)
    declared = [graph.values[i].shape for i in node.outputs]
    types = tuple(graph.values[i].dtype for i in node.outputs)
    try:
        inferred = RULES[node.op](Operands(node, operands, tuple(declared), types))
    except EngineError as error:
        raise VerifyError(f"{where}: {error}") from error
    _require(inferred == declared, where, f"output shapes {declared}, expected {inferred}")


def _check_control(graph: Graph, node: Node, where: str) -> None:
    """What goes into a sub-graph and comes out of it is what its inputs and outputs are."""
    inputs, outputs = ([graph.values[i] for i in ids] for ids in (node.inputs, node.outputs))
    attrs = node.attrs
    if isinstance(attrs, If):
        _is_bool(inputs[0], where)
        for part in (attrs.then, attrs.orelse):
            _check_ends(part, inputs[1:], outputs, where)
    elif isinstance(attrs, While):
        _require(len(attrs.cond.outputs) == 1, where, "the condition gives one value")
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
    _require(attrs.trips >= 1 and sliced >= 0 and 0 <= carried <= len(outputs), where, "counts")
    _check_ends(
        replace(body, inputs=(*body.inputs[:carried], *body.inputs[carried + sliced :])),
        [*inputs[:carried], *inputs[carried + sliced :]],
        inputs[:carried],
        where,
        outputs=body.outputs[:carried],
    )
    _require(len(body.inputs) == len(inputs) and len(body.outputs) == len(outputs), where, "counts")
    for before, after in zip(inputs[:carried], outputs, strict=False):
        _alike(where, before, after)
    parts = (*body.inputs[carried : carried + sliced], *body.outputs[carried:])
    for i, whole in zip(parts, [*inputs[carried : carried + sliced], *outputs[carried:]], strict=True):
        part = body.values[i]
        fits = part.elements * attrs.trips == whole.elements and part.dtype is whole.dtype
        _require(fits, where, f"{whole.name!r} is not {attrs.trips} times {part.name!r}")


def _check_ends(
    part: Graph, inputs: list[Value], results: list[Value], where: str, outputs: tuple[int, ...] | None = None
) -> None:
    _require(not part.states, where, "a sub-graph has no states")
    given = part.outputs if outputs is None else outputs
    for ids, values, what in ((part.inputs, inputs, "inputs"), (given, results, "outputs")):
        _require(len(ids) == len(values), where, f"{len(ids)} {what} of a sub-graph for {len(values)} values")
        for i, value in zip(ids, values, strict=True):
            _alike(where, part.values[i], value)


def _alike(where: str, a: Value, b: Value) -> None:
    """Of one size and type. Values are dense, so a pass may let one stand for a reshaped other."""
    same = (a.elements, a.dtype) == (b.elements, b.dtype)
    _require(same, where, f"{a.name!r} is {a.dtype.value} {a.shape}, {b.name!r} {b.dtype.value} {b.shape}")


def _is_bool(test: Value, where: str) -> None:
    _require(test.dtype is DType.BOOL and test.elements == 1, where, "a condition is a bool of one element")


class _Atom:
    """One atom's operands, and the questions that are asked of every atom."""

    def __init__(self, where: str, inputs: list[Value], outputs: list[Value]) -> None:
        self.where, self.inputs, self.outputs = where, inputs, outputs

    def require(self, condition: bool, what: str) -> None:
        _require(condition, self.where, what)

    def counts(self, inputs: int, outputs: int = 1) -> None:
        got = len(self.inputs), len(self.outputs)
        self.require(got == (inputs, outputs), f"{got} inputs and outputs, expected {(inputs, outputs)}")

    def types(self, *expected: DType) -> None:
        got = tuple(value.dtype for value in (*self.inputs, *self.outputs))
        self.require(got == expected, f"types {_names(got)}, expected {_names(expected)}")

    def view(self, view: View, sizes: Shape, value: Value) -> None:
        """Every address inside the value."""
        ranks = len(sizes), len(view.strides)
        if not ranks[0] == ranks[1] <= MAX_RANK:
            self.require(False, f"ranks {ranks}, the most is {MAX_RANK}")
        if min(sizes, default=1) < 0:
            self.require(False, f"sizes {sizes}")
        (low, high), elements = extent(view, sizes), value.elements
        inside = low >= 0 and high < max(elements, 1) if high >= low else True
        if not (inside and (0 in sizes or elements > 0)):
            self.require(False, f"addresses {low}..{high} of {elements}")

    def holds(self, value: Value, elements: int) -> None:
        self.require(
            value.elements == elements, f"{value.name!r} has {value.elements} elements, not {elements}"
        )


def _names(types: tuple[DType, ...]) -> str:
    return " ".join(dtype.value for dtype in types)


def _raster(at: _Atom, attrs: Raster) -> None:
    at.require(len(at.outputs) == 1, "has one output")
    out, covered = at.outputs[0], 0
    if attrs.mode == "add" or out.dtype is DType.BOOL:
        at.types(*(out.dtype,) * (len(at.inputs) + 1))
    for value in at.inputs:
        at.require(value.dtype.size == out.dtype.size, f"{value.dtype.value} copied to {out.dtype.value}")
    for region in attrs.regions:
        at.require(0 <= region.input < len(at.inputs), f"region of input {region.input}")
        at.view(region.source, region.sizes, at.inputs[region.input])
        at.view(region.destination, region.sizes, out)
        covered += int(np.prod(region.sizes, dtype=object))
    at.require(
        attrs.fill is not None or attrs.mode == "add" or covered >= out.elements, "leaves gaps without a fill"
    )


def _gemm(at: _Atom, attrs: Gemm) -> None:
    at.counts(3 if len(at.inputs) > 2 else 2)
    sizes = attrs.batch, attrs.m, attrs.n, attrs.k
    at.require(min(sizes) >= 1, f"sizes {sizes}")
    a, b, out = at.inputs[0], at.inputs[1], at.outputs[0]
    at.view(attrs.a, (attrs.batch, attrs.m, attrs.k), a)
    at.view(attrs.b, (attrs.batch, attrs.k, attrs.n), b)
    at.view(attrs.c, (attrs.batch, attrs.m, attrs.n), out)
    if len(at.inputs) > 2:
        at.holds(at.inputs[2], attrs.n)
    epilogue = attrs.epilogue
    if a.dtype is DType.F32:
        at.require(
            isinstance(epilogue, Clamp) and not attrs.a_zero and not attrs.b_zero, "floats take a Clamp"
        )
        at.types(*(DType.F32,) * (len(at.inputs) + 1))
        return
    if a.dtype is DType.I16:
        at.counts(2)
        at.require(
            b.dtype in (DType.I8, DType.I16) and out.dtype in INDEX, "i16 takes i8 or i16 to i32 or i64"
        )
        at.require(
            epilogue is None and not attrs.a_zero and not attrs.b_zero, "i16 takes neither epilogue nor zeros"
        )
        return
    wide = {value.dtype for value in at.inputs[2:]} | ({out.dtype} if epilogue is None else set())
    at.require({a.dtype, b.dtype} <= BYTES and wide <= {DType.I32}, "operands are bytes, bias and sums i32")
    at.require(isinstance(epilogue, Requantize) or epilogue is None, "bytes take a Requantize")
    for zero, value in ((attrs.a_zero, a), (attrs.b_zero, b)):
        at.require(_fits(zero, value.dtype), f"zero point {zero} of {value.dtype.value}")
    if isinstance(epilogue, Requantize):
        at.require(out.dtype in BYTES, f"requantises to {out.dtype.value}")
        _requantize(at, epilogue, attrs.n, out.dtype)


def _requantize(at: _Atom, epilogue: Requantize, n: int, dtype: DType) -> None:
    pairs = {len(epilogue.multiplier), len(epilogue.shift)}
    at.require(pairs in ({1}, {n}), f"{pairs} multipliers and shifts for {n} columns")
    for multiplier, shift in zip(epilogue.multiplier, epilogue.shift, strict=True):
        at.require(_sound(multiplier, shift), f"multiplier {multiplier} and shift {shift}")
    low, zero, high = epilogue.low, epilogue.zero_point, epilogue.high
    at.require(
        low <= high and all(_fits(x, dtype) for x in (low, zero, high)), f"range {low}..{high} about {zero}"
    )


def _fits(number: int, dtype: DType) -> bool:
    low, high = RANGES[dtype]
    return low <= number <= high


def _sound(multiplier: float, shift: float) -> bool:
    return 0 <= multiplier <= I32_MAX and -31 <= shift <= 30


def _map(at: _Atom, attrs: Map) -> None:
    at.counts(len(attrs.views))
    at.require(attrs.compute in COMPUTE_TYPES, f"compute type {attrs.compute}")
    for view, value in zip(attrs.views, at.inputs, strict=True):
        at.view(view, attrs.sizes, value)
    at.view(attrs.output, attrs.sizes, at.outputs[0])
    depth = 0
    for step in attrs.program:
        if step.name in ("load", "const"):
            at.require(len(step.args) == 1, f"{step.name} {step.args}")
            in_range = step.name == "const" or step.args[0] in range(len(at.inputs))
            at.require(in_range and _constants(step.args, attrs.compute), f"{step.name} {step.args[0]}")
            depth += 1
        else:
            row = PRIMITIVES.get(step.name)
            at.require(row is not None and attrs.compute in row.computes, f"{step.name} in {attrs.compute}")
            assert row is not None
            at.require(len(step.args) == row.args and depth >= row.arity, f"operands of {step.name}")
            if not _constants(step.args, attrs.compute) or (step.name == "mulq" and not _sound(*step.args)):
                at.require(False, f"{step.name} {step.args}")
            depth += 1 - row.arity
        at.require(depth <= MAX_STACK, f"program holds {depth} scalars, the most is {MAX_STACK}")
    at.require(depth == 1, f"program leaves {depth} scalars")


def _constants(args: tuple[Any, ...], compute: str) -> bool:
    """Whether the numbers are of the compute type."""
    return compute in FLOAT or all(isinstance(x, int) and _fits(x, DType(compute)) for x in args)


def _reduce(at: _Atom, attrs: Reduce) -> None:
    at.counts(1)
    sizes = attrs.outer, attrs.axis, attrs.inner
    at.require(min(sizes) >= 1, f"sizes {sizes}")
    at.holds(at.inputs[0], attrs.outer * attrs.axis * attrs.inner)
    at.holds(at.outputs[0], attrs.outer * attrs.inner)
    source, target = at.inputs[0].dtype, at.outputs[0].dtype
    legal = {
        "sum": (source, target) in SUMS or (source is target and source in WIDE),
        "prod": source is target and source in WIDE,
        "max": source is target and source in NUMBERS,
        "min": source is target and source in NUMBERS,
        "any": source is target is DType.BOOL,
        "all": source is target is DType.BOOL,
        "argmax": source in NUMBERS | {DType.BOOL} and target in INDEX,
        "argmin": source in NUMBERS | {DType.BOOL} and target in INDEX,
    }
    at.require(legal.get(attrs.op, False), f"{attrs.op} of {source.value} into {target.value}")


WIDE = frozenset({DType.F32, DType.I32, DType.I64})
SUMS = {*((small, DType.I32) for small in SMALL), (DType.I32, DType.I64)}
"""Which integers add up in wider ones."""


def _gather(at: _Atom, attrs: Gather) -> None:
    at.counts(2)
    at.holds(at.inputs[0], attrs.rows * attrs.width)
    at.holds(at.inputs[1], attrs.count)
    at.holds(at.outputs[0], attrs.count * attrs.width)
    _indexed(at, at.inputs[1])
    at.types(at.outputs[0].dtype, at.inputs[1].dtype, at.outputs[0].dtype)


def _scatter(at: _Atom, attrs: Scatter) -> None:
    at.counts(3)
    for value, elements in (
        (at.inputs[0], attrs.rows * attrs.width),
        (at.inputs[1], attrs.count),
        (at.inputs[2], attrs.count * attrs.width),
        (at.outputs[0], attrs.rows * attrs.width),
    ):
        at.holds(value, elements)
    _indexed(at, at.inputs[1])
    out = at.outputs[0].dtype
    at.types(out, at.inputs[1].dtype, out, out)
    at.require(out in NUMBERS or attrs.mode == "set", f"{attrs.mode} of {out.value}")


def _indexed(at: _Atom, index: Value) -> None:
    at.require(index.dtype in INDEX, f"index of type {index.dtype.value}")


def _sort(at: _Atom, attrs: Sort) -> None:
    at.counts(1, 2)
    at.require(1 <= attrs.k <= attrs.width, f"top {attrs.k} of {attrs.width}")
    at.holds(at.inputs[0], attrs.rows * attrs.width)
    for value in at.outputs:
        at.holds(value, attrs.rows * attrs.k)
    at.require(at.inputs[0].dtype in NUMBERS, f"sorts {at.inputs[0].dtype.value}")
    at.types(at.inputs[0].dtype, at.inputs[0].dtype, DType.I32)


def _rng(at: _Atom, attrs: Rng) -> None:
    at.counts(0)
    at.types(DType.I32)
    numbers = attrs.seed, attrs.stream
    at.require(all(0 <= number < 2**64 for number in numbers), f"seed and stream {numbers}")


_CHECKS: dict[type[Any], Callable[[_Atom, Any], None]] = {
    Raster: _raster,
    Gemm: _gemm,
    Map: _map,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Sort: _sort,
    Rng: _rng,
}
