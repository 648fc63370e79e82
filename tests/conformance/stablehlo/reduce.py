"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.conformance.case import FLOAT, Array, Case, X
from tests.conformance.stablehlo.views import padded

WHOLE = ("int8", "uint8", "int16", "int32", "int64")
NUMBERS = (*FLOAT, *WHOLE)
BODIES: dict[str, tuple[np.ufunc, tuple[str, ...], tuple[float, float]]] = {
    "STABLEHLO_ADD": (np.add, NUMBERS, (-3, 3)),
    "STABLEHLO_MULTIPLY": (np.multiply, NUMBERS, (-1, 1)),
    "STABLEHLO_MAXIMUM": (np.maximum, NUMBERS, (-3, 3)),
    "STABLEHLO_MINIMUM": (np.minimum, NUMBERS, (-3, 3)),
    "STABLEHLO_AND": (np.logical_and, ("bool",), (-3, 3)),
    "STABLEHLO_OR": (np.logical_or, ("bool",), (-3, 3)),
    "ADD": (np.add, FLOAT, (-3, 3)),
    "MUL": (np.multiply, FLOAT, (-1, 1)),
    "MAXIMUM": (np.maximum, FLOAT, (-3, 3)),
    "MINIMUM": (np.minimum, FLOAT, (-3, 3)),
    "LOGICAL_AND": (np.logical_and, ("bool",), (-3, 3)),
    "LOGICAL_OR": (np.logical_or, ("bool",), (-3, 3)),
}


def reduced(body: str) -> Callable[..., list[Array]]:
    function = BODIES[body][0]

    def expect(x: Array, first: Array, dimensions: Any) -> list[Array]:
        dtype = {} if x.dtype == bool else {"dtype": x.dtype}
        return [function(function.reduce(x, tuple(dimensions), **dtype), first).astype(x.dtype)]

    return expect


def slid(body: str) -> Callable[..., list[Array]]:
    function = BODIES[body][0]

    def expect(
        x: Array,
        first: Array,
        window_dimensions: Any,
        window_strides: Any = (),
        base_dilations: Any = (),
        window_dilations: Any = (),
        padding: Any = (),
    ) -> list[Array]:
        ones = (1,) * x.ndim
        strides, between, dilations = (
            given or ones for given in (window_strides, base_dilations, window_dilations)
        )
        pads = np.reshape(padding or (0,) * 2 * x.ndim, (-1, 2))
        (wide,) = padded(x, first, pads[:, 0], pads[:, 1], np.array(between) - 1)
        reach = (np.array(window_dimensions) - 1) * dilations + 1
        out = np.full((np.array(wide.shape) - reach) // strides + 1, first)
        for place in np.ndindex(*out.shape):
            start = np.array(place) * strides
            cut = tuple(slice(a, a + r, d) for a, r, d in zip(start, reach, dilations, strict=True))
            for number in wide[cut].reshape(-1):
                out[place] = function(out[place], number)
        return [out]

    return expect


def slid_by(body: str) -> Callable[..., list[Array]]:
    return lambda x, first, window, strides, dilations, reduce_function: slid(body)(  # noqa: ARG005
        x, first, tuple(window), tuple(strides), (), tuple(dilations)
    )


FUNCTIONS = tuple(map("STABLEHLO_{}".format, ("ADD", "MULTIPLY", "MINIMUM", "MAXIMUM", "AND", "OR")))
"""Those that REDUCE_WINDOW has numbers for, from 1 on."""
REDUCES = (
    ((4, 6), (0,)),
    ((4, 6), (1,)),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4), (1, 2)),
    ((5,), (0,)),
    ((3, 4), ()),
)
OPTIONS = ("window_dimensions", "window_strides", "base_dilations", "window_dilations", "padding")
WINDOWS = (
    ((6,), ((3,),)),
    ((6,), ((2,), (2,), (2,), (1,), (1, 1))),
    ((6,), ((2,), (1,), (1,), (3,), (-1, 2))),
    ((4, 5), ((2, 3), (1, 2))),
    ((1, 4, 5, 2), ((1, 2, 2, 1), (1, 2, 2, 1), (1, 1, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0, 1, 0, 0, 0))),
    ((1, 2, 4, 5), ((1, 1, 3, 3), (1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1), (0, 0, 0, 0, 1, 1, 1, 1))),
    ((3, 4), ((2, 2), (1, 1), (2, 1), (1, 2), (0, 1, 1, 0))),
    ((2, 3, 3), ((2, 2, 2), (1, 1, 1), (1, 2, 1))),
)

CASES = [
    *(
        Case(
            "STABLEHLO_REDUCE",
            (X(shape, span), X((), span)),
            {"dimensions": axes},
            types,
            same=True,
            body=body,
            expect=reduced(body),
        )
        for body, (_, types, span) in BODIES.items()
        for shape, axes in REDUCES
    ),
    *(
        Case(
            "STABLEHLO_REDUCE_WINDOW",
            (X(shape, span), X((), span)),
            dict(zip(OPTIONS, windows, strict=False)),
            types,
            same=True,
            body=body,
            expect=slid(body),
            late=body != "STABLEHLO_OR",
        )
        for body, (_, types, span) in BODIES.items()
        for shape, windows in WINDOWS
    ),  # TFLite has no kernel of STABLEHLO_OR, and so no body of it
    *(
        Case(
            "REDUCE_WINDOW",
            (X(shape, span), X((), span), *(np.array(numbers) for numbers in lists)),
            {"reduce_function": function},
            types,
            same=True,
            expect=slid_by(body),
            late=True,
        )
        for function, body in enumerate(FUNCTIONS, start=1)
        for _, types, span in (BODIES[body],)
        for shape, lists in (
            ((6,), ((3,), (1,), (1,))),
            ((4, 5), ((2, 3), (1, 2), (1, 1))),
            ((1, 4, 5, 2), ((1, 2, 2, 1), (1, 2, 1, 1), (1, 1, 2, 1))),
        )
    ),
]  # fmt: skip
