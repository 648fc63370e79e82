"""Transform operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.conformance.case import EVERY, FLOAT, Array, Case, X, without


def reshaped(shape: tuple[int, ...]) -> Callable[..., list[Array]]:
    return lambda x: [x.reshape(shape)]


def spread(shape: tuple[int, ...]) -> Callable[..., list[Array]]:
    def expect(x: Array, broadcast_dimensions: tuple[int, ...]) -> list[Array]:
        order = np.argsort(broadcast_dimensions)
        aligned = [1] * len(shape)
        for axis in order:
            aligned[broadcast_dimensions[axis]] = x.shape[axis]
        return [np.broadcast_to(x.transpose(order).reshape(aligned), shape)]

    return expect


def turned(x: Array, permutation: tuple[int, ...]) -> list[Array]:
    return [x.transpose(permutation)]


def padded(
    x: Array, value: Array, edge_padding_low: Array, edge_padding_high: Array, interior_padding: Array
) -> list[Array]:
    """Between first, then what goes around, then what is cropped."""
    step = np.array(interior_padding) + 1
    wide = np.full((np.array(x.shape) - 1) * step + 1, value)
    wide[tuple(slice(None, None, s) for s in step)] = x
    pads = np.stack([edge_padding_low, edge_padding_high], 1)
    wide = np.pad(wide, np.maximum(pads, 0), constant_values=value)
    low, high = np.minimum(pads, 0).T
    return [wide[tuple(slice(-a, n + b) for a, b, n in zip(low, high, wide.shape, strict=True))]]


def counted(shape: tuple[int, ...], dtype: str) -> Callable[..., list[Array]]:
    def expect(iota_dimension: int) -> list[Array]:
        return [np.indices(shape)[iota_dimension].astype(dtype)]

    return expect


def joined(*parts: Array, dimension: int) -> list[Array]:
    return [np.concatenate(parts, dimension)]


def cut(x: Array, start_indices: Array, limit_indices: Array, strides: Array) -> list[Array]:
    return [x[tuple(map(slice, start_indices, limit_indices, strides))]]


PADS = ("edge_padding_low", "edge_padding_high", "interior_padding")
CASES = [
    *(
        Case("STABLEHLO_RESHAPE", (X(shape),), types=EVERY, same=True, out_shape=to, expect=reshaped(to))
        for shape, to in (((2, 6), (3, 4)), ((4,), (2, 1, 2)), ((1, 1), ()), ((2, 3, 2), (12,)))
    ),
    *(
        Case("STABLEHLO_TRANSPOSE", (X(shape),), {"permutation": order}, EVERY, same=True, expect=turned)
        for shape, order in (
            ((2, 3), (1, 0)),
            ((2, 3, 4), (2, 0, 1)),
            ((2, 1, 3, 2), (0, 3, 1, 2)),
            ((5,), (0,)),
        )
    ),
    *(
        Case(
            "STABLEHLO_BROADCAST_IN_DIM",
            (X(shape),),
            {"broadcast_dimensions": axes},
            EVERY,
            same=True,
            out_shape=to,
            expect=spread(to),
        )
        for shape, axes, to in (
            ((), (), (2, 3)),
            ((3,), (1,), (2, 3)),
            ((2,), (0,), (2, 3)),
            ((1, 3), (0, 2), (4, 2, 3)),
            ((2, 3), (1, 0), (3, 2)),
            ((2, 1, 2), (0, 1, 3), (2, 3, 2, 2)),
        )
    ),
    *(
        Case(
            "STABLEHLO_CONCATENATE",
            tuple(map(X, shapes)),
            {"dimension": axis},
            EVERY,
            same=True,
            expect=joined,
        )
        for shapes, axis in (
            (((2, 3), (2, 1)), 1),
            (((2, 3), (1, 3), (4, 3)), 0),
            (((2, 2, 3),) * 2, 2),
            (((4,),), 0),
        )
    ),
    *(
        Case(
            "STABLEHLO_SLICE",
            (X(shape),),
            dict(zip(("start_indices", "limit_indices", "strides"), cuts, strict=True)),
            EVERY,
            same=True,
            expect=cut,
        )
        for shape, cuts in (
            ((5,), ((1,), (4,), (1,))),
            ((5,), ((0,), (5,), (2,))),
            ((4, 6), ((1, 0), (4, 6), (2, 3))),
            ((2, 3, 4), ((0, 1, 1), (2, 3, 4), (1, 1, 2))),
        )
    ),
    *(
        Case(
            "STABLEHLO_PAD",
            (X(shape), X(())),
            dict(zip(PADS, pads, strict=True)),
            EVERY,
            same=True,
            expect=padded,
            late=shape != (),
        )
        for shape, pads in (
            ((4,), ((1,), (2,), (0,))),
            ((4,), ((0,), (0,), (2,))),
            ((4,), ((-1,), (1,), (1,))),
            ((4,), ((-2,), (-1,), (2,))),
            ((2, 3), ((1, 0), (0, 2), (1, 0))),
            ((3, 4), ((-1, 2), (1, -2), (0, 1))),
            ((3, 3), ((-1, -1), (-1, -1), (0, 3))),
            ((2, 3, 2), ((0, 1, 0), (2, 0, 1), (0, 1, 2))),
        )
    ),
    Case(
        "STABLEHLO_PAD",
        (X((2, 3)), np.array(7.5, np.float32)),
        dict(zip(PADS, ((1, -1), (1, -1), (0, 1)), strict=True)),
        FLOAT,
        expect=padded,
        late=True,
    ),
    *(
        Case(
            "STABLEHLO_IOTA",
            (),
            {"iota_dimension": axis},
            (dtype,),
            out_shape=shape,
            expect=counted(shape, dtype),
        )
        for dtype in without("bool")
        for shape, axis in (((5,), 0), ((2, 3), 0), ((2, 3), 1), ((2, 3, 4), 1))
    ),
]  # fmt: skip
