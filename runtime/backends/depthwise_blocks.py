"""A depthwise convolution in the order in which `ckernels/depthwise_vnni.c` takes its constants."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.atoms import Requantize
from runtime.fused import Depthwise
from runtime.graph import Array

BLOCK = 64
HALF = 32
"""Lanes of a block, of which a rest that is not larger has two rows."""
SMALLEST_SHIFT, LARGEST_SHIFT = -31, -2
"""Of a quick rescaling (`ckernels/lanes.h`)."""
INT8 = np.iinfo(np.int8)


def in_blocks(fused: Depthwise, is_signed: bool) -> Depthwise | None:
    """Weights (int8) as [block][taps / 4][64 lanes][4], the rest as [block][64 lanes]; None where a weight
    has more than 8 bits, or a rescaling is not a quick one.
    """
    last, weights = fused.epilogue, fused.weights
    if not isinstance(last, Requantize) or weights.min() < INT8.min or weights.max() > INT8.max:
        return None
    taps, channels = weights.shape
    multiplier, shift = (
        np.broadcast_to(np.array(row, np.int32), channels) for row in (last.multiplier, last.shift)
    )
    if shift.max() > LARGEST_SHIFT:
        return None
    lanes = lanes_of(channels)
    none = lanes < 0
    groups = np.zeros((-(-taps // 4) * 4, lanes.size), np.int8)
    groups[:taps] = np.where(none, 0, weights[:, lanes])
    # To the kernel bytes have no sign: it adds 128 to those that have one.
    bias = fused.bias - (fused.in_zero + 128 * is_signed) * weights.sum(0, dtype=np.int32)
    scale = np.where(none, 0, multiplier[lanes]), np.where(none, SMALLEST_SHIFT, shift[lanes])
    return replace(
        fused,
        weights=np.ascontiguousarray(groups.reshape(-1, 4, lanes.size // BLOCK, BLOCK).transpose(2, 0, 3, 1)),
        bias=np.where(none, 0, bias[lanes]),
        epilogue=replace(last, multiplier=tuple(scale[0].tolist()), shift=tuple(scale[1].tolist())),
    )


def lanes_of(channels: int) -> Array:
    """The channel of each lane, -1 for none."""
    sums, quarters, i = np.ogrid[:4, :4, :4]
    inside = (16 * quarters + 4 * sums + i).reshape(-1)
    first = np.arange(0, channels, BLOCK)[:, None]
    lanes = first + np.where(channels - first <= HALF, inside % HALF, inside)
    return np.where(lanes < channels, lanes, -1).reshape(-1)
