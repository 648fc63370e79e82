"""Recurrent layers: one product for the inputs of all steps, then a LOOP with one for the state of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from runtime.control import MAX_TRIPS, Loop
from runtime.graph import DType, Shape, Value
from runtime.importers.onnx.matrix import dense
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Row, Translation
from runtime.importers.onnx.walk import numbered, own

ACTIVATIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "relu": "RELU"}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

State = tuple[int, ...]
Cell = Callable[["Layer", int, State], State]
"""(layer, what the input gives to the gates, the state) -> the next state, whose first is the output."""


class Layer:
    """One direction: constant weights of the state by gate, biases, activations; `t` writes its one step."""

    def __init__(self, t: Translation, d: int, gates: int, functions: Sequence[str]) -> None:
        self.t, self.functions = t.within(t.builder.inner()), functions
        self.linear_before_reset = bool(t.attrs.get("linear_before_reset"))
        self.weights, self.recurrent = t.data(1)[d], t.data(2)[d]
        self.hidden = self.recurrent.shape[1]
        biases = t.data(3)[d] if t.has(3) else np.zeros(2 * gates * self.hidden, np.float32)
        self.bias, self.recurrent_bias = np.split(biases, 2)
        self.peepholes = np.split(t.data(7)[d], 3) if t.has(7) else None

    def state_gates(self, h: int, first: int, count: int) -> int:
        """What the state gives to `count` gates."""
        rows = slice(first * self.hidden, (first + count) * self.hidden)
        weights, bias = (self.t.constant(part[rows]) for part in (self.recurrent, self.recurrent_bias))
        return dense(self.t, h, weights, bias)

    def gate(self, gates: int, i: int) -> int:
        return self.t.along(gates, 1, i * self.hidden, self.hidden)

    def apply(self, i: int, x: int) -> int:
        return self.t.emit(self.functions[i], x)

    def seen(self, gates: int, i: int, c: int) -> int:
        """A gate that also sees the cell, through its peephole."""
        gate = self.gate(gates, i)
        if self.peepholes is None:
            return gate
        return self.t.emit("ADD", gate, self.t.emit("MUL", c, self.t.constant(self.peepholes[i])))


def lstm_cell(layer: Layer, given: int, state: State) -> State:
    """Gates i, o, f, c; the output gate sees the new cell."""
    t, (h, c) = layer.t, state
    gates = t.emit("ADD", given, layer.state_gates(h, 0, 4))
    i, f = (layer.apply(0, layer.seen(gates, n, c)) for n in (0, 2))
    kept, new = t.emit("MUL", f, c), t.emit("MUL", i, layer.apply(1, layer.gate(gates, 3)))
    c = t.emit("ADD", kept, new)
    return t.emit("MUL", layer.apply(0, layer.seen(gates, 1, c)), layer.apply(2, c)), c


def gru_cell(layer: Layer, given: int, state: State) -> State:
    """Gates z, r, h; the reset gate acts before the product with the state, or after it."""
    t, (h,) = layer.t, state
    both = t.emit("ADD", t.along(given, 1, 0, 2 * layer.hidden), layer.state_gates(h, 0, 2))
    z, r = (layer.apply(0, layer.gate(both, n)) for n in range(2))
    if layer.linear_before_reset:
        from_state = t.emit("MUL", r, layer.state_gates(h, 2, 1))
    else:
        from_state = layer.state_gates(t.emit("MUL", r, h), 2, 1)
    new = layer.apply(1, t.emit("ADD", layer.gate(given, 2), from_state))
    return (t.emit("ADD", new, t.emit("MUL", z, t.emit("SUB", h, new))),)


def rnn_cell(layer: Layer, given: int, state: State) -> State:
    return (layer.apply(0, layer.t.emit("ADD", given, layer.state_gates(state[0], 0, 1))),)


def recurrent(cell: Cell, gates: int, defaults: Sequence[str], states: int) -> Row:
    """A layer of the standard: X (steps, batch, depth), W, R, B, sequence_lens, initial states."""

    def rule(t: Translation) -> list[int]:
        backwards = DIRECTIONS[t.choice("direction", list(DIRECTIONS))]
        names = list(t.attr("activations") or [*defaults] * len(backwards))
        _check(t, gates, len(backwards), names, len(defaults))
        x = t.transpose(t.input(0), (1, 0, 2)) if t.attr("layout") else t.input(0)
        lengths = _within_lengths(t, *t.shape(x)[:2])
        outputs, finals = list[int](), list[State]()
        for d, back in enumerate(backwards):
            used = names[d * len(defaults) : (d + 1) * len(defaults)]
            layer = Layer(t, d, gates, [ACTIVATIONS[name.lower()] for name in used])
            start = tuple(_initial(t, x, d, 5 + n, layer.hidden) for n in range(states))
            *final, sequence = _over_time(t, layer, cell, [x, *lengths], start, back)
            outputs.append(sequence)
            finals.append(tuple(final))
        ends = [_stacked(t, [final[n] for final in finals], 0) for n in range(states)]
        every = _stacked(t, outputs, 1)
        if t.attr("layout"):
            return [t.transpose(every, (2, 0, 1, 3)), *(t.transpose(end, (1, 0, 2)) for end in ends)]
        return [every, *ends]

    attrs = {
        "activation_alpha": Kind.FLOATS,
        "activation_beta": Kind.FLOATS,
        "activations": Kind.STRINGS,
        "clip": Kind.FLOAT,
        "direction": "forward",
        "hidden_size": Kind.INT,
        "layout": 0,
    }
    extra = {"input_forget": 0} if states == 2 else {"linear_before_reset": 0} if gates == 3 else {}
    return Row(rule, (3, 6 if states == 1 else 8), {**attrs, **extra}, (1, 1 + states))


def _check(t: Translation, gates: int, directions: int, names: Sequence[str], functions: int) -> None:
    """Shapes of all operands, the activations, and that nothing is asked for that no cell here has."""
    if any(t.has(i) and t.dtype(t.input(i)) is not DType.F32 for i in (0, 1, 2, 3, 5, 6, 7)):
        raise t.lacking("element types other than f32")
    if len(names) != functions * directions or any(name.lower() not in ACTIVATIONS for name in names):
        raise t.lacking(
            f"activations {', '.join(names)}: expected {functions * directions} of {list(ACTIVATIONS)}"
        )
    if t.attr("clip") is not None or t.attrs.get("input_forget"):
        raise t.lacking("clip and input_forget")
    shape = t.shape(t.input(0))
    if len(shape) != 3:
        raise t.bad(f"input has shape {shape}, expected rank 3")
    steps, batch = (shape[1], shape[0]) if t.attr("layout") else shape[:2]
    if steps > MAX_TRIPS:
        raise t.lacking(f"{steps} steps, at most {MAX_TRIPS}")
    if t.has(4) and (t.dtype(t.input(4)), t.shape(t.input(4))) != (DType.I32, (batch,)):
        raise t.bad(f"lengths {t.shape(t.input(4))} of {t.dtype(t.input(4)).value}, expected i32 ({batch},)")
    hidden = (t.data(2).shape or (0,))[-1]
    if t.attr("hidden_size") not in (None, hidden):
        raise t.bad(f"hidden_size = {t.attr('hidden_size')}, but R is {t.data(2).shape}")
    wanted: dict[int, Shape] = {
        1: (directions, gates * hidden, shape[2]),
        2: (directions, gates * hidden, hidden),
    }
    wanted[3], wanted[7] = (directions, 2 * gates * hidden), (directions, 3 * hidden)
    wanted[5] = wanted[6] = (batch, directions, hidden) if t.attr("layout") else (directions, batch, hidden)
    for i, expected in wanted.items():
        if t.has(i) and t.shape(t.input(i)) != expected:
            raise t.bad(f"input {i} has shape {t.shape(t.input(i))}, expected {expected}")


def _initial(t: Translation, x: int, d: int, i: int, hidden: int) -> int:
    """The first state of a direction: zeros unless operand `i` has it."""
    batch = t.shape(x)[1]
    if not t.has(i):
        return t.filled((batch, hidden), 0, DType.F32)
    states = t.transpose(t.input(i), (1, 0, 2)) if t.attr("layout") else t.input(i)
    return t.reshape(t.along(states, 0, d, 1), (batch, hidden))


def _within_lengths(t: Translation, steps: int, batch: int) -> list[int]:
    """Whether a sequence lasts, by step and element of the batch; nothing where all of them do throughout."""
    if not t.has(4) or (t.value(t.input(4)).data is not None and t.integers(4) == (steps,) * batch):
        return []
    numbers = t.constant(np.arange(steps, dtype=np.int32).reshape(steps, 1, 1))
    return [t.emit("LESS", numbers, t.reshape(t.input(4), (batch, 1)), dtype=DType.BOOL)]


def _over_time(
    t: Translation, layer: Layer, cell: Cell, x: Sequence[int], state: State, backwards: bool
) -> list[int]:
    """The last state, then the outputs of all steps in the order of time.

    Past the end of a sequence its state stays as it is and its outputs are 0.
    """
    step, steps = layer.t, t.shape(x[0])[0]
    sequences = [dense(t, x[0], t.constant(layer.weights), t.constant(layer.bias)), *x[1:]]
    before = [step.builder.add(replace(t.value(i), data=None)) for i in state]
    now, *lasts = (step.builder.add(Value(t.value(i).name, t.shape(i)[1:], t.dtype(i))) for i in sequences)
    after = cell(layer, now, tuple(before))
    output = after[0]
    for there in lasts:
        output = step.emit("SELECT_V2", there, output, step.like(0, output), dtype=DType.F32)
        pairs = zip(after, before, strict=True)
        after = tuple(step.emit("SELECT_V2", there, *pair, dtype=DType.F32) for pair in pairs)
    inputs = [*before, now, *lasts]
    results = own(step.builder, t.source, [*after, output], inputs)
    loop = Loop(numbered(step.builder, inputs, results), steps, len(state), reverse=backwards)
    return t.control(loop, [*state, *sequences], [Value(t.source, (), DType.F32) for _ in results])


def _stacked(t: Translation, parts: Sequence[int], axis: int) -> int:
    return t.emit("PACK", *parts, axis=axis, values_count=len(parts))


ROWS: dict[str, Row] = {
    "LSTM": recurrent(lstm_cell, 4, ("Sigmoid", "Tanh", "Tanh"), 2),
    "GRU": recurrent(gru_cell, 3, ("Sigmoid", "Tanh"), 1),
    "RNN": recurrent(rnn_cell, 1, ("Tanh",), 1),
}
