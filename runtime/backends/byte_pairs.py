"""The MAPs that have a kernel of their own: TFLite's ADD, SUB and MUL of two bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.atoms import Instruction, Map
from runtime.backends.steps import Fields
from runtime.graph import DType, Node, Value
from runtime.strides import collapse, is_dense

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
    """A `ck_pair`: its operator, the values that it reads, after how many elements the second of them begins
    again, its numbers.
    """

    operator: str
    inputs: tuple[int, int]
    period: int
    numbers: Fields


def pair_of(node: Node, atom: Map, values: Sequence[Value]) -> Pair | None:
    """The pair that is the same as the MAP, where there is one."""
    found = PROGRAMS.get(tuple([step.name for step in atom.program]))
    if found is None or atom.compute != "i32":
        return None
    operator, length = found
    terms = [atom.program[:length], atom.program[length : 2 * length]]
    loads = [int(term[0].args[0]) for term in terms]
    periods = _periods(atom, loads)
    sign = -1 if atom.program[2 * length].name == "sub" else 1
    if periods[0] < periods[1] and sign == 1:
        terms, loads, periods = terms[::-1], loads[::-1], periods[::-1]
    if periods[1] == 0 or periods[0] != values[node.outputs[0]].elements:
        return None
    inputs = node.inputs[loads[0]], node.inputs[loads[1]]
    types = {values[i].dtype for i in (*inputs, *node.outputs)}
    numbers = {"sign": sign, **_operand("a", terms[0]), **_operand("b", terms[1]), **_last(atom.program[-4:])}
    left, same = numbers.pop("a_left"), numbers.pop("b_left")
    zeros = abs(numbers["a_zero"]), abs(numbers["b_zero"])
    narrow = 0 <= left == same <= MOST_LEFT and max(zeros) <= MOST_ZERO
    if not narrow or types not in ({DType.I8}, {DType.U8}):
        return None
    return Pair(operator, inputs, periods[1], numbers | {"left": left})


def _operand(name: str, term: Sequence[Instruction]) -> Fields:
    numbers = {"zero": int(term[1].args[0]), "left": 0, "multiplier": 0, "shift": 0}
    if len(term) == len(TERM):
        multiplier, shift = map(int, term[5].args)
        numbers |= {"left": int(term[3].args[0]), "multiplier": multiplier, "shift": shift}
    return {f"{name}_{field}": number for field, number in numbers.items()}


def _last(steps: Sequence[Instruction]) -> Fields:
    (multiplier, shift), (zero,), _, (low, high) = [map(int, step.args) for step in steps]
    return {"multiplier": multiplier, "shift": shift, "zero": zero, "low": low, "high": high}


def _periods(atom: Map, loads: Sequence[int]) -> list[int]:
    """After how many elements of a dense output each operand begins again; 0 for one that does not."""
    sizes, (out, *views) = collapse(atom.sizes, atom.output, *(atom.views[i] for i in loads))
    if len(sizes) > 2 or not is_dense(out, sizes):
        return [0, 0]
    row, whole = sizes[-1], math.prod(sizes)
    if len(sizes) == 1:
        known: dict[tuple[int, ...], int] = {(1,): whole, (0,): 1}
    else:
        known = {(row, 1): whole, (0, 1): row}
    return [known.get(view.strides, 0) if view.offset == 0 else 0 for view in views]
