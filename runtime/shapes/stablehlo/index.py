"""Shapes of StableHLO's operators that read or write at places that only the run knows.

GATHER and SCATTER move windows of the operand: each dimension of their other tensor (the output of GATHER,
the updates of SCATTER) is an axis of the window, or one of the indices.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule
from runtime.shapes.slices import updated
from runtime.shapes.stablehlo.views import distinct, numbers


@dataclass(frozen=True, slots=True)
class Windows:
    """How a tensor of `sizes` holds windows of the operand.

    `axes` says by dimension which axis of the operand it runs along, None for one of the indices; `mapped`
    are the operand axes along which an index moves the window, in the order of its numbers; those numbers
    stand along axis `vector` of the tensor of indices.
    """

    sizes: Shape
    axes: tuple[int | None, ...]
    mapped: tuple[int, ...]
    vector: int


def _windows(x: Operands, places: str, dropped: str, map_: str, window: Shape) -> Windows:
    """From the names of three attributes and the sizes of the window along the axes that are not dropped."""
    shape, index, vector = x.shape(0), x.shape(1), int(x.attr("index_vector_dim"))
    if not 0 <= vector <= len(index):
        raise x.bad(f"index_vector_dim {vector} of indices of shape {index}")
    outer = [size for axis, size in enumerate(index) if axis != vector]
    kept = [axis for axis in range(len(shape)) if axis not in distinct(x, dropped, len(shape))]
    mapped, rank = distinct(x, map_, len(shape), ordered=False), len(outer) + len(kept)
    if len(mapped) != (index[vector] if vector < len(index) else 1):
        raise x.bad(f"{map_} {mapped} for indices of shape {index} along axis {vector}")
    where = distinct(x, places, rank)
    if len(where) != len(kept):
        raise x.bad(f"{places} {where} for {len(kept)} axes of the window")
    sizes, axes = list(outer), list[int | None]([None] * len(outer))
    for place, axis, size in zip(where, kept, window, strict=True):
        sizes.insert(place, size)
        axes.insert(place, axis)
    return Windows(tuple(sizes), tuple(axes), mapped, vector)


def gathered(x: Operands) -> Windows:
    """How the output of GATHER holds what is read."""
    shape = x.shape(0)
    sizes, dropped = numbers(x, "slice_sizes", len(shape), 1), x.attr("collapsed_slice_dims")
    most = [1 if axis in dropped else size for axis, size in enumerate(shape)]
    if any(part > whole for part, whole in zip(sizes, most, strict=True)):
        raise x.bad(f"slice_sizes {sizes} of {shape}, of which {dropped} are dropped")
    window = tuple(size for axis, size in enumerate(sizes) if axis not in dropped)
    return _windows(x, "offset_dims", "collapsed_slice_dims", "start_index_map", window)


def scattered(x: Operands) -> Windows:
    """How the updates of SCATTER hold what is written."""
    shape, updates = x.shape(0), x.shape(2)
    where = distinct(x, "update_window_dims", len(updates))
    window = tuple(updates[place] for place in where)
    kept = [size for axis, size in enumerate(shape) if axis not in x.attr("inserted_window_dims")]
    if len(kept) != len(window) or any(part > whole for part, whole in zip(window, kept, strict=True)):
        raise x.bad(f"windows of {window} do not fit {shape} without {x.attr('inserted_window_dims')}")
    names = ("update_window_dims", "inserted_window_dims", "scatter_dims_to_operand_dims")
    windows = _windows(x, *names, window)
    if windows.sizes != updates:
        raise x.bad(f"updates of shape {updates}, expected {windows.sizes}")
    return windows


def _gather(x: Operands) -> list[Shape]:
    return [gathered(x).sizes]


def _scatter(x: Operands) -> list[Shape]:
    scattered(x)
    return [x.shape(0)]


def _starts(x: Operands, first: int) -> None:
    """The starts are one scalar of one type for each axis."""
    starts = [x.value(i) for i in range(first, len(x.values))]
    if len(starts) != len(x.shape(0)) or any(value.elements != 1 for value in starts):
        raise x.bad(f"{len(starts)} start indices, expected a scalar for each axis of {x.shape(0)}")
    if len({value.dtype for value in starts}) != 1:
        raise x.bad("start indices of different element types, or none")


def _dynamic_slice(x: Operands) -> list[Shape]:
    _starts(x, 1)
    shape = x.shape(0)
    sizes = numbers(x, "slice_sizes", len(shape), 1)
    if any(part > whole for part, whole in zip(sizes, shape, strict=True)):
        raise x.bad(f"slice_sizes {sizes} of {shape}")
    return [sizes]


def _dynamic_update_slice(x: Operands) -> list[Shape]:
    _starts(x, 2)
    return [updated(x)]


def _sort(x: Operands) -> list[Shape]:
    shapes = [x.shape(i) for i in range(len(x.values))]
    if len(set(shapes)) > 1:
        raise x.bad(f"shapes {shapes}: expected all the same")
    x.axis(x.attr("dimension"), len(shapes[0]))
    return shapes


RULES: dict[str, Rule] = {
    "STABLEHLO_GATHER": _gather,
    "STABLEHLO_SCATTER": _scatter,
    "STABLEHLO_DYNAMIC_SLICE": _dynamic_slice,
    "STABLEHLO_SORT": _sort,
    "STABLEHLO_DYNAMIC_UPDATE_SLICE": _dynamic_update_slice,
}
