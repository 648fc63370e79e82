"""Each ONNX operator as generated models, against onnxruntime: the table is `tests/conformance/onnx`."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="reading ONNX needs the onnx package")
pytest.importorskip("onnxruntime", reason="onnxruntime is the judge")

from runtime.importers.onnx.translate import ROWS
from tests.conformance.onnx import CASES
from tests.conformance.onnx.judge import WaitingError, judge


@pytest.mark.parametrize("op", sorted(ROWS))
def test_against_onnxruntime(op: str) -> None:
    waiting = set[str]()
    for case in CASES:
        if case.op == op:
            for opset in case.opsets:
                try:
                    judge(case, opset)
                except WaitingError as error:
                    waiting.add(str(error))
    if waiting:
        pytest.skip(sorted(waiting)[0])


def test_every_operator_has_a_case() -> None:
    assert set(ROWS) == {case.op for case in CASES}
