"""Einsum."""

from __future__ import annotations

from tests.conformance.case import X
from tests.conformance.onnx.case import Case

A, B, C = X((3, 4)), X((4, 5)), X((2, 3, 4))

CASES = [
    *(
        Case("Einsum", (A,), {"equation": equation})
        for equation in ("ij->ji", "ij->i", "ij->", "ij", "ab->b")
    ),
    *(
        Case("Einsum", (A, B), {"equation": equation})
        for equation in ("ij,jk->ik", "ij,jk->ki", "ij,jk", "ij,jk->i")
    ),
    *(
        Case("Einsum", (C, X((2, 4, 5))), {"equation": equation})
        for equation in ("bij,bjk->bik", "bij,bjk->ijk", "bij,bjk->ik", "bij, bkl -> ijkl")
    ),
    Case("Einsum", (X((2, 3, 4, 5)), X((2, 6, 4, 5))), {"equation": "bqhd,bkhd->bhqk"}),
    Case("Einsum", (X((2, 4, 3, 6)), X((2, 6, 4, 5))), {"equation": "bhqk,bkhd->bqhd"}),
    Case("Einsum", (A, A), {"equation": "ij,ij->ij"}),
    Case("Einsum", (X((3,)), X((4,))), {"equation": "i,j->ij"}),
    Case("Einsum", (A, B, X((5, 2))), {"equation": "ij,jk,kl->il"}),
]
