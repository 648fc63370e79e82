"""Shapes of layers of simple recurrent cells: outputs, then the next content of the states."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.graph import Shape
from runtime.shapes.lstm import given, sequence
from runtime.shapes.operands import Operands, Rule


@dataclass(frozen=True, slots=True)
class Cell:
    """Positions of the operands of one direction: four in a row, and the weights of the auxiliary input."""

    weights: int
    aux: int

    @property
    def recurrent(self) -> int:
        return self.weights + 1

    @property
    def bias(self) -> int:
        return self.weights + 2

    @property
    def state(self) -> int:
        return self.weights + 3


FORWARD, BACKWARD, AUX = Cell(1, 10), Cell(5, 11), 9
"""What a node reads; one without a backward cell ends before."""


def crossed(x: Operands) -> bool:
    """Whether both directions read the auxiliary input as well; else it is what the backward one reads."""
    return given(x, FORWARD.aux) is not None


def units_of(x: Operands, cell: Cell, batch: int, depth: int) -> int:
    """How many units a cell has whose operands fit together. Raises ModelError."""
    units = x.shape(cell.weights, 2)[0]
    expected = {cell.weights: (units, depth), cell.recurrent: (units, units), cell.bias: (units,)}
    for position, shape in {**expected, cell.state: (batch, units)}.items():
        if x.shape(position) != shape:
            raise x.bad(f"input {position} has shape {x.shape(position)}, expected {shape}")
    return units


def _one_cell(x: Operands, batch: int, depth: int) -> list[Shape]:
    if len(x.values) != FORWARD.state + 1:
        raise x.bad(f"{len(x.values)} inputs, expected {FORWARD.state + 1}")
    return [(*x.shape(0)[:-1], units_of(x, FORWARD, batch, depth)), x.shape(FORWARD.state)]


def _rnn(x: Operands) -> list[Shape]:
    return _one_cell(x, *x.shape(0, 2))


def _unidirectional(x: Operands) -> list[Shape]:
    return _one_cell(x, *sequence(x)[1:])


def _bidirectional(x: Operands) -> list[Shape]:
    if len(x.values) != BACKWARD.aux + 1:
        raise x.bad(f"{len(x.values)} inputs, expected {BACKWARD.aux + 1}, of which some may be left out")
    _, batch, depth = sequence(x)
    _check_aux(x, x.shape(0), {cell: x.shape(cell.weights, 2)[0] for cell in (FORWARD, BACKWARD)})
    units = [units_of(x, cell, batch, depth) for cell in (FORWARD, BACKWARD)]
    widths = [sum(units)] if x.attr("merge_outputs") else units
    return [(*x.shape(0)[:-1], n) for n in widths] + [x.shape(cell.state) for cell in (FORWARD, BACKWARD)]


def _check_aux(x: Operands, shape: Shape, units: dict[Cell, int]) -> None:
    """The auxiliary input is as long as the input, and what reads it fits."""
    if x.values[AUX] is None:
        if any(x.values[cell.aux] is not None for cell in units):
            raise x.bad("weights of an auxiliary input that is left out")
        return
    aux = x.shape(AUX, 3)
    if aux[:2] != shape[:2] or (not crossed(x) and aux != shape):
        raise x.bad(f"auxiliary input of shape {aux} for an input of {shape}")
    for cell, n in units.items():
        if (x.values[cell.aux] is not None) != crossed(x):
            raise x.bad("weights of the auxiliary input for one direction only")
        if crossed(x) and x.shape(cell.aux) != (n, aux[2]):
            raise x.bad(f"input {cell.aux} has shape {x.shape(cell.aux)}, expected {(n, aux[2])}")


RULES: dict[str, Rule] = {
    "RNN": _rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _unidirectional,
    "BIDIRECTIONAL_SEQUENCE_RNN": _bidirectional,
}
