"""Integer products, and quantised operators with their scales as operands.

A quantised operator is the one on floats between DequantizeLinear and QuantizeLinear. MatMulInteger and
ConvInteger are exact: by kernels of integers where the weights are constants, otherwise as floats around the
zero points, which is exact up to 2^24: longer sums are taken in parts and added as i32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from runtime.graph import DType, Shape
from runtime.importers.onnx import binary, conv, elementwise, matrix, pool, views
from runtime.importers.onnx.conv import check, convolved
from runtime.importers.onnx.matrix import product
from runtime.importers.onnx.qdq import BYTES, sums
from runtime.importers.onnx.quantize import dequantised, quantised
from runtime.importers.onnx.reader import OPSETS
from runtime.importers.onnx.reduce import SOFTMAX
from runtime.importers.onnx.translation import ANY, Row, Translation
from runtime.importers.onnx.windows import ATTRIBUTES, axes

EXACT = 2**24
"""Floats hold every integer below it."""
MAX_PARTS = 256

# ---------------------------------------------------------------- operands


def _real(t: Translation, i: int, zero: int, scale: int | None = None, axis: int | None = None) -> int:
    """Operand `i` as floats, by the operands that have its scale, 1 without one, and its zero point; one
    number, or one for each element along `axis`.
    """
    x = t.input(i)
    if t.dtype(x) not in BYTES:
        raise t.lacking(f"element type {t.dtype(x).value} of input {i}, expected i8 or u8")
    if t.has(zero) and t.dtype(t.input(zero)) is not t.dtype(x):
        raise t.bad(f"zero point {t.dtype(t.input(zero)).value} of {t.dtype(x).value}")
    by = t.constant(np.ones((), np.float32)) if scale is None else _scale(t, scale, t.shape(x), axis)
    about = t.constant(np.zeros((), np.float32))
    if t.has(zero):
        about = t.cast(_along(t, zero, t.shape(x), axis), DType.F32)
    return dequantised(t, x, by, about)


def _scale(t: Translation, i: int, shape: Shape, axis: int | None) -> int:
    if t.dtype(t.input(i)) is not DType.F32:
        raise t.bad(f"scale {i} is {t.dtype(t.input(i)).value}, expected f32")
    return _along(t, i, shape, axis)


def _along(t: Translation, i: int, shape: Shape, axis: int | None) -> int:
    """Operand `i`, one number or one for each element along an axis, of a shape that broadcasts."""
    index = t.input(i)
    if t.value(index).elements == 1:
        return t.reshape(index, ())
    there = axis is not None and -len(shape) <= axis < len(shape)
    if axis is None or not there or t.shape(index) != (shape[axis],):
        raise t.lacking(f"input {i} of shape {t.shape(index)}")
    return t.reshape(index, (shape[axis], *(1,) * (len(shape) - axis % len(shape) - 1)))


def _result(t: Translation, y: int, scale: int, like: DType) -> int:
    """Floats by the scale and the zero point of the output."""
    dtype = t.dtype(t.input(scale + 1)) if t.has(scale + 1) else like
    if dtype not in BYTES:
        raise t.lacking(f"output type {dtype.value}, expected i8 or u8")
    zero = t.cast(_along(t, scale + 1, (), None), DType.F32) if t.has(scale + 1) else t.like(0, y)
    return quantised(t, y, _scale(t, scale, (), None), zero, dtype)


# ---------------------------------------------------------------- exact products


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


def matmul_integer(t: Translation) -> int:
    """With constant weights a zero point of run time takes its product with their sums away again."""
    a, b = t.input(0), t.input(1)
    depth, rows = t.shape(a)[-1:], t.shape(b)[-2:-1]
    if len(t.shape(a)) < 2 or len(t.shape(b)) < 2 or depth != rows:
        raise t.bad(f"shapes {t.shape(a)} and {t.shape(b)}, expected matrices whose inner sizes agree")
    zero, right = t.value(t.input(2)) if t.has(2) else None, _real(t, 1, 3, axis=-1)
    weights = t.value(right).data
    moving = zero is not None and zero.data is None and zero.elements == 1 and weights is not None
    left = _real(t, 0, len(t.inputs) if moving else 2, axis=-2)
    if (made := sums(t, product(t, left, right))) is None:
        return _matmul_parts(t, _real(t, 0, 2, axis=-2), right)
    if not moving or weights is None:
        return made
    columns = t.constant(weights.sum(axis=-2).astype(np.int32))
    return t.emit("SUB", made, t.emit("MUL", columns, t.cast(t.reshape(t.input(2), ()), DType.I32)))


def _matmul_parts(t: Translation, a: int, b: int) -> int:
    depth, last, above = t.shape(a)[-1], len(t.shape(a)) - 1, len(t.shape(b)) - 2
    step, parts = _step(t, a, b, depth), []
    for begin in range(0, depth, step):
        size = min(step, depth - begin)
        part = product(t, t.along(a, last, begin, size), t.along(b, above, begin, size))
        parts.append(t.cast(part, DType.I32))
    return t.folded("ADD", parts)


def conv_integer(t: Translation) -> int:
    x, weights = _real(t, 0, 2), _real(t, 1, 3, axis=0)
    shape, sizes, group = t.shape(x), t.shape(weights), t.attr("group")
    check(t, shape, sizes, shape[1:2] == (sizes[1] * group,) if len(sizes) > 1 else False)
    geometry, depth = axes(t, shape[2:], sizes[2:]), sizes[1]
    if (made := sums(t, convolved(t, x, weights, None, geometry, group))) is not None:
        return made
    step, parts = _step(t, x, weights, depth, math.prod(sizes[2:])), []
    if step < depth and group > 1:
        raise t.lacking(f"{group} groups of {depth} channels, too many to be exact")
    for begin in range(0, depth, step):
        size = min(step, depth - begin)
        taken = x if group > 1 else t.along(x, 1, begin, size)
        part = convolved(t, taken, t.along(weights, 1, begin, size), None, geometry, group)
        parts.append(t.cast(part, DType.I32))
    return t.folded("ADD", parts)


# ---------------------------------------------------------------- quantised operators


def qlinear_matmul(t: Translation) -> int:
    a, b = _real(t, 0, 2, 1), _real(t, 3, 5, 4, axis=-1)
    return _result(t, product(t, a, b), 6, t.dtype(t.input(0)))


def qlinear_conv(t: Translation) -> int:
    """The bias, i32, is in units of the sums."""
    operands = [_real(t, 0, 2, 1), _real(t, 3, 5, 4, axis=0), *_bias(t, 8)]
    return _result(t, conv.conv(t.on(operands)), 6, t.dtype(t.input(0)))


def _bias(t: Translation, i: int) -> list[int]:
    if not t.has(i):
        return []
    scale = t.emit("MUL", t.reshape(t.input(1), ()), t.input(4))
    return [t.emit("MUL", t.cast(t.input(i), DType.F32), scale)]


def qgemm(t: Translation) -> int:
    """The bias is in units of the sums; without a scale of its own the output is floats."""
    t.choice("alpha", (1.0,))
    operands = [_real(t, 0, 2, 1), _real(t, 3, 5, 4, axis=0 if t.attr("transB") else -1), *_bias(t, 6)]
    made = matrix.gemm(t.on(operands, beta=1.0))
    return _result(t, made, 7, t.dtype(t.input(0))) if t.has(7) else made


def of_floats(row: Row, operands: int = 1, known: Mapping[str, range] | None = None) -> Row:
    """The operator on floats, each operand with a scale and a zero point after it, and so the output.

    `known` are further attributes, and the values that are known of each; the first is the default.
    """

    def rule(t: Translation) -> int:
        for name, values in (known or {}).items():
            t.choice(name, values)
        made = row.rule(t.on([_real(t, 3 * i, 3 * i + 2, 3 * i + 1) for i in range(operands)]))
        assert isinstance(made, int)
        return _result(t, made, 3 * operands, t.dtype(t.input(0)))

    return Row(
        rule,
        (3 * operands + 1, 3 * operands + 2),
        {**row.attrs, **{name: values[0] for name, values in (known or {}).items()}},
    )


def qlinear_concat(t: Translation) -> int:
    """Scale and zero point of the output, then each operand with its own."""
    if len(t.inputs) % 3 != 2:
        raise t.bad(f"{len(t.inputs)} inputs, expected 2 and 3 for each operand")
    operands = [_real(t, i, i + 2, i + 1) for i in range(2, len(t.inputs), 3)]
    return _result(t, views.concat(t.on(operands)), 0, t.dtype(t.input(2)))


LAST = {"channels_last": range(1)}
ROWS: dict[str, Row] = {
    "MatMulInteger": Row(matmul_integer, (2, 4)),
    "ConvInteger": Row(conv_integer, (2, 4), {**ATTRIBUTES, "group": 1}),
    "QLinearMatMul": Row(qlinear_matmul, (8, 8)),
    "QLinearConv": Row(qlinear_conv, (8, 9), {**ATTRIBUTES, "group": 1}),
    "com.microsoft.QGemm": Row(qgemm, (6, 9), {"alpha": 1.0, "transA": 0, "transB": 0}),
    "com.microsoft.QLinearAdd": of_floats(binary.ROWS["Add"], 2),
    "com.microsoft.QLinearMul": of_floats(binary.ROWS["Mul"], 2),
    "com.microsoft.QLinearSigmoid": of_floats(elementwise.ROWS["Sigmoid"]),
    "com.microsoft.QLinearLeakyRelu": of_floats(elementwise.ROWS["LeakyRelu"]),
    "com.microsoft.QLinearSoftmax": of_floats(SOFTMAX, known={"opset": OPSETS}),
    "com.microsoft.QLinearAveragePool": of_floats(pool.ROWS["AveragePool"], known=LAST),
    "com.microsoft.QLinearGlobalAveragePool": of_floats(pool.ROWS["GlobalAveragePool"], known=LAST),
    "com.microsoft.QLinearConcat": Row(qlinear_concat, (5, ANY[1]), {"axis": 0}),
}
"""`com.microsoft` is the domain of what onnxruntime's quantiser writes."""
