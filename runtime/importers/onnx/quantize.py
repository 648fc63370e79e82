"""Quantised models: floats on either side of QuantizeLinear and DequantizeLinear.

Alone the two are computed as ONNX defines them, by a division and ties to even; where an operator on integers
can do what stands between them, `runtime.importers.onnx.qdq` puts it there.
"""

from __future__ import annotations

import numpy as np

from runtime.graph import DType, Quantization
from runtime.importers.onnx.elementwise import TYPES
from runtime.importers.onnx.qdq import BYTES, integers
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Row, Translation

SMALLEST, LARGEST = 2.0**-60, 2.0**60
"""Scales that the rules of integers take."""
STORED = (DType.I8, DType.U8, DType.I16)


def _along(t: Translation, i: int, x: int) -> int:
    """Scale or zero point `i`, of a shape that broadcasts along the axis; one number serves them all."""
    index, shape = t.input(i), t.shape(x)
    if t.attr("block_size"):
        raise t.lacking(f"block_size = {t.attr('block_size')}, expected none")
    if t.shape(index) in ((), (1,)):
        return t.reshape(index, ())
    axis = t.axis(t.attr("axis"), len(shape))
    if t.shape(index) != (shape[axis],):
        raise t.bad(f"input {i} has shape {t.shape(index)}, expected ({shape[axis]},) along axis {axis}")
    return t.reshape(index, (shape[axis], *(1,) * (len(shape) - axis - 1)))


def _zero_point(t: Translation, x: int, dtype: DType) -> int:
    if not t.has(2):
        return t.constant(np.zeros((), np.float32))
    if t.dtype(t.input(2)) is not dtype:
        raise t.bad(f"the zero point is {t.dtype(t.input(2)).value}, expected {dtype.value}")
    return t.cast(_along(t, 2, x), DType.F32)


def quantize_linear(t: Translation) -> int:
    """round(x / scale) + zero point, ties to even, held within the type"""
    x = t.input(0)
    dtype = t.dtype(t.input(2)) if t.has(2) else DType.U8
    if not t.has(2) and t.attr("output_dtype"):
        dtype = TYPES[t.choice("output_dtype", list(TYPES))]
    if t.dtype(x) is not DType.F32 or t.dtype(t.input(1)) is not DType.F32 or dtype not in STORED:
        raise t.lacking(f"from {t.dtype(x).value} to {dtype.value}, expected f32 to i8, u8 or i16")
    scale, zero = _along(t, 1, x), _zero_point(t, x, dtype)
    return quantised(t, x, scale, zero, dtype)


def quantised(t: Translation, x: int, scale: int, zero: int, dtype: DType) -> int:
    """Floats by their scale, about a zero point that is a float as well: by an operator on integers, or
    exactly.
    """
    q = _known(t, x, scale, zero)
    if q is not None and dtype in BYTES and len(q.scale) == 1:
        made = integers(t, x, q, dtype)
        if made is not None:
            return made
    return stored(t, t.emit("DIV", x, scale), zero, dtype)


def _known(t: Translation, x: int, scale: int, zero: int) -> Quantization | None:
    """Scales and zero points that are constants."""
    scales, zeros = t.value(scale), t.value(zero)
    if scales.data is None or zeros.data is None:
        return None
    steps, numbers = (tuple(data.reshape(-1).tolist()) for data in (scales.data, zeros.data))
    if len(set(numbers)) == 1:
        numbers = numbers[:1] * len(steps)
    if len(numbers) != len(steps) or not all(SMALLEST <= step <= LARGEST for step in steps):
        return None
    axis = len(t.shape(x)) - len(scales.shape) if len(steps) > 1 else 0
    return Quantization(steps, tuple(map(int, numbers)), axis)


def stored(t: Translation, scaled: int, zero: int, dtype: DType) -> int:
    """A number around zero rounded, ties to even, then about the zero point and held within the type."""
    return t.cast(t.emit("ADD", t.emit("ROUND", scaled), zero), dtype)


def dequantize_linear(t: Translation) -> int:
    """(x - zero point) * scale"""
    x = t.input(0)
    if t.dtype(x) not in (*STORED, DType.I32) or t.dtype(t.input(1)) is not DType.F32:
        raise t.lacking(
            f"from {t.dtype(x).value} by {t.dtype(t.input(1)).value}, expected i8, u8, i16, i32 by f32"
        )
    return dequantised(t, x, _along(t, 1, x), _zero_point(t, x, t.dtype(x)), t.has(2))


def dequantised(t: Translation, x: int, scale: int, zero: int, given: bool = True) -> int:
    """Integers by their scale, about a zero point that is a float; a constant knows what it was made of."""
    q, value = _known(t, x, scale, zero), t.value(x)
    if q is not None and value.data is not None:
        scales, zeros = t.value(scale).data, t.value(zero).data
        assert scales is not None and zeros is not None
        floats = (value.data.astype(np.float32) - zeros) * scales
        return t.builder.constant(floats, f"{t.source}/floats", q if value.dtype in BYTES else None)
    if q is not None and value.dtype in BYTES and len(q.scale) == 1:
        return t.emit("DEQUANTIZE", t.builder.scaled(x, q, t.source), dtype=DType.F32)
    return t.emit("MUL", centred(t, x, zero, given), scale)


def centred(t: Translation, x: int, zero: int, given: bool = True) -> int:
    """Stored integers as floats around zero, exactly."""
    floats = t.cast(x, DType.F32)
    return t.emit("SUB", floats, zero) if given else floats


def dynamic_quantize_linear(t: Translation) -> list[int]:
    """(x as u8, its scale, its zero point) from the least and the largest element and 0."""
    x = t.input(0)
    every, nought = t.sizes(range(len(t.shape(x)))), t.like(0, x)
    if t.dtype(x) is not DType.F32:
        raise t.lacking(f"element type {t.dtype(x).value}, expected f32")
    least = t.emit("MINIMUM", t.emit("REDUCE_MIN", x, every, keep_dims=False), nought)
    most = t.emit("MAXIMUM", t.emit("REDUCE_MAX", x, every, keep_dims=False), nought)
    scale = t.emit("DIV", t.emit("SUB", most, least), t.like(255, x))
    zero = stored(t, t.emit("DIV", t.emit("NEG", least), scale), nought, DType.U8)
    return [stored(t, t.emit("DIV", x, scale), t.cast(zero, DType.F32), DType.U8), scale, zero]


ROWS: dict[str, Row] = {
    "QuantizeLinear": Row(
        quantize_linear,
        (2, 3),
        {"axis": 1, "saturate": 1, "block_size": 0, "output_dtype": 0, "precision": Kind.INT},
    ),
    "DequantizeLinear": Row(
        dequantize_linear, (2, 3), {"axis": 1, "block_size": 0, "output_dtype": Kind.INT}
    ),
    "DynamicQuantizeLinear": Row(dynamic_quantize_linear, outputs=(1, 3)),
}
