"""Convolutions in three dimensions, on floats: one region of a RASTER for each (depth, row) of the kernel."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product as pairs

from runtime.atoms import Gemm, Raster, Region, View
from runtime.decompose.conv import MAX_GROUPS
from runtime.decompose.product import finished, product, summed, zero_points
from runtime.decompose.rule import Lowering
from runtime.decompose.transpose_conv import cut
from runtime.graph import DType
from runtime.shapes.conv import spatial, window
from runtime.strides import dense


def conv_3d(low: Lowering) -> None:
    """GEMM of patches (m, kernel · depth) and weights as they stand."""
    refuse(low, low.x.shape(1)[:2])
    batch, *out, units = low.out.shape
    *kernel, depth, _ = low.x.shape(1)
    strides, dilation = spatial(low.x)
    pads = []
    for size, o, k, s, d in zip(low.x.shape(0)[1:4], out, kernel, strides, dilation, strict=True):
        before = window(low.x.attr("padding"), size, k, s, d)[1]
        pads.append((before, max((o - 1) * s + (k - 1) * d + 1 - before - size, 0)))
    padded = low.padded(low.node.inputs[0], [(0, 0), *pads, (0, 0)], 0)
    image, plane, row, column, _ = dense(low.values[padded].shape).strides
    step = (image, strides[0] * plane, strides[1] * row, strides[2] * column, dilation[2] * column, 1)
    target = dense((batch, *out, math.prod(kernel), depth)).strides
    regions = []
    for i, (z, y) in enumerate(pairs(range(kernel[0]), range(kernel[1]))):
        source = View(z * dilation[0] * plane + y * dilation[1] * row, step)
        sizes = (batch, *out, kernel[2], depth)
        regions.append(Region(0, source, View(i * kernel[2] * depth, target), sizes))
    m, k = batch * math.prod(out), math.prod(kernel) * depth
    patches = low.raster(regions, [padded], low.temp((m, k), DType.F32))
    views = View(0, (0, k, 1)), View(0, (0, units, 1)), View(0, (0, units, 1))
    product(low, patches, Gemm(1, m, units, k, *views, None))


def conv_3d_transpose(low: Lowering) -> None:
    """Operands of the file: output shape, weights, data, bias; of the rule below: data, weights, bias."""
    _, weights, data, *bias = low.node.inputs
    inner = Lowering(low.values, replace(low.node, inputs=(data, weights, *bias)), low.kernels)
    spread(inner)
    low.nodes += inner.nodes


def spread(low: Lowering) -> None:
    """Sums of shape (batch, depth, height, width, taps, units), added up where they fall, then cut."""
    refuse(low, low.x.shape(1)[:2])
    batch, *sizes, depth = low.x.shape(0)
    *kernel, units, _ = low.x.shape(1)
    strides, dilation = spatial(low.x)
    m, n = batch * math.prod(sizes), math.prod(kernel) * units
    views = View(0, (0, depth, 1)), View(0, (0, 1, depth)), View(0, (0, n, 1))
    taps = summed(low, low.node.inputs[0], Gemm(1, m, n, depth, *views, None), (m, n))
    axes = list(zip(sizes, kernel, strides, dilation, strict=True))
    full = (batch, *((size - 1) * s + (k - 1) * d + 1 for size, k, s, d in axes), units)
    image, plane, row, column, _ = dense(full).strides
    source = dense((batch, *sizes, math.prod(kernel), units)).strides
    target = (image, strides[0] * plane, strides[1] * row, strides[2] * column, dilation[2] * column, 1)
    regions = []
    for i, (z, y) in enumerate(pairs(range(kernel[0]), range(kernel[1]))):
        to = View(z * dilation[0] * plane + y * dilation[1] * row, target)
        regions.append(Region(0, View(i * kernel[2] * units, source), to, (batch, *sizes, kernel[2], units)))
    added = low.emit(Raster(tuple(regions), mode="add"), [taps], low.temp(full, DType.F32))
    finished(low, cut(low, added, zip(low.out.shape[1:4], kernel, strides, dilation, strict=True)))


def refuse(low: Lowering, rows: tuple[int, ...]) -> None:
    """All but floats, and kernels of more rows than a RASTER should have regions."""
    if low.out.dtype is not DType.F32 or zero_points(low) != (0, 0):
        low.types()
    if math.prod(rows) > MAX_GROUPS:
        raise low.lacking(f"a kernel of {math.prod(rows)} rows, at most {MAX_GROUPS}")


RULES = {"CONV_3D": conv_3d, "CONV_3D_TRANSPOSE": conv_3d_transpose}
