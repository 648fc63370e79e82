"""Convolutions: NCHW turned to NHWC and back, weights turned once and for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runtime.graph import DType, Shape
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Row, Translation
from runtime.importers.onnx.windows import (
    ATTRIBUTES,
    AUTO_PADS,
    Axis,
    axes,
    channels_first,
    channels_last,
    flat,
    same,
    spatial,
    surrounded,
)


def conv(t: Translation) -> int:
    x, weights = t.input(0), t.input(1)
    shape, sizes = t.shape(x), t.shape(weights)
    check(t, shape, sizes, shape[1:2] == (sizes[1] * t.attr("group"),) if len(sizes) > 1 else False)
    if t.dtype(x) is not DType.F32 or t.dtype(weights) is not DType.F32:
        raise t.lacking(f"element types {t.dtype(x).value} and {t.dtype(weights).value}, expected f32")
    bias = bias_of(t, 2, sizes[0])
    return convolved(t, x, weights, bias, axes(t, shape[2:], sizes[2:]), t.attr("group"))


def check(t: Translation, shape: Shape, weights: Shape, fits: bool) -> None:
    """Shapes of input and weights, groups, and the kernel shape where it is given."""
    if len(shape) != len(weights) or len(shape) < 3:
        raise t.bad(f"input {shape} and weights {weights}, expected the same rank of at least 3")
    if len(shape) > 5:
        raise t.lacking(f"{len(shape) - 2} spatial axes, at most 3")
    if len(shape) == 5 and t.attr("group") != 1:
        raise t.lacking(f"{t.attr('group')} groups over 3 spatial axes, expected 1")
    if t.attr("group") < 1 or not fits or weights[0] % t.attr("group"):
        raise t.bad(f"weights {weights} in {t.attr('group')} groups do not fit an input {shape}")
    if t.attr("kernel_shape") not in (None, weights[2:]):
        raise t.bad(f"kernel_shape = {t.attr('kernel_shape')}, but the weights are {weights}")


def bias_of(t: Translation, i: int, units: int) -> int | None:
    if not t.has(i):
        return None
    if t.shape(t.input(i)) != (units,):
        raise t.bad(f"bias has shape {t.shape(t.input(i))}, expected ({units},)")
    return t.input(i)


def convolved(
    t: Translation, x: int, weights: int, bias: int | None, axes: Sequence[Axis], group: int
) -> int:
    """NC.. by weights (units, channels / group, ..); DEPTHWISE_CONV_2D where a group has one channel."""
    rank, channels = len(t.shape(x)), t.shape(x)[1]
    spatial_axes = flat(axes) if len(axes) < 3 else axes
    image, padding = channels_last(t, x), "SAME"
    if not same(spatial_axes):
        image, padding = surrounded(t, image, spatial_axes), "VALID"
    kernel = t.shape(weights)
    if rank == 3:
        weights = t.reshape(weights, (*kernel[:2], 1, kernel[2]))
    attrs: dict[str, Any] = {"padding": padding}
    for letter, axis in zip("dhw"[-len(spatial_axes) :], spatial_axes, strict=True):
        attrs |= {f"stride_{letter}": axis.stride, f"dilation_{letter}_factor": axis.dilation}
    operands = [] if bias is None else [bias]
    if group == channels and group > 1:
        by_channel = t.transpose(weights, (1, 2, 3, 0))
        attrs |= {"depth_multiplier": kernel[0] // group}
        out = t.emit("DEPTHWISE_CONV_2D", image, by_channel, *operands, **attrs)
    elif rank == 5:
        out = t.emit("CONV_3D", image, t.transpose(weights, (2, 3, 4, 1, 0)), *operands, **attrs)
    else:
        out = t.emit("CONV_2D", image, t.transpose(weights, (0, 2, 3, 1)), *operands, **attrs)
    return channels_first(t, out, rank)


def conv_transpose(t: Translation) -> int:
    """A convolution with the weights turned around, over the input spread out by the strides."""
    x, weights = t.input(0), t.input(1)
    shape, sizes, group = t.shape(x), t.shape(weights), t.attr("group")
    check(t, shape, sizes, shape[1:2] == sizes[:1])
    if t.dtype(x) is not DType.F32 or t.dtype(weights) is not DType.F32:
        raise t.lacking(f"element types {t.dtype(x).value} and {t.dtype(weights).value}, expected f32")
    bias = bias_of(t, 2, sizes[1] * group)
    spread = []
    for i, axis in enumerate(_transposed(t, shape[2:], sizes[2:])):
        x = _spread(t, x, i + 2, axis)
        spread.append(Axis(t.shape(x)[i + 2], axis.kernel, 1, axis.dilation))
    return convolved(t, x, _turned(t, weights, group), bias, spread, group)


def _transposed(t: Translation, sizes: Shape, kernel: Shape) -> list[Axis]:
    """Each axis, with `before` and `after` what is cut off the full output, or added where less than 0."""
    rank = len(sizes)
    strides, dilations = spatial(t, "strides", rank), spatial(t, "dilations", rank)
    extra = (0,) * rank if t.attr("output_padding") is None else spatial(t, "output_padding", rank, 0)
    mode = t.choice("auto_pad", AUTO_PADS)
    pads = (0,) * (2 * rank) if mode != "NOTSET" or t.attr("pads") is None else t.attr("pads")
    if len(pads) != 2 * rank or any(not 0 <= pad < 2**31 for pad in pads):
        raise t.bad(f"pads = {pads}, expected {2 * rank} numbers of at least 0")
    wanted = t.attr("output_shape")
    if wanted is not None and len(wanted) != rank:
        raise t.bad(f"output_shape = {wanted}, expected {rank} sizes")
    found = []
    for i, size in enumerate(sizes):
        axis = Axis(size, kernel[i], strides[i], dilations[i])
        full = (size - 1) * axis.stride + axis.reach
        before, after = pads[i], pads[i + rank] - extra[i]
        if wanted is not None or mode.startswith("SAME"):
            out = size * axis.stride if wanted is None else wanted[i]
            total = full + extra[i] - out
            before = (total + 1) // 2 if mode == "SAME_LOWER" else total // 2
            before = max(before, 0)
            after = full - out - before
        if not 1 <= full - before - after < 2**31:
            raise t.bad(f"pads {before} and {after} leave nothing of an output of {full}")
        found.append(Axis(size, kernel[i], strides[i], dilations[i], before, after))
    return found


def _spread(t: Translation, x: int, position: int, axis: Axis) -> int:
    """stride - 1 zeros between the elements along an axis, and around them what a full convolution needs."""
    if axis.stride > 1:
        apart = [axis.stride if i == position else 1 for i in range(len(t.shape(x)))]
        x = t.emit("DILATE", x, t.sizes(apart), t.like(0, x))
    before, after = axis.reach - 1 - axis.before, axis.reach - 1 - axis.after
    length = t.shape(x)[position] + min(before, 0) + min(after, 0)
    if length < 1:
        raise t.lacking(f"pads that cut away the whole of an axis of {axis.size}")
    x = t.along(x, position, max(-before, 0), length)
    return t.pad(
        x, [(max(before, 0), max(after, 0)) if i == position else (0, 0) for i in range(len(t.shape(x)))]
    )


def _turned(t: Translation, weights: int, group: int) -> int:
    """(channels, units / group, ..) -> (units, channels / group, ..), backwards along the spatial axes."""
    data = t.value(weights).data
    if data is None:
        raise t.lacking("weights must be constants")
    channels, units, *kernel = data.shape
    grouped = data.reshape(group, channels // group, units, *kernel).swapaxes(1, 2)
    backwards = (slice(None), slice(None), *(slice(None, None, -1) for _ in kernel))
    return t.constant(grouped.reshape(group * units, channels // group, *kernel)[backwards])


ROWS: dict[str, Row] = {
    "Conv": Row(conv, (2, 3), {**ATTRIBUTES, "group": 1}),
    "ConvTranspose": Row(
        conv_transpose,
        (2, 3),
        {**ATTRIBUTES, "group": 1, "output_padding": Kind.INTS, "output_shape": Kind.INTS},
    ),
}
