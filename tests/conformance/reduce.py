"""Reductions over axes, and running sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.case import BYTES, EVERY, FLOAT, Array, Case, X, ints, without

AXES = (
    ((2, 3, 4, 5), (1, 2)),
    ((2, 3, 4, 5), (-1, 0)),
    ((2, 3, 4, 5), (0, 1, 2, 3)),
    ((6, 7), (1,)),
    ((6, 7), (0,)),
    ((5,), (0,)),
    ((2, 3, 4), (2, 0, 2)),
    ((2, 3, 2, 2, 3), (1, 3)),
)
SMALL = (*BYTES, "int16")
ODD = (np.nan, np.inf, -np.inf)
HOLES = np.array([[1, -2, -np.inf], [np.nan] * 3, [3, np.nan, 0], [2, -3, np.inf]], np.float32)


def reductions(op: str, types: tuple[str, ...], **more: Any) -> list[Case]:
    return [
        Case(op, (X(shape), ints(*axes)), {"keep_dims": keep}, types, **more)
        for shape, axes in AXES
        for keep in (True, False)
    ]


def summed(x: Array, axes: Array, keep_dims: bool) -> list[Array]:
    """Of stored integers whose scales and zero points are those of a case."""
    zero, out_zero = (3, -7) if x.dtype == np.int8 else (0, 0)
    total = np.sum(x.astype(np.int64) - zero, tuple(set(axes % x.ndim)), keepdims=keep_dims)
    real = np.round(total * float(np.float32(0.05)) / float(np.float32(0.043)))
    limits = np.iinfo(x.dtype)
    return [np.clip(real + out_zero, limits.min, limits.max).astype(x.dtype)]


def running(x: Array, axis: Array, exclusive: bool, reverse: bool) -> list[Array]:
    turned = np.moveaxis(x, axis, 0)[:: -1 if reverse else 1]
    sums = np.cumsum(turned, 0, dtype=x.dtype)
    sums = sums - turned if exclusive and x.dtype.kind == "i" else sums
    if exclusive and x.dtype.kind == "f":
        sums = np.concatenate([np.zeros_like(sums[:1]), sums[:-1]])
    return [np.moveaxis(sums[:: -1 if reverse else 1], 0, axis)]


CASES = [
    *reductions("MEAN", without("bool"), builtin=without("bool", "float32")),
    *reductions("MEAN", SMALL, same=True, builtin=SMALL),
    Case("MEAN", (X((2, 7, 7, 12)), ints(2, 1)), {"keep_dims": True}, SMALL, builtin=SMALL),
    # of 16 channels at once the builtin kernel of ai-edge-litert rounds ties up, that of 2.14 does not
    Case("MEAN", (X((2, 7, 7, 300)), ints(2, 1)), {"keep_dims": True}, SMALL),
    *reductions("SUM", ("float32", "uint8", "int32", "int64", "bool"), builtin=("uint8", "int32", "int64")),
    # the reference kernel reads int8 as uint8; in 2.14 int16 has to keep its scale
    *reductions("SUM", ("int8", "int16"), builtin=("int8",), expect=summed),
    *reductions("REDUCE_MAX", EVERY, same=True),
    *reductions("REDUCE_MIN", EVERY, same=True),
    *reductions("REDUCE_PROD", without("uint8"), builtin=("int8", "int16")),
    *reductions("REDUCE_ANY", ("bool",)),
    *reductions("REDUCE_ALL", ("bool",)),
    *(
        Case(op, (X((2, 3)), ints()), {"keep_dims": keep}, ("float32", "int32"))
        for op in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_PROD")
        for keep in (True, False)
    ),
    *(
        Case(op, (X(shape), np.array(axis, index)), {"output_type": number}, types, out_type=dtype)
        for op in ("ARG_MAX", "ARG_MIN")
        for shape, axis in (((2, 3, 4), 1), ((2, 3, 4), -1), ((7,), 0), ((2, 3, 2, 2), 0), ((3, 300), 1))
        for number, dtype, index in ((2, "int32", np.int32), (4, "int64", np.int64))
        for types in (without("int16", "int64"),)
    ),
    *(
        Case(op, (X(shape, among=ODD), ints(axis)), {"keep_dims": False}, FLOAT)
        for op in ("REDUCE_MAX", "REDUCE_MIN")
        for shape, axis in (((40, 3), 0), ((40, 3), 1), ((3, 40), 1), ((3, 40), 0), ((4, 3, 70), 1))
    ),
    *(
        Case(op, (HOLES, ints(0)), {"output_type": 2}, FLOAT, out_type="int32")
        for op in ("ARG_MAX", "ARG_MIN")
    ),  # none comes first, where TFLite 2.14 keeps it; LiteRT 2 does not, and in rows neither the others
    *(
        Case(
            "CUMSUM", (X(shape), np.array(axis, np.int32)), {"exclusive": exclusive, "reverse": reverse},
            ("float32", "int32", "int64"), expect=running, builtin=("float32", "int32", "int64"),
        )
        for shape, axis in (((2, 5, 3), 1), ((8,), 0), ((2, 3, 4), -1), ((3, 1), 1), ((1, 2, 33), 2))
        for exclusive in (False, True)
        for reverse in (False, True)
    ),  # TFLite has it among its builtin kernels only
]  # fmt: skip
