"""Reductions, arg-extremes, top-k, running sums, and what normalises rows."""

from __future__ import annotations

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, longs, number

POSITIVE = ("ReduceLogSum",)
REDUCTIONS = (
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp",
)  # fmt: skip


def x(op: str) -> X:
    return X((2, 3, 4), (0.1, 2.0) if op in POSITIVE else (-2.0, 2.0))


CASES = [
    *(
        Case(op, (x(op), longs(*axes)), {"keepdims": keep}, (13, 22) if op == "ReduceSum" else (18, 22))
        for op in REDUCTIONS
        for axes in ((0,), (1, -1), (0, 1, 2))
        for keep in (0, 1)
    ),
    *(
        Case(op, (x(op),), {"axes": axes}, (13, 17))
        for op in REDUCTIONS
        if op != "ReduceSum"
        for axes in ([1], [-1, 0])
    ),
    *(Case(op, (x(op),), {"keepdims": 0}) for op in REDUCTIONS),
    *(Case("ReduceSum", (X((2, 3)),), {"noop_with_empty_axes": flag}) for flag in (0, 1)),
    *(
        Case(op, (X((3, 4), dtype=dtype), longs(1)), {}, (18, 22))
        for op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
        for dtype in ("int32", "int64")
    ),
    *(
        Case(op, (X((3, 4, 5)),), {"axis": axis, "keepdims": keep})
        for op in ("ArgMax", "ArgMin")
        for axis in (0, 1, -1)
        for keep in (0, 1)
    ),
    *(
        Case(op, (X((3, 8), (0, 3), "int32"),), {"axis": 1, "select_last_index": last})
        for op in ("ArgMax", "ArgMin")
        for last in (0, 1)
    ),
    *(
        Case("TopK", (X((3, 6)), longs(k)), {"axis": axis, "largest": largest}, outputs=2)
        for k, axis in ((1, -1), (3, 1), (2, 0))
        for largest in (0, 1)
    ),
    *(
        Case(
            "CumSum",
            (X((3, 4, 2)), number(axis, "int64")),
            {"exclusive": exclusive, "reverse": backwards},
            (14, 22),
        )
        for axis in (0, 1, -1)
        for exclusive in (0, 1)
        for backwards in (0, 1)
    ),
    *(Case(op, (X((2, 3, 4)),), {"axis": axis}) for op in ("Softmax", "LogSoftmax") for axis in (-1, 0, 1)),
]
