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
    value, reverse = low.node.inputs[0], bool(low.x.attr("reverse"))
    if low.x.attr("exclusive"):
        value = shifted(low, value, sizes, 1, reverse)
    if sizes[1] == 1:
        low.raster([Region(0, dense(sizes), dense(sizes), sizes)], [value])
    else:
        running_sums(low, value, sizes, reverse, low.node.outputs[0])


def running_sums(low: Lowering, value: int, sizes: Shape, reverse: bool, output: int) -> None:
    """Of a value [outer, axis, inner] along its axis, which is longer than one."""
    dtype = low.values[value].dtype
    flat = dense((math.prod(sizes),))
    add = Map((math.prod(sizes),), (flat, flat), flat, call("add", load(0), load(1)), WIDE[dtype])
    rounds = [1 << k for k in range((sizes[1] - 1).bit_length())]
    for distance in rounds:
        target = output if distance == rounds[-1] else low.temp(sizes, dtype)
        value = low.emit(add, [value, shifted(low, value, sizes, distance, reverse)], target)


def shifted(low: Lowering, value: int, sizes: Shape, distance: int, reverse: bool) -> int:
    """[outer, axis, inner] moved along the axis, backwards for a reverse sum; zeros come in."""
    outer, length, inner = sizes
    behind, ahead = View(0, (length * inner, inner, 1)), View(distance * inner, (length * inner, inner, 1))
    source, destination = (ahead, behind) if reverse else (behind, ahead)
    moved = [Region(0, source, destination, (outer, length - distance, inner))] if length > distance else []
    return low.raster(moved, [value], low.temp(sizes, low.values[value].dtype), 0)


RULES = {"CUMSUM": cumsum}
