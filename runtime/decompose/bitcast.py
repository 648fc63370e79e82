"""BITCAST: the same bits as elements of another type, of the same size, wider or narrower.

Sizes differ by arithmetic on unsigned integers, the low bits first, as a little-endian machine has them.
"""

from __future__ import annotations

import numpy as np

from runtime.atoms import Map, Raster, Region, View
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import DType, Shape
from runtime.strides import dense

UNSIGNED = {1: DType.U8, 2: DType.U16, 4: DType.U32, 8: DType.U64}


def bitcast(low: Lowering) -> None:
    x, out = low.x.value(0), low.out
    if out.dtype is DType.BOOL:
        if x.dtype.size != 1:
            low.types()
        low.map(call("ne", load(0), const(0)), low.node.inputs, compute="i32")
    elif x.dtype.size == out.dtype.size:
        reinterpreted(low, low.node.inputs[0], x.shape, out.dtype, low.node.outputs[0])
    else:
        whole = reinterpreted(low, low.node.inputs[0], x.shape, UNSIGNED[x.dtype.size])
        change = cut if x.dtype.size > out.dtype.size else joined
        target = low.node.outputs[0] if out.dtype is (bits := UNSIGNED[out.dtype.size]) else None
        parts = change(low, whole, low.temp(out.shape, bits) if target is None else target)
        if target is None:
            reinterpreted(low, parts, out.shape, out.dtype, low.node.outputs[0])


def reinterpreted(low: Lowering, index: int, shape: Shape, dtype: DType, output: int | None = None) -> int:
    """The bits of a value as another type of the same size; the value itself where that is its own."""
    if output is None and low.values[index].dtype is dtype:
        return index
    target = low.temp(shape, dtype) if output is None else output
    elements = (low.values[index].elements,)
    return low.emit(Raster((Region(0, dense(elements), dense(elements), elements),)), [index], target)


def cut(low: Lowering, index: int, output: int) -> int:
    """Each element as several narrower ones."""
    bits, count = 8 * low.values[output].dtype.size, low.values[output].shape[-1]
    sizes = (low.values[index].elements, count)
    shifts = low.constant(bits * np.arange(count, dtype=np.int32))
    program = call("bit_and", call("shift_floor", load(0), load(1)), const(2**bits - 1))
    return low.emit(
        Map(sizes, (View(0, (1, 0)), View(0, (0, 1))), dense(sizes), program, "i64"), [index, shifts], output
    )


def joined(low: Lowering, index: int, output: int) -> int:
    """Runs of elements along the last axis as one each."""
    bits, count = 8 * low.values[index].dtype.size, low.values[index].shape[-1]
    program: Program = load(0)
    for i in range(1, count):
        program = call("add", program, call("mul", load(i), const(1 << bits * i)))
    sizes = (low.values[output].elements,)
    views = tuple(View(i, (count,)) for i in range(count))
    return low.emit(Map(sizes, views, dense(sizes), program, "i64"), [index] * count, output)


RULES = {"BITCAST": bitcast}
