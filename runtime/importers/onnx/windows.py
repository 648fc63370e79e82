"""Windows that slide over the spatial axes of an NC... tensor: geometry and padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.graph import Shape
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Translation
from runtime.shapes.conv import window
from runtime.shapes.operands import MAX_ELEMENTS

ATTRIBUTES = {
    "auto_pad": "NOTSET",
    "dilations": Kind.INTS,
    "kernel_shape": Kind.INTS,
    "pads": Kind.INTS,
    "strides": Kind.INTS,
}
AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis. `after` are the elements that the model adds, `beyond` those that only its last,
    incomplete window reaches (ceil_mode)."""

    size: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    beyond: int = 0

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        return (self.before + self.size + self.after + self.beyond - self.reach) // self.stride + 1


def spatial(t: Translation, name: str, rank: int, least: int = 1) -> tuple[int, ...]:
    """A list attribute with one number for each spatial axis; ones where there is none."""
    numbers = (1,) * rank if t.attr(name) is None else tuple(t.attr(name))
    if len(numbers) != rank or any(not least <= number < 2**31 for number in numbers):
        raise t.bad(f"{name} = {numbers}, expected {rank} numbers of at least {least}")
    return numbers


def axes(t: Translation, sizes: Shape, kernel: Sequence[int]) -> list[Axis]:
    """The geometry of each spatial axis, from the attributes that convolutions and pools share."""
    rank = len(sizes)
    strides, dilations = spatial(t, "strides", rank), spatial(t, "dilations", rank)
    mode = t.choice("auto_pad", AUTO_PADS)
    pads = (0,) * (2 * rank) if mode != "NOTSET" or t.attr("pads") is None else t.attr("pads")
    if len(pads) != 2 * rank or any(not 0 <= pad <= MAX_ELEMENTS for pad in pads):
        raise t.bad(f"pads = {pads}, expected {2 * rank} numbers of at least 0")
    found = []
    for i, size in enumerate(sizes):
        axis = Axis(size, kernel[i], strides[i], dilations[i], pads[i], pads[i + rank])
        if mode.startswith("SAME"):
            total = max((-(-size // axis.stride) - 1) * axis.stride + axis.reach - size, 0)
            before = total // 2 if mode == "SAME_UPPER" else (total + 1) // 2
            axis = Axis(size, kernel[i], strides[i], dilations[i], before, total - before)
        elif "ceil_mode" in t.attrs and t.attr("ceil_mode"):
            axis = _ceiled(axis)
        if axis.out < 1:
            raise t.bad(f"a window that reaches over {axis.reach} does not fit an axis of {size} with {pads}")
        found.append(axis)
    return found


def _ceiled(axis: Axis) -> Axis:
    """With the last window, where it is incomplete but begins within the input or its left padding."""
    padded = axis.before + axis.size + axis.after
    last = -(-(padded - axis.reach) // axis.stride) * axis.stride
    if last < 0 or last >= axis.before + axis.size:
        return axis
    beyond = max(last + axis.reach - padded, 0)
    return Axis(axis.size, axis.kernel, axis.stride, axis.dilation, axis.before, axis.after, beyond)


def flat(axes: Sequence[Axis]) -> tuple[Axis, Axis]:
    """Two axes from one or two."""
    return (Axis(1), axes[0]) if len(axes) == 1 else (axes[0], axes[1])


def channels_last(t: Translation, index: int) -> int:
    """NCHW, or NCW with a height of 1 -> NHWC"""
    shape = t.shape(index)
    if len(shape) == 3:
        index = t.reshape(index, (*shape[:2], 1, shape[2]))
    return t.last(index)


def channels_first(t: Translation, index: int, rank: int) -> int:
    """The way back, to the rank that the operand had."""
    index = t.first(index)
    if rank == 3:
        batch, channels, _, width = t.shape(index)
        return t.reshape(index, (batch, channels, width))
    return index


def surrounded(t: Translation, index: int, axes: Sequence[Axis], fill: float = 0.0) -> int:
    """An NHWC tensor with all that its windows reach."""
    around = [(axis.before, axis.after + axis.beyond) for axis in axes]
    return t.pad(index, [(0, 0), *around, (0, 0)], fill)


def same(axes: Sequence[Axis]) -> bool:
    """Whether TensorFlow's rule for SAME puts the windows where these are."""
    if all((axis.before, axis.after, axis.beyond) == (0, 0, 0) for axis in axes):
        return False
    rule = [window("SAME", axis.size, axis.kernel, axis.stride, axis.dilation) for axis in axes]
    return rule == [(axis.out, axis.before) for axis in axes]
