"""Transform operators."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import EVERY, Array, Case, X, ints, without


def transposed(x: Array, order: Array) -> list[Array]:
    return [x.transpose(order)]


def flipped(x: Array, axes: Array) -> list[Array]:
    return [np.flip(x, tuple(axes))]


def repeated(x: Array, multiples: Array) -> list[Array]:
    return [np.tile(x, multiples)]


def stacked(*operands: Array, values_count: int, axis: int) -> list[Array]:  # noqa: ARG001
    return [np.stack(operands, axis)]


def mirrored(x: Array, lengths: Array, seq_dim: int, batch_dim: int) -> list[Array]:
    out = np.moveaxis(x, (batch_dim, seq_dim), (0, 1)).copy()
    for row, n in zip(out, lengths, strict=True):
        row[:n] = row[:n][::-1]
    return [np.moveaxis(out, (0, 1), (batch_dim, seq_dim))]


CASES = [
    Case("RESHAPE", (X((2, 3, 4)), ints(4, -1)), {"new_shape": (4, 6)}, EVERY, same=True),
    Case("RESHAPE", (X((2, 3, 4)),), {"new_shape": (-1, 3)}, EVERY, same=True),
    Case("RESHAPE", (X((2, 3, 4)),), {"new_shape": (1, 2, 3, 1, 4)}, EVERY, same=True),
    Case("RESHAPE", (X((1, 1)), ints()), types=EVERY, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), {"squeeze_dims": (0, -2)}, EVERY, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), types=EVERY, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), {"squeeze_dims": (2,)}, EVERY, same=True),
    *(Case("EXPAND_DIMS", (X((3, 4)), ints(axis)), types=EVERY, same=True) for axis in (-1, 0, 1, -3)),
    Case("EXPAND_DIMS", (X((3,)), np.array(-1)), types=EVERY, same=True),
    *(
        Case("TRANSPOSE", (X(shape), ints(*order)), types=EVERY, same=True)
        for shape, order in (
            ((2, 3, 4, 5), (3, 1, 0, 2)),
            ((3, 4), (1, 0)),
            ((2, 3, 4), (0, 2, 1)),
            ((2, 3, 1, 2, 3), (4, 2, 0, 3, 1)),
            ((2, 3, 4), (0, 1, 2)),
        )
    ),
    Case(
        "TRANSPOSE", (X((2, 1, 3, 2, 1, 2)), ints(5, 3, 1, 0, 4, 2)), types=EVERY, same=True,
        expect=transposed,
    ),  # tflite-runtime 2.14 knows five dimensions
    Case("CONCATENATION", (X((2, 3, 4)), X((2, 1, 4)), X((2, 2, 4))), {"axis": 1}, EVERY, same=True),
    Case("CONCATENATION", (X((2, 3)), X((1, 3)), X((4, 3))), {"axis": 0}, EVERY, same=True),
    Case("CONCATENATION", (X((2, 3, 1, 2)), X((2, 3, 1, 5))), {"axis": -1}, EVERY, same=True),
    Case("CONCATENATION", (X((2, 3)),), {"axis": 1}, EVERY, same=True),
    Case("CONCATENATION", (X((2, 3)), X((2, 3))), {"axis": -1}, types=("uint8",)),
    *(
        Case("PACK", (X(shape),) * count, {"values_count": count, "axis": axis}, without("bool"), same=True)
        for shape, count, axis in (((2, 3), 3, 1), ((), 4, 0), ((2, 3), 2, -1), ((2, 3, 4), 1, 0))
    ),
    Case("PACK", (X((3,)), X((3,))), {"values_count": 2, "axis": 1}, ("bool",), expect=stacked),  # no kernel
    *(
        Case("TILE", (X(shape), np.array(multiples, index)), types=without("int16"), same=True)
        for shape, multiples in (
            ((2, 3), (2, 3)),
            ((4,), (3,)),
            ((2, 3, 2, 2), (2, 1, 3, 2)),
            ((2, 1, 2, 2, 2), (2, 3, 2, 1, 2)),
            ((2, 3), (1, 1)),
        )
        for index in (np.int32, np.int64)
    ),
    Case("TILE", (X((2, 3)), ints(2, 3)), types=("int16",), same=True, expect=repeated),  # no kernel
    Case("TILE", (X((2,) * 6), ints(*(2,) * 6)), types=("float32", "int8"), same=True, expect=repeated),
    *(
        Case("BROADCAST_TO", (X(shape), np.array(target, index)), types=EVERY, same=True)
        for shape, target in (
            ((2, 1, 3), (4, 2, 5, 3)),
            ((3,), (2, 3)),
            ((1,), (4,)),
            ((2, 1), (2, 5)),
            ((2, 3), (2, 3)),
        )
        for index in (np.int32, np.int64)
    ),
    *(
        Case("REVERSE_V2", (X(shape), ints(axis)), types=EVERY, same=True)
        for shape, axis in (((2, 3, 4), 1), ((5,), 0), ((2, 3, 4, 2), -1), ((3, 4), 0))
    ),
    # tflite-runtime 2.14 turns only the first axis of several
    Case("REVERSE_V2", (X((2, 3, 4)), ints(0, -1)), types=EVERY, same=True, expect=flipped),
    Case("REVERSE_V2", (X((2, 3, 4)), ints(0, 1, 2)), types=EVERY, same=True, expect=flipped),
    *(
        Case(
            "REVERSE_SEQUENCE", (X(shape), X((shape[batch],), (0, shape[axis]), index)),
            {"seq_dim": axis, "batch_dim": batch}, types, same=True, expect=expect,
        )
        for shape, axis, batch in (((3, 4, 5), 1, 0), ((2, 4, 3, 5), 1, 2), ((4, 3), 0, 1), ((2, 3, 4), 2, 0))
        for index in ("int32", "int64")
        for types, expect in ((without("int8", "bool"), None), (("int8", "bool"), mirrored))  # no kernel
    ),
]  # fmt: skip
