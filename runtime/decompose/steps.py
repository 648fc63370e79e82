"""Steps over time: the body of a LOOP being written, and element-wise programs on columns of its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.atoms import Clamp, Gemm, Map, Region, View
from runtime.control import Loop
from runtime.decompose.hybrid import on_rows
from runtime.decompose.rule import ACTIVATIONS, BYTES, Lowering, Program, bounded, call, const, load
from runtime.graph import ABSENT, DType, Graph, Node, Quantization, Shape, Value
from runtime.primitives import Compute
from runtime.strides import dense

Step = Callable[[Lowering, Sequence[int], Sequence[int]], tuple[list[int], list[int]]]
"""(where the atoms go, slices of sequences, states) -> (slices of results, the next states)."""


class Body(Lowering):
    """The graph of one step: `use` brings in values of the node's graph, constants as they are.

    The graph around may be the body of a loop itself.
    """

    def __init__(self, outer: Lowering) -> None:
        super().__init__([outer.out], replace(outer.node, inputs=(), outputs=(0,)), outer.kernels)
        self.x, self.outer, self.known = outer.x, outer, dict[int, int]()
        self.entries, self.fixed = list[int](), list[int]()

    def entry(self, value: Value) -> int:
        """A new input of the body."""
        self.values.append(replace(value, data=None))
        return len(self.values) - 1

    def use(self, index: int) -> int:
        if index not in self.known:
            around = self.outer.use(index)
            value = self.outer.values[around]
            if value.data is None:
                self.fixed.append(around)
                self.known[index] = self.entry(value)
                self.entries.append(self.known[index])
            else:
                self.values.append(value)
                self.known[index] = len(self.values) - 1
        return self.known[index]


def over_time(
    low: Lowering,
    steps: int,
    sequences: Sequence[int],
    states: Sequence[int],
    finals: Sequence[int],
    step: Step,
    reverse: bool = False,
) -> list[int]:
    """`step` on each slice of the sequences, whose first axis counts steps; gives the results, stacked.

    The states go from step to step, and end in the values `finals`. One step needs no loop.
    """
    if steps == 1:
        results, after = step(low, sequences, states)
        for value, final in zip(after, finals, strict=True):
            moved(low, value, final)
        return results
    body = Body(low)
    carried = [body.entry(low.values[i]) for i in states]
    slices = [body.entry(replace(low.values[i], shape=low.values[i].shape[1:])) for i in sequences]
    results, after = step(body, slices, carried)
    graph = Graph(
        tuple(body.values), tuple(body.nodes), (*carried, *slices, *body.entries), (*after, *results)
    )
    stacked = [low.temp((steps, *body.values[i].shape), body.values[i].dtype) for i in results]
    loop = Loop(graph, steps, len(states), len(body.fixed), reverse)
    inputs, outputs = (*states, *sequences, *body.fixed), (*finals, *stacked)
    low.nodes.append(Node(loop.NAME, inputs, outputs, loop, low.node.source))
    return stacked


def moved(low: Lowering, value: int, target: int) -> int:
    """A value of as many elements, as the other one."""
    elements = (low.values[target].elements,)
    return low.raster([Region(0, dense(elements), dense(elements), elements)], [value], target)


def turned(low: Lowering, value: int, shape: Shape) -> int:
    """A value of `shape` with its first two axes swapped; the value itself where one of them is 1 long."""
    first, second, width = shape[0], shape[1], math.prod(shape[2:])
    if 1 in (first, second):
        return value
    target = low.temp((second, first, *shape[2:]), low.values[value].dtype)
    view, sizes = View(0, (width, second * width, 1)), (second, first, width)
    return low.raster([Region(0, view, dense(sizes), sizes)], [value], target)


def in_time(low: Lowering, position: int, major: bool) -> int:
    """An input as a sequence of batches, which it is where time is `major`."""
    data = low.node.inputs[position]
    return data if major else turned(low, data, low.x.shape(position))


def joined(
    low: Lowering,
    results: Sequence[int],
    steps: int,
    rows: int,
    units: Sequence[int],
    major: bool,
    output: int,
) -> None:
    """Results of (steps, rows, units) side by side; batches of sequences where time is not `major`."""
    width, start, regions = sum(units), 0, []
    for i, n in enumerate(units):
        sizes = (steps, rows, n) if major else (rows, steps, n)
        source = dense(sizes) if major else View(0, (n, rows * n, 1))
        regions.append(Region(i, source, View(start, (sizes[1] * width, width, 1)), sizes))
        start += n
    low.raster(regions, results, output)


def stacked(low: Lowering, indices: Sequence[int]) -> int:
    """Values one below the other, each with its scale for its rows; of constants a constant."""
    if len(indices) == 1:
        return indices[0]
    values = [low.values[i] for i in indices]
    whole = _stacked(low, indices, values)
    if values[0].dtype in BYTES:
        scales = [low.quantized(value) for value in values for _ in range(value.shape[0])]
        quantization = Quantization(tuple(s for s, _ in scales), tuple(z for _, z in scales))
        low.values[whole] = replace(low.values[whole], quantization=quantization)
    return whole


def _stacked(low: Lowering, indices: Sequence[int], values: Sequence[Value]) -> int:
    data = [value.data for value in values if value.data is not None]
    if len(data) == len(values):
        return low.constant(np.concatenate(data))
    shape, regions, start = (sum(v.shape[0] for v in values), *values[0].shape[1:]), [], 0
    for i, value in enumerate(values):
        elements = (value.elements,)
        regions.append(Region(i, dense(elements), View(start, (1,)), elements))
        start += value.elements
    return low.raster(regions, indices, low.temp(shape, values[0].dtype))


def times(
    low: Lowering, x: int, shape: tuple[int, int, int], weights: int, *bias: int, clip: float = 0
) -> int:
    """x of (rows, k) times the weights (n, k), plus the bias: (rows, n); a clip of 0 is none.

    Weights of 8 bits multiply levels of each row.
    """
    rows, k, n = shape
    last = Clamp(-clip, clip) if clip else Clamp()
    if low.values[weights].dtype in BYTES:
        product = on_rows(low, x, shape, weights, *bias)
        if not clip:
            return product
        return low.map(bounded(load(0), (-clip, clip)), [product], low.temp((rows, n), DType.F32))
    views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, n, 1))
    return low.emit(Gemm(1, rows, n, k, *views, last), [x, weights, *bias], low.temp((rows, n), DType.F32))


def activation(low: Lowering, x: Program) -> Program:
    """The fused activation of a layer."""
    match name := low.x.attr("fused_activation_function"):
        case "TANH":
            return call("tanh", x)
        case "SIGN_BIT":  # of -0 too, whose angle is pi
            return call("gt", call("atan2", const(0.0), x), const(0.0))
    return bounded(x, ACTIVATIONS[name])


@dataclass
class Columns:
    """A MAP over `rows` rows of `width` elements, being written: its operands are columns of wider rows."""

    low: Lowering
    rows: int
    width: int

    def __post_init__(self) -> None:
        self.operands, self.views = list[int](), list[View]()

    def of(self, value: int, first: int = 0, stride: int | None = None) -> Program:
        """Columns from `first` on of rows `stride` apart; a stride of 0 repeats one row."""
        view = View(first, (self.width if stride is None else stride, 1))
        self.operands.append(value)
        self.views.append(view)
        return load(len(self.operands) - 1)

    def write(self, program: Program, dtype: DType = DType.F32, compute: Compute = "f32") -> int:
        sizes = (self.rows, self.width)
        atom = Map(sizes, tuple(self.views), dense(sizes), program, compute)
        return self.low.emit(atom, self.operands, self.low.temp(sizes, dtype))


def operand(low: Lowering, position: int | None) -> int | None:
    """The value at a position among the inputs, None where it is left out or the node ends before."""
    if position is None or position >= len(low.node.inputs) or low.node.inputs[position] == ABSENT:
        return None
    return low.node.inputs[position]
