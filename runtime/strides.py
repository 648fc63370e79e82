"""Arithmetic on views: dense and broadcast strides, the fewest dimensions, the addresses they touch."""

from __future__ import annotations

from runtime.atoms import View
from runtime.graph import Shape


def dense(sizes: Shape, offset: int = 0) -> View:
    """Row-major: the last index runs fastest."""
    strides = [1] * len(sizes)
    for axis in range(len(sizes) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * sizes[axis + 1]
    return View(offset, tuple(strides))


def broadcast(shape: Shape, sizes: Shape) -> View:
    """A dense tensor of `shape` read at every index below `sizes` by NumPy's rule: axes align right."""
    missing = len(sizes) - len(shape)
    strides = dense(shape).strides
    return View(
        0, (0,) * missing + tuple(0 if size == 1 else s for size, s in zip(shape, strides, strict=True))
    )


def collapse(sizes: Shape, *views: View) -> tuple[Shape, list[View]]:
    """The same addresses in the same order with the fewest dimensions, at least one.

    Drops dimensions of size 1 and merges an outer dimension into the next one where, in every view, stepping
    the outer once equals running through the inner.
    """
    merged, kept = list[int](), list[tuple[int, ...]]()
    for size, *axis in zip(sizes, *[view.strides for view in views], strict=True):
        if size == 1:
            continue
        if kept and kept[-1] == tuple([stride * size for stride in axis]):
            merged[-1] *= size
            kept[-1] = tuple(axis)
        else:
            merged.append(size)
            kept.append(tuple(axis))
    strides = zip(*kept, strict=True) if kept else [(0,)] * len(views)
    simple = [View(view.offset, along) for view, along in zip(views, strides, strict=True)]
    return tuple(merged) or (1,), simple


def extent(view: View, sizes: Shape) -> tuple[int, int]:
    """Lowest and highest address of a view; (0, -1) where there is no index."""
    if 0 in sizes:
        return 0, -1
    reach = [(size - 1) * stride for size, stride in zip(sizes, view.strides, strict=True)]
    return view.offset + sum(r for r in reach if r < 0), view.offset + sum(r for r in reach if r > 0)


def is_dense(view: View, sizes: Shape) -> bool:
    """Whether a view walks 0, 1, 2, ... without a gap."""
    merged, (simple,) = collapse(sizes, view)
    return view.offset == 0 and len(merged) == 1 and (merged[0] == 1 or simple.strides == (1,))
