"""Shapes of StableHLO's transform operators, whose places and sizes are attributes."""

from __future__ import annotations

import math

from runtime.graph import Shape
from runtime.shapes.operands import MAX_ELEMENTS, Operands, Rule
from runtime.shapes.views import joined, permuted


def numbers(x: Operands, name: str, count: int, least: int = -MAX_ELEMENTS) -> tuple[int, ...]:
    """An attribute of as many numbers as wanted, none of them beyond what a size can be."""
    given: tuple[int, ...] = x.attr(name)
    if len(given) != count or any(not least <= number <= MAX_ELEMENTS for number in given):
        raise x.bad(f"{name} {given[:8]}: expected {count} numbers in {least}..{MAX_ELEMENTS}")
    return given


def distinct(x: Operands, name: str, rank: int, ordered: bool = True) -> tuple[int, ...]:
    """An attribute of distinct axes, in ascending order where the specification asks for it."""
    axes: tuple[int, ...] = x.attr(name)
    wrong = len(set(axes)) != len(axes) or (ordered and list(axes) != sorted(axes))
    if wrong or any(not 0 <= axis < rank for axis in axes):
        order = " in order" if ordered else ""
        raise x.bad(f"{name} {axes[:8]}: expected distinct axes of 0..{rank - 1}{order}")
    return axes


def declared(x: Operands) -> Shape:
    """What the model says of its first output."""
    return x.declared[0]


def _reshape(x: Operands) -> list[Shape]:
    if math.prod(declared(x)) != x.value(0).elements:
        raise x.bad(f"{x.shape(0)} has {x.value(0).elements} elements, they do not fill {declared(x)}")
    return [declared(x)]


def _broadcast_in_dim(x: Operands) -> list[Shape]:
    shape, target = x.shape(0), declared(x)
    axes = distinct(x, "broadcast_dimensions", len(target), ordered=False)
    if len(axes) != len(shape) or any(n not in (1, target[a]) for n, a in zip(shape, axes, strict=True)):
        raise x.bad(f"shape {shape} as axes {axes} of {target}: expected each of size 1 or that of its axis")
    return [target]


def _transpose(x: Operands) -> list[Shape]:
    return [permuted(x, x.attr("permutation"))]


def _concatenate(x: Operands) -> list[Shape]:
    return [joined(x, x.attr("dimension"))]


def _slice(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    starts, ends, steps = (numbers(x, name, len(shape), 0) for name in SLICE)
    cuts = list(zip(shape, starts, ends, steps, strict=True))
    if any(not (start <= end <= size and step) for size, start, end, step in cuts):
        raise x.bad(f"{starts} to {ends} by {steps} does not cut {shape}")
    return [tuple(-(-(end - start) // step) for _, start, end, step in cuts)]


SLICE = ("start_indices", "limit_indices", "strides")
PADS = ("edge_padding_low", "edge_padding_high", "interior_padding")


def pads(x: Operands) -> list[tuple[int, int, int]]:
    """(before, after, between) by axis; the first two may be negative, which crops."""
    rank = len(x.shape(0))
    columns = (numbers(x, name, rank, 0 if name == PADS[2] else -MAX_ELEMENTS) for name in PADS)
    return list(zip(*columns, strict=True))


def _pad(x: Operands) -> list[Shape]:
    if x.value(1).elements != 1:
        raise x.bad(f"the value to pad with has {x.value(1).elements} elements, expected 1")
    axes = zip(x.shape(0), pads(x), strict=True)
    return [tuple(size + (size - 1) * inner + low + high for size, (low, high, inner) in axes)]


def _iota(x: Operands) -> list[Shape]:
    if not 0 <= x.attr("iota_dimension") < len(declared(x)):
        raise x.bad(f"axis {x.attr('iota_dimension')} of an output of shape {declared(x)}")
    return [declared(x)]


RULES: dict[str, Rule] = {
    "STABLEHLO_RESHAPE": _reshape,
    "STABLEHLO_BROADCAST_IN_DIM": _broadcast_in_dim,
    "STABLEHLO_TRANSPOSE": _transpose,
    "STABLEHLO_CONCATENATE": _concatenate,
    "STABLEHLO_SLICE": _slice,
    "STABLEHLO_PAD": _pad,
    "STABLEHLO_IOTA": _iota,
}
