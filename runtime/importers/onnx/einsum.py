"""Einsum: operands two by two, each pair a batched matrix product of reshaped transposes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.graph import DType
from runtime.importers.onnx.reduce import over
from runtime.importers.onnx.translation import Row, Translation
from runtime.operators import MANY


@dataclass(frozen=True, slots=True)
class Term:
    """A value and one letter for each of its axes."""

    index: int
    letters: str


def einsum(t: Translation) -> int:
    operands, out = _parsed(t)
    sizes = dict[str, int]()
    for term in operands:
        for letter, size in zip(term.letters, t.shape(term.index), strict=True):
            if sizes.setdefault(letter, size) != size:
                raise t.bad(f"{letter} is {sizes[letter]} and {size}")
    if len(set(out)) != len(out) or set(out) - set(sizes):
        raise t.bad(f"output {out!r}: expected letters of the operands, each once")
    result, *others = operands
    for i, term in enumerate(others, 1):
        needed = set(out) | {letter for later in others[i:] for letter in later.letters}
        result = _product(t, _summed(t, result, needed | set(term.letters)), term, needed, sizes)
    result = _summed(t, result, set(out))
    return t.transpose(result.index, [result.letters.index(letter) for letter in out])


def _parsed(t: Translation) -> tuple[list[Term], str]:
    """The operands with their letters, and those of the output."""
    equation = t.attr("equation").replace(" ", "")
    left, arrow, out = equation.partition("->")
    if "." in equation:
        raise t.lacking("an ellipsis in the equation")
    names = left.split(",")
    if not arrow:
        letters = left.replace(",", "")
        out = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    if len(names) != len(t.inputs) or not all(name.isalpha() for name in (*names, out) if name):
        raise t.bad(f"equation {equation!r} for {len(t.inputs)} operands")
    operands = []
    for i, name in enumerate(names):
        if len(name) != len(t.shape(t.input(i))):
            raise t.bad(f"{name!r} for an operand of shape {t.shape(t.input(i))}")
        if len(set(name)) != len(name):
            raise t.lacking(f"the diagonal {name!r}")
        if t.dtype(t.input(i)) is not DType.F32:
            raise t.lacking(f"element type {t.dtype(t.input(i)).value}, expected f32")
        operands.append(Term(t.input(i), name))
    return operands, out


def _summed(t: Translation, term: Term, needed: set[str]) -> Term:
    """Without the axes that nobody needs."""
    axes = [i for i, letter in enumerate(term.letters) if letter not in needed]
    if not axes:
        return term
    kept = "".join(letter for letter in term.letters if letter in needed)
    return Term(over(t, "SUM", term.index, axes, False), kept)


def _product(t: Translation, a: Term, b: Term, needed: set[str], sizes: dict[str, int]) -> Term:
    """(batch, rows, inner) by (batch, inner, columns): what both have is batch if needed, inner if not."""
    b = _summed(t, b, needed | set(a.letters))
    both = [letter for letter in a.letters if letter in b.letters]
    batch = [letter for letter in both if letter in needed]
    inner = [letter for letter in both if letter not in needed]
    rows = [letter for letter in a.letters if letter not in both]
    columns = [letter for letter in b.letters if letter not in both]
    left = _matrices(t, a, (batch, rows, inner), sizes)
    right = _matrices(t, b, (batch, inner, columns), sizes)
    letters = "".join((*batch, *rows, *columns))
    product = t.emit("BATCH_MATMUL", left, right)
    return Term(t.reshape(product, tuple(sizes[letter] for letter in letters)), letters)


def _matrices(t: Translation, term: Term, groups: tuple[list[str], ...], sizes: dict[str, int]) -> int:
    """The axes in three groups, each made one axis."""
    order = [term.letters.index(letter) for group in groups for letter in group]
    shape = tuple(math.prod(sizes[letter] for letter in group) for group in groups)
    return t.reshape(t.transpose(term.index, order), shape)


ROWS: dict[str, Row] = {"Einsum": Row(einsum, (1, MANY), {"equation": ""})}
