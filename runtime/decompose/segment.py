"""Reductions over segments: SCATTER adds or compares rows by id; a product is masked and reduced."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from runtime.atoms import Map, Reduce, Scatter, View
from runtime.decompose.index import compute_type, expect_same, expect_types, filled
from runtime.decompose.rule import Lowering, call, const, load
from runtime.graph import DType
from runtime.strides import dense


def segment(low: Lowering) -> None:
    """SUM, MAX and MIN; the least of numbers is the greatest of them mirrored.

    A row with a negative id goes nowhere: to one row more, which is not copied out. An empty segment is what
    the operation starts from: 0, or the end of the type's range.
    """
    mirrored, sums = low.node.op.endswith("MIN"), low.node.op.endswith("SUM")
    ids, data, fill = _ids(low), low.node.inputs[0], 0.0 if sums else _least(low.out.dtype)
    if mirrored:
        data = mirror(low, data, low.temp(low.x.shape(0), low.out.dtype))
    mode: Literal["add", "max"] = "add" if sums else "max"
    count, width = low.values[ids].elements, math.prod(low.out.shape[1:])
    shape = (low.out.shape[0] + 1, *low.out.shape[1:])
    base = filled(low, shape, low.out.dtype, fill)
    atom = Scatter(mode, shape[0], width, count)
    all_rows = low.emit(atom, [base, ids, data], low.temp(shape, low.out.dtype))
    if mirrored:
        all_rows = mirror(low, all_rows, low.temp(shape, low.out.dtype))
    view, sizes = View(0, (1,)), (low.out.elements,)
    compute = compute_type(low.out.dtype)
    low.emit(Map(sizes, (view,), view, load(0), compute), [all_rows])


def _ids(low: Lowering) -> int:
    """(count,) rows of the output: negative ids one row beyond it, too great ones nowhere."""
    expect_types(low, 0, DType.F32, DType.I32)
    expect_types(low, 1, DType.I32)
    expect_same(low, 0)
    segments, count = low.out.shape[0], low.x.value(1).elements
    known = call("select", call("lt", load(0), const(segments)), load(0), const(-1))
    program = call("select", call("lt", load(0), const(0)), const(segments), known)
    return low.map(program, [low.node.inputs[1]], low.temp((count,), DType.I32), "i32", low.x.shape(1))


def _least(dtype: DType) -> float:
    return float(np.finfo(np.float32).min) if dtype is DType.F32 else int(np.iinfo(dtype.numpy).min)


def mirror(low: Lowering, index: int, output: int) -> int:
    """-x of floats, what is as far from the other end of the type of integers: the order turned round."""
    dtype, program = low.values[index].dtype, call("neg", load(0))
    if dtype is not DType.F32:
        limits = np.iinfo(dtype.numpy)
        program = call("sub", const(int(limits.min) + int(limits.max)), load(0))
    return low.map(program, [index], output, compute_type(dtype))


def product(low: Lowering) -> None:
    """Of every segment over all rows, each of which counts as 1 where the segment is not its own."""
    ids, (segments, *rest) = _ids(low), low.out.shape
    count, width = low.values[ids].elements, math.prod(rest)
    numbers = low.constant(np.arange(segments, dtype=np.int32))
    pairs = (segments, count)
    equal = call("eq", load(0), load(1))
    atom = Map(pairs, (View(0, (0, 1)), View(0, (1, 0))), dense(pairs), equal, "i32")
    same = low.emit(atom, [ids, numbers], low.temp(pairs, DType.BOOL))
    sizes = (segments, count, width)
    views = View(0, (count, 1, 0)), View(0, (0, width, 1))
    own = call("select", load(0), load(1), const(1))
    atom = Map(sizes, views, dense(sizes), own, compute_type(low.out.dtype))
    masked = low.emit(atom, [same, low.node.inputs[0]], low.temp(sizes, low.out.dtype))
    low.emit(Reduce("prod", segments, count, width), [masked])


RULES = {
    "SEGMENT_SUM": segment,
    "UNSORTED_SEGMENT_SUM": segment,
    "UNSORTED_SEGMENT_MAX": segment,
    "UNSORTED_SEGMENT_MIN": segment,
    "UNSORTED_SEGMENT_PROD": product,
}
