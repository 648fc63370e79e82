"""SORT, whose comparator is a sub-graph on two elements of each operand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from tests.conformance.case import Array, Case, X, without

COMPARED = {"comparison_direction": 5, "compare_type": 0}, {"comparison_direction": 3, "compare_type": 0}
"""LT and GT."""
COMPARATORS: tuple[tuple[str, Any, bool, bool], ...] = (
    ("LESS", {}, False, False),
    ("GREATER", {}, False, True),
    ("LESS", {}, True, True),
    ("STABLEHLO_COMPARE", COMPARED[0], False, False),
    ("STABLEHLO_COMPARE", COMPARED[1], True, False),
)
"""(operator, its options, whether its operands are swapped, whether the greatest element comes first)."""


def sorting(
    shape: tuple[int, ...],
    types: tuple[str, ...],
    key: int,
    dimension: int,
    op: str,
    options: Any,
    swapped: bool,
) -> Callable[[str], ModelSpec]:
    """A model that sorts operands of these types, "" for that of the case, by one of them."""

    def build(dtype: str) -> ModelSpec:
        kinds = [kind or dtype for kind in types]
        x, y = (tuple(TensorSpec(f"{end}{i}", shape, kind) for i, kind in enumerate(kinds)) for end in "xy")
        elements = tuple(TensorSpec(f"{side}{i}", (), kind) for i, kind in enumerate(kinds) for side in "ab")
        ends = tuple(tensor.name for tensor in elements)
        pair = ends[2 * key : 2 * key + 2]
        compare = OpSpec(op, pair[::-1] if swapped else pair, ("t",), options)
        comparator = ModelSpec((*elements, TensorSpec("t", (), "bool")), (compare,), ends, ("t",))
        inputs, outputs = (tuple(tensor.name for tensor in side) for side in (x, y))
        sort = OpSpec(
            "STABLEHLO_SORT", inputs, outputs, {"dimension": dimension, "comparator_subgraph_index": 1}
        )
        return ModelSpec((*x, *y), (sort,), inputs, outputs, subgraphs=(comparator,))

    return build


def ordered(key: int, dimension: int, descending: bool) -> Callable[..., list[Array]]:
    def expect(*operands: Array, case: str) -> list[Array]:  # noqa: ARG001
        keys = operands[key]
        if descending:  # stable: what is equal stays in its order
            last = keys.shape[dimension] - 1
            order = np.flip(last - np.argsort(np.flip(keys, dimension), dimension, kind="stable"), dimension)
        else:
            order = np.argsort(keys, dimension, kind="stable")
        return [np.take_along_axis(operand, order, dimension) for operand in operands]

    return expect


CASES = [
    Case(
        "STABLEHLO_SORT",
        tuple(X(shape, (-4, 4), kind) for kind in types),
        {"case": f"{op} {swapped} {key} {dimension}"},
        without("bool"),
        graphs=sorting(shape, types, key, dimension, op, options, swapped),
        outputs=len(types),
        expect=ordered(key, dimension, descending),
    )
    for op, options, swapped, descending in COMPARATORS
    for shape, dimension in (((9,), 0), ((3, 5), 1), ((6, 3), 0), ((2, 5, 3), -2))
    for types, key in ((("",), 0), (("", "int32"), 0), (("float32", ""), 1))
]
