"""Changes of element type."""

from __future__ import annotations

from tests.conformance.case import ALL, BYTES, EVERY, Case, X

FROM = ("float16", *EVERY)
CASES = [
    *(
        Case("QUANTIZE", (X(shape, stored=stored),), out_type=out, types=types)
        for shape in ((4, 64), (2, 3, 5))
        for stored in (None, (0.02, -20), (0.1, 100))
        for out, types in (
            ("int8", (*ALL, "int16")), ("uint8", ALL), ("int16", ("float32", "int16")),
        )
    ),
    *(
        Case("DEQUANTIZE", (X(shape, stored=stored),), {}, ("float16", *BYTES, "int16"), out_type="float32")
        for shape in ((4, 64), (2, 3, 5))
        for stored in (None, (0.02, -20), (0.1, 100))
    ),
    *(Case("CAST", (X((4, 64), (0, 100)),), out_type=out, types=FROM) for out in FROM),
    *(Case("CAST", (X((3, 5), (-100, 100)),), out_type=out, types=FROM) for out in FROM if out != "uint8"),
]  # fmt: skip
