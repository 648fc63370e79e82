"""Changes of element type."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.case import ALL, BYTES, EVERY, Array, Case, X

FROM = ("float16", "float64", *EVERY, "uint16", "uint32")
UNSIGNED = ("uint8", "uint16", "uint32")
WHOLE = tuple(dtype for dtype in FROM if not dtype.startswith("float"))
HUGE = (0, 2**63 - 1)


def as_c(dtype: str) -> Callable[..., list[Array]]:
    return lambda x: [x.astype(dtype)]


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
        Case("QUANTIZE", (X(shape, (-9000, 9000), "int32", (scale, 0)),), out_type=out, types=("int32",))
        for shape in ((4, 64), (2, 3, 5))
        for scale in (0.001, 0.0003)
        for out in ("int8", "int16")
    ),
    *(
        Case("DEQUANTIZE", (X(shape, stored=stored),), {}, ("float16", *BYTES, "int16"), out_type="float32")
        for shape in ((4, 64), (2, 3, 5))
        for stored in (None, (0.02, -20), (0.1, 100))
    ),
    *(Case("CAST", (X((4, 64), (0, 100)),), out_type=out, types=FROM) for out in FROM),
    *(
        Case("CAST", (X((3, 5), (-100, 100)),), out_type=out, types=FROM)
        for out in FROM
        if out not in UNSIGNED
    ),
    *(  # of a float below 0 C says nothing
        Case("CAST", (X((3, 5), (-100, 100)),), out_type=out, types=WHOLE)
        for out in UNSIGNED
    ),
    *(
        Case("CAST", (X((3, 5), (2.0**52, 2.0**60), dtype),), out_type=out, types=(dtype,))
        for dtype, out in (("int64", "float64"), ("float64", "int64"), ("int64", "float32"))
    ),
    Case("CAST", (X((3, 5), (1e-300, 1e-299)),), types=("float64",), out_type="bool"),
    # TFLite has no uint64
    Case("CAST", (X((3, 5), (0, 100)),), types=(*FROM, "uint64"), out_type="uint64", expect=as_c("uint64")),
    *(
        Case("CAST", (X((3, 5), HUGE, "uint64"),), types=("uint64",), out_type=out, expect=as_c(out))
        for out in (*WHOLE, "float32", "float64")
    ),
]  # fmt: skip
