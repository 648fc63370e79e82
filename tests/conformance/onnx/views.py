"""Operators that move elements, and those that describe them."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, longs, number

TYPES = (
    *("float32", "int32", "int64", "uint8", "int8", "bool"),
    *("float64", "uint16", "uint32", "uint64"),
)

CASES = [
    Case("Constant", (), {"value": np.arange(6, dtype=np.float32).reshape(2, 3)}),
    Case("Constant", (), {"value_float": 1.5}),
    Case("Constant", (), {"value_floats": [1.0, 2.0]}),
    Case("Constant", (), {"value_int": 7}),
    Case("Constant", (), {"value_ints": [1, 2, 3]}),
    Case("ConstantOfShape", (longs(2, 3),)),
    Case("ConstantOfShape", (longs(2, 3),), {"value": np.array([7], np.int64)}),
    Case("Range", (number(1, "int64"), number(9, "int64"), number(2, "int64"))),
    Case("Range", (number(3.5), number(0.0), number(-0.5))),
    Case("Shape", (X((2, 3, 4)),)),
    Case("Shape", (X((2, 3, 4)),), {"start": 1, "end": -1}, (15, 22)),
    Case("Size", (X((2, 3, 4)),)),
    *(
        Case("Reshape", (X((2, 3, 4)), longs(*new)))
        for new in ((4, 6), (-1,), (0, -1), (2, 0, 2, 2), (24, 1))
    ),
    *(Case("Reshape", (X((2, 6), dtype=dtype), longs(3, 4))) for dtype in TYPES),
    *(Case("Flatten", (X((2, 3, 4)),), {"axis": axis}) for axis in (0, 1, 2, 3, -1)),
    *(Case("Squeeze", (X((1, 3, 1, 4)), longs(*axes))) for axes in ((0,), (0, 2), (-2,))),
    Case("Squeeze", (X((1, 3, 1, 4)),)),
    *(Case("Unsqueeze", (X((3, 4)), longs(*axes))) for axes in ((0,), (1, 3), (-1,), (0, -1))),
    *(
        Case("Transpose", (X((2, 3, 4, 5)),), {"perm": perm})
        for perm in ([0, 2, 3, 1], [0, 3, 1, 2], [3, 2, 1, 0])
    ),
    Case("Transpose", (X((2, 3, 4)),)),
    *(Case("Transpose", (X((2, 3), dtype=dtype),)) for dtype in TYPES),
    *(Case("DepthToSpace", (X((1, 8, 2, 3)),), {"blocksize": 2, "mode": mode}) for mode in ("DCR", "CRD")),
    *(Case("SpaceToDepth", (X((1, 2, 4, 6)),), {"blocksize": block}) for block in (1, 2)),
    *(Case("Concat", (X((2, 3, 4)), X((2, 3, 4)), X((2, 3, 4))), {"axis": axis}) for axis in (0, 1, -1)),
    *(Case("Concat", (X((2, 3), dtype=dtype), X((2, 1), dtype=dtype)), {"axis": 1}) for dtype in TYPES),
    *(
        Case("Split", (X((2, 6, 3)), longs(*sizes)), {"axis": 1}, outputs=3)
        for sizes in ((2, 2, 2), (1, 2, 3))
    ),
    Case("Split", (X((6, 3)),), {"axis": -2}, (13,), 2),
    *(Case("Split", (X((n, 3)),), {"num_outputs": 2}, (18, 22), 2) for n in (6, 7)),
    *(
        Case("Slice", (X((4, 5, 6)), *(longs(*numbers) for numbers in operands)))
        for operands in (
            ((1, 0, 2), (3, 5, 6)),
            ((1,), (3,), (1,)),
            ((-3,), (-1,), (-1,)),
            ((0, 1), (99, 99), (0, 2)),
            ((0,), (6,), (2,), (2,)),
            ((4, -1), (0, -99), (1, 2), (-1, -2)),
            ((3,), (0,), (0,), (-1,)),
        )
    ),
    *(Case("Slice", (X((4, 6), dtype=dtype), longs(1), longs(6), longs(1), longs(2))) for dtype in TYPES),
    *(
        Case("Pad", (X((3, 4)), longs(*pads)))
        for pads in ((0, 1, 2, 0), (1, 0, 0, 3), (-1, 0, 0, -2), (0,) * 4)
    ),
    Case("Pad", (X((3, 4)), longs(1, 1, 1, 1), number(7.5))),
    *(
        Case("Pad", (X((3, 4), dtype=dtype), longs(1, 1, 1, 1), number(1, dtype)))
        for dtype in ("int32", "int64", "uint8", "int8")
    ),
    Case("Pad", (X((3, 4)), longs(2, 1), None, longs(1)), opsets=(18, 22)),
    *(Case("Pad", (X((3, 4)), longs(1, 2, 2, 1)), {"mode": mode}) for mode in ("reflect", "edge")),
    *(Case("Pad", (X((3, 4)), longs(0, 2, 0, 1)), {"mode": mode}) for mode in ("reflect", "edge")),
    Case("Pad", (X((3, 4)), longs(1, 2, 2, 1)), {"mode": "wrap"}, (19, 22)),
    *(Case("Tile", (X((2, 3)), longs(*times))) for times in ((1, 1), (2, 1), (3, 2))),
    *(Case("Expand", (X((3, 1)), longs(*shape))) for shape in ((3, 4), (2, 3, 4), (1, 1), (2, 1, 4))),
    *(
        Case("Trilu", (X((2, 4, 5)), number(k, "int64")), {"upper": upper}, (14, 22))
        for k in (0, 1, -2)
        for upper in (0, 1)
    ),
    Case("Trilu", (X((4, 4)),), opsets=(14, 22)),
    *(
        Case("CenterCropPad", (X((3, 6, 5)), longs(*sizes)), attrs, (18, 22))
        for sizes, attrs in (
            ((4, 3, 5), {}),
            ((2, 9, 4), {}),
            ((3, 8), {"axes": [1, 2]}),
            ((8, 2), {"axes": [-1, 0]}),
        )
    ),
    *(Case("EyeLike", (X((3, 5)),), {"k": k, **attrs}) for k in (0, 1, -2) for attrs in ({}, {"dtype": 7})),
    *(
        Case(f"{name}Window", (number(size, "int64"),), {"periodic": periodic}, (17, 22))
        for name in ("Hann", "Hamming", "Blackman")
        for size in (1, 8, 13)
        for periodic in (0, 1)
        if size > 1 or periodic  # onnxruntime divides by 0
    ),
    Case("NonZero", (np.array([[1.0, 0.0], [0.0, 2.0]], np.float32),)),
]
