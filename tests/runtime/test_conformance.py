"""Each operator as generated models, against TFLite's reference kernels: the table is `tests/conformance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from runtime.decompose import RULES
from runtime.operators import LINKED, OPERATORS
from tests.conformance import CASES
from tests.conformance.judge import judge


@pytest.mark.parametrize("op", OPERATORS)
def test_against_tflite(op: str, tflite_interpreter: Callable[[bytes], Any]) -> None:
    for case in CASES:
        if case.op == op:
            for dtype in case.types:
                judge(case, dtype, tflite_interpreter)


def test_every_operator_has_a_rule_and_a_case() -> None:
    assert set(RULES) | LINKED == set(OPERATORS) == {case.op for case in CASES}
