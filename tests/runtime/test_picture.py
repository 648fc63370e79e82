"""The picture has a row for each operator, a chip for each node, a column for each pass that changed some."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

from runtime.explain import passes
from runtime.exporters.tflite import write
from runtime.importers.tflite import load
from runtime.picture import picture
from tests.conformance.case import written
from tests.conformance.control import WHILES, while_model
from tests.runtime.test_explain import MODEL

SVG = "{http://www.w3.org/2000/svg}"


def texts(document: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(document).iter(f"{SVG}text")]


def test_rows_columns_and_chips():
    stages = passes(load(write(MODEL), "model"))
    shown = texts(picture("a <model>", stages))
    assert shown[0] == "a <model>"
    assert [text for text in shown if "#" in text] == ["FULLY_CONNECTED#0", "SOFTMAX#1", "RESHAPE#2"]
    assert "f32 1x4" in shown
    columns = [stage for stage in stages if stage.name in shown]
    assert [stage.name for stage in columns][:1] == ["decompose"]
    assert "infer" not in shown
    assert shown[-2] == "copies: 16 bytes decomposed, 0 bytes in the end"
    chips = Counter(node.op for stage in columns for node in stage.nodes)
    assert {op: shown.count(op) for op in chips} == chips


def test_what_is_inside_control_flow_has_rows():
    model = written(while_model(*WHILES["a sum"])("int32"))
    shown = texts(picture("loop", passes(load(model, "loop"))))
    assert "WHILE#0" in shown and "ADD#2.1" in shown
