"""Transform operators."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import FLOAT, Case, X, ints

CASES = [
    Case("RESHAPE", (X((2, 3, 4)), ints(4, -1)), {"new_shape": (4, 6)}, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), {"squeeze_dims": (0, -2)}, same=True),
    Case("SQUEEZE", (X((1, 3, 1, 4)),), same=True),
    Case("EXPAND_DIMS", (X((3, 4)), ints(-1)), types=FLOAT, same=True),
    Case("TRANSPOSE", (X((2, 3, 4, 5)), ints(3, 1, 0, 2)), same=True),
    Case("CONCATENATION", (X((2, 3, 4)), X((2, 1, 4)), X((2, 2, 4))), {"axis": 1}, same=True),
    Case("CONCATENATION", (X((2, 3)), X((2, 3))), {"axis": -1}, types=("uint8",)),
    Case("PAD", (X((2, 3, 4)), ints(0, 0, 1, 2, 3, 0).reshape(3, 2)), same=True),
    Case("PAD", (X((2, 3, 4)), ints(0, 0, 1, 2, 3, 0).reshape(3, 2)), types=("int8", "uint8")),
    Case("PADV2", (X((2, 3)), ints(1, 2, 3, 0).reshape(2, 2), np.array(7.5, np.float32)), types=FLOAT),
    Case("SLICE", (X((4, 5, 6)), ints(1, 0, 2), ints(2, -1, 3)), same=True),
    Case("STRIDED_SLICE", (X((4, 5, 6)), ints(1, 4, 0), ints(3, 0, 6), ints(1, -2, 2)), same=True),
    Case(
        "STRIDED_SLICE",
        (X((4, 5, 6)), ints(-1, 2, 9), ints(0, -1, -9), ints(1, 1, -1)),
        {"shrink_axis_mask": 1, "end_mask": 2, "begin_mask": 4},
        same=True,
    ),
    Case("SPLIT", (ints(1), X((2, 6, 3))), {"num_splits": 3}, outputs=3, same=True),
    Case("PACK", (X((2, 3)), X((2, 3)), X((2, 3))), {"values_count": 3, "axis": 1}, same=True),
    Case("GATHER", (X((5, 3)), ints(4, 0, 0, 2).reshape(2, 2)), same=True),
]  # fmt: skip
