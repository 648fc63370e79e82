"""Running sums: as many rounds as the length has bits, in which an element adds what stands 2^k before it."""

from __future__ import annotations

import math

from runtime.atoms import Map, Region, View
from runtime.decompose.reduce import WIDE
from runtime.decompose.rule import Lowering, call, load
from runtime.graph import Shape
from runtime.shapes.scan import axis
from runtime.strides import dense


def cumsum(low: Lowering) -> None:
    shape, along = low.x.shape(0), axis(low.x)
    if low.out.dtype not in WIDE or low.x.value(0).dtype is not low.out.dtype:
        low.types()
    sizes = math.prod(shape[:along]), shape[along], math.prod(shape[along + 1 :])
    flat = dense((low.out.elements,))
    add = Map((low.out.elements,), (flat, flat), flat, call("add", load(0), load(1)), WIDE[low.out.dtype])
    rounds = [1 << k for k in range((sizes[1] - 1).bit_length())]
    value = low.node.inputs[0]
    if low.x.attr("exclusive"):
        value = shifted(low, value, sizes, 1, None if rounds else low.node.outputs[0])
    elif not rounds:
        low.copy(dense(sizes), sizes)
    for distance in rounds:
        last = distance == rounds[-1]
        target = low.node.outputs[0] if last else low.temp(sizes, low.out.dtype)
        value = low.emit(add, [value, shifted(low, value, sizes, distance)], target)


def shifted(low: Lowering, value: int, sizes: Shape, distance: int, output: int | None = None) -> int:
    """[outer, axis, inner] moved along the axis, backwards for a reverse sum; zeros come in."""
    target = low.temp(sizes, low.out.dtype) if output is None else output
    outer, length, inner = sizes
    behind, ahead = View(0, (length * inner, inner, 1)), View(distance * inner, (length * inner, inner, 1))
    source, destination = (ahead, behind) if low.x.attr("reverse") else (behind, ahead)
    moved = [Region(0, source, destination, (outer, length - distance, inner))] if length > distance else []
    return low.raster(moved, [value], target, 0)


RULES = {"CUMSUM": cumsum}
