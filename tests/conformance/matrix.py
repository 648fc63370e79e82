"""Matrix products."""

from __future__ import annotations

from tests.conformance.case import FLOAT, RELU, RELU6, B, Case, W, X

CASES = [
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), None), B(5))),
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), None), B(5)), RELU),
    Case("FULLY_CONNECTED", (X((2, 3, 8)), W((5, 8), None), B(5)), {"keep_num_dims": True, **RELU6}),
    Case("FULLY_CONNECTED", (X((2, 3, 8)), W((5, 12), None), None)),
    Case("FULLY_CONNECTED", (X((3, 8)), W((5, 8), 0), B(5)), types=("int8",)),
    Case("BATCH_MATMUL", (X((2, 3, 4, 5)), X((2, 3, 5, 6))), types=FLOAT),
    Case("BATCH_MATMUL", (X((3, 4, 5)), X((3, 6, 5))), {"adj_y": True}, types=FLOAT),
    Case("BATCH_MATMUL", (X((3, 5, 4)), X((5, 6))), {"adj_x": True}, types=FLOAT),
]  # fmt: skip
