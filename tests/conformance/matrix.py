"""Matrix products."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.conformance.case import RELU, RELU6, RELU_N1, B, Case, W, X
from tests.conformance.conv import INT16, NARROW, REFINED, SAME_ROUNDING


def fully_connected(x: X, w: W, bias: B | None, types: tuple[str, ...], **options: Any) -> Case:
    steps = REFINED if types == ("int16",) else 0
    return Case("FULLY_CONNECTED", (x, w, bias), options, types, steps=steps, builtin=SAME_ROUNDING)


def turned(shape: tuple[int, ...], swap: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape


CASES = [
    *(
        fully_connected(X(shape), W((units, shape[-1]), None), B(units) if bias else None, types, **options)
        for types, shape, units, bias, options in product(
            (("float32", "int8", "uint8"), ("int16",)),
            ((3, 8), (2, 3, 8), (1, 17)),
            (5, 1),
            (True, False),
            (RELU, RELU_N1, {"keep_num_dims": True, **RELU6}),
        )
    ),
    fully_connected(X((2, 3, 8)), W((5, 12), None), None, ("float32", "int8", "uint8")),
    *(
        fully_connected(X(shape), W((5, shape[-1]), 0), bias, types)
        for types, shape, bias in product((("int8",), ("int16",)), ((3, 8), (1, 9)), (B(5), None))
    ),
    *(  # many sums, so that some are half-way between two numbers
        fully_connected(X((40, 8)), W((40, 8), axis), bias, INT16, **kind)
        for axis, (bias, kind) in product((None, 0), ((B(40), {}), (B(40, "int32"), NARROW), (None, {})))
    ),
    *(
        Case("BATCH_MATMUL", (X(a), X(b)), options, SAME_ROUNDING, builtin=() if REFINED else SAME_ROUNDING)
        for (a, b), adj in product(
            (
                ((2, 3, 4, 5), (2, 3, 5, 6)),
                ((4, 5), (5, 6)),
                ((3, 1, 4, 5), (2, 5, 3)),
                ((2, 1, 4, 5), (1, 3, 5, 7)),
                ((2, 3, 1, 2, 4), (3, 2, 4, 3)),
            ),
            product((False, True), repeat=2),
        )
        for options in ({"adj_x": adj[0], "adj_y": adj[1]},)
        for a, b in ((turned(a, adj[0]), turned(b, adj[1])),)
    ),
    Case("BATCH_MATMUL", (X((3, 4, 5)), X((3, 5, 6))), types=("int8",), out_type="int32"),
]  # fmt: skip
