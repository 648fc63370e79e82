"""Element types that few of TFLite's kernels take: doubles, halves, unsigned integers of several bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.conformance.case import RELU6, Array, Case, X, ints
from tests.conformance.slices import updated

MOVED = ("float16", "float64", "uint16", "uint32", "uint64")
U32 = ("uint32",)
SHIFTED = ("uint16", "uint32")
F64 = ("float64",)
F16 = ("float16",)
HALVES = {
    "NEG": np.negative,
    "FLOOR": np.floor,
    "SIN": np.sin,
    "COS": np.cos,
    "TANH": np.tanh,
    "LOGISTIC": lambda x: 1 / (1 + np.exp(-x)),
    "ABS": np.abs,
    "EXP": np.exp,
    "RELU": lambda x: np.maximum(x, 0),
}
NEW = ("NEG", "FLOOR", "SIN", "COS", "TANH", "LOGISTIC")
"""What LiteRT 2 has on halves."""
PAIRS = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide, "MAXIMUM": np.maximum}
COMPARED = {"NOT_EQUAL": np.not_equal, "GREATER": np.greater, "LESS_EQUAL": np.less_equal}
SIZES = (((4, 6), (4, 6)), ((2, 1, 3), (5, 1)), ((3,), (2, 3)), ((2, 3), ()))
SHAPES = ((4, 64), (2, 3, 5), (7,))


def padded(x: Array, pads: Array) -> list[Array]:
    return [np.pad(x, pads)]


def split(axis: Array, x: Array, num_splits: int) -> list[Array]:
    return np.split(x, num_splits, axis.item())


def halves(function: Callable[..., Array]) -> Callable[..., list[Array]]:
    """Of halves, by way of float32."""

    def expect(*operands: Array, **_: Any) -> list[Array]:
        out = function(*(array.astype(np.float32) for array in operands))
        return [out if out.dtype == np.bool_ else out.astype(np.float16)]

    return expect


def quotient(a: Array, b: Array) -> list[Array]:
    """On the scales of its cases."""
    real = 0.2 * (a.astype(np.int64) + 30) / ((0.05 - 0.011) * (b.astype(np.int64) - 12))
    return [np.clip(np.rint(real / 0.04) - 7, -128, 127).astype(np.int8)]


CASES = [
    # bytes that are moved, or not even that
    Case("RESHAPE", (X((2, 3, 4)), ints(4, -1)), {"new_shape": (4, 6)}, MOVED),
    Case("RESHAPE", (X((2, 3, 4)),), {"new_shape": (-1, 3)}, MOVED),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), {"squeeze_dims": (0, -2)}, MOVED),
    *(Case("EXPAND_DIMS", (X((3, 4)), ints(axis)), types=MOVED) for axis in (-1, 0)),
    *(
        Case("BROADCAST_TO", (X(shape), ints(*target)), types=MOVED)
        for shape, target in (((2, 1, 3), (4, 2, 5, 3)), ((3,), (2, 3)), ((1,), (4,)))
    ),
    Case("SHAPE", (X((2, 3, 4)),), {"out_type": 2}, MOVED, out_type="int32"),
    Case("RANK", (X((2, 3, 4)),), types=MOVED, out_type="int32"),
    Case("FILL", (ints(2, 3), X(())), types=("float16",)),
    *(
        Case("CONCATENATION", (X(a), X(b)), {"axis": axis}, U32)
        for a, b, axis in (((2, 3, 4), (2, 1, 4), 1), ((2, 3), (4, 3), 0), ((2, 3, 1, 2), (2, 3, 1, 5), -1))
    ),
    *(Case("PACK", (X((2, 3)),) * 3, {"values_count": 3, "axis": axis}, U32) for axis in (0, 1, -1)),
    Case("SLICE", (X((4, 5, 6)), ints(1, 0, 2), ints(2, -1, 3)), types=U32),
    *(
        Case("STRIDED_SLICE", (X((4, 5)), ints(*begin), ints(*end), ints(*step)), masks, U32)
        for begin, end, step, masks in (
            ((0, 1), (4, 5), (2, 1), {}),
            ((-1, 0), (-5, 3), (-1, 2), {"end_mask": 2}),
            ((1, 0), (2, 5), (1, 1), {"shrink_axis_mask": 1}),
        )
    ),
    Case("MATRIX_DIAG", (X((2, 4)),), types=U32),
    Case("MATRIX_SET_DIAG", (X((2, 3, 4)), X((2, 3))), types=U32),
    # no kernel
    *(
        Case("TRANSPOSE", (X(shape), ints(*order)), types=MOVED, expect=lambda x, order: [x.transpose(order)])
        for shape, order in (((2, 3, 4, 5), (3, 1, 0, 2)), ((3, 4), (1, 0)))
    ),
    Case("PAD", (X((2, 3)), ints(1, 2, 0, 3).reshape(2, 2)), types=MOVED, expect=padded),
    Case("TILE", (X((2, 3)), ints(2, 3)), types=MOVED, expect=lambda x, n: [np.tile(x, n)]),
    Case("REVERSE_V2", (X((2, 3)), ints(1)), types=MOVED, expect=lambda x, _: [x[:, ::-1]]),
    Case("GATHER", (X((5, 3)), ints(4, 0, 4)), types=MOVED, expect=lambda x, rows, **_: [x[rows]]),
    Case("GATHER_ND", (X((5, 3)), ints(4, 0).reshape(2, 1)), types=MOVED, expect=lambda x, i: [x[i[:, 0]]]),
    Case(
        "DYNAMIC_UPDATE_SLICE", (X((4, 5)), X((2, 3)), X((2,), (-3, 5), "int32")), types=MOVED,
        expect=updated,
    ),
    Case("SPLIT", (ints(1), X((2, 6))), {"num_splits": 3}, MOVED, outputs=3, expect=split),
    # computed
    *(
        Case(op, (X(a), X(b)), options, U32)
        for op, options in (("MUL", {}), ("MUL", RELU6))
        for a, b in SIZES
    ),
    *(
        Case(op, (X(a, (-90, 90)), X(b, (0, 40))), types=SHIFTED)
        for op in ("BITWISE_XOR", "RIGHT_SHIFT")
        for a, b in SIZES[:3]
    ),
    *(
        Case("SELECT", (X(truth, dtype="bool"), X(shape), X(shape)), types=U32)
        for truth, shape in (((2, 3), (2, 3)), ((2,), (2, 3)))
    ),
    *(
        Case("SELECT_V2", (X(truth, dtype="bool"), X(a), X(b)), types=U32)
        for truth, a, b in (((2, 3), (2, 3), (2, 3)), ((1, 3), (2, 1), (2, 3)))
    ),
    *(
        Case(op, (X(a), X(b)), types=("int16",), out_type="bool")
        for op in ("EQUAL", "LESS", "GREATER_EQUAL")
        for a, b in SIZES
    ),
    *(Case("ATAN2", (X(shape), X(shape)), types=F64, tolerance=1e-14) for shape in SHAPES),
    *(Case("SIGN", (X(shape),), types=F64) for shape in SHAPES),
    *(
        Case("BUCKETIZE", (X(shape, (-12, 12)),), {"boundaries": (-4.0, 0.0, 5.0)}, F64, out_type="int32")
        for shape in SHAPES
    ),
    *(
        Case(
            "DIV", (X((4, 60), stored=(0.2, -30)), X(b, span, "uint8")), fused, ("uint8",),
            out_scale=(out, zero),
        )
        for b in ((4, 60), (60,), (4, 1))
        for span in ((141, 255), (0, 139))  # about a zero point of 140
        for out, zero in ((0.04, -7), (0.01, 0), (0.003, 10))
        for fused in ({}, RELU6)
    ),
    *(
        Case(op, (X(shape),), types=F16, expect=halves(function), late=op in NEW, tolerance=1e-3)
        for op, function in HALVES.items()
        for shape in SHAPES
    ),
    *(
        Case(op, (X(a), X(b, (0.5, 3))), types=F16, expect=halves(function), tolerance=0)
        for op, function in PAIRS.items()
        for a, b in SIZES
    ),
    *(
        Case(op, (X(a), X(b)), types=F16, out_type="bool", expect=halves(function), late=True)
        for op, function in COMPARED.items()
        for a, b in SIZES
    ),
    *(
        Case(
            "DIV", (X((4, 60), stored=(0.2, -30)), X((4, 60), span, "int8")), {}, ("int8",),
            out_scale=(0.04, -7), expect=quotient, steps=1, late=True,
        )
        for span in ((13, 127), (-128, 11))  # about a zero point of 12
    ),
]  # fmt: skip
