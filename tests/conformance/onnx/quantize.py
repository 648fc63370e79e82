"""Quantisation on its own; whole quantised models are in `tests/runtime/test_importer_onnx.py`."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Case, number

BYTES = ("int8", "uint8")
SCALES = np.array([0.1, 0.02, 0.3], np.float32)


def zeros(dtype: str) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    return np.array([3, 0, 7], dtype)


CASES = [
    *(Case("QuantizeLinear", (X((3, 40), (-9, 9)), number(0.05), number(4, dtype))) for dtype in BYTES),
    *(Case("QuantizeLinear", (X((2, 3, 9)), SCALES, zeros(dtype)), {"axis": 1}) for dtype in BYTES),
    Case("QuantizeLinear", (X((3, 40), (0, 9)), number(0.5))),
    Case("QuantizeLinear", (np.arange(-5, 5, 0.5, dtype=np.float32), number(1.0), number(0, "int8"))),
    *(Case("DequantizeLinear", (X((3, 9), dtype=dtype), number(0.05), number(4, dtype))) for dtype in BYTES),
    *(
        Case("DequantizeLinear", (X((2, 3, 9), dtype=dtype), SCALES, zeros(dtype)), {"axis": -2})
        for dtype in BYTES
    ),
    Case("DequantizeLinear", (X((3, 9), dtype="int32"), number(0.05))),
    *(Case("DynamicQuantizeLinear", (X((3, 9), span),), outputs=3) for span in ((-3, 3), (1, 5), (-7, -2))),
]
