"""Matrix products: one GEMM, whose views transpose its operands and broadcast its batches."""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.atoms import Gemm, View
from runtime.decompose.hybrid import hybrid
from runtime.decompose.product import LEVELS_TYPES, epilogue, finished, product, summed, zero_points
from runtime.decompose.rule import Lowering
from runtime.graph import DType
from runtime.strides import broadcast, dense


def fully_connected(low: Lowering) -> None:
    if low.x.attr("weights_format"):
        raise low.lacking("shuffled weights")
    units, k = low.x.shape(1)
    a_zero, b_zero = zero_points(low)
    m = low.x.value(0).elements // k
    views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, units, 1))
    product(low, low.node.inputs[0], Gemm(1, m, units, k, *views, None, a_zero, b_zero))


def batch_matmul(low: Lowering) -> None:
    a, b = low.x.value(0), low.x.value(1)
    *batches, m, n = low.out.shape
    count, k = math.prod(batches), a.shape[-2 if low.x.attr("adj_x") else -1]
    (left, a_step), (right, b_step) = _batched(low, 0, tuple(batches)), _batched(low, 1, tuple(batches))
    a_view = View(0, (a_step, 1, m) if low.x.attr("adj_x") else (a_step, k, 1))
    b_view = View(0, (b_step, 1, k) if low.x.attr("adj_y") else (b_step, n, 1))
    gemm = Gemm(count, m, n, k, a_view, b_view, View(0, (m * n, n, 1)), None)
    inner = Lowering(low.values, replace(low.node, inputs=(left, right)), low.kernels)
    if (a.dtype, b.dtype, low.out.dtype) in ((DType.I8, DType.I8, DType.I32), LEVELS_TYPES):
        inner.emit(gemm, [left, right])  # bare sums of stored values: TFLite takes no zero points off
    elif low.out.dtype is DType.I16:
        zero_points(low)
        finished(inner, summed(inner, left, gemm))
    elif low.out.dtype is DType.U8:
        low.types()
    else:
        zeros = zero_points(low)
        inner.emit(replace(gemm, epilogue=epilogue(low), a_zero=zeros[0], b_zero=zeros[1]), [left, right])
    low.nodes += inner.nodes


def upright(low: Lowering) -> None:
    """Dynamic ranges are those of rows, so a left matrix of floats on int8 is transposed first."""
    x = low.x.value(0)
    if not (low.x.attr("adj_x") and x.dtype is DType.F32 and low.x.value(1).dtype is DType.I8):
        hybrid(batch_matmul)(low)
        return
    strides, shape = list(dense(x.shape).strides), (*x.shape[:-2], x.shape[-1], x.shape[-2])
    turned = View(0, (*strides[:-2], strides[-1], strides[-2]))
    left = low.copy(turned, shape, low.temp(shape, x.dtype))
    node = replace(low.node, inputs=(left, low.node.inputs[1]), attrs={**low.node.attrs, "adj_x": False})
    inner = Lowering(low.values, node, low.kernels)
    hybrid(batch_matmul)(inner)
    low.nodes += inner.nodes


def _batched(low: Lowering, operand: int, batches: tuple[int, ...]) -> tuple[int, int]:
    """(value, elements from one matrix to the next): an operand broadcast in part is written out in full."""
    value = low.x.value(operand)
    shape = value.shape
    own, matrix = math.prod(shape[:-2]), shape[-2:]
    if own == math.prod(batches):
        return low.node.inputs[operand], math.prod(matrix)
    if own == 1:
        return low.node.inputs[operand], 0
    full = (*batches, *matrix)
    copied = low.copy(broadcast(shape, full), full, low.temp(full, value.dtype), operand)
    low.values[copied] = replace(low.values[copied], quantization=value.quantization)
    return copied, math.prod(matrix)


RULES = {"FULLY_CONNECTED": hybrid(fully_connected), "BATCH_MATMUL": upright}
