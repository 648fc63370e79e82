"""BITCAST between all element types, and between copies and arithmetic of the types that it is between."""

from __future__ import annotations

from itertools import product

import numpy as np

from runtime.exporters.tflite import ModelSpec, OpSpec, Option, TensorSpec
from tests.conformance.case import Case, X, ints

WIDTHS = {
    **dict.fromkeys(("int8", "uint8"), 1),
    **dict.fromkeys(("int16", "uint16", "float16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64"), 8),
}
SPANS = {name: (-(2.0 ** (8 * width - 2)), 2.0 ** (8 * width - 2)) for name, width in WIDTHS.items()} | {
    "float16": (-9.0, 9.0)
}
I32 = ("int32",)


def chain(*steps: tuple[str, tuple[str, ...], str, tuple[int, ...], dict[str, Option]]) -> ModelSpec:
    """From x, float32 (4, 6), by steps of (operator, operands, element type, shape, options)."""
    tensors = [
        TensorSpec("x", (4, 6)),
        *(TensorSpec.constant(name, data) for name, data in CONSTANTS.items()),
    ]
    tensors += [TensorSpec(f"step {i}", step[3], step[2]) for i, step in enumerate(steps)]
    ops = [OpSpec(op, names, (f"step {i}",), options) for i, (op, names, _, _, options) in enumerate(steps)]
    return ModelSpec(tuple(tensors), tuple(ops), ("x",), (f"step {len(steps) - 1}",))


CONSTANTS = {
    "turn": ints(1, 0), "pads": ints(1, 1, 0, 2).reshape(2, 2), "half": np.array([0.5], np.float32),
    "from": ints(0, 2), "size": ints(5, 5), "seven": ints(7),
    "row": np.arange(6, dtype=np.int32).reshape(1, 6),
}  # fmt: skip
CHAINS = (
    (  # copies on both sides
        ("TRANSPOSE", ("x", "turn"), "float32", (6, 4), {}),
        ("BITCAST", ("step 0",), "int32", (6, 4), {}),
        ("TRANSPOSE", ("step 1", "turn"), "int32", (4, 6), {}),
    ),
    (  # a fill of one type under a fill of another
        ("PADV2", ("x", "pads", "half"), "float32", (6, 8), {}),
        ("BITCAST", ("step 0",), "int32", (6, 8), {}),
        ("SLICE", ("step 1", "from", "size"), "int32", (5, 5), {}),
        ("PADV2", ("step 2", "pads", "seven"), "int32", (7, 7), {}),
    ),
    (  # arithmetic on both sides
        ("ADD", ("x", "x"), "float32", (4, 6), {}),
        ("BITCAST", ("step 0",), "int32", (4, 6), {}),
        ("ADD", ("step 1", "seven"), "int32", (4, 6), {}),
        ("BITCAST", ("step 2",), "float32", (4, 6), {}),
        ("MUL", ("step 3", "half"), "float32", (4, 6), {}),
    ),
    (  # a part of a whole
        ("ADD", ("x", "x"), "float32", (4, 6), {}),
        ("BITCAST", ("step 0",), "int32", (4, 6), {}),
        ("CONCATENATION", ("step 1", "row"), "int32", (5, 6), {"axis": 0}),
    ),
)


def bitcast_shapes(source: int, target: int) -> list[tuple[int, ...]]:
    """For elements of so many bytes."""
    parts = (target // source,) if target > source else ()
    return [(3, 5, *parts), parts or (4,)]


CASES = [
    *(
        Case("BITCAST", (X(shape, SPANS[source], source),), types=(target,), tolerance=0)
        for source, target in product(WIDTHS, WIDTHS)
        for shape in bitcast_shapes(WIDTHS[source], WIDTHS[target])
    ),
    Case("BITCAST", (X((3, 5), (0, 1), "uint8"),), types=("bool",)),
    *(Case("BITCAST", (X((3, 4), dtype="bool"),), types=(target,)) for target in ("int8", "uint8", "int32")),
    *(
        Case("BITCAST", (X((4, 6), dtype="float32"),), types=I32, graphs=lambda _, steps=steps: chain(*steps))
        for steps in CHAINS
    ),
]
