"""Operators at places that only the run knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.conformance.case import EVERY, FLOAT, Array, Case, X

INDICES = (-3, 6)
"""Beyond both ends of most axes."""
FAR = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**62), 2**62)}
"""Where most sums with a place in a window no longer fit their type, or nearly."""
COMPUTATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "": lambda _, new: new,
    "STABLEHLO_ADD": np.add,
    "STABLEHLO_MULTIPLY": np.multiply,
    "STABLEHLO_MAXIMUM": np.maximum,
    "STABLEHLO_MINIMUM": np.minimum,
}


def walked(
    rank: int, shape: tuple[int, ...], index: Array, places: Any, dropped: Any, mapped: Any, vector: int
) -> Iterator[tuple[tuple[int, ...], Array, Array]]:
    """(place in a tensor of windows, start of its window, where in the window it is) of every place."""
    index = index[..., None] if vector == index.ndim else np.moveaxis(index, vector, -1)
    kept = [axis for axis in range(rank) if axis not in dropped]
    for place in np.ndindex(*shape):
        start, offset = np.zeros(rank, np.int64), np.zeros(rank, np.int64)
        start[list(mapped)] = index[tuple(n for i, n in enumerate(place) if i not in places)]
        offset[kept] = [place[i] for i in places]
        yield place, start, offset


def gathered(
    x: Array,
    index: Array,
    offset_dims: Any,
    collapsed_slice_dims: Any,
    start_index_map: Any,
    index_vector_dim: int,
    slice_sizes: Any,
) -> list[Array]:
    kept = [n for axis, n in enumerate(slice_sizes) if axis not in collapsed_slice_dims]
    shape = [n for axis, n in enumerate(index.shape) if axis != index_vector_dim]
    for place, size in zip(offset_dims, kept, strict=True):
        shape.insert(place, size)
    out, most = np.empty(shape, x.dtype), np.array(x.shape) - slice_sizes
    walk = walked(
        x.ndim, out.shape, index, offset_dims, collapsed_slice_dims, start_index_map, index_vector_dim
    )
    for place, start, offset in walk:
        out[place] = x[tuple(np.clip(start, 0, most) + offset)]
    return [out]


def scattered(body: str) -> Callable[..., list[Array]]:
    def expect(
        x: Array,
        index: Array,
        updates: Array,
        update_window_dims: Any,
        inserted_window_dims: Any,
        scatter_dims_to_operand_dims: Any,
        index_vector_dim: int,
    ) -> list[Array]:
        out = x.copy()
        walk = walked(
            x.ndim,
            updates.shape,
            index,
            update_window_dims,
            inserted_window_dims,
            scatter_dims_to_operand_dims,
            index_vector_dim,
        )
        for place, start, offset in walk:
            at = start + offset
            if (at >= 0).all() and (at < x.shape).all():
                out[tuple(at)] = COMPUTATIONS[body](out[tuple(at)], updates[place])
        return [out]

    return expect


def sliced(x: Array, *starts: Array, slice_sizes: Any) -> list[Array]:
    at = [
        int(np.clip(start, 0, n - size)) for start, n, size in zip(starts, x.shape, slice_sizes, strict=True)
    ]
    return [x[tuple(slice(a, a + size) for a, size in zip(at, slice_sizes, strict=True))]]


def updated(x: Array, update: Array, *starts: Array) -> list[Array]:
    out = x.copy()
    sliced(out, *starts, slice_sizes=update.shape)[0][...] = update
    return [out]


GATHER = ("offset_dims", "collapsed_slice_dims", "start_index_map", "index_vector_dim", "slice_sizes")
GATHERS = (
    ((5, 3), (4, 1), ((1,), (0,), (0,), 1, (1, 3))),
    ((5, 3), (4,), ((1,), (0,), (0,), 1, (1, 3))),
    ((5, 3), (2, 2), ((), (0, 1), (0, 1), 1, (1, 1))),
    ((5, 3), (2, 4), ((), (0, 1), (1, 0), 0, (1, 1))),
    ((4, 5), (3, 2), ((1, 2), (), (0, 1), 1, (2, 3))),
    ((4, 5), (3, 2), ((0, 1), (), (1, 0), 1, (2, 3))),
    ((3, 4, 2), (2, 3, 2), ((2, 3), (1,), (0, 2), 2, (2, 1, 2))),
    ((3, 4, 2), (2, 3, 2), ((0, 3), (1,), (2, 1), 2, (2, 1, 2))),
    ((3, 4, 2), (2, 2, 3), ((1,), (0, 1), (0, 1), 1, (1, 1, 2))),
    ((6,), (3, 1), ((1,), (), (0,), 1, (4,))),
    ((2, 3, 4), (2, 1), ((1, 2), (1,), (1,), 1, (2, 1, 4))),
)  # fmt: skip
SCATTER = ("update_window_dims", "inserted_window_dims", "scatter_dims_to_operand_dims", "index_vector_dim")
SCATTERS = (
    ((5, 3), (4, 1), (4, 3), ((1,), (0,), (0,), 1)),
    ((5, 3), (4,), (4, 3), ((1,), (0,), (0,), 1)),
    ((5, 3), (6, 2), (6,), ((), (0, 1), (0, 1), 1)),
    ((4, 5), (3, 2), (3, 2, 3), ((1, 2), (), (0, 1), 1)),
    ((4, 5), (2, 3), (3, 2, 3), ((1, 2), (), (1, 0), 0)),
    ((4, 5), (3, 2), (2, 3, 3), ((0, 2), (), (0, 1), 1)),
    ((3, 4, 2), (2, 3, 2), (2, 3, 2), ((2,), (0, 1), (0, 1), 2)),
    ((3, 4, 2), (3, 1), (3, 3, 2), ((0, 2), (1,), (1,), 1)),
    ((6,), (3, 1), (3, 2), ((1,), (), (0,), 1)),
)  # fmt: skip
SLICES = (((6,), (3,)), ((4, 5), (2, 5)), ((4, 5), (2, 2)), ((3, 4, 2), (1, 2, 2)), ((3,), (3,)))
ADDED = ("float32", "int8", "uint8", "int16", "int32", "int64")

CASES = [
    *(
        Case(
            "STABLEHLO_GATHER",
            (X(shape), X(index, span, dtype)),
            dict(zip(GATHER, options, strict=True)),
            types,
            same=True,
            expect=gathered,
            late=options[3] < len(index),
        )
        for dtype in ("int32", "int64")
        for span, types in ((INDICES, EVERY), (FAR[dtype], FLOAT))
        for shape, index, options in GATHERS
    ),  # TFLite reads beyond the shape of indices that have no axis of vectors
    *(
        Case(
            "STABLEHLO_SCATTER",
            (X(shape), X(index, span, dtype), X(updates)),
            dict(zip(SCATTER, options, strict=True)),
            types,
            same=True,
            body=body,
            expect=scattered(body),
            late=options[3] < len(index),
        )
        for dtype, span, body, types in (
            ("int32", INDICES, "", EVERY),
            ("int64", INDICES, "", EVERY),
            ("int32", FAR["int32"], "", FLOAT),
            ("int64", FAR["int64"], "", FLOAT),
            ("int32", INDICES, "STABLEHLO_ADD", ADDED),
            ("int64", INDICES, "STABLEHLO_MAXIMUM", ADDED),
            ("int32", INDICES, "STABLEHLO_MINIMUM", ADDED),
            ("int64", INDICES, "STABLEHLO_MULTIPLY", ("float32", "int32")),
        )
        for shape, index, updates, options in SCATTERS
    ),
    *(
        Case(
            "STABLEHLO_DYNAMIC_SLICE",
            (X(shape), *(X((), span, dtype) for _ in shape)),
            {"slice_sizes": sizes},
            types,
            same=True,
            expect=sliced,
        )
        for dtype in ("int32", "int64")
        for span, types in ((INDICES, EVERY), (FAR[dtype], FLOAT))
        for shape, sizes in SLICES
    ),
    *(
        Case(
            "STABLEHLO_DYNAMIC_UPDATE_SLICE",
            (X(shape), X(sizes), *(X((), INDICES, dtype) for _ in shape)),
            types=EVERY,
            same=True,
            expect=updated,
        )
        for dtype in ("int32", "int64")
        for shape, sizes in SLICES
    ),
]  # fmt: skip
