"""Dynamic-range quantisation: float activations on int8 weights, rounded as TFLite's hybrid kernels do.

The activations take one of 255 or 256 levels of their own range, the float rule multiplies levels by stored
weights (whole numbers, so the sums are exact), and a MAP makes them real. Convolutions find one range per
image, FULLY_CONNECTED and recurrent layers one per row.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from runtime.atoms import Clamp, Gemm, Reduce, Region, View
from runtime.decompose.rule import Lowering, Program, Rule, bounded, call, const, load
from runtime.graph import ABSENT, DType, Shape
from runtime.strides import dense

LEVELS = {True: 255.0, False: 127.0}
"""Steps between the ends of the range (asymmetric), or between zero and the larger end (symmetric)."""


EXACT = 2**24
"""Whole numbers up to here are exact in float32."""


def hybrid(rule: Rule) -> Rule:
    """The rule of an operator with weights as operand 1, extended to int8 weights under float activations."""

    def either(low: Lowering) -> None:
        if (low.x.value(0).dtype, low.x.value(1).dtype, low.out.dtype) == (DType.F32, DType.I8, DType.F32):
            quantization = low.x.value(1).quantization
            blocks = low.node.op == "FULLY_CONNECTED" and quantization is not None and quantization.block
            (on_blocks if blocks else on_levels)(low, rule)
        else:
            rule(low)

    return either


def on_levels(low: Lowering, rule: Rule) -> None:
    """The rule multiplies levels in float32 where that is exact, else as int16 into s32 sums that wrap."""
    weights, matrix = low.x.value(1), low.node.op in ("FULLY_CONNECTED", "BATCH_MATMUL")
    scales, zeros = low.scales(weights)
    if any(zeros):
        raise low.lacking("int8 weights under float activations must have zero points of 0")
    if matrix:
        asymmetric = bool(low.x.attr("asymmetric_quantize_inputs"))
    else:
        asymmetric = len(scales) > 1 or low.node.op == "TRANSPOSE_CONV"
    shape, axes, sizes, depth = _slices(low)
    if len(scales) not in (1, sizes[-1]):
        raise low.x.bad(f"{len(scales)} scales for {sizes[-1]} output channels")
    exact = depth * LEVELS[asymmetric] * 128 <= EXACT
    levels, span = rounded(low, low.node.inputs[0], shape, axes, asymmetric, exact)
    sums = low.temp(sizes, DType.F32 if exact else DType.I32)
    stored = low.node.inputs[1]
    if exact:
        stored = low.map(load(0), [stored], low.temp(weights.shape, DType.F32))
    attrs = {**low.node.attrs, "fused_activation_function": "NONE", "keep_num_dims": False}
    node = replace(low.node, inputs=(levels, stored), outputs=(sums,), attrs=attrs)
    plain = Lowering(low.values, node, low.kernels)
    rule(plain)
    low.nodes += plain.nodes
    step, scale = call("div", load(1), const(LEVELS[asymmetric])), low.constant(np.array(scales, np.float32))
    real = (
        call("mul", load(0), call("mul", step, load(2)))
        if len(scales) == 1 or matrix
        else call("mul", call("mul", load(0), load(2)), step)
    )
    given = [i for i in low.node.inputs[2:] if i != ABSENT]
    biased = call("add", real, load(3)) if given else real
    low.map(bounded(biased, low.float_range()), [sums, span, scale, *given], sizes=sizes)


def on_blocks(low: Lowering, _: Rule) -> None:
    """FULLY_CONNECTED on weights with a scale for each block of a row: a batch of the GEMM is one block."""
    weights = low.x.value(1)
    units, k = weights.shape
    assert weights.quantization is not None
    block, m = weights.quantization.block, low.x.value(0).elements // k
    if block * LEVELS[True] * 128 > EXACT:
        raise low.lacking(f"blocks of {block} numbers")
    levels, span = rounded(low, low.node.inputs[0], (m, k), 1, True, True)
    stored = low.map(load(0), [low.node.inputs[1]], low.temp((units, k), DType.F32))
    blocks = (k // block, m, units)
    views = View(0, (block, k, 1)), View(0, (block, 1, k)), dense(blocks)
    sums = low.temp(blocks, DType.F32)
    low.emit(Gemm(k // block, m, units, block, *views, Clamp()), [levels, stored], sums)
    scale = np.array(weights.quantization.scale, np.float32).reshape(units, 1, k // block).T
    scaled = low.map(
        call("mul", load(0), load(1)),
        [sums, low.constant(np.ascontiguousarray(scale))],
        low.temp(blocks, DType.F32),
    )
    total = low.emit(Reduce("sum", 1, k // block, m * units), [scaled], low.temp(blocks[1:], DType.F32))
    real = call("mul", load(0), call("div", load(1), const(LEVELS[True])))
    given = [i for i in low.node.inputs[2:] if i != ABSENT]
    biased = call("add", real, load(2)) if given else real
    low.map(bounded(biased, low.float_range()), [total, span, *given], sizes=blocks[1:])


def _slices(low: Lowering) -> tuple[Shape, int, Shape, int]:
    """(shape of the activations, how many of its axes count slices, shape of the sums, products in each)."""
    x, weights = low.x.value(0), low.x.value(1)
    match low.node.op:
        case "FULLY_CONNECTED":
            units, k = weights.shape
            return (x.elements // k, k), 1, (x.elements // k, units), k
        case "BATCH_MATMUL":
            return x.shape, len(x.shape) - 1, low.out.shape, x.shape[-1]
        case "DEPTHWISE_CONV_2D":
            return x.shape, 1, low.out.shape, math.prod(weights.shape[1:3])
    return x.shape, 1, low.out.shape, math.prod(weights.shape[1:])


def on_rows(low: Lowering, x: int, shape: tuple[int, int, int], weights: int, *bias: int) -> int:
    """x of (rows, k) times stored weights (n, k), in levels of each row, plus the bias: floats (rows, n).

    The weights have one scale or one for each of their rows. Unsigned bytes are signed ones to TFLite.
    """
    rows, k, n = shape
    value, asymmetric = low.values[weights], bool(low.x.attr("asymmetric_quantize_inputs"))
    scales, zeros = low.scales(value)
    if any(zeros) or len(scales) not in (1, n):
        raise low.lacking("8-bit weights under float activations: zero points of 0, one scale or one per row")
    exact = k * LEVELS[asymmetric] * 128 <= EXACT
    levels, span = rounded(low, x, (rows, k), 1, asymmetric, exact)
    stored = low.map(
        signed(value.dtype, load(0)), [weights], low.temp((n, k), DType.F32 if exact else DType.I8)
    )
    views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, n, 1))
    sums = low.temp((rows, n), DType.F32 if exact else DType.I32)
    low.emit(Gemm(1, rows, n, k, *views, Clamp() if exact else None), [levels, stored], sums)
    step = call("mul", call("div", load(1), const(LEVELS[asymmetric])), load(2))
    real = call("mul", load(0), step)
    operands = [sums, span, low.constant(np.array(scales, np.float32)), *bias]
    return low.map(call("add", real, load(3)) if bias else real, operands, low.temp((rows, n), DType.F32))


def signed(dtype: DType, stored: Program) -> Program:
    """A stored weight, whose byte TFLite's hybrid kernels take for a signed one."""
    if dtype is not DType.U8:
        return stored
    return call("sub", stored, call("mul", const(256.0), call("gt", stored, const(127.0))))


def rounded(
    low: Lowering, x: int, shape: Shape, axes: int, asymmetric: bool, floats: bool
) -> tuple[int, int]:
    """(levels, span) of a value as `shape`: whole numbers about zero, as `floats` or as int16, and the span
    of each slice, which the first `axes` axes count.

    TFLite's AsymmetricQuantizeFloats less its zero point, or SymmetricQuantizeFloats. A slice of zeros spans
    one step per level, which leaves it zero.
    """
    rows, width = math.prod(shape[:axes]), math.prod(shape[axes:])
    per_row = (*shape[:axes], *(1,) * (len(shape) - axes))
    all_of = Region(0, dense((rows * width,)), dense((rows * width,)), (rows * width,))
    x = low.raster([all_of], [x], low.temp(shape, DType.F32))
    lowest = low.emit(Reduce("min", rows, width, 1), [x], low.temp(per_row, DType.F32))
    highest = low.emit(Reduce("max", rows, width, 1), [x], low.temp(per_row, DType.F32))
    bottom, top = call("min", load(0), const(0.0)), call("max", load(1), const(0.0))
    extent = call("sub", top, bottom) if asymmetric else call("max", call("neg", bottom), top)
    steps = const(LEVELS[asymmetric])
    nonzero = call("select", call("eq", extent, const(0.0)), steps, extent)
    span = low.map(nonzero, [lowest, highest], low.temp(per_row, DType.F32))
    levels = low.temp(shape, DType.F32 if floats else DType.I16)
    if not asymmetric:
        level = call("round_away", call("mul", load(0), call("div", steps, load(1))))
        return low.map(call("clamp", level, args=(-127.0, 127.0)), [x, span], levels), span
    step: Program = call("div", load(1), steps)
    below = call("sub", const(-128.0), call("div", bottom, step))
    nearest = call("round_away", call("clamp", below, args=(-128.0, 127.0)))
    zero = low.map(nearest, [lowest, span], low.temp(per_row, DType.F32))
    level = call("round_away", call("add", load(2), call("mul", load(0), call("div", const(1.0), step))))
    centred = call("sub", call("clamp", level, args=(-128.0, 127.0)), load(2))
    return low.map(centred, [x, span, zero], levels), span
