"""Operators that make tensors of a shape, or of a sequence of numbers; most are constants."""

from __future__ import annotations

import numpy as np

from runtime.atoms import View
from runtime.decompose.rule import Lowering, call, const, load
from runtime.graph import DType
from runtime.shapes.counts import sequence

INDEX = (DType.I32, DType.I64)


def shape(low: Lowering) -> None:
    if low.out.dtype not in INDEX:
        low.types()
    low.given(np.array(low.x.shape(0)))


def rank(low: Lowering) -> None:
    if low.out.dtype is not DType.I32:
        low.types()
    low.given(np.array(len(low.x.shape(0))))


def fill(low: Lowering) -> None:
    low.copy(View(0, (0,)), (low.out.elements,), operand=1)


def range_(low: Lowering) -> None:
    if low.out.dtype is not low.x.value(0).dtype:
        low.types()
    low.given(sequence(low.x))


def broadcast_args(low: Lowering) -> None:
    """The shorter shape begins with ones; of two sizes the one that is not 1 counts."""
    if low.out.dtype not in INDEX or any(low.x.value(i).dtype is not low.out.dtype for i in (0, 1)):
        low.types()
    (length,) = low.out.shape
    operands = [low.padded(low.node.inputs[i], [(length - low.x.listed(i)[0], 0)], 1) for i in (0, 1)]
    program = call("select", call("eq", load(0), const(1)), load(1), load(0))
    low.map(program, operands, compute="i32" if low.out.dtype is DType.I32 else "i64")


RULES = {
    "SHAPE": shape,
    "RANK": rank,
    "FILL": fill,
    "RANGE": range_,
    "BROADCAST_ARGS": broadcast_args,
}
