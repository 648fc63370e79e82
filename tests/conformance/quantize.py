"""Changes of element type."""

from __future__ import annotations

from tests.conformance.case import FLOAT, Case, X

CASES = [
    Case("QUANTIZE", (X((4, 64)),), out_type="int8", types=("float32", "int8", "uint8")),
    Case("QUANTIZE", (X((4, 64)),), out_type="uint8", types=("float32", "int8", "uint8")),
    Case("DEQUANTIZE", (X((4, 64)),), out_type="float32", types=("int8", "uint8")),
    Case("CAST", (X((4, 64), (-200, 200)),), out_type="int32", types=FLOAT),
    Case("CAST", (X((4, 64)),), out_type="float32", types=("int32",)),
    Case("CAST", (X((4, 64)),), out_type="int64", types=("int32",)),
    Case("CAST", (X((4, 64)),), out_type="int8", types=("uint8", "int32")),
    Case("CAST", (X((4, 64)),), out_type="uint8", types=("int8", "int32")),
]  # fmt: skip
