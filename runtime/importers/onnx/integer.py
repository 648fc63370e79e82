"""Integer products: exact sums, and quantised operators that round them to another scale.

Integers around their zero points are multiplied as floats, which is exact up to 2^24: longer sums are taken
in parts and added as i32. The result is onnxruntime's to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.graph import DType
from runtime.importers.onnx.conv import bias_of, check, convolved
from runtime.importers.onnx.matrix import product
from runtime.importers.onnx.quantize import centred, stored
from runtime.importers.onnx.translation import Row, Translation
from runtime.importers.onnx.windows import ATTRIBUTES, axes

EXACT = 2**24
"""Floats hold every integer below it."""
MAX_PARTS = 256


def operand(t: Translation, i: int, zero: int, axis: int | None = None) -> int:
    """Operand `i` around its zero point, as floats; one zero point, or one for each element along `axis`."""
    x = t.input(i)
    if t.dtype(x) not in (DType.I8, DType.U8):
        raise t.lacking(f"element type {t.dtype(x).value} of input {i}, expected i8 or u8")
    if not t.has(zero):
        return t.cast(x, DType.F32)
    if t.dtype(t.input(zero)) is not t.dtype(x):
        raise t.bad(f"zero point {t.dtype(t.input(zero)).value} of {t.dtype(x).value}")
    return centred(t, x, t.cast(along(t, zero, t.shape(x), axis), DType.F32))


def along(t: Translation, i: int, shape: tuple[int, ...], axis: int | None) -> int:
    """Operand `i`, one number or one for each element along an axis, of a shape that broadcasts."""
    index = t.input(i)
    if t.value(index).elements == 1:
        return t.reshape(index, ())
    there = axis is not None and -len(shape) <= axis < len(shape)
    if axis is None or not there or t.shape(index) != (shape[axis],):
        raise t.lacking(f"input {i} of shape {t.shape(index)}")
    return t.reshape(index, (shape[axis], *(1,) * (len(shape) - axis % len(shape) - 1)))


def _step(t: Translation, a: int, b: int, length: int, each: int = 1) -> int:
    """How much of `length` products, `each` at a time, a float sum holds exactly."""
    reach = 1
    for index in (a, b):
        data = t.value(index).data
        reach *= 255 if data is None else max(int(np.abs(data).max(initial=0)), 1)
    step = max((EXACT - 1) // (reach * each), 1)
    if each * reach >= EXACT or -(-length // step) > MAX_PARTS:
        raise t.lacking(f"sums of {length * each} products, too many to be exact")
    return step


def matmul_sums(t: Translation, a: int, b: int) -> int:
    depth, rows = t.shape(a)[-1:], t.shape(b)[-2:-1]
    if len(t.shape(a)) < 2 or len(t.shape(b)) < 2 or depth != rows:
        raise t.bad(f"shapes {t.shape(a)} and {t.shape(b)}, expected matrices whose inner sizes agree")
    step, last, above = _step(t, a, b, depth[0]), len(t.shape(a)) - 1, len(t.shape(b)) - 2
    parts = []
    for begin in range(0, depth[0], step):
        size = min(step, depth[0] - begin)
        part = product(t, t.along(a, last, begin, size), t.along(b, above, begin, size))
        parts.append(t.cast(part, DType.I32))
    return t.folded("ADD", parts)


def conv_sums(t: Translation, x: int, weights: int) -> int:
    shape, sizes, group = t.shape(x), t.shape(weights), t.attr("group")
    check(t, shape, sizes, shape[1:2] == (sizes[1] * group,) if len(sizes) > 1 else False)
    geometry, depth = axes(t, shape[2:], sizes[2:]), sizes[1]
    step = _step(t, x, weights, depth, math.prod(sizes[2:]))
    if step < depth and group > 1:
        raise t.lacking(f"{group} groups of {depth} channels, too many to be exact")
    parts = []
    for begin in range(0, depth, step):
        size = min(step, depth - begin)
        taken = x if group > 1 else t.along(x, 1, begin, size)
        part = convolved(t, taken, t.along(weights, 1, begin, size), None, geometry, group)
        parts.append(t.cast(part, DType.I32))
    return t.folded("ADD", parts)


def matmul_integer(t: Translation) -> int:
    return matmul_sums(t, operand(t, 0, 2, -2), operand(t, 1, 3, -1))


def conv_integer(t: Translation) -> int:
    return conv_sums(t, operand(t, 0, 2), operand(t, 1, 3, 0))


def requantised(t: Translation, sums: int, scales: tuple[int, int, int], zero: int) -> int:
    """round(sums * (scale of a * scale of b / scale of the output)) + zero point"""
    a, b, out = scales
    if any(t.dtype(scale) is not DType.F32 for scale in scales):
        raise t.bad("a scale is no f32")
    factor = t.emit("DIV", t.emit("MUL", a, b), out)
    scaled = t.emit("MUL", t.cast(sums, DType.F32), factor)
    dtype = t.dtype(t.input(zero))
    if dtype not in (DType.I8, DType.U8):
        raise t.lacking(f"output type {dtype.value}, expected i8 or u8")
    return stored(t, scaled, t.cast(along(t, zero, (), None), DType.F32), dtype)


def qlinear_matmul(t: Translation) -> int:
    sums = matmul_sums(t, operand(t, 0, 2, -2), operand(t, 3, 5, -1))
    b = along(t, 4, t.shape(t.input(3)), -1)
    return requantised(t, sums, (along(t, 1, (), None), b, along(t, 6, (), None)), 7)


def qlinear_conv(t: Translation) -> int:
    sums = conv_sums(t, operand(t, 0, 2), operand(t, 3, 5, 0))
    channels = t.shape(sums)[1]
    each = (channels, *(1,) * (len(t.shape(sums)) - 2))
    if (bias := bias_of(t, 8, channels)) is not None:
        sums = t.emit("ADD", sums, t.reshape(bias, each))
    weights = along(t, 4, (channels, *each[1:]), 0)
    return requantised(t, sums, (along(t, 1, (), None), weights, along(t, 6, (), None)), 7)


def row(rule: Callable[[Translation], int], inputs: tuple[int, int], conv: bool) -> Row:
    return Row(rule, inputs, {**ATTRIBUTES, "group": 1} if conv else {})


ROWS: dict[str, Row] = {
    "MatMulInteger": row(matmul_integer, (2, 4), False),
    "ConvInteger": row(conv_integer, (2, 4), True),
    "QLinearMatMul": row(qlinear_matmul, (8, 8), False),
    "QLinearConv": row(qlinear_conv, (8, 9), True),
}
