"""Pooling."""

from __future__ import annotations

from tests.conformance.case import RELU, RELU6, Case
from tests.conformance.conv import IMAGE, SAME, STRIDED, VALID

CASES = [
    Case("AVERAGE_POOL_2D", (IMAGE,), {**SAME, **STRIDED, "filter_height": 3, "filter_width": 4}, same=True),
    Case("AVERAGE_POOL_2D", (IMAGE,), {**VALID, **RELU6, "filter_height": 7, "filter_width": 9}, same=True),
    Case("MAX_POOL_2D", (IMAGE,), {**SAME, **STRIDED, "filter_height": 3, "filter_width": 4}, same=True),
    Case("MAX_POOL_2D", (IMAGE,), {**VALID, **RELU, "filter_height": 2, "filter_width": 2}, same=True),
]  # fmt: skip
