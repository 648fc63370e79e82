"""Pools: the GRAPH operator over up to two axes, element-wise chains for more axes and for dilation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.graph import Array, DType
from runtime.importers.onnx.translation import Row, Translation
from runtime.importers.onnx.windows import (
    ATTRIBUTES,
    Axis,
    axes,
    channels_first,
    channels_last,
    flat,
    same,
    spatial,
    surrounded,
)

MAX_TAPS = 64
"""Elements of a window along one axis, where each is an operator of its own."""
POOL = {**ATTRIBUTES, "ceil_mode": 0}


def _axes(t: Translation, x: int) -> list[Axis]:
    shape = t.shape(x)
    if len(shape) < 3 or t.attr("kernel_shape") is None:
        raise t.bad(
            f"input {shape} and kernel_shape {t.attr('kernel_shape')}, expected rank >= 3 and a kernel"
        )
    found = axes(t, shape[2:], spatial(t, "kernel_shape", len(shape) - 2))
    if any(axis.before >= axis.reach or axis.after >= axis.reach for axis in found):
        raise t.bad("pads are as large as the window")
    return found


def max_pool(t: Translation) -> int:
    x = t.input(0)
    if len(t.step.outputs) > 1 and t.step.outputs[1]:
        raise t.lacking("the output Indices")
    if t.dtype(x) not in (DType.F32, DType.I8, DType.U8):
        raise t.lacking(f"element type {t.dtype(x).value}, expected f32, i8 or u8")
    least = -math.inf if t.dtype(x) is DType.F32 else float(np.iinfo(t.dtype(x).numpy).min)
    found = _axes(t, x)
    if not _is_image(found):
        return _chained(t, x, found, "MAXIMUM", least)
    return _image_pool(t, x, found, "MAX_POOL_2D", least, same(flat(found)))


def average_pool(t: Translation) -> int:
    """Sums over how many elements count: those of the input, or also those of the padding."""
    x = t.input(0)
    found = _axes(t, x)
    counts = [_counts(axis, bool(t.attr("count_include_pad"))) for axis in found]
    whole = all((count == axis.kernel).all() for count, axis in zip(counts, found, strict=True))
    if not _is_image(found):
        sums, taken = _chained(t, x, found, "ADD", 0.0), 1
    else:
        inside = not t.attr("count_include_pad") and same(flat(found))
        sums = _image_pool(t, x, found, "AVERAGE_POOL_2D", 0.0, inside)
        if whole or inside:
            return sums
        taken = math.prod(axis.kernel for axis in found)
    factor = np.array(taken, np.float32)
    for i, count in enumerate(counts):
        factor = factor / count.reshape(-1, *(1,) * (len(found) - i - 1)).astype(np.float32)
    return t.emit("MUL", sums, t.constant(factor))


def _counts(axis: Axis, with_padding: bool) -> Array:
    """How many elements of each window count."""
    places = np.arange(axis.out)[:, None] * axis.stride + np.arange(axis.kernel) * axis.dilation - axis.before
    least, most = (-axis.before, axis.size + axis.after) if with_padding else (0, axis.size)
    counts: Array = np.maximum(((places >= least) & (places < most)).sum(axis=1), 1)
    return counts


def _is_image(axes: Sequence[Axis]) -> bool:
    return len(axes) <= 2 and all(axis.dilation == 1 for axis in axes)


def _image_pool(t: Translation, x: int, axes: Sequence[Axis], op: str, fill: float, by_rule: bool) -> int:
    """The GRAPH operator; it pads by TensorFlow's rule for SAME itself, where the model's pads are those."""
    height, width = flat(axes)
    image = channels_last(t, x)
    image = image if by_rule else surrounded(t, image, (height, width), fill)
    attrs: dict[str, Any] = {
        "stride_h": height.stride,
        "stride_w": width.stride,
        "padding": "SAME" if by_rule else "VALID",
    }
    out = t.emit(op, image, filter_height=height.kernel, filter_width=width.kernel, **attrs)
    return channels_first(t, out, len(t.shape(x)))


def _chained(t: Translation, x: int, axes: Sequence[Axis], op: str, fill: float) -> int:
    """One axis after the other: the elements of a window as strided slices, joined by an operator."""
    if max(axis.kernel for axis in axes) > MAX_TAPS:
        raise t.lacking(f"a window of {max(axis.kernel for axis in axes)} elements, at most {MAX_TAPS}")
    for position, axis in enumerate(axes, 2):
        pads = [(0, 0)] * len(t.shape(x))
        pads[position] = (axis.before, axis.after + axis.beyond)
        wide = t.pad(x, pads, fill)
        taps = [
            t.every(wide, position, tap * axis.dilation, axis.stride, axis.out) for tap in range(axis.kernel)
        ]
        x = t.folded(op, taps)
    return x


def lp_pool(t: Translation) -> int:
    """The p-th root of the sum of the p-th powers of magnitudes."""
    return _root(t, _chained(t, _powers(t), _axes(t, t.input(0)), "ADD", 0.0))


def global_lp_pool(t: Translation) -> int:
    return _root(t, over_all(t, "SUM", _powers(t)))


def _powers(t: Translation) -> int:
    x = t.input(0)
    if t.dtype(x) is not DType.F32 or t.attr("p") < 1:
        raise t.lacking(f"p = {t.attr('p')} of {t.dtype(x).value}, expected at least 1 of f32")
    if t.attr("p") == 2:
        return t.emit("SQUARE", x)
    size = t.emit("ABS", x)
    return size if t.attr("p") == 1 else t.emit("POW", size, t.like(t.attr("p"), x))


def _root(t: Translation, total: int) -> int:
    if t.attr("p") <= 2:
        return total if t.attr("p") == 1 else t.emit("SQRT", total)
    return t.emit("POW", total, t.like(1 / t.attr("p"), total))


def over_all(t: Translation, op: str, x: int) -> int:
    """A reduction over all spatial axes."""
    shape = t.shape(x)
    if len(shape) < 3:
        raise t.bad(f"input has shape {shape}, expected rank 3 or more")
    return t.emit(op, x, t.sizes(range(2, len(shape))), keep_dims=True)


def overall(op: str) -> Row:
    return Row(lambda t: over_all(t, op, t.input(0)))


ROWS: dict[str, Row] = {
    "MaxPool": Row(max_pool, attrs={**POOL, "storage_order": 0}, outputs=(1, 2)),
    "AveragePool": Row(average_pool, attrs={**POOL, "count_include_pad": 0}),
    "LpPool": Row(lp_pool, attrs={**POOL, "p": 2}),
    "GlobalLpPool": Row(global_lp_pool, attrs={"p": 2}),
    "GlobalMaxPool": overall("REDUCE_MAX"),
    "GlobalAveragePool": overall("MEAN"),
}
