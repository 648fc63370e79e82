"""One step of an LSTM layer on integers: 8 bits in, weights and out, 16 bits for gates and cells.

Gates are sums in Q3.12 of products that are rescaled one by one; sigmoid and tanh look up what gemmlowp
computes for each of the 2^16 operands. Source: TFLite `lstm_eval.cc` (8x8_16), `portable_tensor_utils.cc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from runtime import quantized_16
from runtime.atoms import Gather, Gemm, Reduce, Requantize, View
from runtime.decompose.fixed_point import inverse_square_roots
from runtime.decompose.lstm_layer import Gates
from runtime.decompose.rule import LARGEST, SMALLEST, Lowering, Program, call, const, load
from runtime.decompose.steps import Columns, moved
from runtime.graph import Array, DType
from runtime.quantized import float32_product, wrap_i32
from runtime.shapes.lstm import CELL, FORGET, FULL, INPUT, OUTPUT, given

LIMITS = (-(2**15), 2**15 - 1)
GATE_BITS, ONE_BITS = 12, 15
"""Fraction bits of what gates are of, and of what they are."""
HIDDEN = 4
"""Of the tensors between the steps: what is projected. Before it are the gates, for normalisation."""
NORM_BITS = 10
"""By which layer normalisation shifts to the left what it normalises."""
GUARD = 10000.0
"""Of the scale of its weights is the variance at least."""


def check_types(low: Lowering) -> None:
    """Raises UnsupportedError where a type is none of those that TFLite's kernel has."""
    expected = {
        **dict.fromkeys((0, *range(1, 9), FULL.projection, FULL.states), DType.I8),
        **dict.fromkeys((*range(FULL.peephole, FULL.bias), *range(20, 24), FULL.states + 1), DType.I16),
        **dict.fromkeys((*range(FULL.bias, FULL.projection), FULL.projection + 1), DType.I32),
    }
    found = {i: value.dtype for i in expected if (value := given(low.x, i)) is not None}
    if any(expected[i] is not dtype for i, dtype in found.items()) or low.out.dtype is not DType.I8:
        low.types()


class Step:
    """One step on the products of the layer's input, which are sums that are not yet rescaled.

    `major` says that TFLite's kernel takes all rows at once, not one after the other.
    """

    def __init__(self, gates: Gates, major: bool) -> None:
        low = self.low = gates.outer
        self.gates, self.major = gates, major
        self.recurrent = gates.all(gates.layer.recurrent)
        self.cell_power = power_of_two(low, low.quantized(low.values[gates.states[1]])[0])
        if not -15 <= self.cell_power <= -9:
            raise low.lacking(f"the cell's scale is 2^{self.cell_power}, expected 2^-15..2^-9")
        self.sigmoid = table(low, quantized_16.logistic)
        self.tanh = {
            bits: table(low, partial(quantized_16.tanh, integer_bits=bits)) for bits in set(self.bits)
        }

    @property
    def bits(self) -> tuple[int, int]:
        """Integer bits of what a gate is of, and of the cell."""
        return 15 - GATE_BITS, 15 + self.cell_power

    # ---------------------------------------------------------------- scales

    def scale(self, weights: int) -> float:
        """Of a value without a zero point."""
        scale, zero = self.low.quantized(self.low.values[weights])
        if zero:
            raise self.low.x.bad(f"zero point {zero} of {self.low.values[weights].name!r}, expected 0")
        return scale

    def between(self, index: int) -> tuple[float, int]:
        """(scale, zero point) of a tensor between the steps."""
        known = self.low.x.attr("intermediates")
        if len(known) != HIDDEN + 1:
            raise self.low.lacking(f"{len(known)} tensors between its steps, expected {HIDDEN + 1}")
        if known[index] is None or not SMALLEST <= known[index].scale[0] <= LARGEST:
            raise self.low.x.bad(f"the tensor {index} between its steps has no scale in 2^-126..2^64")
        if not -128 <= (zero := known[index].zero_point[0]) <= 127:
            raise self.low.x.bad(f"the tensor {index} between its steps has the zero point {zero}")
        return known[index].scale[0], zero

    def gate_scale(self, gate: int) -> float:
        return self.between(gate)[0] if self.gates.norm else 2.0**-GATE_BITS

    def factor(self, gate: int, weights: int, scale: float) -> tuple[int, int]:
        """From products of the weights to what the gate is of."""
        return self.low.factor(float32_product(self.scale(weights), scale, over=self.gate_scale(gate)))

    # ---------------------------------------------------------------- products

    def sequences(self, data: int, _: int | None) -> list[int]:
        """(steps, rows, width): sums of the products of the whole input, with bias."""
        gates = self.gates
        bias = [] if gates.norm else [gates.all(gates.layer.bias)]
        shape = gates.steps * gates.rows, self.low.values[data].shape[-1], gates.width
        sums = self.sums(self.low, data, 0, shape, gates.all(gates.layer.weights), *bias)
        return [moved(self.low, sums, self.low.temp((gates.steps, gates.rows, gates.width), DType.I32))]

    def sums(
        self, low: Lowering, x: int, like: int, shape: tuple[int, int, int], weights: int, *bias: int
    ) -> int:
        """x, quantised as the input at a position, of (rows, k) times the weights (n, k), plus the bias."""
        rows, k, n = shape
        views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, n, 1))
        zero = self.low.quantized(self.low.x.value(like))[1]
        out = low.temp((rows, n), DType.I32)
        return low.emit(Gemm(1, rows, n, k, *views, None, zero), [x, weights, *bias], out)

    # ---------------------------------------------------------------- one step

    def __call__(
        self, low: Lowering, slices: Sequence[int], states: Sequence[int]
    ) -> tuple[list[int], list[int]]:
        gates, (x,), (h, c) = self.gates, slices, states
        r = self.sums(
            low, h, gates.layer.states, (gates.rows, gates.units, gates.width), low.use(self.recurrent)
        )
        at = Columns(low, gates.rows, gates.cells)
        keep = at.of(self.gate(low, FORGET, x, r, c))
        if INPUT in gates.there:
            take = at.of(self.gate(low, INPUT, x, r, c))
        else:
            take = call("sub", const(quantized_16.ONE), keep)
        kept = call("shift_right", call("mul", keep, at.of(c)), const(ONE_BITS))
        product = call("mul", take, at.of(self.gate(low, CELL, x, r, c)))
        new = call("shift_right", product, const(2 * ONE_BITS + self.cell_power))
        cell = within(call("add", kept, new), self.clip("cell_clip", gates.states[1], LIMITS))
        c = at.write(cell, DType.I16, "i32")
        return self.output(low, self.gate(low, OUTPUT, x, r, c), c)

    def clip(self, name: str, value: int, limits: tuple[int, int]) -> tuple[int, int]:
        """The limits of what is stored in a value, or the option where it is narrower."""
        real, scale = float(self.low.x.attr(name)), self.low.quantized(self.low.values[value])[0]
        most = min(int(min(float32_product(real, over=scale), float(limits[1]))), limits[1])
        return (-most, most) if most > 0 else limits

    def gate(self, low: Lowering, gate: int, x: int, r: int, c: int) -> int:
        """The gate in Q0.15."""
        gates, at = self.gates, Columns(low, self.gates.rows, self.gates.cells)
        value = self.sum(at, gate, x, r, c)
        if gates.norm:
            own = at.write(value, DType.I16, "i32")
            at, value = Columns(low, at.rows, at.width), load(0)
            at.of(self.normalised(low, gate, own))
        return look_up(at, value, low.use(self.tanh[self.bits[0]] if gate == CELL else self.sigmoid))

    def sum(self, at: Columns, gate: int, x: int, r: int, c: int) -> Program:
        gates, layer = self.gates, self.gates.layer
        first, width = gates.there.index(gate) * at.width, gates.width
        total: Program = const(0)
        for value, weights, of in ((x, layer.weights, 0), (r, layer.recurrent, layer.states)):
            scale = self.low.quantized(self.low.x.value(of))[0]
            args = self.factor(gate, self.low.node.inputs[weights + gate], scale)
            rescaled = call("mulq", at.of(value, first, width), args=args)
            total = within(call("add", total, rescaled), LIMITS)
        peephole = gates.peephole(gate)
        if peephole is None:
            return total
        product = call("mul", self.weights(at, peephole), at.of(c))
        args = self.factor(gate, peephole, 2.0**self.cell_power)
        return within(call("add", total, call("mulq", product, args=args)), LIMITS)

    def weights(self, at: Columns, peephole: int) -> Program:
        """Those that multiply the cells; where there are fewer units than cells, TFLite takes as many,
        row after row, for as many of the cells of all its rows.
        """
        rows, units = self.gates.rows, self.gates.units
        if units >= at.width:
            return at.of(at.low.use(peephole), stride=0)
        data, together = self.low.values[peephole].data, rows if self.major else 1
        if data is None:
            raise self.low.lacking("the weights of a peephole are not constant")
        taken = np.zeros((rows // together, together * at.width), data.dtype)
        taken[:, : together * units] = np.tile(data[:units], together)
        return at.of(at.low.use(self.low.constant(taken)))

    def normalised(self, low: Lowering, gate: int, x: int) -> int:
        """Rows less their mean, over their deviation, times the weights plus the bias: 16 bits in i32."""
        rows, width, (weights, bias) = self.gates.rows, self.gates.cells, self.gates.normal(gate)
        total = low.emit(Reduce("sum", rows, width, 1), [x], low.temp((rows, 1), DType.I32))
        squares = low.map(call("square", load(0)), [x], low.temp((rows, width), DType.I32), "i32")
        squared = low.emit(Reduce("sum", rows, width, 1), [squares], low.temp((rows, 1), DType.I64))
        raised = call("mul", load(0), const(1 << NORM_BITS))
        mean = low.map(call("div", raised, const(width)), [total], low.temp((rows, 1), DType.I64), "i64")
        scale, bits = self.scale(weights), 2 * NORM_BITS
        spread = call("sub", call("mul", load(0), const((1 << bits) // width)), call("square", load(1)))
        variance = call("div", spread, const(1 << bits))
        guard = max(1, int(float32_product(GUARD, scale)))
        held = call("select", call("lt", variance, const(1)), const(guard), variance)
        roots = inverse_square_roots(
            low, low.map(held, [squared, mean], low.temp((rows, 1), DType.I32), "i64")
        )
        multiplier, shift = self.low.factor(scale)
        if shift + GATE_BITS > 30:
            raise self.low.x.bad(f"scale {scale:.3g} of layer normalisation, expected less than 2^18")
        centred = call("sub", raised, load(1))
        weighted = call("mul", call("mulq_by", centred, load(2), load(3)), load(4))
        rounded = call("div_round", call("add", weighted, load(5)), const(1 << NORM_BITS))
        program = within(call("mulq", rounded, args=(multiplier, shift + GATE_BITS)), LIMITS)
        operands = [x, mean, *roots, low.use(weights), low.use(bias)]
        return low.map(program, operands, low.temp((rows, width), DType.I32), "i32")

    # ---------------------------------------------------------------- output

    def output(self, low: Lowering, opened: int, c: int) -> tuple[list[int], list[int]]:
        gates, at = self.gates, Columns(low, self.gates.rows, self.gates.cells)
        shape = look_up(at, at.of(c), low.use(self.tanh[self.bits[1]]))
        at = Columns(low, at.rows, at.width)
        (scale, zero), (weights, bias) = self.between(HIDDEN), gates.projection
        factor = self.low.factor(float32_product(2.0 ** (-2 * ONE_BITS), over=scale))
        rescaled = call("mulq", call("mul", at.of(opened), at.of(shape)), args=factor)
        zero = zero if weights is None else -zero  # as TFLite takes it for the projection
        hidden = at.write(call("add", rescaled, const(zero)), DType.I8, "i32")
        h = hidden if weights is None else self.projected(low, hidden, weights, bias)
        return [h], [h, c]

    def projected(self, low: Lowering, hidden: int, weights: int, bias: int | None) -> int:
        gates, (scale, zero) = self.gates, self.between(HIDDEN)
        out, out_zero = self.low.quantized(self.low.values[gates.states[0]])
        data, given = self.low.values[weights].data, None if bias is None else self.low.values[bias].data
        if data is None or (bias is not None and given is None):
            raise self.low.lacking("the weights of the projection are not constant")
        own = wrap_i32(data.astype(np.int64).sum(1) * zero + (0 if given is None else given))
        factor = self.low.factor(float32_product(self.scale(weights), scale, over=out))
        rows, k, n = gates.rows, gates.cells, gates.units
        views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, n, 1))
        low_end, high_end = self.clip("proj_clip", self.low.node.outputs[0], (-128, 127))
        last = Requantize((factor[0],), (factor[1],), out_zero, low_end, high_end)
        return low.emit(
            Gemm(1, rows, n, k, *views, last),
            [hidden, low.use(weights), low.constant(own)],
            low.temp((rows, n), DType.I8),
        )


def within(x: Program, limits: tuple[int, int]) -> Program:
    return call("clamp", x, args=limits)


def power_of_two(low: Lowering, scale: float) -> int:
    """The exponent of a scale, which TFLite takes for a power of two within a thousandth of it."""
    power = math.log2(scale)
    if abs(power - round(power)) >= 1e-3:
        raise low.x.bad(f"the cell's scale is {scale:.6g}, expected a power of two")
    return round(power)


def table(low: Lowering, function: Callable[[Array], Array]) -> int:
    """What a function gives for each number of 16 bits."""
    return low.constant(function(np.arange(LIMITS[0], LIMITS[1] + 1)))


def look_up(at: Columns, x: Program, table: int) -> int:
    """The entries of a table for numbers of 16 bits."""
    index = at.write(call("sub", x, const(LIMITS[0])), DType.I32, "i32")
    out = at.low.temp((at.rows, at.width), DType.I16)
    return at.low.emit(Gather(2**16, 1, at.rows * at.width), [table, index], out)
