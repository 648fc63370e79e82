"""Reading and writing by index, with indices that are constants and that come at run time."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, longs, number

ROWS = X((2, 3), (-4, 3), "int64")
PLACES = np.array([[0, 1], [2, 3], [-1, 0]], np.int64)
UNIQUE = np.array([[1], [3], [0]], np.int64)

CASES = [
    *(Case("Gather", (X((4, 5, 6)), longs(3, 0, -1)), {"axis": axis}) for axis in (0, 1, 2, -1)),
    *(Case("Gather", (X((4, 5, 6)), number(1, "int64")), {"axis": axis}) for axis in (0, 1, -1)),
    *(Case("Gather", (X((4, 5, 6)), ROWS), {"axis": axis}) for axis in (0, 1, 2)),
    *(
        Case("Gather", (X((4, 5), dtype=dtype), X((3,), (0, 3), "int32")))
        for dtype in ("int32", "int64", "uint8")
    ),
    *(
        Case("GatherElements", (X((4, 5)), X(shape, (-4, 3), "int64")), {"axis": axis})
        for shape, axis in (((2, 5), 0), ((4, 3), 1), ((4, 5), -1), ((2, 2), 0))
    ),
    Case("GatherND", (X((4, 5, 6)), PLACES)),
    Case("GatherND", (X((4, 5, 6)), X((2, 3), (-4, 3), "int64"))),
    Case("GatherND", (X((4, 5)), X((3, 1), (-4, 3), "int64"))),
    Case("ScatterND", (X((4, 5)), UNIQUE, X((3, 5)))),
    Case("ScatterND", (X((4, 5)), PLACES, X((3,)))),
    Case("ScatterND", (X((4, 5)), X((3, 1), (0, 3), "int64"), X((3, 5))), {"reduction": "add"}, (16, 22)),
    *(
        Case(
            "ScatterElements",
            (X((4, 5)), np.array([[0, 1, 2], [1, 2, 0]], np.int64), X((2, 3))),
            {"axis": axis},
        )
        for axis in (0, 1)
    ),
    Case(
        "ScatterElements",
        (X((4, 5)), X((2, 3), (-4, 3), "int64"), X((2, 3))),
        {"axis": 0, "reduction": "add"},
        (16, 22),
    ),
    *(
        Case(
            "OneHot",
            (X((2, 3), (-6, 6), "int64"), number(5, "int64"), np.array([0.5, 2.0], np.float32)),
            {"axis": axis},
        )
        for axis in (-1, 0, 1)
    ),
    *(Case("Hardmax", (X((3, 4, 5)),), {"axis": axis}) for axis in (-1, 0, 1)),
    *(
        Case(
            "ReverseSequence",
            (X((4, 4, 2)), longs(1, 4, 2, 3)),
            {"batch_axis": batch, "time_axis": 1 - batch},
        )
        for batch in (0, 1)
    ),
    *(
        Case("Compress", (X((3, 4)), np.array(stays)), attrs)
        for stays, attrs in (
            ([True, False, True], {"axis": 0}),
            ([False, True], {"axis": -1}),
            ([False, True, True, False, False, True], {}),
        )
    ),
    *(
        Case("GatherND", (X((2, 4, 5)), indices), {"batch_dims": batches})
        for batches, indices in (
            (1, np.array([[1], [-1]], np.int64)),
            (1, X((2, 3, 2), (-4, 3), "int64")),
            (2, X((2, 4, 1), (-5, 4), "int64")),
        )
    ),
    *(
        Case(op, (X((4, 5), dtype=dtype), indices, X(shape, dtype=dtype)), {"reduction": how}, (18, 22))
        for how in ("add", "mul", "min", "max")
        for dtype in ("float32", "int32")
        for op, indices, shape in (
            ("ScatterND", X((3, 1), (-4, 3), "int64"), (3, 5)),
            ("ScatterND", X((2, 3, 2), (-4, 3), "int64"), (2, 3)),
            ("ScatterElements", X((2, 3), (-4, 3), "int64"), (2, 3)),
        )
    ),
]
