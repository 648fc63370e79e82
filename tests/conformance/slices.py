"""Operators that take a part of a tensor, take it apart or write into it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.case import EVERY, Array, Case, X, ints, without


def strided(shape: tuple[int, ...], begin: Array, end: Array, step: Array, **masks: int) -> Case:
    return Case("STRIDED_SLICE", (X(shape), begin, end, step), masks, EVERY, same=True)


def parts(op: str, x: X, sizes: Any, axis: int, types: tuple[str, ...], **options: Any) -> Case:
    """SPLIT and SPLIT_V, whose operands stand in another order."""
    operands = (ints(axis), x) if op == "SPLIT" else (x, ints(*sizes), ints(axis))
    count = sizes if op == "SPLIT" else len(sizes)
    return Case(op, operands, {"num_splits": count}, types, same=True, outputs=count, **options)


def split_evenly(axis: Array, x: Array, num_splits: int) -> list[Array]:
    return np.split(x, num_splits, int(axis[0]))


def unpacked(x: Array, num: int, axis: int) -> list[Array]:
    return [np.take(x, i, axis) for i in range(num)]


def updated(x: Array, update: Array, start: Array) -> list[Array]:
    out = x.copy()
    begin = np.clip(start, 0, np.array(x.shape) - update.shape)
    out[tuple(slice(b, b + n) for b, n in zip(begin, update.shape, strict=True))] = update
    return [out]


CASES = [
    *(
        Case("SLICE", (X(shape), ints(*begin), ints(*size)), types=EVERY, same=True)
        for shape, begin, size in (
            ((4, 5, 6), (1, 0, 2), (2, -1, 3)),
            ((7,), (3,), (-1,)),
            ((2, 3, 4, 5), (0, 0, 0, 0), (2, 3, 4, 5)),
            ((2, 3, 2, 4, 5), (1, 0, 1, 1, 2), (1, 2, 1, 3, 2)),
        )
    ),
    *(
        Case(
            "SLICE", (X(shape), X((len(shape),), span, index), np.array(size, index)), types=EVERY, same=True
        )
        for shape, span, size in (
            ((4, 5, 6), (0, 2), (2, 3, 4)),
            ((3, 5), (0, 0), (2, 5)),
            ((7,), (0, 6), (1,)),
        )
        for index in ("int32", "int64")
    ),
    Case("SLICE", (X((4, 5)), np.array([1, 0]), np.array([-1, 3])), types=EVERY, same=True),
    *(
        Case(
            "STRIDED_SLICE", (X(shape), *(X((n,), span, "int32"),) * 2, ints(*(1,) * n)), masks, EVERY,
            same=True,
        )
        for shape, n, span, masks in (
            ((4, 5, 6), 1, (-4, 3), {"shrink_axis_mask": 1}),
            ((4, 5, 6), 2, (-4, 3), {"shrink_axis_mask": 3}),
            ((4, 5, 6), 2, (-4, 3), {"shrink_axis_mask": 2, "begin_mask": 1, "end_mask": 1}),
            ((4, 5, 6), 2, (0, 3), {"shrink_axis_mask": 2, "ellipsis_mask": 1}),
            ((4, 5), 2, (0, 3), {"shrink_axis_mask": 2, "new_axis_mask": 1}),
        )
    ),
    # every mask, alone and together
    strided((4, 5, 6), ints(1, 4, 0), ints(3, 0, 6), ints(1, -2, 2)),
    strided((4, 5, 6), ints(-3, -1, 9), ints(99, -99, -9), ints(2, -1, -4)),
    strided((4, 5, 6), ints(2, 3, 4), ints(3, 4, 5), ints(1, -1, 2), begin_mask=5, end_mask=6),
    strided((4, 5, 6), ints(-1, 2, 9), ints(0, -1, -9), ints(1, 1, -1), shrink_axis_mask=1, end_mask=2),
    strided((4, 5, 6), ints(2, 1), ints(3, 3), ints(1, 1), shrink_axis_mask=1),
    strided((4, 5, 6), ints(3, -2, 0), ints(4, -1, 1), ints(1, 1, 1), shrink_axis_mask=7),
    strided((4, 5, 6), ints(1), ints(4), ints(2)),
    strided((7,), ints(5), ints(0), ints(-2)),
    strided((7,), ints(0), ints(0), ints(-3), begin_mask=1, end_mask=1),
    strided((4, 5, 6), ints(0, 1), ints(0, 3), ints(1, 1), ellipsis_mask=1),
    strided((4, 5, 6), ints(1, 0, 3), ints(2, 0, 0), ints(1, 1, -2), ellipsis_mask=2, end_mask=4),
    strided((4, 5, 6), ints(1, 0), ints(3, 0), ints(1, 1), ellipsis_mask=2),
    Case(
        "STRIDED_SLICE", (X((4, 5, 6)), ints(0, 1, 2, 3), ints(0, 2, 4, 6), ints(1, 1, 1, 1)),
        {"ellipsis_mask": 1}, EVERY, same=True, expect=lambda x, *_, ellipsis_mask: [x[..., 1:2, 2:4, 3:6]],  # noqa: ARG005
    ),  # TFLite lets an ellipsis that stands for no axis take one
    strided((4, 5, 6), ints(0, 1), ints(0, 2), ints(1, 1), new_axis_mask=1),
    strided((4, 5), ints(1, 0, 2), ints(3, 0, 5), ints(1, 1, 2), new_axis_mask=2),
    strided((4, 5), ints(0, 0, 1), ints(0, 0, 3), ints(1, 1, 1), new_axis_mask=3, begin_mask=4),
    strided((4, 5), ints(0, 1, 0), ints(0, 2, 0), ints(1, 1, 1), ellipsis_mask=1, shrink_axis_mask=2,
            new_axis_mask=4),
    strided((4, 5, 6), ints(0, 0, 3), ints(0, 0, 4), ints(1, 1, 1), ellipsis_mask=2, new_axis_mask=1,
            shrink_axis_mask=4),
    strided((4, 5, 6), ints(1, 3, 0), ints(2, 1, 6), ints(1, 1, 2), offset=1),
    strided((4, 5), ints(-1, -3), ints(1, 2), ints(1, 1), offset=1),
    strided((2, 3, 4, 5, 3), ints(1, 0, 3, 0, 2), ints(2, 3, 0, 5, 0), ints(1, 2, -1, 3, -1)),
    *(parts("SPLIT", X(shape), count, axis, without("int64", "bool")) for shape, count, axis in (
        ((2, 6, 3), 3, 1), ((4, 5), 4, 0), ((2, 3, 4, 6), 2, -1),
    )),
    parts("SPLIT", X((2, 6)), 2, 1, ("int64", "bool"), expect=split_evenly),  # no kernel
    *(parts("SPLIT_V", X(shape), sizes, axis, without("bool")) for shape, sizes, axis in (
        ((2, 6, 3), (1, 3, -1), 1), ((6,), (4, 2), 0), ((2, 3, 4, 5), (2, 1, 2), -1), ((3, 4), (3,), 0),
    )),
    *(
        Case(
            "UNPACK", (X(shape),), {"num": shape[axis], "axis": axis}, without("int64"), same=True,
            outputs=shape[axis],
        )
        for shape, axis in (((2, 3, 4), 1), ((5,), 0), ((2, 3, 4, 2), -1), ((2, 3, 4), 0))
    ),
    Case("UNPACK", (X((2, 3)),), {"num": 3, "axis": 1}, ("int64",), outputs=3, expect=unpacked),  # no kernel
    *(
        Case(
            "DYNAMIC_UPDATE_SLICE", (X(shape), X(update), X((len(shape),), (-3, 5), "int32")), types=types,
            same=True, expect=expect,
        )
        for shape, update in (
            ((4, 5, 6), (2, 5, 3)),
            ((4, 5, 6), (2, 5, 6)),
            ((7,), (3,)),
            ((3, 4), (3, 4)),
            ((2, 3, 4, 5), (1, 2, 2, 5)),
        )
        for types, expect in ((without("uint8", "int16"), None), (("uint8", "int16"), updated))  # no kernel
    ),
]  # fmt: skip
