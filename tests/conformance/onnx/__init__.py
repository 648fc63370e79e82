"""Every ONNX operator that we import, as generated models, against onnxruntime.

As in `tests.conformance`: `CASES` is the table, one file per family, and `judge` runs a case. Needs onnx and
onnxruntime, which are development packages.
"""

from __future__ import annotations

from tests.conformance.onnx import (
    control,
    conv,
    einsum,
    elementwise,
    index,
    integer,
    matrix,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    views,
)
from tests.conformance.onnx.case import Case

CASES: list[Case] = [
    *control.CASES,
    *conv.CASES,
    *einsum.CASES,
    *elementwise.CASES,
    *index.CASES,
    *integer.CASES,
    *matrix.CASES,
    *norm.CASES,
    *pool.CASES,
    *quantize.CASES,
    *recurrent.CASES,
    *reduce.CASES,
    *resize.CASES,
    *views.CASES,
]
