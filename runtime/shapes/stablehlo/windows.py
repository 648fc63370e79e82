"""Shapes of StableHLO's reductions, over axes or over windows that slide along every axis."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule
from runtime.shapes.stablehlo.views import distinct, numbers


@dataclass(frozen=True, slots=True)
class Sliding:
    """One axis: its size padded, (before, after, between) as in PAD, the window and how it moves."""

    padded: int
    pads: tuple[int, int, int]
    window: int
    stride: int
    dilation: int

    @classmethod
    def of(
        cls, size: int, padding: tuple[int, ...], spread: int, window: int, stride: int, dilation: int
    ) -> Sliding:
        """Of an axis whose elements are moved `spread` apart, then padded by (before, after)."""
        before, after = padding
        padded = (size - 1) * spread + 1 + before + after
        return cls(padded, (before, after, spread - 1), window, stride, dilation)

    @property
    def out(self) -> int:
        return (self.padded - (self.window - 1) * self.dilation - 1) // self.stride + 1


def sliding(x: Operands) -> list[Sliding]:
    """Every axis of REDUCE_WINDOW; a list that is left out is of ones, the padding of zeros, as in TFLite."""
    shape, rank = x.shape(0), len(x.shape(0))
    windows = numbers(x, "window_dimensions", rank, 1)
    strides, spread, dilations = (
        numbers(x, name, rank, 1) if x.attr(name) else (1,) * rank
        for name in ("window_strides", "base_dilations", "window_dilations")
    )
    padding = numbers(x, "padding", 2 * rank) if x.attr("padding") else (0,) * 2 * rank
    return [
        Sliding.of(size, padding[2 * i : 2 * i + 2], spread[i], windows[i], strides[i], dilations[i])
        for i, size in enumerate(shape)
    ]


def initial(x: Operands) -> None:
    """What a reduction starts from is one element of its operand's type."""
    if x.value(1).elements != 1 or x.value(1).dtype is not x.value(0).dtype:
        raise x.bad(f"an initial value of {x.value(1).dtype.value} {x.value(1).shape}, expected one element")


def _reduce_window(x: Operands) -> list[Shape]:
    initial(x)
    return [tuple(axis.out for axis in sliding(x))]


WINDOW = ("window_dimensions", "window_strides", "window_dilations")


def listed(x: Operands) -> dict[str, tuple[int, ...]]:
    """The attributes of STABLEHLO_REDUCE_WINDOW from the operands of TFLite's own REDUCE_WINDOW."""
    lists = {name: x.constant(i) for i, name in enumerate(WINDOW, start=2)}
    if empty := [name for name, numbers in lists.items() if not numbers]:
        raise x.bad(f"{empty[0]} is empty, expected a number for each axis of {x.shape(0)}")
    return {**lists, "base_dilations": (), "padding": ()}


def _reduce_window_of_lists(x: Operands) -> list[Shape]:
    return _reduce_window(replace(x, node=replace(x.node, attrs=listed(x))))


def _reduce(x: Operands) -> list[Shape]:
    initial(x)
    axes = distinct(x, "dimensions", len(x.shape(0)), ordered=False)
    return [tuple(size for axis, size in enumerate(x.shape(0)) if axis not in axes)]


RULES: dict[str, Rule] = {
    "STABLEHLO_REDUCE_WINDOW": _reduce_window,
    "REDUCE_WINDOW": _reduce_window_of_lists,
    "STABLEHLO_REDUCE": _reduce,
}
