"""Convolutions: RASTER gathers the windows (im2col), GEMM multiplies, rounds and clamps.

The integer arithmetic is that of TFLite's kernels: s32 sums, one fixed-point multiplier per output channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from runtime.atoms import Clamp, Gemm, Region, Requantize, View
from runtime.decompose.hybrid import hybrid
from runtime.decompose.rule import BYTES, Lowering, bounded, call, const, load
from runtime.graph import ABSENT, DType
from runtime.quantized import float32_product
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


# ---------------------------------------------------------------- arithmetic shared by the rules


def zero_points(low: Lowering) -> tuple[int, int]:
    """Of input and weights; (0, 0) for floats."""
    x, weights = low.x.value(0), low.x.value(1)
    types = {x.dtype, weights.dtype, low.out.dtype}
    if types == {DType.F32}:
        return 0, 0
    if len(types) != 1 or x.dtype not in BYTES:
        low.types()
    weight_zeros = set(low.scales(weights)[1])
    if len(weight_zeros) != 1:
        raise low.lacking("weights with different zero points")
    return low.quantized(x)[1], weight_zeros.pop()


def multipliers(low: Lowering) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(multipliers, shifts) that take s32 sums to the output's scale, one pair or one per output channel.

    Scales are float32. TFLite multiplies input and weight scale in float32 where the weights have one scale
    and the operator is FULLY_CONNECTED or the type is uint8, in double otherwise.
    """
    (scale, _), (weights, _), (out, _) = (
        low.quantized(low.x.value(0)), low.scales(low.x.value(1)), low.quantized(low.out),
    )  # fmt: skip
    narrow = len(weights) == 1 and (low.node.op == "FULLY_CONNECTED" or low.out.dtype is DType.U8)
    products = [float32_product(scale, w) if narrow else scale * w for w in weights]
    pairs = [low.factor(product / out) for product in products]
    return tuple(m for m, _ in pairs), tuple(s for _, s in pairs)


def epilogue(low: Lowering) -> Clamp | Requantize:
    if low.out.dtype is DType.F32:
        return Clamp(*low.float_range())
    up = low.kernels == "builtin" and low.out.dtype is DType.I8
    zero_point = low.quantized(low.out)[1]
    return Requantize(*multipliers(low), zero_point, *low.stored_range(), "up" if up else "away")


def bias(low: Lowering) -> list[int]:
    """The bias operand, where there is one, of the type that the sums have."""
    if len(low.node.inputs) < 3 or low.node.inputs[2] == ABSENT:
        return []
    if low.x.value(2).dtype is not (DType.F32 if low.out.dtype is DType.F32 else DType.I32):
        low.types()
    return [low.node.inputs[2]]


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
    if groups == 1:
        low.emit(Gemm(1, m, n, k, *views, epilogue(low), *zeros), [a, low.node.inputs[1], *bias(low)])
    else:
        batched(low, a, Gemm(groups, m, n, k, *views, None, *zeros))


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
    batched(low, a, Gemm(channels, m, n, k, *views, None, *zeros))


def batched(low: Lowering, a: int, gemm: Gemm) -> None:
    """A GEMM whose epilogue differs between batches: plain sums, then a MAP for bias, rounding and clamp."""
    floats, given = low.out.dtype is DType.F32, bias(low)
    sums = low.temp(low.out.shape, DType.F32 if floats else DType.I32)
    low.emit(replace(gemm, epilogue=Clamp() if floats else None), [a, low.node.inputs[1]], sums)
    biased = call("add", load(0), load(1)) if given else load(0)
    if floats:
        low.map(bounded(biased, low.float_range()), [sums, *given])
        return
    multiplier, shift = (low.constant(np.array(numbers, np.int32)) for numbers in multipliers(low))
    scaled = call("mulq_by", biased, load(1 + len(given)), load(2 + len(given)))
    program = call("clamp", call("add", scaled, const(low.quantized(low.out)[1])), args=low.stored_range())
    low.map(program, [sums, *given, multiplier, shift], compute="i32")


RULES = {
    "CONV_2D": hybrid(conv),
    "DEPTHWISE_CONV_2D": hybrid(depthwise),
}
