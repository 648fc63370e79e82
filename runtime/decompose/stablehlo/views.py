"""StableHLO's transform operators: one RASTER each, or what TFLite's twin is."""

from __future__ import annotations

import numpy as np

from runtime.atoms import View
from runtime.decompose.pads import place
from runtime.decompose.rule import Lowering
from runtime.decompose.views import alias, join, permute
from runtime.shapes.stablehlo.views import SLICE, pads
from runtime.strides import dense


def transpose(low: Lowering) -> None:
    permute(low, low.x.attr("permutation"))


def broadcast_in_dim(low: Lowering) -> None:
    shape, steps = low.x.shape(0), [0] * len(low.out.shape)
    axes = low.x.attr("broadcast_dimensions")
    for axis, size, step in zip(axes, shape, dense(shape).strides, strict=True):
        steps[axis] = 0 if size == 1 else step
    low.copy(View(0, tuple(steps)), low.out.shape)


def concatenate(low: Lowering) -> None:
    shapes = [low.x.listed(i) for i in range(len(low.node.inputs))]
    axis = low.x.axis(low.x.attr("dimension"), len(low.out.shape))
    join(low, list(low.node.inputs), shapes, low.out.shape, axis)


def slice_(low: Lowering) -> None:
    strides, (starts, _, steps) = dense(low.x.shape(0)).strides, (low.x.attr(name) for name in SLICE)
    start = sum(begin * stride for begin, stride in zip(starts, strides, strict=True))
    taken = tuple(step * stride for step, stride in zip(steps, strides, strict=True))
    low.copy(View(start, taken), low.out.shape)


def pad(low: Lowering) -> None:
    axes = pads(low.x)
    place(low, [before for before, _, _ in axes], [between + 1 for _, _, between in axes], background=1)


def iota(low: Lowering) -> None:
    """Numbers from 0 on along one axis."""
    along = [1] * len(low.out.shape)
    along[low.x.attr("iota_dimension")] = -1
    numbers = np.arange(low.out.shape[low.x.attr("iota_dimension")])
    low.given(np.broadcast_to(numbers.reshape(along), low.out.shape))


RULES = {
    "STABLEHLO_RESHAPE": alias,
    "STABLEHLO_BROADCAST_IN_DIM": broadcast_in_dim,
    "STABLEHLO_TRANSPOSE": transpose,
    "STABLEHLO_CONCATENATE": concatenate,
    "STABLEHLO_SLICE": slice_,
    "STABLEHLO_PAD": pad,
    "STABLEHLO_IOTA": iota,
}
