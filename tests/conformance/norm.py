"""Normalisation over rows."""

from __future__ import annotations

from tests.conformance.case import FLOAT, Case, X

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
    *(
        Case("LOG_SOFTMAX", (X(shape, (-9, 9), stored=stored),), out_scale=(1 / 16, 127))
        for shape in ((3, 10), (2, 3, 4, 5), (1, 1001), (7,))
        for stored in (None, (0.1, -20), (0.01, 100))
    ),
    *(
        Case("L2_NORMALIZATION", (X(shape, stored=stored),), out_scale=(1 / 128, 0))
        for shape in ((3, 10), (2, 3, 4, 5), (1, 1001), (7,))
        for stored in (None, (0.1, -20), (0.01, 100))
    ),
    *(
        Case("LOCAL_RESPONSE_NORMALIZATION", (X(shape),), {"radius": radius, "alpha": 0.7, **powers}, FLOAT)
        for shape in ((1, 2, 3, 8), (2, 3, 1, 5))
        for radius in (0, 1, 2, 5, 20)
        for powers in ({"bias": 1.0, "beta": 0.5}, {"bias": 2.0, "beta": 0.75})
    ),
]  # fmt: skip
