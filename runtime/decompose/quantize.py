"""Changes of element type: QUANTIZE, DEQUANTIZE, CAST, each one MAP; and DENSIFY, which changes nothing."""

from __future__ import annotations

import numpy as np

from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.graph import FLOATS, DType
from runtime.primitives import Compute
from runtime.strides import dense

STORED = (*BYTES, DType.I16, DType.I32)


def quantize(low: Lowering) -> None:
    """From floats by division and rounding, from integers of another scale in fixed point."""
    x, out = low.x.value(0), low.out
    if out.dtype not in (*BYTES, DType.I16) or x.dtype not in (DType.F32, *STORED):
        low.types()
    scale, zero_point = low.quantized(out)
    if x.dtype is DType.F32:
        rounded = call("round_away", call("div", load(0), const(scale)))
        low.map(call("add", rounded, const(zero_point)), low.node.inputs)
        return
    in_scale, in_zero = low.quantized(x)
    centred = call("sub", load(0), const(in_zero))
    scaled = call("mulq", centred, args=low.factor(in_scale / scale))
    low.map(call("add", scaled, const(zero_point)), low.node.inputs, compute="i32")


def dequantize(low: Lowering) -> None:
    x = low.x.value(0)
    if low.out.dtype is not DType.F32:
        low.types()
    if x.dtype is DType.F16:
        low.map(load(0), low.node.inputs)
    elif x.dtype in STORED:
        dequantize_stored(low)
    else:
        low.types()


def dequantize_stored(low: Lowering) -> None:
    """One scale for the tensor, or one per slice along an axis: then scales and zero points are operands."""
    x = low.x.value(0)
    scales, zero_points = low.scales(x)
    assert x.quantization is not None
    if len(scales) == 1:
        scale, zero = const(scales[0]), const(zero_points[0])
        low.map(call("mul", call("sub", load(0), zero), scale), low.node.inputs)
        return
    shape = tuple(size if axis == x.quantization.axis else 1 for axis, size in enumerate(x.shape))
    operands = [
        low.constant(np.array(numbers, np.float32).reshape(shape)) for numbers in (scales, zero_points)
    ]
    low.map(call("mul", call("sub", load(0), load(2)), load(1)), [low.node.inputs[0], *operands])


def cast(low: Lowering) -> None:
    """As C converts: floats are truncated, bool is `!= 0`, integers keep their low bits."""
    source, target = low.x.value(0).dtype, low.out.dtype
    real: Compute = "f64" if DType.F64 in (source, target) else "f32"
    compute = real if source in FLOATS or target in FLOATS else "i64"
    program: Program = load(0)
    if target is DType.BOOL:
        program = call("ne", load(0), const(0))
    elif compute == "i64" and not holds(target, source):
        program = low_bits(load(0), target)
    low.map(program, low.node.inputs, compute=compute)


def holds(target: DType, source: DType) -> bool:
    """Whether the store of MAP keeps every integer of a type, by its number or all of its bits."""
    if target.size == 8 or source is DType.BOOL:
        return True
    (low, high), (least, most) = (
        (int(limits.min), int(limits.max)) for limits in (np.iinfo(target.numpy), np.iinfo(source.numpy))
    )
    return low <= least and most <= high


def low_bits(number: Program, target: DType) -> Program:
    """What C makes of an integer that does not fit a narrower type."""
    limits = np.iinfo(target.numpy)
    span, least = int(limits.max) - int(limits.min) + 1, int(limits.min)
    return call("add", call("floor_mod", call("sub", number, const(least)), const(span)), const(least))


def densify(low: Lowering) -> None:
    """Sparse constants are dense since the importer."""
    low.copy(dense(low.out.shape), low.out.shape)


RULES = {"DENSIFY": densify, "QUANTIZE": quantize, "DEQUANTIZE": dequantize, "CAST": cast}
