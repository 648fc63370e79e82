"""Recurrent layers, whose states go from run to run."""

from __future__ import annotations

from tests.conformance.case import B, Case, V, W, X

CASES = [
    Case(
        "SVDF",
        (
            X((batch, depth)), W((units * rank, depth)), W((units * rank, memory)),
            B(units) if bias else None, V((batch, memory * units * rank)),
        ),
        {"rank": rank, "fused_activation_function": activation},
        types=("float32",),
        runs=3,
    )
    for batch, depth, units, memory in ((1, 3, 4, 5), (2, 4, 3, 2), (3, 2, 1, 1))
    for rank in (1, 2)
    for bias in (True, False)
    for activation in ("NONE", "RELU", "RELU6", "TANH")
]  # fmt: skip
