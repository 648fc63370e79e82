"""Int8 weights under float activations, of which TFLite rounds each slice to levels of its own."""

from __future__ import annotations

from itertools import product

from tests.conformance.case import FLOAT, RELU, RELU6, B, Case, Options, W, X, ints
from tests.conformance.conv import DILATED, REFINED, SAME, STRIDED, VALID

LOPSIDED = (-1.0, 4.0)
ASYMMETRIC = {"asymmetric_quantize_inputs": True}


def hybrid(op: str, x: X, w: W, bias: B | None, options: Options) -> Case:
    return Case(op, (x, w, bias) if bias else (x, w), options, FLOAT, builtin=FLOAT)


TRANSPOSED = [
    Case(
        "TRANSPOSE_CONV",
        (ints(*out), W((5, *kernel, 3), 0, "int8"), X((2, *size, 3), span), *bias),
        {**padding, "stride_h": stride[0], "stride_w": stride[1], **RELU},
        FLOAT,
    )
    for span, bias, (out, size, kernel, stride, padding) in product(
        ((-3.0, 3.0), LOPSIDED),
        ((), (B(5),)),
        (
            ((2, 8, 9, 5), (4, 3), (3, 3), (2, 3), SAME),
            ((2, 9, 7, 5), (4, 3), (3, 3), (2, 2), VALID),
        ),
    )
]
"""What LiteRT 2 has and TFLite 2.14 refuses."""

CASES = [
    *(
        hybrid("CONV_2D", X((2, 7, 9, 4), span), W((5, *size, 4), axis, "int8"), B(5), {**padding, **options})
        for span, axis, (size, options), padding in product(
            ((-3.0, 3.0), LOPSIDED),
            (None, 0),
            (((3, 3), RELU), ((1, 1), {}), ((3, 2), STRIDED), ((2, 2), {**DILATED, **RELU6})),
            (SAME, VALID),
        )
    ),
    *(  # more products than float32 adds up exactly
        hybrid("CONV_2D", X((1, 4, 3, 90), LOPSIDED), W((3, 3, 3, 90), axis, "int8"), B(3), SAME)
        for axis in (None, 0)
    ),
    *(
        hybrid(
            "DEPTHWISE_CONV_2D",
            X((2, 7, 9, channels), span),
            W((1, *kernel, channels * multiplier), 3, "int8"),
            B(channels * multiplier),
            {**padding, **options, "depth_multiplier": multiplier},
        )
        for span, (channels, multiplier), (kernel, options), padding in product(
            ((-3.0, 3.0), LOPSIDED),
            ((4, 1), (3, 2)),
            (((3, 3), RELU), ((2, 3), STRIDED), ((3, 2), DILATED)),
            (SAME, VALID),
        )
    ),
    *(
        hybrid("FULLY_CONNECTED", X((*rows, k), span), W((5, k), None, "int8"), bias, {**kind, **fused})
        for span, (rows, k), bias, kind, fused in product(
            ((-3.0, 3.0), LOPSIDED),
            (((3,), 8), ((2, 3), 17), ((2,), 1200)),
            (B(5), None),
            ({}, ASYMMETRIC),
            (RELU, {"keep_num_dims": True, **RELU6}),
        )
    ),
    *(
        hybrid("FULLY_CONNECTED", X((2, k), span), W((5, k), None, "int4"), bias, {**kind, **fused})
        for span, (k, kind), bias, fused in product(
            ((-3.0, 3.0), LOPSIDED),
            ((8, {}), (17, {}), (300, {}), (8, ASYMMETRIC), (17, ASYMMETRIC)),
            (B(5), None),
            ({}, RELU6),
        )
    ),
    *(  # of 32 weights and more the builtin kernel takes the levels as symmetric all the same
        Case("FULLY_CONNECTED", (X((2, 300), span), W((5, 300), None, "int4"), B(5)), ASYMMETRIC, FLOAT)
        for span in ((-3.0, 3.0), LOPSIDED)
    ),
    *(
        hybrid(
            "BATCH_MATMUL",
            X(a if not adj_x else (*a[:-2], a[-1], a[-2]), span),
            W(b if not adj_y else (*b[:-2], b[-1], b[-2]), None, "int8"),
            None,
            {"adj_x": adj_x, "adj_y": adj_y, **kind},
        )
        for span, (a, b), adj_x, adj_y, kind in product(
            ((-3.0, 3.0), LOPSIDED),
            # one batch axis: for two TFLite takes the ranges of other rows
            (((3, 4, 5), (3, 5, 6)), ((4, 5), (5, 6)), ((3, 4, 600), (600, 2))),
            (False, True),
            (False, True),
            ({}, ASYMMETRIC),
        )
    ),
    *(TRANSPOSED if REFINED else ()),
]  # fmt: skip
