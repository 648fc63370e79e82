"""One LSTM layer of a node: which gates it has, its sizes, and how its operands are found."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from runtime.decompose.rule import Lowering
from runtime.decompose.steps import operand, stacked
from runtime.shapes.lstm import CELL, FORGET, INPUT, OUTPUT, Layer, gates, has_norm


@dataclass(frozen=True, slots=True)
class Gates:
    """A layer that makes so many steps on so many rows of the batch."""

    outer: Lowering
    layer: Layer
    steps: int
    rows: int

    @property
    def there(self) -> tuple[int, ...]:
        return gates(self.outer.x, self.layer)

    @property
    def norm(self) -> bool:
        return has_norm(self.outer.x, self.layer)

    @property
    def cells(self) -> int:
        return self.outer.x.shape(self.layer.weights + OUTPUT)[0]

    @property
    def units(self) -> int:
        return self.outer.x.shape(self.layer.recurrent + OUTPUT)[1]

    @property
    def width(self) -> int:
        return len(self.there) * self.cells

    @property
    def states(self) -> list[int]:
        """The output and the cell of the step before."""
        return [self.outer.node.inputs[self.layer.states + i] for i in (0, 1)]

    def all(self, first: int) -> int:
        """The operands of all gates, one below the other."""
        return stacked(self.outer, [self.outer.node.inputs[first + gate] for gate in self.there])

    def one(self, first: int | None, gate: int) -> int | None:
        return operand(self.outer, None if first is None else first + gate)

    def peephole(self, gate: int) -> int | None:
        return self.one(self.layer.peephole, {INPUT: 0, FORGET: 1, OUTPUT: 2}[gate]) if gate != CELL else None

    def normal(self, gate: int) -> tuple[int, int]:
        """The weights and the bias of a gate that is normalised."""
        weights, bias = (self.one(first, gate) for first in (self.layer.norm, self.layer.bias))
        assert weights is not None and bias is not None
        return weights, bias

    @property
    def projection(self) -> tuple[int | None, int | None]:
        """Weights and bias."""
        one = partial(self.one, self.layer.projection)
        return one(0), one(1)
