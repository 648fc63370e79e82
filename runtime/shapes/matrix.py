"""Shapes of matrix products."""

from __future__ import annotations

import math

import numpy as np

from runtime.graph import Shape
from runtime.shapes.conv import bias
from runtime.shapes.operands import Operands, Rule


def _fully_connected(x: Operands) -> list[Shape]:
    shape, (units, depth) = x.shape(0), x.shape(1, rank=2)
    bias(x, units)
    if x.attr("keep_num_dims"):
        if not shape or shape[-1] != depth:
            raise x.bad(f"input {shape} does not end in {depth}")
        return [(*shape[:-1], units)]
    if math.prod(shape) % depth:
        raise x.bad(f"{math.prod(shape)} elements are not rows of {depth}")
    return [(math.prod(shape) // depth, units)]


def _batch_matmul(x: Operands) -> list[Shape]:
    a, b = x.shape(0), x.shape(1)
    if len(a) < 2 or len(b) < 2:
        raise x.bad(f"shapes {a} and {b}, expected rank 2 or more")
    (rows, inner), (depth, columns) = a[-2:], b[-2:]
    if x.attr("adj_x"):
        rows, inner = inner, rows
    if x.attr("adj_y"):
        depth, columns = columns, depth
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise x.bad(f"batches {a[:-2]} and {b[:-2]} do not broadcast together") from None
    if inner != depth:
        raise x.bad(f"inner sizes {inner} and {depth} differ")
    return [(*batch, rows, columns)]


RULES: dict[str, Rule] = {"FULLY_CONNECTED": _fully_connected, "BATCH_MATMUL": _batch_matmul}
