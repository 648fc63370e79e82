"""The MAPs that have a kernel of their own: TFLite's ADD, SUB and MUL of two bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.atoms import Instruction, Map
from runtime.backends.steps import Fields
from runtime.graph import DType, Node, Value
from runtime.strides import collapse

MOVED = ("load", "const", "sub")
TERM = (*MOVED, "const", "shift_left", "mulq")
LAST = ("mulq", "const", "add", "clamp")
PROGRAMS = {
    (*TERM, *TERM, "add", *LAST): ("ADD", len(TERM)),
    (*TERM, *TERM, "sub", *LAST): ("ADD", len(TERM)),
    (*MOVED, *MOVED, "mul", *LAST): ("MUL", len(MOVED)),
}
"""Instructions -> the kernel's operator, and how many of them make an operand."""
MOST_LEFT, MOST_ZERO = 20, 255
"""Of a shift, and of a zero point, with which no term leaves 32 bits."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A `ck_pair`: its operator, the inputs and the output, where each begins, its numbers."""

    operator: str
    operands: tuple[int, int, int]
    offsets: tuple[int, ...]
    numbers: Fields


def pair_of(node: Node, atom: Map, values: Sequence[Value]) -> Pair | None:
    """The pair that is the same as the MAP, where there is one."""
    found = PROGRAMS.get(tuple([step.name for step in atom.program]))
    if found is None or atom.compute != "i32":
        return None
    operator, length = found
    a, b = atom.program[:length], atom.program[length : 2 * length]
    loads = int(a[0].args[0]), int(b[0].args[0])
    operands = node.inputs[loads[0]], node.inputs[loads[1]], node.outputs[0]
    sizes, views = collapse(atom.sizes, atom.views[loads[0]], atom.views[loads[1]], atom.output)
    numbers = {"sign": -1 if atom.program[2 * length].name == "sub" else 1, **_last(atom.program[-4:])}
    numbers |= {**_operand("a", a), **_operand("b", b), "rows": math.prod(sizes[:-1]), "width": sizes[-1]}
    left, same = numbers.pop("a_left"), numbers.pop("b_left")
    zeros = abs(numbers["a_zero"]), abs(numbers["b_zero"])
    narrow = 0 <= left == same <= MOST_LEFT and max(zeros) <= MOST_ZERO
    side_by_side = len(sizes) <= 2 and all(view.strides[-1] == 1 for view in views)
    if not narrow or not side_by_side or not _bytes([values[i].dtype for i in operands], numbers):
        return None
    steps = {f"{name}_step": view.strides[0] for name, view in zip(("a", "b", "out"), views, strict=True)}
    return Pair(operator, operands, tuple([view.offset for view in views]), numbers | steps | {"left": left})


def _bytes(types: Sequence[DType], numbers: Fields) -> bool:
    """Whether all are of one type of bytes, within which the sums are clamped."""
    if set(types) not in ({DType.I8}, {DType.U8}):
        return False
    limits = np.iinfo(types[0].numpy)
    return all(limits.min <= numbers[name] <= limits.max for name in ("zero", "low", "high"))


def _operand(name: str, term: Sequence[Instruction]) -> Fields:
    numbers = {"zero": int(term[1].args[0]), "left": 0, "multiplier": 0, "shift": 0}
    if len(term) == len(TERM):
        multiplier, shift = map(int, term[5].args)
        numbers |= {"left": int(term[3].args[0]), "multiplier": multiplier, "shift": shift}
    return {f"{name}_{field}": number for field, number in numbers.items()}


def _last(steps: Sequence[Instruction]) -> Fields:
    (multiplier, shift), (zero,), _, (low, high) = [map(int, step.args) for step in steps]
    return {"multiplier": multiplier, "shift": shift, "zero": zero, "low": low, "high": high}
