"""Region algebra: the normal form of a RASTER, and how a reader of one reads what was copied instead.

Addresses of a RASTER's output are numbers in a mixed radix, the `Grid`, in which every destination is a box:
one interval of digits per axis. A view of the output that moves without carries has digits that are affine in
its index, so that intersecting it with a box, and following it into the source of that box, is arithmetic on
single digits. What does not fit this is left as it is: every function here returns None rather than guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from runtime.atoms import MAX_RANK, Raster, Region, View
from runtime.graph import FLOATS, DType, Shape
from runtime.strides import collapse

MAX_REGIONS = 64
"""Of a RASTER that takes part in composition, and inputs of a reader: bounds the work per pair of nodes."""
MAX_PIECES = 16
"""That one region may be clipped into."""
Digits = tuple[int, ...]


# -------------------------------------------------------------------- normal form


def injective(view: View, sizes: Shape) -> bool:
    """Whether every index surely has an address of its own: each stride leaps over all smaller ones."""
    reach = 0
    for stride, size in sorted((abs(s), n) for s, n in zip(view.strides, sizes, strict=True) if n != 1):
        if stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def normal(region: Region) -> Region:
    """The same copies with the fewest dimensions; where the order of writing cannot matter, with destination
    strides that are positive and fall.
    """
    sizes, (source, destination) = collapse(region.sizes, region.source, region.destination)
    if injective(destination, sizes):
        flipped = [axis for axis, stride in enumerate(destination.strides) if stride < 0]
        source, destination = (flip(view, sizes, flipped) for view in (source, destination))
        order = sorted(range(len(sizes)), key=lambda axis: -destination.strides[axis])
        source, destination = (
            View(view.offset, tuple(view.strides[axis] for axis in order)) for view in (source, destination)
        )
        sizes, (source, destination) = collapse(tuple(sizes[axis] for axis in order), source, destination)
    return Region(region.input, source, destination, sizes)


def flip(view: View, sizes: Shape, axes: Sequence[int]) -> View:
    """The view with these axes run backwards."""
    offset, strides = view.offset, list(view.strides)
    for axis in axes:
        offset += (sizes[axis] - 1) * strides[axis]
        strides[axis] = -strides[axis]
    return View(offset, tuple(strides))


def normalised(raster: Raster, elements: int, dtype: DType) -> Raster:
    """The same RASTER with normal regions, those that are overwritten dropped, neighbours merged, and no fill
    where nothing of it is left. Sums of integers that meet nowhere are copies; floats are not: 0 + -0 is 0.
    """
    regions = [normal(region) for region in raster.regions if 0 not in region.sizes]
    boxes = grid_boxes(regions, elements)
    if raster.mode == "add":
        if dtype in (*FLOATS, DType.BOOL) or raster.fill or boxes is None or not disjoint(boxes):
            return replace(raster, regions=tuple(regions))
        raster = replace(raster, mode="copy", fill=0)
    if boxes is not None:
        kept = visible(boxes)
        regions, boxes = [regions[i] for i in kept], [boxes[i] for i in kept]
    covered = sum(math.prod(region.sizes) for region in regions)
    fill = raster.fill
    if fill is not None and covered == elements and boxes is not None and disjoint(boxes):
        fill = None
    return Raster(tuple(merged(regions)), fill)


def merged(regions: Sequence[Region]) -> list[Region]:
    """Neighbours in the list that continue each other become one region."""
    out: list[Region] = []
    for region in regions:
        out.append(region)
        while len(out) > 1 and (one := joined(out[-2], out[-1])) is not None:
            out[-2:] = [normal(one)]
    return out


def joined(a: Region, b: Region) -> Region | None:
    """One region that copies a, then b."""
    if a.input != b.input:
        return None
    steps = b.source.offset - a.source.offset, b.destination.offset - a.destination.offset
    if a.sizes[1:] == b.sizes[1:] and a.source.strides == b.source.strides:
        outer = a.sizes[0] * a.source.strides[0], a.sizes[0] * a.destination.strides[0]
        if a.destination.strides == b.destination.strides and steps == outer:
            return replace(a, sizes=(a.sizes[0] + b.sizes[0], *a.sizes[1:]))
    if len(a.sizes) == len(b.sizes) + 1 and a.sizes[1:] == b.sizes:
        inner = (
            a.source.strides[1:] == b.source.strides and a.destination.strides[1:] == b.destination.strides
        )
        if inner and steps == (a.sizes[0] * a.source.strides[0], a.sizes[0] * a.destination.strides[0]):
            return replace(a, sizes=(a.sizes[0] + 1, *b.sizes))
    same = (a.sizes, a.source.strides, a.destination.strides) == (
        b.sizes,
        b.source.strides,
        b.destination.strides,
    )
    if same and len(a.sizes) < MAX_RANK and steps[1] == math.prod(a.sizes):
        source, destination = (
            View(view.offset, (step, *view.strides))
            for view, step in zip((a.source, a.destination), steps, strict=True)
        )
        return Region(a.input, source, destination, (2, *a.sizes))
    return None


# -------------------------------------------------------------------- the grid


@dataclass(frozen=True, slots=True)
class Grid:
    """A mixed radix for addresses: falling weights that divide each other, and how many digits each has."""

    weights: Digits
    sizes: Digits

    def digits(self, number: int) -> Digits:
        out = []
        for weight in self.weights:
            out.append(number // weight)
            number %= weight
        return tuple(out)

    def factors(self, view: View, sizes: Shape) -> list[Shape]:
        """Of each dimension: the sizes that it is split into, outermost first, so that none of them carries
        where that is possible. No stride is negative.
        """
        start = self.digits(view.offset)
        return [self._split(s, n, start) for s, n in zip(view.strides, sizes, strict=True)]

    def _split(self, stride: int, size: int, start: Digits) -> Shape:
        inner: list[int] = []
        for axis in range(len(self.weights) - 1, 0, -1):
            weight, room = self.weights[axis], self.sizes[axis]
            if size == 1 or stride == 0 or stride >= self.weights[axis - 1] or stride % weight:
                continue
            step = stride // weight
            if start[axis] + step * (size - 1) < room:
                break
            run = room // step
            if room % step or size % run or start[axis] >= step:
                break
            inner, size, stride = [run, *inner], size // run, stride * run
        return (size, *inner) if inner else (size,)

    def steps(self, view: View, sizes: Shape) -> list[Digits] | None:
        """What one step along each dimension adds to the digits; None where a digit would carry."""
        start, steps = self.digits(view.offset), [self.digits(stride) for stride in view.strides]
        for axis in range(1, len(self.weights)):
            reach = start[axis] + sum((n - 1) * step[axis] for n, step in zip(sizes, steps, strict=True))
            if reach >= self.sizes[axis]:
                return None
        return steps


def grid(regions: Sequence[Region], elements: int) -> Grid | None:
    """The coarsest radix in which every destination may be a box."""
    weights = {1}
    for region in regions:
        weights.update(s for s, n in zip(region.destination.strides, region.sizes, strict=True) if n > 1)
    falling = sorted(weights, reverse=True)
    if falling[-1] < 1 or any(big % small for big, small in pairwise(falling)):
        return None
    sizes = [-(-elements // falling[0])]
    sizes += [big // small for big, small in pairwise(falling)]
    return Grid(tuple(falling), tuple(sizes))


@dataclass(frozen=True, slots=True)
class Box:
    """Digits low..high-1 on every axis; there `source` plus the distance from `low` times `strides` is where
    the element comes from.
    """

    low: Digits
    high: Digits
    input: int
    source: int
    strides: Digits

    def contains(self, other: Box) -> bool:
        return all(a <= b for a, b in zip(self.low, other.low, strict=True)) and all(
            a >= b for a, b in zip(self.high, other.high, strict=True)
        )

    def meets(self, other: Box) -> bool:
        return all(a < b for a, b in zip(self.low, other.high, strict=True)) and all(
            a < b for a, b in zip(other.low, self.high, strict=True)
        )


def grid_boxes(regions: Sequence[Region], elements: int) -> list[Box] | None:
    """The destination of each region as a box of one grid."""
    radix = grid(regions, elements) if len(regions) <= MAX_REGIONS else None
    return None if radix is None else boxes(radix, regions)


def boxes(radix: Grid, regions: Sequence[Region]) -> list[Box] | None:
    out = []
    for region in regions:
        if not injective(region.destination, region.sizes):
            return None
        factors = radix.factors(region.destination, region.sizes)
        sizes, (source, destination) = split(region.sizes, factors, region.source, region.destination)
        steps = radix.steps(destination, sizes)
        if steps is None:
            return None
        low, strides = radix.digits(destination.offset), [0] * len(radix.weights)
        high = [digit + 1 for digit in low]
        for n, step, stride in zip(sizes, steps, source.strides, strict=True):
            if n > 1:
                axis = step.index(1)
                high[axis], strides[axis] = low[axis] + n, stride
        out.append(Box(low, tuple(high), region.input, source.offset, tuple(strides)))
    return out


def is_disjoint(raster: Raster, elements: int) -> bool:
    """Whether a RASTER copies, as far as can be told, to no element twice, nor fills any."""
    if raster.mode != "copy" or raster.fill is not None:
        return False
    if len(raster.regions) == 1:
        return injective(raster.regions[0].destination, raster.regions[0].sizes)
    boxes = grid_boxes(raster.regions, elements)
    return boxes is not None and disjoint(boxes)


def disjoint(boxes: Sequence[Box]) -> bool:
    """Whether no two of them share an element."""
    return not any(box.meets(other) for i, box in enumerate(boxes) for other in boxes[:i])


def visible(boxes: Sequence[Box]) -> list[int]:
    """The numbers of those that no later one covers."""
    return [i for i, box in enumerate(boxes) if not any(later.contains(box) for later in boxes[i + 1 :])]


# -------------------------------------------------------------------- splitting dimensions


def split(sizes: Shape, factors: Sequence[Shape], *views: View) -> tuple[Shape, list[View]]:
    """The same addresses in the same order with each dimension cut into its factors."""
    whole = tuple(n for parts in factors for n in parts)
    out = []
    for view in views:
        strides: list[int] = []
        for stride, parts in zip(view.strides, factors, strict=True):
            strides += [stride * math.prod(parts[i + 1 :]) for i in range(len(parts))]
        out.append(View(view.offset, tuple(strides)))
    assert math.prod(whole) == math.prod(sizes)
    return whole, out


def unsplit(view: View, factors: Sequence[Shape]) -> View | None:
    """The view before `split`, where each dimension is again one stride."""
    strides, at = [], 0
    for parts in factors:
        own = view.strides[at : at + len(parts)]
        at += len(parts)
        if any(own[i] != own[i + 1] * parts[i + 1] for i in range(len(parts) - 1)):
            return None
        strides.append(own[-1])
    return View(view.offset, tuple(strides))


# -------------------------------------------------------------------- reading through a copy


@dataclass(frozen=True, slots=True)
class Piece:
    """The indices start[d] <= i[d] < start[d] + sizes[d] read `view` of an input, or the fill for None."""

    start: Digits
    sizes: Shape
    input: int
    view: View | None


@dataclass(frozen=True, slots=True)
class Reading:
    """A view of a copy as views of what was copied: of index space `split(sizes, factors)`, cut into pieces
    that are disjoint and cover it.
    """

    factors: list[Shape]
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class Copies:
    """A RASTER of mode copy, ready to be read through; made once for all of its readers."""

    raster: Raster
    radix: Grid
    boxes: list[Box]

    @staticmethod
    def of(raster: Raster, elements: int) -> Copies | None:
        if raster.mode != "copy" or len(raster.regions) > MAX_REGIONS or elements == 0:
            return None
        radix = grid(raster.regions, elements)
        found = None if radix is None else boxes(radix, raster.regions)
        return None if radix is None or found is None else Copies(raster, radix, found)

    def read(self, view: View, sizes: Shape) -> Reading | None:
        """What a view inside the output reads."""
        if 0 in sizes:
            return None
        backwards = [axis for axis, stride in enumerate(view.strides) if stride < 0]
        forward = flip(view, sizes, backwards)
        factors = self.radix.factors(forward, sizes)
        whole, (forward,) = split(sizes, factors, forward)
        steps = self.radix.steps(forward, whole)
        if steps is None:
            return None
        pieces = self._clip(self.radix.digits(forward.offset), steps, whole)
        if pieces is None:
            return None
        turned = [axis in backwards for axis, parts in enumerate(factors) for _ in parts]
        return Reading(factors, [_turned(piece, whole, turned) for piece in pieces])

    def _clip(self, start: Digits, steps: list[Digits], sizes: Shape) -> list[Piece] | None:
        """The index space cut along the boxes, the last written first."""
        out: list[Piece] = []
        rest = [((0,) * len(sizes), sizes)]
        for box in reversed(self.boxes):
            left = []
            for low, extent in rest:
                cut = _cut(box, start, steps, low, extent)
                if cut is None:
                    return None
                inside, outside = cut
                left += outside
                if inside is not None:
                    out.append(Piece(*inside, box.input, _followed(box, start, steps, inside[0])))
            rest = left
            if len(rest) + len(out) > MAX_PIECES:
                return None
        if rest and self.raster.fill is None:
            return None
        return [*out, *(Piece(low, extent, -1, None) for low, extent in rest)]


Span = tuple[Digits, Shape]
"""First index and sizes of a box of indices."""


def _cut(
    box: Box, start: Digits, steps: list[Digits], low: Digits, sizes: Shape
) -> tuple[Span | None, list[Span]] | None:
    """The part of a span of indices whose digits lie in the box, and the rest in spans; None where that part
    is no span.
    """
    outside: list[Span] = []
    whole = low, sizes
    for axis, (first, end) in enumerate(zip(box.low, box.high, strict=True)):
        moving = [d for d, step in enumerate(steps) if step[axis] and sizes[d] > 1]
        base = start[axis] + sum(i * step[axis] for i, step in zip(low, steps, strict=True))
        last = base + sum((sizes[d] - 1) * steps[d][axis] for d in moving)
        if last < first or base >= end:
            return None, [whole]
        if first <= base and last < end:
            continue
        if len(moving) != 1:
            return None
        (d,) = moving
        step = steps[d][axis]
        begin = max(-(-(first - base) // step), 0)
        stop = min(-(-(end - base) // step), sizes[d])
        if begin >= stop:
            return None, [whole]
        for at, upto in ((0, begin), (stop, sizes[d])):
            if at < upto:
                outside.append((_put(low, d, low[d] + at), _put(sizes, d, upto - at)))
        low, sizes = _put(low, d, low[d] + begin), _put(sizes, d, stop - begin)
    return (low, sizes), outside


def _put(numbers: Digits, at: int, number: int) -> Digits:
    return (*numbers[:at], number, *numbers[at + 1 :])


def _followed(box: Box, start: Digits, steps: list[Digits], low: Digits) -> View:
    """Where the box took the elements from, by index from `low` on."""
    strides = tuple(_dot(step, box.strides) for step in steps)
    distance = [digit - first for digit, first in zip(start, box.low, strict=True)]
    return View(box.source + _dot(distance, box.strides) + _dot(low, strides), strides)


def _turned(piece: Piece, whole: Shape, backwards: Sequence[bool]) -> Piece:
    """The piece by the index that ran backwards."""
    axes = [axis for axis, turned in enumerate(backwards) if turned]
    start = tuple(
        n - first - size if turned else first
        for n, first, size, turned in zip(whole, piece.start, piece.sizes, backwards, strict=True)
    )
    view = None if piece.view is None else flip(piece.view, piece.sizes, axes)
    return replace(piece, start=start, view=view)


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


# -------------------------------------------------------------------- readers


def one_view(reading: Reading | None) -> tuple[int, View, list[Shape]] | None:
    """(input, view of the split index space, factors) where a single view of one input is read."""
    if reading is None or len(reading.pieces) != 1 or reading.pieces[0].view is None:
        return None
    return reading.pieces[0].input, reading.pieces[0].view, reading.factors


def clipped(region: Region, reading: Reading) -> Iterator[Region]:
    """A region that reads a copy as regions that read its inputs; what reads the fill is left out."""
    _, (destination,) = split(region.sizes, reading.factors, region.destination)
    for piece in reading.pieces:
        if piece.view is not None:
            offset = destination.offset + _dot(piece.start, destination.strides)
            sizes, (source, target) = collapse(piece.sizes, piece.view, View(offset, destination.strides))
            yield Region(piece.input, source, target, sizes)


def same_bits(a: float, b: float, dtype: DType) -> bool:
    """Whether two fills are one: 0.0 and -0.0 are not."""
    return np.array(a, dtype.numpy).tobytes() == np.array(b, dtype.numpy).tobytes()
