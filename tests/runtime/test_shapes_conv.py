"""Transposed and spatial convolutions whose operands contradict each other, refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.errors import ModelError
from runtime.graph import DType, Node, Shape, Value
from runtime.shapes import RULES
from runtime.shapes.operands import Operands

FLAT = {"padding": "VALID", "stride_h": 2, "stride_w": 1}
DEEP = {**FLAT, "stride_d": 1, **{f"dilation_{axis}_factor": 1 for axis in "dhw"}}


def shapes_of(op: str, operands: tuple[Shape | list[int], ...], attrs: dict[str, Any]) -> list[Shape]:
    """A tuple is the shape of a float operand, a list an integer constant."""
    values = tuple(
        Value("x", o, DType.F32)
        if isinstance(o, tuple)
        else Value("x", (len(o),), DType.I32, data=np.array(o, np.int32))
        for o in operands
    )
    return RULES[op](Operands(Node(op, tuple(range(len(values))), (9,), attrs, f"{op}#0"), values))


def test_what_fits() -> None:
    flat = ([1, 5, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4), (2,))
    assert shapes_of("TRANSPOSE_CONV", flat, FLAT) == [(1, 5, 3, 2)]
    assert shapes_of("CONV_3D", ((1, 2, 5, 3, 4), (2, 3, 1, 4, 6)), DEEP) == [(1, 1, 2, 3, 6)]
    deep = ([1, 2, 5, 3, 6], (2, 3, 1, 6, 4), (1, 1, 2, 3, 4))
    assert shapes_of("CONV_3D_TRANSPOSE", deep, DEEP) == [(1, 2, 5, 3, 6)]


@pytest.mark.parametrize(
    ("op", "operands", "attrs", "message"),
    [
        ("TRANSPOSE_CONV", ([1, 5, 3], (2, 3, 1, 4), (1, 2, 3, 4)), FLAT, "output shape"),
        ("TRANSPOSE_CONV", ([2, 5, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4)), FLAT, "output shape"),
        ("TRANSPOSE_CONV", ([1, 5, 3, 3], (2, 3, 1, 4), (1, 2, 3, 4)), FLAT, "output shape"),
        ("TRANSPOSE_CONV", ([1, 0, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4)), FLAT, "output shape"),
        ("TRANSPOSE_CONV", ([1, 5, 3, 2], (2, 3, 1, 5), (1, 2, 3, 4)), FLAT, "input of 4 channels"),
        ("TRANSPOSE_CONV", ([1, 7, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4)), FLAT, r"are \(3, 3\), the input is"),
        ("TRANSPOSE_CONV", ([1, 5, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4), (3,)), FLAT, r"bias has shape \(3,\)"),
        (
            "TRANSPOSE_CONV",
            ([1, 5, 3, 2], (2, 3, 1, 4), (1, 2, 3, 4)),
            {**FLAT, "stride_h": 0},
            "stride_h = 0",
        ),
        ("CONV_3D", ((1, 2, 5, 3, 4), (2, 3, 1, 5, 6)), DEEP, "input of 4 channels"),
        ("CONV_3D", ((1, 2, 5, 3, 4), (3, 3, 1, 4, 6)), DEEP, "does not fit an input"),
        (
            "CONV_3D",
            ((1, 2, 5, 3, 4), (2, 3, 1, 4, 6)),
            {**DEEP, "dilation_w_factor": 0},
            "dilation_w_factor",
        ),
        ("CONV_3D_TRANSPOSE", ([1, 2, 5, 3, 6], (2, 3, 1, 6, 4), (1, 2, 2, 3, 4)), DEEP, "the input is"),
    ],
)
def test_what_does_not_fit_is_refused(
    op: str, operands: tuple[Shape | list[int], ...], attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        shapes_of(op, operands, attrs)
