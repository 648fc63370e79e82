"""One step of an LSTM layer on floats, whose weights may have 8 bits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from runtime.atoms import Reduce
from runtime.decompose.hybrid import signed
from runtime.decompose.lstm_layer import Gates
from runtime.decompose.rule import ACTIVATIONS, BYTES, Lowering, Program, bounded, call, const, load
from runtime.decompose.steps import Columns, activation, moved, times
from runtime.graph import DType
from runtime.shapes.lstm import CELL, FORGET, INPUT, OUTPUT, Layer, given

NORM_GUARD = 1e-8
"""Added to the variance that layer normalisation divides by."""


def check_types(low: Lowering, *layers: Layer) -> None:
    """Everything is float32 but the weights, which are that or all bytes of one type with one scale each."""
    weights = [
        position
        for layer in layers
        for position in (
            *range(layer.weights, layer.bias),
            layer.projection,
            *(() if layer.aux is None else range(layer.aux, layer.aux + 4)),
        )
        if given(low.x, position) is not None
    ]
    kind, *others = {low.x.value(position).dtype for position in weights}
    rest = {v.dtype for i, v in enumerate(low.x.values) if v is not None and i not in weights}
    if others or kind not in (DType.F32, *BYTES) or rest | {low.out.dtype} != {DType.F32}:
        low.types()
    if low.x.attr("fused_activation_function") == "NONE":
        raise low.lacking("no rule for the activation NONE, which leaves TFLite's memory as it was")


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
    """One step on the products of the layer's inputs; `recurrent` are the weights of all gates."""

    def __init__(self, gates: Gates) -> None:
        self.gates, self.recurrent = gates, gates.all(gates.layer.recurrent)

    def sequences(self, data: int, aux: int | None) -> list[int]:
        """(steps, rows, width): the products of whole inputs, biased where no normalisation follows."""
        gates = self.gates
        bias = [] if gates.norm else [gates.all(gates.layer.bias)]
        products = [self.products(data, gates.layer.weights, *bias)]
        if aux is not None:
            assert gates.layer.aux is not None
            products.append(self.products(aux, gates.layer.aux))
        return products

    def products(self, data: int, weights: int, *bias: int) -> int:
        gates, low = self.gates, self.gates.outer
        depth = low.values[data].shape[-1]
        shape = gates.steps * gates.rows, depth, gates.width
        product = times(low, data, shape, gates.all(weights), *bias)
        return moved(low, product, low.temp((gates.steps, gates.rows, gates.width), DType.F32))

    def __call__(
        self, low: Lowering, slices: Sequence[int], states: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        gates, (h, c) = self.gates, states
        shape = gates.rows, gates.units, gates.width
        products = [*slices, times(low, h, shape, low.use(self.recurrent))]
        at = Columns(low, gates.rows, gates.cells)
        keep = call("logistic", self.gate(at, FORGET, products, c))
        if INPUT in gates.there:
            take = call("logistic", self.gate(at, INPUT, products, c))
        else:
            take = call("sub", const(1.0), keep)
        new = activation(low, self.gate(at, CELL, products, c))
        clip = float(low.x.attr("cell_clip"))
        cell = call("add", call("mul", keep, at.of(c)), call("mul", new, take))
        c = at.write(bounded(cell, (-clip, clip) if clip else ACTIVATIONS["NONE"]))
        at = Columns(low, gates.rows, gates.cells)
        opened = call("logistic", self.gate(at, OUTPUT, products, c))
        h = self.projected(low, at.write(call("mul", opened, activation(low, at.of(c)))))
        return [h], [h, c]

    def gate(self, at: Columns, gate: int, products: Sequence[int], c: int) -> Program:
        """What a gate's activation is of."""
        gates, low = self.gates, at.low
        if not gates.norm:
            return self.sum(at, gate, products, c)
        own = Columns(low, at.rows, at.width)
        value = own.write(self.sum(own, gate, products, c))
        weights, bias = (low.use(i) for i in gates.normal(gate))
        return at.of(normalised(low, value, at.rows, at.width, weights, bias))

    def sum(self, at: Columns, gate: int, products: Sequence[int], c: int) -> Program:
        first, width = self.gates.there.index(gate) * at.width, self.gates.width
        total = reduce(lambda a, b: call("add", a, b), [at.of(p, first, width) for p in products])
        peephole = self.gates.peephole(gate)
        if peephole is None:
            return total
        return call("add", total, call("mul", self.weights(at, peephole), at.of(c)))

    def weights(self, at: Columns, index: int) -> Program:
        """Those of a peephole, made real where they are stored in 8 bits."""
        value, stored = self.gates.outer.values[index], at.of(at.low.use(index), stride=0)
        if value.dtype not in BYTES:
            return stored
        scale, zero = at.low.quantized(value)
        if zero:
            raise at.low.lacking("8-bit weights under float activations must have zero points of 0")
        return call("mul", signed(value.dtype, stored), const(scale))

    def projected(self, low: Lowering, hidden: int) -> int:
        gates, (weights, bias) = self.gates, self.gates.projection
        if weights is None:
            return hidden
        given = [] if bias is None else [low.use(bias)]
        shape, clip = (gates.rows, gates.cells, gates.units), float(low.x.attr("proj_clip"))
        return times(low, hidden, shape, low.use(weights), *given, clip=clip)
