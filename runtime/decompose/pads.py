"""Operators that put something around elements, or between them: RASTER with a fill, or region on region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from operator import mul

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


def place(low: Lowering, starts: Sequence[int], steps: Sequence[int], background: int = 2) -> None:
    """Operand 0 into an output of which another operand, one element, is the background.

    What starts before the output or ends beyond it is cropped.
    """
    shape, whole, fill = low.x.shape(0), low.out.shape, low.x.value(background)
    source, out = dense(shape).strides, dense(whole).strides
    if fill.elements != 1:
        raise low.x.bad(f"the value to pad with has {fill.elements} elements, expected 1")
    first = [max(0, -(start // step)) for start, step in zip(starts, steps, strict=True)]
    ends = [-(-(n - start) // step) for n, start, step in zip(whole, starts, steps, strict=True)]
    sizes = tuple(min(n, end) - begin for n, begin, end in zip(shape, first, ends, strict=True))
    at = [start + begin * step for start, begin, step in zip(starts, first, steps, strict=True)]
    placed = Region(
        0,
        View(sum(map(mul, first, source)), source),
        View(sum(map(mul, at, out)), tuple(map(mul, steps, out))),
        sizes,
    )
    regions = [placed] if min(sizes, default=1) > 0 else []
    if fill.data is not None and fill.dtype is low.out.dtype:
        low.raster(regions, low.node.inputs[:1], fill=fill.data.reshape(-1)[0].item())
        return
    everywhere = Region(1, View(0, (0,)), View(0, (1,)), (low.out.elements,))
    low.raster([everywhere, *regions], [low.node.inputs[0], low.node.inputs[background]])


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
