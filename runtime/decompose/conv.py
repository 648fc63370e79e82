"""Convolutions: RASTER gathers the windows (im2col), GEMM multiplies, rounds and clamps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from runtime.atoms import Gemm, Region, View
from runtime.decompose.hybrid import hybrid
from runtime.decompose.product import finished, product, summed, zero_points
from runtime.decompose.rule import Lowering
from runtime.shapes.conv import window
from runtime.strides import dense

MAX_GROUPS = 1024
"""Of a grouped convolution: each is one region of a RASTER."""

# ---------------------------------------------------------------- sliding windows


@dataclass(frozen=True, slots=True)
class Windows:
    """A window of `kernel` sliding over an NHWC tensor: everything in (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    out: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]

    @property
    def trivial(self) -> bool:
        """Each window is one element and all of them are used: the patches are the tensor itself."""
        return self.kernel == self.stride == (1, 1) and self.pads == ((0, 0), (0, 0))


def windows(low: Lowering, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Windows:
    stride = low.x.attr("stride_h"), low.x.attr("stride_w")
    outs, pads = [], []
    for size, k, s, d in zip(low.x.shape(0)[1:3], kernel, stride, dilation, strict=True):
        out, before = window(low.x.attr("padding"), size, k, s, d)
        outs.append(out)
        pads.append((before, max((out - 1) * s + (k - 1) * d + 1 - before - size, 0)))
    return Windows(kernel, stride, dilation, (outs[0], outs[1]), (pads[0], pads[1]))


def patches(low: Lowering, sliding: Windows, fill: float, groups: int = 1) -> int:
    """im2col: a value of shape (groups, batch·out, kernel, depth); outside the input lies `fill`."""
    padded = low.padded(low.node.inputs[0], [(0, 0), *sliding.pads, (0, 0)], fill)
    batch, height, width, channels = low.values[padded].shape
    depth, (stride_h, stride_w), (dilation_h, dilation_w) = (
        channels // groups,
        sliding.stride,
        sliding.dilation,
    )
    row = width * channels
    source = (height * row, stride_h * row, stride_w * channels, dilation_h * row, dilation_w * channels, 1)
    sizes = (batch, *sliding.out, *sliding.kernel, depth)
    regions = [
        Region(0, View(g * depth, source), dense(sizes, offset=g * math.prod(sizes)), sizes)
        for g in range(groups)
    ]
    shape = groups, batch * math.prod(sliding.out), math.prod(sliding.kernel), depth
    return low.raster(regions, [padded], low.temp(shape, low.values[padded].dtype))


# ---------------------------------------------------------------- rules


def conv(low: Lowering) -> None:
    """GEMM of patches (m, k) and weights (n, k); a group is a batch of it."""
    batch, _, _, channels = low.x.shape(0)
    units, height, width, depth = low.x.shape(1)
    zeros, groups = zero_points(low), channels // depth
    if groups > MAX_GROUPS:
        raise low.lacking(f"{groups} groups, at most {MAX_GROUPS}")
    sliding = windows(
        low, (height, width), (low.x.attr("dilation_h_factor"), low.x.attr("dilation_w_factor"))
    )
    a = low.node.inputs[0] if sliding.trivial and groups == 1 else patches(low, sliding, zeros[0], groups)
    m, k, n = batch * math.prod(sliding.out), height * width * depth, units // groups
    views = View(0, (m * k, k, 1)), View(0, (n * k, 1, k)), View(0, (n, units, 1))
    product(low, a, Gemm(groups, m, n, k, *views, None, *zeros))


def depthwise(low: Lowering) -> None:
    """GEMM with one batch per input channel and k = the elements of the window."""
    batch, _, _, channels = low.x.shape(0)
    _, height, width, units = low.x.shape(1)
    zeros = zero_points(low)
    sliding = windows(
        low, (height, width), (low.x.attr("dilation_h_factor"), low.x.attr("dilation_w_factor"))
    )
    a = low.node.inputs[0] if sliding.trivial else patches(low, sliding, zeros[0])
    m, k, n = batch * math.prod(sliding.out), height * width, units // channels
    views = View(0, (1, k * channels, channels)), View(0, (n, units, 1)), View(0, (n, units, 1))
    finished(low, summed(low, a, Gemm(channels, m, n, k, *views, None, *zeros)))


RULES = {
    "CONV_2D": hybrid(conv),
    "DEPTHWISE_CONV_2D": hybrid(depthwise),
}
