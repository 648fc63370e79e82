"""Shapes of windows that slide over an NHWC tensor: convolution and pooling."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def window(padding: str, size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(output size, padding before) of a sliding window along one axis, by TensorFlow's rule."""
    reach = (kernel - 1) * dilation + 1
    if padding == "VALID":
        return (size - reach) // stride + 1, 0
    out = -(-size // stride)
    return out, max((out - 1) * stride + reach - size, 0) // 2


def _windows(x: Operands, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    _, height, width, _ = x.shape(0, rank=4)
    strides, padding = (x.positive("stride_h"), x.positive("stride_w")), x.attr("padding")
    out = [window(padding, *axis)[0] for axis in zip((height, width), kernel, strides, dilation, strict=True)]
    if min(out) < 1:
        raise x.bad(f"a window of {kernel} does not fit an input of {(height, width)}")
    return out[0], out[1]


def bias(x: Operands, channels: int, operand: int = 2) -> None:
    bias = x.values[operand] if len(x.values) > operand else None
    if bias is not None and (bias.elements != channels or bias.shape[-1:] not in ((), (channels,))):
        raise x.bad(f"bias has shape {bias.shape}, expected ({channels},)")


def _conv(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    out_channels, height, width, in_channels = x.shape(1, rank=4)
    if depth % in_channels or out_channels % (depth // in_channels):
        raise x.bad(f"weights {x.shape(1)} do not fit an input of {depth} channels")
    bias(x, out_channels)
    dilation = x.positive("dilation_h_factor"), x.positive("dilation_w_factor")
    return [(batch, *_windows(x, (height, width), dilation), out_channels)]


def _depthwise(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    one, height, width, out_channels = x.shape(1, rank=4)
    if one != 1 or out_channels % depth:
        raise x.bad(
            f"weights {x.shape(1)} do not fit an input of {depth} channels: expected (1, h, w, n·{depth})"
        )
    bias(x, out_channels)
    dilation = x.positive("dilation_h_factor"), x.positive("dilation_w_factor")
    return [(batch, *_windows(x, (height, width), dilation), out_channels)]


def _transpose_conv(x: Operands) -> list[Shape]:
    units, *kernel, depth = x.shape(1, rank=4)
    strides = x.positive("stride_h"), x.positive("stride_w")
    return _transposed(x, (kernel[0], kernel[1]), strides, (1, 1), (depth, units))


def _transposed(
    x: Operands, kernel: Shape, strides: Shape, dilation: Shape, channels: tuple[int, int]
) -> list[Shape]:
    """The output shape that operand 0 gives, whose windows have to be as many as operand 2 has elements."""
    out, data, (depth, units) = x.constant(0), x.shape(2, rank=len(kernel) + 2), channels
    if len(out) != len(data) or (out[0], out[-1]) != (data[0], units) or min(out) < 1:
        raise x.bad(f"output shape {out}, expected ({data[0]}, {len(kernel)} sizes, {units})")
    if data[-1] != depth:
        raise x.bad(f"weights {x.shape(1)} do not fit an input of {data[-1]} channels")
    bias(x, units, operand=3)
    axes = zip(out[1:-1], kernel, strides, dilation, strict=True)
    source = tuple(window(x.attr("padding"), *axis)[0] for axis in axes)
    if source != data[1:-1]:
        raise x.bad(f"windows of {kernel} over {out[1:-1]} are {source}, the input is {data[1:-1]}")
    return [out]


def spatial(x: Operands) -> tuple[Shape, Shape]:
    """(strides, dilation) of a convolution in three dimensions, each as (depth, height, width)."""
    strides, dilation = (tuple(x.positive(name.format(axis)) for axis in "dhw") for name in _SPATIAL)
    return strides, dilation


_SPATIAL = ("stride_{}", "dilation_{}_factor")


def _conv_3d(x: Operands) -> list[Shape]:
    batch, *sizes, channels = x.shape(0, rank=5)
    *kernel, depth, units = x.shape(1, rank=5)
    if channels != depth:
        raise x.bad(f"weights {x.shape(1)} do not fit an input of {channels} channels")
    bias(x, units)
    axes = zip(sizes, kernel, *spatial(x), strict=True)
    out = tuple(window(x.attr("padding"), *axis)[0] for axis in axes)
    if min(out) < 1:
        raise x.bad(f"a window of {tuple(kernel)} does not fit an input of {tuple(sizes)}")
    return [(batch, *out, units)]


def _conv_3d_transpose(x: Operands) -> list[Shape]:
    *kernel, units, depth = x.shape(1, rank=5)
    return _transposed(x, tuple(kernel), *spatial(x), (depth, units))


def _pool(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    return [(batch, *_windows(x, (x.positive("filter_height"), x.positive("filter_width"))), depth)]


RULES: dict[str, Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "L2_POOL_2D": _pool,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
}
