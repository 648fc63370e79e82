"""Matrix products."""

from __future__ import annotations

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, weights

SHAPES = (
    ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (3, 4, 5)), ((2, 1, 3, 4), (1, 3, 4, 5)), ((2, 3, 4), (4,)),
    ((4,), (2, 4, 5)),
)  # fmt: skip

CASES = [
    *(Case("MatMul", (X(a), X(b))) for a, b in SHAPES),
    *(Case("MatMul", (X(a), weights(*b))) for a, b in SHAPES),
    *(
        Case("Gemm", (X((4, 3) if a else (3, 4)), b, c), {"transA": a, "transB": 1, **scales})
        for a in (0, 1)
        for b in (X((5, 4)), weights(5, 4))
        for c in (None, X((5,)), weights(5), weights(3, 1), X((3, 5)))
        for scales in ({}, {"alpha": 0.5, "beta": 2.0})
    ),
    *(Case("Gemm", (X((3, 4)), b)) for b in (X((4, 5)), weights(4, 5))),
    Case("Gemm", (X((3, 4)), weights(4, 5), X((5,))), {"beta": 0.0}),
    *(
        Case("com.microsoft.FusedMatMul", (X(a), b), {"transA": left, "transB": right, "alpha": alpha})
        for left, a in ((0, (2, 3, 4)), (1, (2, 4, 3)))
        for right, shape in ((0, (4, 5)), (1, (5, 4)))
        for b in (X((2, *shape)), weights(*shape))
        for alpha in (1.0, 0.5)
    ),
]
