"""Shapes of StableHLO's products, whose axes are in any order."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import UnsupportedError
from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule
from runtime.shapes.stablehlo.views import distinct, numbers
from runtime.shapes.stablehlo.windows import Sliding


@dataclass(frozen=True, slots=True)
class Dot:
    """The axes of one operand of DOT_GENERAL: those of both operands, those added up, its own."""

    batch: tuple[int, ...]
    inner: tuple[int, ...]
    free: tuple[int, ...]


def dots(x: Operands) -> tuple[Dot, Dot]:
    sides = []
    for i, side in enumerate(("lhs", "rhs")):
        rank = len(x.shape(i))
        batch = distinct(x, f"{side}_batching_dimensions", rank, ordered=False)
        inner = distinct(x, f"{side}_contracting_dimensions", rank, ordered=False)
        if set(batch) & set(inner):
            raise x.bad(f"axes {sorted(set(batch) & set(inner))} of {side} are batched and contracted")
        free = tuple(axis for axis in range(rank) if axis not in (*batch, *inner))
        sides.append(Dot(batch, inner, free))
    left, right = sides
    for mine, other in ((left.batch, right.batch), (left.inner, right.inner)):
        if [x.shape(0)[axis] for axis in mine] != [x.shape(1)[axis] for axis in other]:
            raise x.bad(f"axes {mine} of {x.shape(0)} and {other} of {x.shape(1)} differ in their sizes")
    return left, right


def _dot_general(x: Operands) -> list[Shape]:
    (left, right), (a, b) = dots(x), (x.shape(0), x.shape(1))
    axes = [a[axis] for axis in (*left.batch, *left.free)] + [b[axis] for axis in right.free]
    return [tuple(axes)]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which axes of a tensor are which; of a kernel, `batch` are its output features."""

    batch: int
    feature: int
    spatial: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        return (self.batch, *self.spatial, self.feature)


@dataclass(frozen=True, slots=True)
class Convolution:
    data: Layout
    kernel: Layout
    out: Layout
    axes: tuple[Sliding, ...]
    """The spatial ones, in the order in which the layouts have them."""
    reversed: tuple[int, ...]
    groups: int


LAYOUTS = (
    ("input_batch_dimension", "input_feature_dimension", "input_spatial_dimensions"),
    ("kernel_output_feature_dimension", "kernel_input_feature_dimension", "kernel_spatial_dimensions"),
    ("output_batch_dimension", "output_feature_dimension", "output_spatial_dimensions"),
)


def convolution(x: Operands) -> Convolution:
    """A list that is left out is of ones, the padding of zeros, and no window is reversed."""
    shape, kernel = x.shape(0), x.shape(1)
    data, weights, out = (Layout(*(x.attr(name) for name in names)) for names in LAYOUTS)
    for layout, names in zip((data, weights, out), LAYOUTS, strict=True):
        if sorted(layout.order) != list(range(len(shape))) or len(kernel) != len(shape):
            raise x.bad(f"{', '.join(names)}: axes {layout.order[:8]} of {shape} by {kernel}")
    count, groups = len(data.spatial), x.positive("feature_group_count")
    if x.attr("batch_group_count") != 1:
        text = f"{x.node.source}: {x.attr('batch_group_count')} groups of batches, expected 1"
        raise UnsupportedError(f"{text}; the tflite backend may run this model")
    channels, units = shape[data.feature], kernel[weights.batch]
    if kernel[weights.feature] * groups != channels or units % groups:
        raise x.bad(f"{channels} channels by {groups} kernels of {kernel[weights.feature]}, {units} in all")
    strides, spread, dilations = (
        numbers(x, name, count, 1) if x.attr(name) else (1,) * count
        for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    padding = numbers(x, "padding", 2 * count) if x.attr("padding") else (0,) * 2 * count
    turned = numbers(x, "window_reversal", count, 0) if x.attr("window_reversal") else (0,) * count
    axes = tuple(
        Sliding.of(
            shape[axis], padding[2 * i : 2 * i + 2], spread[i], kernel[window], strides[i], dilations[i]
        )
        for i, (axis, window) in enumerate(zip(data.spatial, weights.spatial, strict=True))
    )
    return Convolution(data, weights, out, axes, turned, groups)


def _convolution(x: Operands) -> list[Shape]:
    conv, sizes = convolution(x), [0] * len(x.shape(0))
    sizes[conv.out.batch], sizes[conv.out.feature] = (
        x.shape(0)[conv.data.batch],
        x.shape(1)[conv.kernel.batch],
    )
    for place, axis in zip(conv.out.spatial, conv.axes, strict=True):
        sizes[place] = axis.out
    return [tuple(sizes)]


RULES: dict[str, Rule] = {
    "STABLEHLO_DOT_GENERAL": _dot_general,
    "STABLEHLO_CONVOLUTION": _convolution,
}
