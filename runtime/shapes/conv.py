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
    if bias is not None and bias.elements != channels:
        raise x.bad(f"bias has {bias.elements} elements, expected {channels}")


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
    out, (units, *kernel, depth), data = x.constant(0), x.shape(1, rank=4), x.shape(2, rank=4)
    if len(out) != 4 or (out[0], out[3]) != (data[0], units) or min(out) < 1:
        raise x.bad(f"output shape {out}, expected ({data[0]}, height, width, {units})")
    if data[3] != depth:
        raise x.bad(f"weights {(units, *kernel, depth)} do not fit an input of {data[3]} channels")
    bias(x, units, operand=3)
    strides = x.positive("stride_h"), x.positive("stride_w")
    source = tuple(
        window(x.attr("padding"), *axis)[0] for axis in zip(out[1:3], kernel, strides, strict=True)
    )
    if source != data[1:3]:
        raise x.bad(f"windows of {tuple(kernel)} over {out[1:3]} are {source}, the input is {data[1:3]}")
    return [out]


def _pool(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    return [(batch, *_windows(x, (x.positive("filter_height"), x.positive("filter_width"))), depth)]


RULES: dict[str, Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
}
