"""StableHLO's element-wise operators.

TFLite 2.14 has no kernel of any, ai-edge-litert those of the `late` cases. Of a shift by more than the type's
bits, or by less than none, StableHLO says that it gives 0; C leaves it open.
"""

from __future__ import annotations

import numpy as np

from tests.conformance.case import EVERY, FLOAT, Array, Case, X

SHAPES = ((4, 6), (2, 3, 5), (7,), ())
WHOLE = ("int8", "uint8", "int16", "int32", "int64")
NUMBERS = (*FLOAT, *WHOLE)


def shifted(a: Array, b: Array) -> list[Array]:
    return [
        np.where((b >= 0) & (b < 8 * b.itemsize), a << np.clip(b, 0, 8 * b.itemsize - 1), 0).astype(a.dtype)
    ]


def divided(a: Array, b: Array) -> list[Array]:
    return [(a / b).astype(a.dtype)]


def raised(a: Array, b: Array) -> list[Array]:
    return [a**b]


CASES = [
    *(
        Case(f"STABLEHLO_{op}", (X(shape, span), X(shape, span)), types=EVERY, expect=expect, late=True)
        for op, expect in (
            ("ADD", lambda a, b: [a + b]),
            ("MULTIPLY", lambda a, b: [a * b]),
            ("MAXIMUM", lambda a, b: [np.maximum(a, b)]),
            ("MINIMUM", lambda a, b: [np.minimum(a, b)]),
        )
        for shape in SHAPES
        for span in ((-3, 3), (-2e9, 2e9))
    ),
    *(
        Case(
            f"STABLEHLO_{op}", (X(shape, (-2e9, 2e9)),) * 2, types=(*WHOLE, "bool"), expect=expect, late=late
        )
        for op, late, expect in (("AND", True, lambda a, b: [a & b]), ("OR", False, lambda a, b: [a | b]))
        for shape in SHAPES
    ),
    *(
        Case("STABLEHLO_SHIFT_LEFT", (X(shape, (-2e9, 2e9)), X(shape, (-3, 40))), types=WHOLE, expect=shifted)
        for shape in SHAPES
    ),
    *(
        Case(
            "STABLEHLO_SHIFT_LEFT",
            (X(shape, (-100, 100), dtype), X(shape, (0, 31), dtype)),
            types=(dtype,),
            expect=shifted,
            late=True,
        )
        for dtype in ("int8", "int16", "int32")
        for shape in SHAPES
    ),
    *(
        Case("STABLEHLO_SUBTRACT", (X(shape, (-2e9, 2e9)),) * 2, types=NUMBERS, expect=lambda a, b: [a - b])
        for shape in SHAPES
    ),
    *(
        Case(
            f"STABLEHLO_{op}",
            (X(shape, (-90, 90), dtype), X(shape, (1, 9), dtype)),
            types=(dtype,),
            expect=expect,
        )
        for op, expect in (("DIVIDE", divided), ("REMAINDER", lambda a, b: [np.fmod(a, b)]))
        for dtype in NUMBERS
        for shape in SHAPES
    ),
    *(
        Case("STABLEHLO_POWER", (X(shape, (0.2, 3)), X(shape, (-2, 3))), types=FLOAT, expect=raised)
        for shape in SHAPES
    ),
    *(
        Case(f"STABLEHLO_{op}", (X(shape, (-2e9, 2e9)),), types=NUMBERS, expect=expect)
        for op, expect in (("ABS", lambda x: [np.abs(x)]), ("NEGATE", lambda x: [-x]))
        for shape in SHAPES
    ),
    *(
        Case(f"STABLEHLO_{op}", (X(shape, span),), types=FLOAT, expect=expect)
        for op, span, expect in (
            ("COSINE", (-9, 9), lambda x: [np.cos(x)]),
            ("EXPONENTIAL", (-3, 3), lambda x: [np.exp(x)]),
            ("FLOOR", (-3, 3), lambda x: [np.floor(x)]),
            ("LOG", (0.01, 9), lambda x: [np.log(x)]),
            ("LOGISTIC", (-9, 9), lambda x: [(1 / (1 + np.exp(-x))).astype(x.dtype)]),
            ("RSQRT", (0.1, 9), lambda x: [np.reciprocal(np.sqrt(x))]),
            ("TANH", (-3, 3), lambda x: [np.tanh(x)]),
            ("CBRT", (-9, 9), lambda x: [np.cbrt(x)]),
        )
        for shape in SHAPES
    ),
]  # fmt: skip
