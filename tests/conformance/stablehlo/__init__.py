"""StableHLO's operators, which NumPy defines: tflite-runtime 2.14 has kernels of none."""

from __future__ import annotations

from tests.conformance.stablehlo import elementwise, index, product, random, reduce, sort, views

CASES = [
    *elementwise.CASES,
    *index.CASES,
    *product.CASES,
    *random.CASES,
    *reduce.CASES,
    *sort.CASES,
    *views.CASES,
]
