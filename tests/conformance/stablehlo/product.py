"""Products."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.conformance.case import FLOAT, Array, Case, X
from tests.conformance.stablehlo.views import padded

TYPES = (("float32", "float32"), ("int8", "int32"))


def multiplied(
    a: Array,
    b: Array,
    lhs_batching_dimensions: Any = (),
    rhs_batching_dimensions: Any = (),
    lhs_contracting_dimensions: Any = (),
    rhs_contracting_dimensions: Any = (),
) -> list[Array]:
    left, right = list(range(a.ndim)), list(range(10, 10 + b.ndim))
    for mine, other in (
        *zip(lhs_batching_dimensions, rhs_batching_dimensions, strict=True),
        *zip(lhs_contracting_dimensions, rhs_contracting_dimensions, strict=True),
    ):
        right[other] = mine
    out = [*lhs_batching_dimensions]
    out += [i for i in left if i not in (*lhs_batching_dimensions, *lhs_contracting_dimensions)]
    out += [i for i in right if i >= 10]
    dtype = np.float32 if a.dtype == np.float32 else np.int32
    return [np.einsum(a.astype(dtype), left, b.astype(dtype), right, out)]


def convolved(x: Array, w: Array, **given: Any) -> list[Array]:
    """By the definition: a sum for every place of the output, in channels last."""
    data, kernel, out = (
        (given[f"{a}_dimension"], *given[f"{b}_spatial_dimensions"], given[f"{c}_dimension"])
        for a, b, c in (
            ("input_batch", "input", "input_feature"),
            ("kernel_output_feature", "kernel", "kernel_input_feature"),
            ("output_batch", "output", "output_feature"),
        )
    )
    x, w, groups, count = x.transpose(data), w.transpose(kernel), given["feature_group_count"], x.ndim - 2
    strides, spread, dilations = (
        given.get(name) or (1,) * count for name in ("window_strides", "lhs_dilation", "rhs_dilation")
    )
    pads = np.zeros((x.ndim, 2), int)
    pads[1:-1] = np.reshape(given.get("padding") or (0,) * 2 * count, (-1, 2))
    (x,) = padded(x, np.zeros((), x.dtype), pads[:, 0], pads[:, 1], np.array((1, *spread, 1)) - 1)
    turned = given.get("window_reversal") or (False,) * count
    w = w[(slice(None), *(slice(None, None, -1 if t else 1) for t in turned))]
    reach = (np.array(w.shape[1:-1]) - 1) * dilations + 1
    sizes = (np.array(x.shape[1:-1]) - reach) // strides + 1
    dtype = np.float32 if x.dtype == np.float32 else np.int32
    result, (units, depth) = (
        np.zeros((x.shape[0], *sizes, w.shape[0]), dtype),
        (len(w) // groups, w.shape[-1]),
    )
    for place in np.ndindex(*sizes):
        start = np.array(place) * strides
        cut = tuple(slice(a, a + r, d) for a, r, d in zip(start, reach, dilations, strict=True))
        for unit in range(w.shape[0]):
            first = unit // units * depth
            window = x[(slice(None), *cut, slice(first, first + depth))].astype(dtype)
            result[(slice(None), *place, unit)] = (window * w[unit]).reshape(len(x), -1).sum(1)
    return [result.transpose(np.argsort(out))]


DOT = (
    "lhs_batching_dimensions",
    "rhs_batching_dimensions",
    "lhs_contracting_dimensions",
    "rhs_contracting_dimensions",
)
DOTS = (
    ((3, 4), (4, 5), ((), (), (1,), (0,))),
    ((3, 4), (5, 4), ((), (), (1,), (1,))),
    ((4, 3), (4, 5), ((), (), (0,), (0,))),
    ((4,), (4,), ((), (), (0,), (0,))),
    ((3,), (4,), ((), (), (), ())),
    ((2, 3, 4), (2, 4, 5), ((0,), (0,), (2,), (1,))),
    ((2, 3, 4), (5, 4, 2), ((0,), (2,), (2,), (1,))),
    ((3, 2, 4), (4, 2, 5), ((1,), (1,), (2,), (0,))),
    ((2, 3, 4), (4, 3, 5), ((), (), (1, 2), (1, 0))),
    ((2, 3, 4, 2), (2, 5, 2, 4), ((0,), (0,), (2, 3), (3, 2))),
    ((2, 3, 2, 4), (2, 2, 4, 3), ((0, 2), (1, 0), (3,), (2,))),
)
CHANNELS_LAST = {"input": (0, 3, (1, 2)), "kernel": (3, 2, (0, 1)), "output": (0, 3, (1, 2))}
CHANNELS_FIRST = {"input": (0, 1, (2, 3)), "kernel": (0, 1, (2, 3)), "output": (0, 1, (2, 3))}
MIXED = {"input": (2, 0, (3, 1)), "kernel": (1, 3, (2, 0)), "output": (1, 2, (0, 3))}
LINE = {"input": (0, 2, (1,)), "kernel": (2, 1, (0,)), "output": (0, 1, (2,))}
SPACE = {"input": (0, 4, (1, 2, 3)), "kernel": (4, 3, (0, 1, 2)), "output": (0, 4, (1, 2, 3))}


def layout(places: dict[str, tuple[int, int, tuple[int, ...]]], groups: int = 1) -> dict[str, Any]:
    options: dict[str, Any] = {"feature_group_count": groups, "batch_group_count": 1}
    for name, (batch, feature, spatial) in places.items():
        first, second = ("output_feature", "input_feature") if name == "kernel" else ("batch", "feature")
        options |= {
            f"{name}_{first}_dimension": batch,
            f"{name}_{second}_dimension": feature,
            f"{name}_spatial_dimensions": spatial,
        }
    return options


def placed(places: tuple[int, int, tuple[int, ...]], batch: int, feature: int, spatial: tuple[int, ...]) -> X:
    sizes = [0] * (len(spatial) + 2)
    sizes[places[0]], sizes[places[1]] = batch, feature
    for axis, size in zip(places[2], spatial, strict=True):
        sizes[axis] = size
    return X(tuple(sizes))


MOVES: tuple[dict[str, Any], ...] = (
    {},
    {"window_strides": (2, 1), "padding": (1, 1, 0, 2)},
    {"lhs_dilation": (2, 1), "padding": (1, 1, 1, 1)},
    {"rhs_dilation": (1, 2), "window_reversal": (True, False)},
    {"padding": (-1, 0, 1, -1), "lhs_dilation": (1, 2), "window_reversal": (True, True)},
)

CASES = [
    *(
        Case(
            "STABLEHLO_DOT_GENERAL",
            (X(a), X(b)),
            dict(zip(DOT, axes, strict=True)),
            (dtype,),
            out_type=out,
            expect=multiplied,
        )
        for dtype, out in TYPES
        for a, b, axes in DOTS
    ),
    *(
        Case(
            "STABLEHLO_CONVOLUTION",
            (placed(places["input"], 2, 4, (5, 6)), placed(places["kernel"], 6, 4 // groups, (3, 2))),
            {**layout(places, groups), **moves},
            (dtype,),
            out_type=out,
            expect=convolved,
        )
        for dtype, out in TYPES
        for places in (CHANNELS_LAST, CHANNELS_FIRST, MIXED)
        for groups in (1, 2)
        for moves in MOVES
    ),
    *(
        Case(
            "STABLEHLO_CONVOLUTION",
            (placed(places["input"], 2, 3, size), placed(places["kernel"], 6, 3 // groups, kernel)),
            {**layout(places, groups), "padding": (1, 0) * len(size)},
            FLOAT,
            expect=convolved,
        )
        for places, size, kernel in ((LINE, (7,), (3,)), (SPACE, (3, 4, 3), (2, 3, 2)))
        for groups in (1, 3)
    ),
]  # fmt: skip
