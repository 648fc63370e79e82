"""LSTM layers (Hochreiter & Schmidhuber 1997) as TFLite has them: peepholes, coupled gates, projection, layer
normalisation, clips. What does not depend on the step before is multiplied for all steps at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.atoms import Reduce
from runtime.decompose.rule import ACTIVATIONS, Lowering, Program, bounded, call, const, load
from runtime.decompose.steps import (
    Columns,
    activation,
    joined,
    moved,
    operand,
    over_time,
    stacked,
    times,
    turned,
)
from runtime.graph import DType
from runtime.shapes.lstm import CELL, FORGET, FULL, INPUT, OUTPUT, Layer, gates, has_norm
from runtime.shapes.lstm import sequence as sizes_of

NORM_GUARD = 1e-8
"""Added to the variance that layer normalisation divides by."""


@dataclass(frozen=True, slots=True)
class Gates:
    """One layer: its gates, rows (of the batch), cells and units, and how its operands are found."""

    outer: Lowering
    layer: Layer
    rows: int

    @property
    def there(self) -> tuple[int, ...]:
        return gates(self.outer.x, self.layer)

    @property
    def cells(self) -> int:
        return self.outer.x.shape(self.layer.weights + OUTPUT)[0]

    @property
    def units(self) -> int:
        return self.outer.x.shape(self.layer.recurrent + OUTPUT)[1]

    @property
    def width(self) -> int:
        return len(self.there) * self.cells

    def all(self, first: int) -> int:
        """The operands of all gates, one below the other."""
        return stacked(self.outer, [self.outer.node.inputs[first + gate] for gate in self.there])

    def one(self, first: int | None, gate: int) -> int | None:
        return operand(self.outer, None if first is None else first + gate)

    def peephole(self, gate: int) -> int | None:
        return self.one(self.layer.peephole, {INPUT: 0, FORGET: 1, OUTPUT: 2}[gate]) if gate != CELL else None


def normalised(low: Lowering, x: int, rows: int, width: int, scale: int, bias: int) -> int:
    """Rows less their mean, over their deviation, times the scale plus the bias."""
    mean = low.emit(Reduce("sum", rows, width, 1), [x], low.temp((rows, 1), DType.F32))
    centred = low.map(
        call("sub", load(0), call("div", load(1), const(width))),
        [x, mean],
        low.temp((rows, width), DType.F32),
    )
    squares = low.map(call("square", load(0)), [centred], low.temp((rows, width), DType.F32))
    total = low.emit(Reduce("sum", rows, width, 1), [squares], low.temp((rows, 1), DType.F32))
    variance = call("add", call("div", load(1), const(width)), const(NORM_GUARD))
    scaled = call("mul", call("mul", load(0), call("div", const(1.0), call("sqrt", variance))), load(2))
    operands = [centred, total, scale, bias]
    return low.map(call("add", scaled, load(3)), operands, low.temp((rows, width), DType.F32))


class Step:
    """One step of a float layer on the products of its input; `recurrent` are the weights of all gates."""

    def __init__(self, layer: Gates) -> None:
        self.layer, self.norm = layer, has_norm(layer.outer.x, layer.layer)
        self.recurrent = layer.all(layer.layer.recurrent)
        if layer.outer.x.attr("fused_activation_function") == "NONE":
            raise layer.outer.lacking(
                "no rule for the activation NONE, which leaves TFLite's memory as it was"
            )

    def __call__(
        self, low: Lowering, slices: Sequence[int], states: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        layer, (x,), (h, c) = self.layer, slices, states
        shape = layer.rows, layer.units, layer.width
        r = times(low, h, shape, low.use(self.recurrent))
        at = Columns(low, layer.rows, layer.cells)
        keep = call("logistic", self.gate(at, FORGET, x, r, c))
        if INPUT in layer.there:
            take = call("logistic", self.gate(at, INPUT, x, r, c))
        else:
            take = call("sub", const(1.0), keep)
        new = activation(low, self.gate(at, CELL, x, r, c))
        clip = float(low.x.attr("cell_clip"))
        cell = call("add", call("mul", keep, at.of(c)), call("mul", new, take))
        c = at.write(bounded(cell, (-clip, clip) if clip else ACTIVATIONS["NONE"]))
        at = Columns(low, layer.rows, layer.cells)
        opened = call("logistic", self.gate(at, OUTPUT, x, r, c))
        h = self.projected(low, at.write(call("mul", opened, activation(low, at.of(c)))))
        return [h], [h, c]

    def gate(self, at: Columns, gate: int, x: int, r: int, c: int) -> Program:
        """What a gate's activation is of."""
        if not self.norm:
            return self.sum(at, gate, x, r, c)
        layer, low = self.layer, at.low
        own = Columns(low, at.rows, at.width)
        scale, bias = (layer.one(first, gate) for first in (layer.layer.norm, layer.layer.bias))
        assert scale is not None and bias is not None
        value = own.write(self.sum(own, gate, x, r, c))
        return at.of(normalised(low, value, at.rows, at.width, low.use(scale), low.use(bias)))

    def sum(self, at: Columns, gate: int, x: int, r: int, c: int) -> Program:
        first, width = self.layer.there.index(gate) * at.width, self.layer.width
        total = call("add", at.of(x, first, width), at.of(r, first, width))
        peephole = self.layer.peephole(gate)
        if peephole is None:
            return total
        return call("add", total, call("mul", at.of(at.low.use(peephole), stride=0), at.of(c)))

    def projected(self, low: Lowering, hidden: int) -> int:
        layer = self.layer
        weights, bias = (layer.one(layer.layer.projection, i) for i in (0, 1))
        if weights is None:
            return hidden
        given = [] if bias is None else [low.use(bias)]
        shape, clip = (layer.rows, layer.cells, layer.units), float(low.x.attr("proj_clip"))
        return times(low, hidden, shape, low.use(weights), *given, clip=clip)


def inputs_times(layer: Gates, data: int, steps: int, depth: int) -> int:
    """(steps, rows, width): the products of the whole input, plus the bias where no normalisation follows."""
    low = layer.outer
    bias = [] if has_norm(low.x, layer.layer) else [layer.all(layer.layer.bias)]
    product = times(
        low, data, (steps * layer.rows, depth, layer.width), layer.all(layer.layer.weights), *bias
    )
    shape = (steps, layer.rows, layer.width)
    return moved(low, product, low.temp(shape, DType.F32))


def unidirectional(low: Lowering) -> None:
    if any(value is not None and value.dtype is not DType.F32 for value in (*low.x.values, low.out)):
        low.types()
    steps, rows, depth = sizes_of(low.x)
    layer, major = Gates(low, FULL, rows), bool(low.x.attr("time_major"))
    data, shape = low.node.inputs[0], low.x.shape(0)
    x = inputs_times(layer, data if major else turned(low, data, shape), steps, depth)
    states = [low.node.inputs[FULL.states + i] for i in (0, 1)]
    output, *finals = low.node.outputs
    (given,) = over_time(low, steps, [x], states, finals, Step(layer))
    joined(low, [given], steps, rows, [layer.units], major, output)


RULES = {"UNIDIRECTIONAL_SEQUENCE_LSTM": unidirectional}
