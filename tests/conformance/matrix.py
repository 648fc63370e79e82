"""Matrix products."""

from __future__ import annotations

from itertools import product
from typing import Any

from runtime.backends.tflite import interpreter_module
from tests.conformance.case import FLOAT, RELU, RELU6, RELU_N1, B, Case, W, X
from tests.conformance.conv import SAME_ROUNDING

REFINED = int(not interpreter_module().__name__.startswith("tflite_runtime"))
"""Steps by which 16-bit FULLY_CONNECTED may differ: LiteRT 2 scales sums in double, 2.14 in fixed point."""


def fully_connected(x: X, w: W, bias: B | None, types: tuple[str, ...], **options: Any) -> Case:
    steps = REFINED if types == ("int16",) else 0
    return Case("FULLY_CONNECTED", (x, w, bias), options, types, steps=steps, builtin=SAME_ROUNDING)


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
    Case("BATCH_MATMUL", (X((2, 3, 4, 5)), X((2, 3, 5, 6))), types=FLOAT),
    Case("BATCH_MATMUL", (X((3, 4, 5)), X((3, 6, 5))), {"adj_y": True}, types=FLOAT),
    Case("BATCH_MATMUL", (X((3, 5, 4)), X((5, 6))), {"adj_x": True}, types=FLOAT),
]  # fmt: skip
