"""Normalisation over rows."""

from __future__ import annotations

from tests.conformance.case import Case, X

CASES = [
    *(
        Case("SOFTMAX", (X(shape, (-9, 9)),), {"beta": beta}, out_scale=(1 / 256, -128))
        for shape, beta in (((3, 10), 1.0), ((2, 3, 4, 5), 0.5), ((1, 1001), 2.0))
    ),
    *(
        Case("SOFTMAX", (X(shape, stored=(scale, 0)),), {"beta": beta}, ("int16",), out_scale=(1 / 128, 0))
        for shape in ((3, 10), (2, 3, 4, 5), (1, 1001))
        for scale in (0.05, 0.3)
        for beta in (0.5, 1.0, 2.0)
    ),
]  # fmt: skip
