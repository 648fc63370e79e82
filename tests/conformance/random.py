"""Random numbers: TFLite's stream, as its first run gives it."""

from __future__ import annotations

from tests.conformance.case import FLOAT, Case, X, ints

SEEDS = ((1, 0), (0, 7), (87654321, 12345), (2**40 + 3, -5))
CASES = [
    *(
        Case(op, (ints(*shape),), {"seed": seed, "seed2": seed2}, FLOAT)
        for op in ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL")
        for seed, seed2 in SEEDS
        for shape in ((2,), (3, 6), (5, 2, 5))
    ),
    *(
        Case("MULTINOMIAL", (X(shape), ints(samples).reshape(())), {"seed": seed, "seed2": seed2}, FLOAT,
             out_type=kind)
        for seed, seed2 in SEEDS
        for shape, samples in (((1, 4), 6), ((3, 10), 5))
        for kind in ("int32", "int64")
    ),
]  # fmt: skip
