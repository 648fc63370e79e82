"""Layers of simple recurrent cells: h' = activation(W x + R h + b), on floats or with weights of 8 bits.

What does not depend on the step before is multiplied for all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from runtime.control import MAX_TRIPS
from runtime.decompose.rule import BYTES, Lowering, call
from runtime.decompose.steps import Columns, activation, in_time, joined, moved, over_time, times
from runtime.graph import DType
from runtime.shapes.lstm import sequence as sizes_of
from runtime.shapes.rnn import AUX, BACKWARD, FORWARD, Cell, crossed


@dataclass(frozen=True, slots=True)
class Direction:
    """One cell over time: its operands of a node, in `rows` rows of the batch."""

    outer: Lowering
    cell: Cell
    steps: int
    rows: int

    @property
    def units(self) -> int:
        return self.outer.x.shape(self.cell.weights)[0]

    @property
    def state(self) -> int:
        return self.outer.node.inputs[self.cell.state]

    def products(self, data: int, weights: int, *bias: int) -> int:
        """(steps, rows, units): a sequence of (steps, rows, n) times the operand `weights`, plus a bias."""
        low, shape = self.outer, (self.steps, self.rows, self.units)
        depth = low.x.shape(weights)[1]
        product = times(
            low, data, (self.steps * self.rows, depth, self.units), low.node.inputs[weights], *bias
        )
        return moved(low, product, low.temp(shape, DType.F32))

    def __call__(
        self, low: Lowering, slices: Sequence[int], states: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        """One step on the products of its inputs."""
        (h,), recurrent = states, low.use(self.outer.node.inputs[self.cell.recurrent])
        products = [*slices, times(low, h, (self.rows, self.units, self.units), recurrent)]
        at = Columns(low, self.rows, self.units)
        total = reduce(lambda a, b: call("add", a, b), [at.of(product) for product in products])
        h = at.write(activation(low, total))
        return [h], [h]


def check_types(low: Lowering, *cells: Cell) -> None:
    """Everything is float32 but the weights, which are that or all bytes of one type with one scale each."""
    x, positions = low.x, [position for cell in cells for position in (cell.weights, cell.recurrent)]
    if len(cells) > 1 and crossed(x):
        positions += [cell.aux for cell in cells]
    (kind, *others) = {x.value(position).dtype for position in positions}
    rest = {v.dtype for i, v in enumerate(x.values) if v is not None and i not in positions}
    if others or kind not in (DType.F32, *BYTES) or rest | {low.out.dtype} != {DType.F32}:
        low.types()
    if kind in BYTES:
        for position in positions:
            low.quantized(x.value(position))


def rnn(low: Lowering) -> None:
    check_types(low, FORWARD)
    one_way(low, Direction(low, FORWARD, 1, low.x.shape(0)[0]), True)


def unidirectional(low: Lowering) -> None:
    check_types(low, FORWARD)
    steps, rows, _ = sizes_of(low.x)
    one_way(low, Direction(low, FORWARD, steps, rows), bool(low.x.attr("time_major")))


def one_way(low: Lowering, way: Direction, major: bool) -> None:
    output, final = low.node.outputs
    product = way.products(in_time(low, 0, major), FORWARD.weights, low.node.inputs[FORWARD.bias])
    results = over_time(low, way.steps, [product], [way.state], [final], way)
    joined(low, results, way.steps, way.rows, [way.units], major, output)


def bidirectional(low: Lowering) -> None:
    check_types(low, FORWARD, BACKWARD)
    (steps, rows, _), major = sizes_of(low.x), bool(low.x.attr("time_major"))
    ways = [Direction(low, cell, steps, rows) for cell in (FORWARD, BACKWARD)]
    results = [result for way in ways for result in both_ways(low, way, major)]
    units = [way.units for way in ways]
    if low.x.attr("merge_outputs"):
        joined(low, results, steps, rows, units, major, low.node.outputs[0])
        return
    for result, n, output in zip(results, units, low.node.outputs, strict=False):
        joined(low, [result], steps, rows, [n], major, output)


def both_ways(low: Lowering, way: Direction, major: bool) -> list[int]:
    """The results of one of two directions.

    An auxiliary input without weights is what the backward one reads; TFLite reads it only where time is the
    major axis. One with weights is read at its own width, for which TFLite mostly takes that of the input.
    """
    reverse, cross = way.cell is BACKWARD, crossed(low.x)
    alone = reverse and major and not cross and low.x.values[AUX] is not None
    data = in_time(low, AUX if alone else 0, major)
    sequences = [way.products(data, way.cell.weights, low.node.inputs[way.cell.bias])]
    if cross:
        sequences.append(way.products(in_time(low, AUX, major), way.cell.aux))
    final = low.node.outputs[-1 if reverse else -2]
    repeats = major and way.steps > 1 and low.x.value(way.cell.weights).dtype in BYTES
    state = repeated(low, way, sequences, reverse) if repeats else way.state
    return over_time(low, way.steps, sequences, [state], [final], way, reverse)


def repeated(low: Lowering, way: Direction, sequences: Sequence[int], reverse: bool) -> int:
    """The state after one whole pass less than there are steps.

    Where time is the major axis, TFLite's hybrid kernel makes as many passes as there are steps, and gives
    the results of the last.
    """
    if way.steps * way.steps > MAX_TRIPS:
        raise low.lacking(f"{way.steps} passes over {way.steps} steps, at most {MAX_TRIPS} in all")

    def silent(low: Lowering, slices: Sequence[int], states: Sequence[int]) -> tuple[list[int], list[int]]:
        return [], way(low, slices, states)[1]

    def whole(low: Lowering, _: Sequence[int], states: Sequence[int]) -> tuple[list[int], list[int]]:
        after = [low.temp((way.rows, way.units), DType.F32)]
        over_time(low, way.steps, [low.use(i) for i in sequences], states, after, silent, reverse)
        return [], after

    state = low.temp((way.rows, way.units), DType.F32)
    over_time(low, way.steps - 1, [], [way.state], [state], whole)
    return state


RULES = {
    "RNN": rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": unidirectional,
    "BIDIRECTIONAL_SEQUENCE_RNN": bidirectional,
}
