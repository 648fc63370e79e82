"""Pooling: RASTER gathers the windows, REDUCE takes their sum or maximum, MAP divides and clamps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from runtime.atoms import Reduce
from runtime.decompose.conv import Windows, patches, windows
from runtime.decompose.rule import ACTIVATIONS, BYTES, Lowering, bounded, call, const, load
from runtime.graph import Array, DType


def max_pool(low: Lowering) -> None:
    """Outside the input lies the least value of the type, which no window can choose."""
    check_types(low)
    floats, free = low.out.dtype is DType.F32, low.float_range() == ACTIVATIONS["NONE"]
    least = -math.inf if floats else int(np.iinfo(low.out.dtype.numpy).min)
    sliding = windows(low, (low.x.attr("filter_height"), low.x.attr("filter_width")))
    highest = reduce_windows(low, sliding, "max", least, None if free else low.out.dtype)
    if not free:
        bounds = low.float_range() if floats else low.stored_range()
        low.map(bounded(load(0), bounds), [highest], compute="f32" if floats else "i32")


def average_pool(low: Lowering) -> None:
    """Padding counts for nothing: it adds zero, and the divisor is how many elements lie inside the input."""
    check_types(low)
    floats = low.x.value(0).dtype is DType.F32
    sliding = windows(low, (low.x.attr("filter_height"), low.x.attr("filter_width")))
    sums = reduce_windows(low, sliding, "sum", 0, DType.F32 if floats else DType.I32)
    inputs, divisor = [sums], const(math.prod(sliding.kernel))
    if sliding.pads != ((0, 0), (0, 0)):
        dtype = np.float32 if floats else np.int32
        inputs += [low.constant(counts.astype(dtype)) for counts in inside(low, sliding)]
        divisor = call("mul", load(1), load(2))
    if floats:
        low.map(bounded(call("div", load(0), divisor), low.float_range()), inputs)
    else:
        mean = call("div_round", load(0), divisor)
        low.map(call("clamp", mean, args=low.stored_range()), inputs, compute="i32")


def l2_pool(low: Lowering) -> None:
    """The root of the mean of squares, of floats: an average pool between two MAPs."""
    if {low.x.value(0).dtype, low.out.dtype} != {DType.F32}:
        low.types()
    squares = low.map(call("square", load(0)), low.node.inputs, low.temp(low.x.shape(0), DType.F32))
    mean = low.temp(low.out.shape, DType.F32)
    attrs = {**low.node.attrs, "fused_activation_function": "NONE"}
    node = replace(low.node, inputs=(squares,), outputs=(mean,), attrs=attrs)
    inner = Lowering(low.values, node, low.kernels)
    average_pool(inner)
    low.nodes += inner.nodes
    low.map(bounded(call("sqrt", load(0)), low.float_range()), [mean])


def check_types(low: Lowering) -> None:
    x = low.x.value(0)
    if x.dtype is not low.out.dtype or x.dtype not in (DType.F32, *BYTES, DType.I16):
        low.types()


def reduce_windows(low: Lowering, sliding: Windows, op: str, fill: float, dtype: DType | None) -> int:
    """One number per window and channel, into a new value of type `dtype`, or into the output for None."""
    gathered = patches(low, sliding, fill)
    _, outer, axis, inner = low.values[gathered].shape
    target = low.node.outputs[0] if dtype is None else low.temp(low.out.shape, dtype)
    return low.emit(Reduce(op, outer, axis, inner), [gathered], target)  # type: ignore[arg-type]


def inside(low: Lowering, sliding: Windows) -> tuple[Array, Array]:
    """How many rows (out height, 1, 1) and columns (out width, 1) of the input each window covers."""
    counts = []
    for axis, size in enumerate(low.x.shape(0)[1:3]):
        start = np.arange(sliding.out[axis]) * sliding.stride[axis] - sliding.pads[axis][0]
        counts.append(np.minimum(start + sliding.kernel[axis], size) - np.maximum(start, 0))
    return counts[0].reshape(-1, 1, 1), counts[1].reshape(-1, 1)


RULES = {"AVERAGE_POOL_2D": average_pool, "MAX_POOL_2D": max_pool, "L2_POOL_2D": l2_pool}
