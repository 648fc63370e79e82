"""Matrix products: one GEMM, whose views transpose and broadcast its operands."""

from __future__ import annotations

import math

from runtime.atoms import Clamp, Gemm, View
from runtime.decompose.hybrid import hybrid
from runtime.decompose.product import product, zero_points
from runtime.decompose.rule import Lowering
from runtime.graph import DType, Shape


def fully_connected(low: Lowering) -> None:
    if low.x.attr("weights_format"):
        raise low.lacking("shuffled weights")
    units, k = low.x.shape(1)
    a_zero, b_zero = zero_points(low)
    m = low.x.value(0).elements // k
    views = View(0, (0, k, 1)), View(0, (0, 1, k)), View(0, (0, units, 1))
    product(low, low.node.inputs[0], Gemm(1, m, units, k, *views, None, a_zero, b_zero))


def batch_matmul(low: Lowering) -> None:
    """Float only. One batch stride serves each operand: equal batches, or one of them a single matrix."""
    a, b, out = low.x.value(0), low.x.value(1), low.out
    if {a.dtype, b.dtype, out.dtype} != {DType.F32}:
        low.types()
    *batches, m, n = out.shape
    count, k = math.prod(batches), a.shape[-2 if low.x.attr("adj_x") else -1]
    strides = [_batch_stride(low, value.shape, tuple(batches)) for value in (a, b)]
    a_view = View(0, (strides[0], 1, m) if low.x.attr("adj_x") else (strides[0], k, 1))
    b_view = View(0, (strides[1], 1, k) if low.x.attr("adj_y") else (strides[1], n, 1))
    low.emit(Gemm(count, m, n, k, a_view, b_view, View(0, (m * n, n, 1)), Clamp()), low.node.inputs)


def _batch_stride(low: Lowering, shape: Shape, batches: Shape) -> int:
    own = math.prod(shape[:-2])
    if own not in (1, math.prod(batches)):
        raise low.lacking(f"batches of {shape} are broadcast in part")
    return 0 if own == 1 else shape[-1] * shape[-2]


RULES = {"FULLY_CONNECTED": hybrid(fully_connected), "BATCH_MATMUL": batch_matmul}
