"""Operators that put something around elements, or between them: RASTER with a fill, or region on region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

from runtime.atoms import Region, View
from runtime.decompose.rule import MAX_REGIONS, Lowering
from runtime.graph import Shape
from runtime.shapes.pads import border, dilations, paddings
from runtime.strides import dense


def pad(low: Lowering) -> None:
    """Pads with zero: the output's zero point where zero is stored as something else."""
    fill = low.quantized(low.out)[1] if low.out.quantization else 0
    low.padded(low.node.inputs[0], paddings(low.x), fill, low.node.outputs[0])


def pad_with(low: Lowering) -> None:
    place(low, [before for before, _ in paddings(low.x)], (1,) * len(low.out.shape))


def dilate(low: Lowering) -> None:
    place(low, (0,) * len(low.out.shape), dilations(low.x))


def place(low: Lowering, starts: Sequence[int], steps: Sequence[int]) -> None:
    """Operand 0 into an output of which operand 2, one element, is the background."""
    shape, out, background = low.x.shape(0), dense(low.out.shape).strides, low.x.value(2)
    if background.elements != 1:
        raise low.x.bad(f"the value to pad with has {background.elements} elements, expected 1")
    view = View(
        sum(start * stride for start, stride in zip(starts, out, strict=True)),
        tuple(step * stride for step, stride in zip(steps, out, strict=True)),
    )
    placed = Region(0, dense(shape), view, shape)
    if background.data is not None and background.dtype is low.out.dtype:
        low.raster([placed], low.node.inputs[:1], fill=background.data.reshape(-1)[0].item())
        return
    everywhere = Region(1, View(0, (0,)), View(0, (1,)), (low.out.elements,))
    low.raster([everywhere, placed], [low.node.inputs[0], low.node.inputs[2]])


def mirror_pad(low: Lowering) -> None:
    """Every axis falls into what is mirrored before, what is copied and what is mirrored after."""
    shape, edge, pads = low.x.shape(0), border(low.x), paddings(low.x)
    axes = [
        [
            run
            for run in (
                (before, before - 1 + edge, -1, 0),
                (size, 0, 1, before),
                (after, size - 1 - edge, -1, before + size),
            )
            if run[0]
        ]
        for size, (before, after) in zip(shape, pads, strict=True)
    ]
    if (count := math.prod(map(len, axes))) > MAX_REGIONS:
        raise low.lacking(f"needs {count} regions, at most {MAX_REGIONS}")
    low.raster([_mirrored(shape, low.out.shape, runs) for runs in product(*axes)], low.node.inputs[:1])


def _mirrored(shape: Shape, out: Shape, runs: Sequence[tuple[int, int, int, int]]) -> Region:
    """By axis (count, first element, step, place in the output)."""
    source, target = dense(shape).strides, dense(out).strides
    start = sum(run[1] * stride for run, stride in zip(runs, source, strict=True))
    steps = tuple(run[2] * stride for run, stride in zip(runs, source, strict=True))
    at = sum(run[3] * stride for run, stride in zip(runs, target, strict=True))
    return Region(0, View(start, steps), View(at, target), tuple(run[0] for run in runs))


def matrix_diag(low: Lowering) -> None:
    sizes = low.x.shape(0)
    low.raster([Region(0, dense(sizes), _diagonal(low.out.shape), sizes)], low.node.inputs, fill=0)


def matrix_set_diag(low: Lowering) -> None:
    shape, sizes = low.out.shape, low.x.shape(1)
    whole = Region(0, dense(shape), dense(shape), shape)
    low.raster([whole, Region(1, dense(sizes), _diagonal(shape), sizes)], low.node.inputs)


def _diagonal(matrices: Shape) -> View:
    *outer, row, column = dense(matrices).strides
    return View(0, (*outer, row + column))


RULES = {
    "PAD": pad,
    "PADV2": pad_with,
    "MIRROR_PAD": mirror_pad,
    "DILATE": dilate,
    "MATRIX_DIAG": matrix_diag,
    "MATRIX_SET_DIAG": matrix_set_diag,
}
