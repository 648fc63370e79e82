"""Transposed convolutions."""

from __future__ import annotations

from itertools import product

from tests.conformance.case import ALL, RELU, RELU6, B, Case, W, X, ints
from tests.conformance.conv import REFINED, SAME, SAME_ROUNDING, VALID

CASES = [
    *(
        Case(
            "TRANSPOSE_CONV",
            (ints(*out), W((5, *kernel, channels), axis), X((out[0], *size, channels)), *bias),
            {**padding, "stride_h": stride[0], "stride_w": stride[1], **fused},
            types,
            steps=REFINED if types == ("int16",) and not bias else 0,
            builtin=SAME_ROUNDING,
        )
        for types, (out, size, kernel, stride, padding), channels, (axis, bias, fused) in product(
            (ALL, ("int16",)),
            (
                ((2, 8, 9, 5), (4, 3), (3, 3), (2, 3), SAME),
                ((1, 5, 7, 5), (5, 7), (3, 2), (1, 1), SAME),
                ((1, 9, 7, 5), (4, 3), (3, 3), (2, 2), VALID),
                ((2, 12, 8, 5), (4, 3), (2, 1), (3, 3), VALID),
                ((1, 4, 4, 5), (4, 4), (1, 1), (1, 1), VALID),
            ),
            (1, 3),
            ((0, (B(5),), RELU), (0, (), {}), (None, (B(5),), RELU6)),
        )
    ),
]  # fmt: skip
