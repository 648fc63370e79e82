"""Images in another size: rows and columns that are taken over, and for bilinear their weighted sum by MAP.

A list of rows that steps evenly is a view; any other is a GATHER. Positions and weights are computed as
TFLite's reference kernels do, in float32, or for int8 and int16 in 1/1024 of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.atoms import Gather, Region, View
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import Array, DType
from runtime.shapes.operands import MAX_MADE
from runtime.strides import dense

FIXED = 1 << 10
"""Parts of a pixel in which positions are counted for int8 and int16."""


def nearest(low: Lowering) -> None:
    """Any element type; the same rows and columns for all."""
    _, height, width, _ = low.x.shape(0)
    rows = taken(low, low.node.inputs[0], 1, _nearest(low, height, low.out.shape[1]))
    taken(low, rows, 2, _nearest(low, width, low.out.shape[2]), low.node.outputs[0])


def _nearest(low: Lowering, size: int, out: int) -> Array:
    align, half = low.x.attr("align_corners"), low.x.attr("half_pixel_centers")
    scale = (
        np.float32(size - 1) / np.float32(out - 1)
        if align and out > 1
        else np.float32(size) / np.float32(out)
    )
    place = (np.arange(out, dtype=np.float32) + np.float32(0.5 if half else 0)) * scale
    whole = np.floor(place + np.float32(0.5) if align else place)
    index: Array = np.clip(whole, 0, size - 1).astype(np.int64)
    return index


def taken(low: Lowering, value: int, axis: int, index: Array, output: int | None = None) -> int:
    """A value of the output's type with `index` of what it has along an axis."""
    shape = low.values[value].shape
    sizes = (*shape[:axis], len(index), *shape[axis + 1 :])
    target = low.temp(sizes, low.out.dtype) if output is None else output
    outer, inner = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
    repeat = int(np.argmax(index != index[0])) or len(index)
    step = int(index[repeat]) - int(index[0]) if repeat < len(index) else 0
    if np.array_equal(index, index[0] + np.arange(len(index)) // repeat * step) and len(index) % repeat == 0:
        source = View(int(index[0]) * inner, (shape[axis] * inner, step * inner, 0, 1))
        parts = (outer, len(index) // repeat, repeat, inner)
        return low.raster([Region(0, source, dense(parts), parts)], [value], target)
    if outer * len(index) > MAX_MADE:
        raise low.lacking(f"needs the places of {outer * len(index)} rows, at most {MAX_MADE}")
    rows = (np.arange(outer)[:, None] * shape[axis] + index).astype(np.int32)
    places = low.constant(rows.reshape(-1))
    return low.emit(Gather(outer * shape[axis], inner, rows.size), [value, places], target)


@dataclass(frozen=True, slots=True)
class Between:
    """Where each output row or column lies: between `lower` and `upper`, `weight` away from the lower."""

    lower: Array
    upper: Array
    weight: Array


def bilinear(low: Lowering) -> None:
    dtype = low.out.dtype
    if dtype not in PROGRAMS or low.x.value(0).dtype is not dtype:
        low.types()
    if low.x.value(0).quantization != low.out.quantization:
        raise low.lacking("operand and output are quantised differently")
    between = _fixed if dtype in (DType.I8, DType.I16) else _real
    y, x = (between(low, low.x.shape(0)[axis], low.out.shape[axis]) for axis in (1, 2))
    rows = [taken(low, low.node.inputs[0], 1, lines) for lines in (y.lower, y.upper)]
    corners = [taken(low, row, 2, columns) for row in rows for columns in (x.lower, x.upper)]
    weights = [low.constant(y.weight.reshape(-1, 1, 1)), low.constant(x.weight.reshape(-1, 1))]
    program = PROGRAMS[dtype](low.kernels == "builtin")
    low.map(program, corners + weights, compute="f32" if between is _real else "i64")


def _scale(low: Lowering, size: int, out: int) -> tuple[int, int]:
    """The step from one output pixel to the next, as (numerator, denominator)."""
    return (size - 1, out - 1) if low.x.attr("align_corners") and out > 1 else (size, out)


def _real(low: Lowering, size: int, out: int) -> Between:
    up, down = _scale(low, size, out)
    half, scale = np.float32(0.5), np.float32(up) / np.float32(down)
    place = np.arange(out, dtype=np.float32)
    place = (place + half) * scale - half if low.x.attr("half_pixel_centers") else place * scale
    lower = np.maximum(np.floor(place), 0)
    upper = np.minimum(np.ceil(place), size - 1)
    return Between(lower.astype(np.int64), upper.astype(np.int64), place - lower.astype(np.float32))


def _fixed(low: Lowering, size: int, out: int) -> Between:
    up, down = _scale(low, size, out)
    scale = (FIXED * up + down // 2) // down
    place = np.arange(out) * scale
    if low.x.attr("half_pixel_centers"):
        place = place + scale // 2 - FIXED // 2
    lower = np.maximum(np.trunc(place / FIXED), 0).astype(np.int64)
    upper = np.minimum(np.trunc((place + FIXED - 1) / FIXED), size - 1).astype(np.int64)
    return Between(lower, upper, (place - FIXED * lower).astype(np.int32))


def _weighted(one: Program, builtin: bool) -> Program:
    """Corners 0 to 3 times what the others are away; the operands 4 and 5 are the weights of the upper ones.

    The two sets of kernels differ in the order of products and sums.
    """
    high = (load(4), load(5))
    low = tuple(call("sub", one, weight) for weight in high)
    sides = ((low[0], low[1]), (low[0], high[1]), (high[0], low[1]), (high[0], high[1]))
    if builtin:
        parts = [call("mul", load(i), call("mul", y, x)) for i, (y, x) in enumerate(sides)]
    else:
        parts = [call("mul", call("mul", load(i), sides[i][0]), sides[i][1]) for i in (0, 2, 1, 3)]
    return call("add", call("add", call("add", parts[0], parts[1]), parts[2]), parts[3])


def _floats(builtin: bool) -> Program:
    return _weighted(const(1.0), builtin)


def _bytes(builtin: bool) -> Program:
    return call("floor", call("add", _weighted(const(1.0), builtin), const(0.5)))


def _integers(builtin: bool) -> Program:
    return call("div_round", _weighted(const(FIXED), builtin), const(FIXED * FIXED))


PROGRAMS = {DType.F32: _floats, DType.U8: _bytes, DType.I8: _integers, DType.I16: _integers}
RULES = {"RESIZE_BILINEAR": bilinear, "RESIZE_NEAREST_NEIGHBOR": nearest}
