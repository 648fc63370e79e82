"""Operators that read, write or find elements by their position."""

from __future__ import annotations

import numpy as np

from runtime.exporters.tflite import TensorSpec
from tests.conformance.case import ALL, FLOAT, Array, Case, W, X, ints

PLAIN = ("int16", "int32", "int64", "bool")
EVERY = (*ALL, *PLAIN)
STORED = ("float32", "int8", "uint8", "int32", "int64")


def positions(dtype: str, *numbers: int, shape: tuple[int, ...] = (-1,)) -> Array:
    return np.array(numbers, dtype).reshape(shape)


def some(shape: tuple[int, ...], below: int, dtype: str = "int32") -> Array:
    """Positions below a number, repeats among them."""
    return (np.arange(int(np.prod(shape))) * 7 % below).astype(dtype).reshape(shape)


GATHER = [
    Case(
        "GATHER", (X(shape), some(index, size, dtype)), {"axis": axis, "batch_dims": batch}, types, same=True,
    )
    for shape, index, size, axis, batch in (
        ((5, 3), (2, 2), 5, 0, 0),
        ((5, 3), (4,), 3, 1, 0),
        ((5, 3), (2, 3), 3, -1, 0),
        ((2, 4, 3), (3,), 4, 1, 0),
        ((2, 4, 3), (2, 2), 3, 2, 0),
        ((2, 4, 3), (2, 5), 4, 1, 1),
        ((2, 4, 3), (2, 2), 3, 2, 1),
        ((2, 3, 4), (2, 3, 2), 4, -1, 2),
        ((2, 3, 4), (2, 3), 4, 2, -1),
        ((7,), (), 7, 0, 0),
    )
    for dtype, types in (("int32", EVERY), ("int64", ("float32", "int8")))
]  # fmt: skip
GATHER += [
    Case("GATHER", (X((5, 3)), X((4,), (0, 4), "int32")), same=True, types=EVERY),
    Case("GATHER", (X((2, 4, 3)), X((2, 5), (0, 3), "int64")), {"axis": 1, "batch_dims": 1}, same=True),
    Case("GATHER", (X((3, 5)), some((4,), 5, "int16")), {"axis": 1}, ("float32", "int8"), same=True),
]  # fmt: skip

GATHER_ND = [
    Case("GATHER_ND", (X(shape), positions(dtype, *numbers, shape=index)), types=types, same=True)
    for shape, index, numbers in (
        ((4, 5), (3, 2), (0, 4, 3, 1, 2, 2)),
        ((4, 5), (3, 1), (3, 0, 3)),
        ((2, 3, 4), (2, 2, 2), (0, 2, 1, 0, 1, 1, 0, 0)),
        ((2, 3, 4), (2, 3), (1, 2, 3, 0, 0, 1)),
        ((6,), (1, 2, 1), (5, 2)),
        ((2, 2, 2, 3), (2, 4), (1, 0, 1, 2, 0, 1, 0, 0)),
    )
    for dtype, types in (("int32", (*STORED, "int16")), ("int64", ("float32", "int8")))
]
GATHER_ND += [Case("GATHER_ND", (X((3, 3, 2)), X((4, 2), (0, 2), "int32")), types=STORED, same=True)]

SCATTER_ND = [
    Case("SCATTER_ND", (positions("int32", *numbers, shape=index), X(updates), ints(*shape)), types=types)
    for shape, index, numbers, updates in (
        ((8,), (4, 1), (4, 3, 1, 7), (4,)),
        ((8,), (4, 1), (4, 3, 4, 4), (4,)),
        ((4, 3), (2, 1), (2, 0), (2, 3)),
        ((4, 3), (3, 1), (1, 1, 1), (3, 3)),
        ((4, 3), (2, 2, 2), (0, 1, 3, 2, 0, 1, 1, 1), (2, 2)),
        ((2, 2, 3), (2, 2), (1, 1, 0, 1), (2, 3)),
    )
    for types in (STORED,)
]
SCATTER_ND += [
    Case("SCATTER_ND", (positions("int32", 4, 3, 4, 0, shape=(4, 1)), X((4,)), ints(6)), types=("bool",)),
    Case("SCATTER_ND", (X((4, 1), (0, 5), "int32"), X((4, 2)), ints(6, 2)), types=STORED),
]

SPARSE_TO_DENSE = [
    Case("SPARSE_TO_DENSE", (indices.astype(dtype), np.array(shape, dtype), values, default), types=(kind,))
    for kind in STORED
    for dtype in ("int32", "int64")
    for indices, shape, count in (
        (ints(3), (5,), 0),
        (ints(0, 3, 4), (5,), 3),
        (ints(0, 0, 1, 2, 2, 1).reshape(3, 2), (3, 4), 3),
        (ints(0, 0, 1, 1, 2, 1).reshape(2, 3), (2, 3, 2), 2),
        (ints(0, 1, 1, 0, 1, 1, 1, 0).reshape(2, 4), (2, 2, 2, 3), 2),
    )
    for values, default in ((X((count,) if count else ()), np.array(7, kind)),)
]  # fmt: skip


def one_hots(kind: str) -> list[Case]:
    on, off = np.array(3, kind), np.array(-2 if kind not in ("uint8", "bool") else 0, kind)
    return [
        Case("ONE_HOT", (indices, ints(depth).reshape(()), on, off), {"axis": axis}, (kind,))
        for indices, depth, axis in (
            (X((3,), (-1, 4), "int32"), 4, -1),
            (X((3,), (0, 3), "int64"), 4, 0),
            (X((2, 3), (-2, 5), "int32"), 5, 1),
            (X((2, 3), (0, 4), "int32"), 5, -1),
            (X((2, 3), (0, 4), "int64"), 5, 0),
            (X((2, 1, 2), (0, 2), "int32"), 3, 2),
        )
    ]


ONE_HOT = [case for kind in (*STORED, "bool") for case in one_hots(kind)]

LOOKUP = ints(2, 0, 2, 4)


ROW_SCALES = (0.1, 0.02, 0.003, 0.4, 0.05)
STORED_ROWS = (np.arange(30) * 37 % 256 - 128).astype(np.int8).reshape(5, 2, 3)
TABLE = TensorSpec("table", (5, 2, 3), "int8", STORED_ROWS, ROW_SCALES, (0,) * 5)
BYTES_AS_SIGNED = TensorSpec("table", (5, 2, 3), "uint8", STORED_ROWS.view(np.uint8), (0.1,), (0,))


def scaled_rows(ids: Array, table: Array) -> list[Array]:
    """One scale for each row, which TFLite's kernel knows in later versions only."""
    return [table[ids] * np.array(ROW_SCALES, np.float32).reshape(5, 1, 1)[ids]]


EMBEDDING = [
    *(
        Case("EMBEDDING_LOOKUP", (ids, X(shape)), types=ALL, same=True)
        for ids in (LOOKUP, X((3,), (0, 4), "int32"))
        for shape in ((5, 3), (5, 2, 3))
    ),
    *(
        Case("EMBEDDING_LOOKUP", (ids, W(shape, None)), types=("int8",), out_type="float32")
        for ids in (LOOKUP, X((3,), (0, 4), "int32"))
        for shape in ((5, 3), (5, 2, 3))
    ),
    *(
        Case("EMBEDDING_LOOKUP", (ids, TABLE), types=FLOAT, expect=scaled_rows)
        for ids in (LOOKUP, X((3,), (0, 4), "int32"))
    ),
    Case("EMBEDDING_LOOKUP", (LOOKUP, BYTES_AS_SIGNED), types=FLOAT),
]

SPARSE = [
    Case(
        "EMBEDDING_LOOKUP_SPARSE",
        (X((len(buckets),), (0, 3), "int32"), np.array(buckets, np.int32), ints(*dense),
         X((len(buckets),), (0.1, 2.0)), X((4, *row))),
        {"combiner": combiner}, FLOAT,
    )
    for combiner in (0, 1, 2)
    for buckets, dense in (
        (((0, 0), (0, 1), (2, 0)), (3, 2)),
        (((1, 0), (1, 1), (1, 2), (3, 0)), (4, 3)),
        (((0, 1, 0), (1, 0, 0), (1, 0, 1)), (2, 2, 2)),
        (((0,), (3,)), (5,)),
    )
    for row in ((3,), (2, 2))
]  # fmt: skip

TOPK = [
    Case(
        "TOPK_V2", (X(shape, span), np.array(k, np.int32)), outputs=2, out_type=(kind, "int32"),
        types=(kind,), same=True,
    )
    for kind in ("float32", "int8", "uint8", "int16", "int32", "int64")
    for shape, k in (((7,), 3), ((2, 5), 1), ((3, 6), 6), ((2, 2, 40), 9), ((1, 1), 1))
    for span in ((-3.0, 3.0),)
]  # fmt: skip
TOPK += [
    # many equals: the lower index comes first
    Case("TOPK_V2", (X((4, 30), (0, 3)), ints(12)), outputs=2, out_type=(kind, "int32"), types=(kind,))
    for kind in ("int32", "int64")
]

HASHTABLE = [
    Case(
        "HASHTABLE_LOOKUP", (lookup, keys, X(values)), outputs=2, out_type=(kind, "uint8"), types=(kind,),
        same=True,
    )
    for kind in ("float32", "int8", "uint8", "int32", "int64")
    for lookup in (ints(5, -3, 4, 9, 9), X((6,), (-4, 10), "int32"))
    for keys, values in ((ints(-3, 0, 5, 9), (4,)), (ints(-3, 0, 5, 9), (4, 2)), (ints(2), (1, 2, 2)))
]  # fmt: skip


UNIQUE = [
    Case(
        "UNIQUE", (data.astype(kind),), {"idx_out_type": 2 if index == "int32" else 4},
        outputs=2, out_type=(kind, index), types=(kind,),
    )
    for kind in ("float32", "int8", "uint8", "int16", "int32", "int64")
    for index in ("int32", "int64")
    for data in (ints(4, 1, 4, 4, 7, 1), ints(3), ints(9, 8, 7, 8))
]  # fmt: skip
WHERE = [
    Case("WHERE", (data.astype(kind),), out_type="int64", types=(kind,))
    for kind in ("bool", "float32", "int8", "uint8", "int32", "uint32", "int64")
    for data in (ints(0, 3, 0, 1), ints(1, 0, 0, 2, 2, 0).reshape(2, 3), ints(*range(8)).reshape(2, 2, 2))
]
BUCKETIZE = [
    Case("BUCKETIZE", (X(shape, (-12, 12)),), {"boundaries": boundaries}, out_type="int32", types=types)
    for shape in ((20,), (2, 3, 5))
    for boundaries in ((0.0,), (-10.0, -1.5, 0.0, 3.0, 3.0, 11.0))
    for types in (("float32", "int32", "int64"),)
]  # fmt: skip

CASES = [
    *GATHER,
    *GATHER_ND,
    *SCATTER_ND,
    *SPARSE_TO_DENSE,
    *ONE_HOT,
    *EMBEDDING,
    *SPARSE,
    *TOPK,
    *HASHTABLE,
    *UNIQUE,
    *WHERE,
    *BUCKETIZE,
]
