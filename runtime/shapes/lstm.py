"""Shapes of LSTM layers, and where their operands stand: outputs, then the next content of the states."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import UnsupportedError
from runtime.graph import Shape, Value
from runtime.shapes.operands import Operands, Rule

INPUT, FORGET, CELL, OUTPUT = range(4)
"""The gates, in the order of their operands; a layer without an input gate lets in what it does not keep."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Positions of the operands of one direction among the inputs of its node, each the first of a run.

    `weights`, `recurrent`, `bias`, `norm` and `aux` have one for each of the four gates, `peephole` for all
    but the cell's; `projection` are weights and bias, `states` the output and the cell of the step before.
    """

    weights: int
    states: int
    norm: int | None = None
    aux: int | None = None

    @property
    def recurrent(self) -> int:
        return self.weights + 4

    @property
    def peephole(self) -> int:
        return self.weights + 8

    @property
    def bias(self) -> int:
        return self.weights + 11

    @property
    def projection(self) -> int:
        return self.weights + 15


FULL = Layer(1, 18, norm=20)
FORWARD, BACKWARD = Layer(1, 35, aux=40), Layer(18, 37, aux=44)
AUX, BOTH_INPUTS = 39, 48
"""Of a node with two directions: where its auxiliary input stands, and how many inputs it has."""
BASIC_INPUTS = 5


def crossed(x: Operands) -> bool:
    """Whether both directions read the auxiliary input as well; else it is what the backward one reads."""
    return given(x, _at(FORWARD.aux, FORGET)) is not None


def given(x: Operands, position: int | None) -> Value | None:
    """An operand that may be left out, or that the node is too short for."""
    return None if position is None or position >= len(x.values) else x.values[position]


def gates(x: Operands, layer: Layer) -> tuple[int, ...]:
    """The gates that the layer has."""
    return (FORGET, CELL, OUTPUT) if given(x, layer.weights) is None else (INPUT, FORGET, CELL, OUTPUT)


def cells(x: Operands, layer: Layer, batch: int, depth: int, aux: int = 0) -> tuple[int, int]:
    """(cells, units of the output) of a layer whose operands fit together.

    Rows of data have `depth` elements, those of the auxiliary input `aux`. Raises ModelError, and
    UnsupportedError for diagonal weights.
    """
    there, fits = gates(x, layer), _Fit(x)
    if any((value := given(x, layer.recurrent + gate)) and len(value.shape) == 1 for gate in there):
        raise UnsupportedError(f"{x.node.source}: recurrent weights that are a diagonal")
    count, units = x.shape(layer.weights + OUTPUT, 2)[0], x.shape(layer.recurrent + OUTPUT, 2)[1]
    for gate in range(4):
        fits.either(gate in there, layer.weights + gate, (count, depth))
        fits.either(gate in there, layer.recurrent + gate, (count, units))
        fits.either(gate in there, layer.bias + gate, (count,))
        fits.either(bool(aux) and gate in there, _at(layer.aux, gate), (count, aux))
        fits.either(has_norm(x, layer) and gate in there, _at(layer.norm, gate), (count,))
    for i, gate in enumerate((INPUT, FORGET, OUTPUT)):
        fits.either(has_peephole(x, layer) and gate in there, layer.peephole + i, (count,))
    projects = given(x, layer.projection) is not None
    fits.either(projects, layer.projection, (units, count))
    if given(x, layer.projection + 1) is not None:
        fits.either(projects, layer.projection + 1, (units,))
    if not projects and units != count:
        raise x.bad(f"{count} cells give {units} units without a projection")
    for name, limit in (("cell_clip", x.attr("cell_clip")), ("proj_clip", x.attr("proj_clip"))):
        if limit < 0:
            raise x.bad(f"{name} = {limit}, expected a number from 0")
    for position, width in ((layer.states, units), (layer.states + 1, count)):
        if x.value(position).elements != batch * width:
            raise x.bad(f"state of shape {x.shape(position)}, expected {batch} rows of {width}")
    return count, units


def has_peephole(x: Operands, layer: Layer) -> bool:
    return given(x, layer.peephole + 1) is not None


def has_norm(x: Operands, layer: Layer) -> bool:
    return layer.norm is not None and given(x, layer.norm + FORGET) is not None


def _at(first: int | None, gate: int) -> int | None:
    return None if first is None else first + gate


@dataclass(frozen=True, slots=True)
class _Fit:
    x: Operands

    def either(self, there: bool, position: int | None, shape: Shape) -> None:
        """The operand has the shape, or is left out where it has no meaning."""
        value = given(self.x, position)
        if (value is not None) != there:
            raise self.x.bad(f"input {position} is {'left out' if there else 'not expected'}")
        if value is not None and value.shape != shape:
            raise self.x.bad(f"input {position} has shape {value.shape}, expected {shape}")


def sequence(x: Operands, operand: int = 0) -> tuple[int, int, int]:
    """(steps, rows, elements of a row) of a sequence of batches, or of batches of sequences."""
    first, second, depth = x.shape(operand, 3)
    return (first, second, depth) if x.attr("time_major") else (second, first, depth)


def _states(x: Operands, *layers: Layer) -> list[Shape]:
    return [x.shape(layer.states + i) for layer in layers for i in (0, 1)]


def _full(x: Operands, batch: int, depth: int) -> list[Shape]:
    if len(x.values) not in (20, 24):
        raise x.bad(f"{len(x.values)} inputs, expected 20 or 24, of which some may be left out")
    _, units = cells(x, FULL, batch, depth)
    return [(*x.shape(0)[:-1], units), *_states(x, FULL)]


def _unidirectional(x: Operands) -> list[Shape]:
    _, batch, depth = sequence(x)
    return _full(x, batch, depth)


def _one_step(x: Operands) -> list[Shape]:
    return (_basic if x.attr("kernel_type") == "BASIC" else _full)(x, *x.shape(0, 2))


def _basic(x: Operands, batch: int, depth: int) -> list[Shape]:
    """Of the output, the cell, both inputs side by side, and their product with the weights."""
    if len(x.values) != BASIC_INPUTS:
        raise x.bad(f"{len(x.values)} inputs of a basic kernel, expected {BASIC_INPUTS}")
    count = x.shape(1, 2)[1]
    width, state = 4 * count, (batch, count)
    for i, shape in enumerate((state, (width, depth + count), (width,), state), 1):
        if x.shape(i) != shape:
            raise x.bad(f"input {i} has shape {x.shape(i)}, expected {shape}")
    return [state, state, (batch, depth + count), (batch, width), state, state]


def _bidirectional(x: Operands) -> list[Shape]:
    if len(x.values) != BOTH_INPUTS:
        raise x.bad(f"{len(x.values)} inputs, expected {BOTH_INPUTS}, of which some may be left out")
    _, batch, depth = sequence(x)
    aux = x.shape(AUX, 3) if x.values[AUX] is not None else None
    if aux is not None and (aux[:2] != x.shape(0)[:2] or (not crossed(x) and aux != x.shape(0))):
        raise x.bad(f"auxiliary input of shape {aux} for an input of {x.shape(0)}")
    if aux is None and crossed(x):
        raise x.bad("weights of an auxiliary input that is left out")
    width = aux[2] if aux is not None and crossed(x) else 0
    units = [cells(x, layer, batch, depth, width)[1] for layer in (FORWARD, BACKWARD)]
    widths = [sum(units)] if x.attr("merge_outputs") else units
    return [(*x.shape(0)[:-1], n) for n in widths] + _states(x, FORWARD, BACKWARD)


RULES: dict[str, Rule] = {
    "LSTM": _one_step,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _unidirectional,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _bidirectional,
}
