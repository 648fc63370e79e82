"""What a shape rule sees: one node, its operands, and the questions that every rule asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.atoms import MAX_RANK
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import DType, Node, Shape, Value

MAX_ELEMENTS = 2**28
"""Of one tensor: a GiB of floats, which no board that this engine is for could hold twice."""
MAX_MADE = 2**22
"""Numbers that an operator makes of a few: a sequence, the places of rows."""
MAX_LIST = 4096
"""Numbers in a constant that lists axes, sizes or paddings."""


def checked(shape: Shape, where: str) -> Shape:
    if len(shape) > MAX_RANK:
        raise UnsupportedError(f"{where}: rank {len(shape)}, the most is {MAX_RANK}")
    if any(size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"{where}: shape {shape}, expected sizes >= 1 and at most {MAX_ELEMENTS} elements")
    return shape


@dataclass(frozen=True, slots=True)
class Operands:
    """What a rule sees: one node, its input values, and the shapes that the model declares for its outputs,
    for an operator whose attributes do not say them; and the element types of its outputs."""

    node: Node
    values: tuple[Value | None, ...]
    declared: tuple[Shape, ...] = ()
    types: tuple[DType, ...] = ()

    def bad(self, what: str) -> ModelError:
        return ModelError(f"{self.node.source}: {what}")

    def value(self, i: int) -> Value:
        value = self.values[i]
        if value is None:
            raise self.bad(f"input {i} is left out, but it is not optional")
        return value

    def shape(self, i: int, rank: int | None = None) -> Shape:
        """Of an operand that is data: no rule has to think of one without elements."""
        shape = self.value(i).shape
        if rank is not None and len(shape) != rank:
            raise self.bad(f"input {i} has shape {shape}, expected rank {rank}")
        if 0 in shape:
            raise self.bad(f"input {i} has shape {shape}, expected sizes >= 1")
        return shape

    def listed(self, i: int, rank: int | None = None) -> Shape:
        """As `shape`, of an operand that may also be a constant list of integers without any in it."""
        value = self.value(i)
        empty = value.data is not None and value.data.dtype.kind == "i" and value.shape == (0,)
        return value.shape if empty and rank in (None, 1) else self.shape(i, rank)

    def constant(self, i: int) -> tuple[int, ...]:
        """The numbers of an integer constant, such as a list of axes."""
        value = self.value(i)
        if value.data is None:
            raise UnsupportedError(f"{self.node.source}: input {i} ({value.name!r}) must be a constant")
        if value.data.dtype.kind != "i" or value.elements > MAX_LIST:
            got = f"{value.elements} of {value.dtype.value}"
            raise self.bad(f"input {i} is {got}, expected at most {MAX_LIST} of i32 or i64")
        return tuple(int(number) for number in value.data.reshape(-1))

    def attr(self, name: str) -> Any:
        return self.node.attrs[name]

    def positive(self, name: str) -> int:
        if (number := int(self.attr(name))) < 1:
            raise self.bad(f"{name} = {number}, expected at least 1")
        return number

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.bad(f"axis {axis} is outside -{rank}..{rank - 1}")
        return axis % rank

    def axes(self, i: int, rank: int) -> tuple[int, ...]:
        """Distinct axes of a constant input, sorted."""
        return tuple(sorted({self.axis(axis, rank) for axis in self.constant(i)}))


Rule = Callable[[Operands], list[Shape]]
