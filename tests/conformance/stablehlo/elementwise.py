"""Element-wise operators.

Of a shift by more than the type's bits, or by less than none, StableHLO says that it gives 0; C leaves it
open.
"""

from __future__ import annotations

from collections.abc import Callable

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


def compared(a: Array, b: Array, comparison_direction: int, compare_type: int) -> list[Array]:  # noqa: ARG001
    rows = (np.equal, np.not_equal, np.greater_equal, np.greater, np.less_equal, np.less)
    return [rows[comparison_direction](a, b)]


def chosen(truth: Array, a: Array, b: Array) -> list[Array]:
    return [np.where(truth, a, b)]


def clamped(least: Array, x: Array, most: Array) -> list[Array]:
    return [np.minimum(np.maximum(least, x), most)]


def converted(to: str) -> Callable[[Array], list[Array]]:
    return lambda x: [x.astype(to)]


def raised(a: Array, b: Array) -> list[Array]:
    return [a**b]


CASES = [
    *(
        Case(f"STABLEHLO_{op}", (X(shape, span), X(shape, span)), types=types, expect=expect, late=True)
        for op, expect in (
            ("ADD", lambda a, b: [a + b]),
            ("MULTIPLY", lambda a, b: [a * b]),
            ("MAXIMUM", lambda a, b: [np.maximum(a, b)]),
            ("MINIMUM", lambda a, b: [np.minimum(a, b)]),
        )
        for shape in SHAPES
        for span, types in (((-3, 3), (*EVERY, "float16")), ((-2e9, 2e9), EVERY))
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
        Case(
            "STABLEHLO_COMPARE",
            (X(shape),) * 2,
            {"comparison_direction": direction, "compare_type": kind},
            types=types,
            out_type="bool",
            expect=compared,
        )
        for direction in range(6)
        for kind, types in (
            (0, (*FLOAT, "int16", "int32", "int64")),
            (1, FLOAT),
            (3, ("int32",)),
            (4, ("bool",)),
        )
        for shape in SHAPES[1:3]
    ),
    *(
        Case(
            "STABLEHLO_SELECT",
            (X(truth, dtype="bool"), X(shape), X(shape)),
            types=NUMBERS,
            same=True,
            expect=chosen,
        )
        for shape in SHAPES
        for truth in dict.fromkeys((shape, ()))
    ),
    *(
        Case("STABLEHLO_CLAMP", (X(least), X(shape), X(most)), types=NUMBERS, expect=clamped)
        for shape in SHAPES
        for least in dict.fromkeys((shape, ()))
        for most in dict.fromkeys((shape, ()))
    ),
    *(
        Case(
            "STABLEHLO_CONVERT",
            (X(shape, (-100, 100), source),),
            types=(source,),
            out_type=to,
            expect=converted(to),
        )
        for shape in ((3, 5), (4,))
        for source in ("float32", "int8", "int16", "int32", "int64", "bool")
        for to in ("float32", "int8", "int16", "int32", "int64", "bool")
        if source != to
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
