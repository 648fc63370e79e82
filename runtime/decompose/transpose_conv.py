"""Transposed convolution: GEMM of every input element with every tap, RASTER adds where windows overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from runtime.atoms import Gemm, Raster, Region, View
from runtime.decompose.hybrid import hybrid
from runtime.decompose.product import finished, sum_type, summed, zero_points
from runtime.decompose.rule import Lowering
from runtime.shapes.conv import window
from runtime.strides import dense


def transpose_conv(low: Lowering) -> None:
    """Operands of the file: output shape, weights, data, bias; of the rule below: data, weights, bias."""
    _, weights, data, *bias = low.node.inputs
    inner = Lowering(low.values, replace(low.node, inputs=(data, weights, *bias)), low.kernels)
    hybrid(spread)(inner)
    low.nodes += inner.nodes


def spread(low: Lowering) -> None:
    """Sums of shape (batch, height, width, units, taps), added up where they fall, then cut to the output."""
    batch, height, width, depth = low.x.shape(0)
    units, *kernel, _ = low.x.shape(1)
    stride = low.x.attr("stride_h"), low.x.attr("stride_w")
    m, n = batch * height * width, units * math.prod(kernel)
    views = View(0, (0, depth, 1)), View(0, (0, 1, depth)), View(0, (0, n, 1))
    taps = summed(
        low,
        low.node.inputs[0],
        Gemm(1, m, n, depth, *views, None, *zero_points(low)),
        (batch, height, width, units, *kernel),
    )
    full = [(size - 1) * s + k for size, s, k in zip((height, width), stride, kernel, strict=True)]
    added = low.temp((batch, *full, units), sum_type(low))
    image, row, column, _ = dense((batch, *full, units)).strides
    target = View(0, (image, stride[0] * row, stride[1] * column, 1, row, column))
    sizes = low.values[taps].shape
    low.emit(Raster((Region(0, dense(sizes), target, sizes),), mode="add"), [taps], added)
    finished(low, cut(low, added, zip(low.out.shape[1:3], kernel, stride, strict=True)))


def cut(low: Lowering, added: int, axes: Iterable[tuple[int, ...]]) -> int:
    """The output's part of what was added up; nothing falls on an output element beyond it.

    `axes` gives (output size, kernel, stride and, where there is one, dilation) of each spatial axis.
    """
    batch, *full, units = low.values[added].shape
    before = [window(low.x.attr("padding"), *axis)[1] for axis in axes]
    part = [min(f - b, o) for f, b, o in zip(full, before, low.out.shape[1:-1], strict=True)]
    if (batch, *part, units) == (batch, *full, units) == low.out.shape:
        return added
    source, target = dense((batch, *full, units)).strides, dense(low.out.shape)
    start = sum(b * stride for b, stride in zip(before, source[1:-1], strict=True))
    region = Region(0, View(start, source), target, (batch, *part, units))
    return low.raster([region], [added], low.temp(low.out.shape, sum_type(low)), fill=0)


RULES = {"TRANSPOSE_CONV": transpose_conv}
