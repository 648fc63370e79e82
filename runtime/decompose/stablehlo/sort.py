"""StableHLO's SORT along one axis: SORT of the keys, and all operands in the order that it gives."""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Gather, Region, Sort, View
from runtime.decompose.index import NUMBERS
from runtime.decompose.rule import Lowering, call, load
from runtime.decompose.segment import mirror
from runtime.graph import DType, Node, Shape
from runtime.strides import dense


def sort(low: Lowering) -> None:
    """Stable: what is equal stays in its order."""
    shape = low.x.shape(0)
    axis = low.x.axis(low.x.attr("dimension"), len(shape))
    sizes = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    lines = [last(low, operand, sizes) for operand in low.node.inputs]
    places, count = ranked(low, lines[low.x.attr("key")], sizes), math.prod(sizes)
    back = View(0, (sizes[1] * sizes[2], 1, sizes[1]))
    for line, output in zip(lines, low.node.outputs, strict=True):
        dtype = low.values[line].dtype
        picked = low.emit(Gather(count, 1, count), [line, places], low.temp((count,), dtype))
        low.raster([Region(0, back, dense(sizes), sizes)], [picked], output)


def last(low: Lowering, operand: int, sizes: Shape) -> int:
    """[outer, axis, inner] as [outer, inner, axis]."""
    outer, width, inner = sizes
    taken, view = (outer, inner, width), View(0, (width * inner, 1, inner))
    return low.raster(
        [Region(0, view, dense(taken), taken)], [operand], low.temp(taken, low.values[operand].dtype)
    )


def ranked(low: Lowering, key: int, sizes: Shape) -> int:
    """Which element of all stands at each place; the least first is the greatest of the mirrored first."""
    outer, width, inner = sizes
    rows, flat = outer * inner, (outer * inner, width)
    if low.values[key].dtype is DType.BOOL:
        key = low.map(load(0), [key], low.temp(low.values[key].shape, DType.I8), "i32")
    dtype = low.values[key].dtype
    if dtype not in NUMBERS:
        low.types()
    if not low.x.attr("descending"):
        key = mirror(low, key, low.temp(low.values[key].shape, dtype))
    outputs = low.temp(flat, dtype), low.temp(flat, DType.I32)
    atom = Sort(rows, width, width)
    low.nodes.append(Node(atom.NAME, (key,), outputs, atom, low.node.source))
    first = low.constant(np.arange(0, rows * width, width, dtype=np.int32).reshape(rows, 1))
    return low.map(call("add", load(0), load(1)), [outputs[1], first], low.temp(flat, DType.I32), "i32")


RULES = {"STABLEHLO_SORT": sort}
