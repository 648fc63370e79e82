"""Normalisation over rows."""

from __future__ import annotations

from tests.conformance.case import Case, X

CASES = [
    *(
        Case("SOFTMAX", (X(shape, (-9, 9)),), {"beta": beta}, out_scale=(1 / 256, -128))
        for shape, beta in (((3, 10), 1.0), ((2, 3, 4, 5), 0.5), ((1, 1001), 2.0))
    ),
]  # fmt: skip
