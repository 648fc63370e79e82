"""Normalisations."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, weights

VARIANCE = np.abs(weights(3, seed=1)) + np.float32(0.1)

CASES = [
    *(
        Case("BatchNormalization", (X(shape), weights(3), weights(3), weights(3), VARIANCE), attrs, (15, 22))
        for shape in ((2, 3, 4, 5), (2, 3, 7), (4, 3))
        for attrs in ({}, {"epsilon": 0.01})
    ),
    *(
        Case(
            "LayerNormalization",
            (X((2, 3, 4, 5)), weights(*shape), weights(*shape)),
            {"axis": axis},
            (17, 22),
            outputs,
        )
        for axis, shape in ((-1, (5,)), (2, (4, 5)), (1, (3, 4, 5)))
        for outputs in (1, 3)
    ),
    Case("LayerNormalization", (X((3, 8)), weights(8)), {"epsilon": 0.1}, (17, 22)),
    *(
        Case("InstanceNormalization", (X(shape), weights(3), weights(3)))
        for shape in ((2, 3, 4, 5), (2, 3, 7))
    ),
    *(
        Case("GroupNormalization", (X(shape), weights(6), weights(6)), {"num_groups": groups}, (21, 22))
        for shape in ((2, 6, 4, 5), (2, 6, 7))
        for groups in (1, 2, 6)
    ),
    *(
        Case(
            "GroupNormalization",
            (X((2, 6, 4, 5)), weights(groups), weights(groups)),
            {"num_groups": groups},
            (18,),
        )
        for groups in (1, 2, 3)
    ),
    *(Case("MeanVarianceNormalization", (X((2, 3, 4, 5)),), attrs) for attrs in ({}, {"axes": [1, 3]})),
    *(
        Case("LpNormalization", (X((2, 3, 4)),), {"axis": axis, "p": p})
        for axis in (-1, 0, 1)
        for p in (1, 2)
    ),
    *(Case("LRN", (X((2, 7, 3, 4)),), {"size": size}) for size in (1, 3, 7)),
    Case("LRN", (X((2, 7, 3, 4)),), {"size": 5, "alpha": 0.1, "beta": 0.5, "bias": 2.0}),
]
