"""Sub-graphs in the place of their calls: what does not fit is refused, and a file that calls itself ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite as bindings

from runtime.errors import EngineError, ModelError, UnsupportedError
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.importers import calls
from runtime.importers.tflite import load
from tests.conformance.case import written
from tests.conformance.control import graph

ADDED = [("ADD", "a b", "y")]


def calling(*parts: ModelSpec, op: tuple[Any, ...] = ("CALL", "a b", "y", {"subgraph": 1})) -> ModelSpec:
    return graph("float32", "a b", "y", [op], subgraphs=parts)


def part(operators: list[Any], inputs: str = "a b", outputs: str = "y", dtype: str = "float32") -> ModelSpec:
    return graph(dtype, inputs, outputs, operators, {"c": np.full((2, 3), 2)})


def call(index: int, inputs: str = "a b", output: str = "y") -> tuple[Any, ...]:
    return ("CALL", inputs, output, {"subgraph": index})


def test_a_call_becomes_the_operators_of_its_sub_graph() -> None:
    inner = part([("MUL", "a c", "u"), ("ADD", "u b", "y")])
    graph = load(written(calling(part([call(2, "b a", "u"), call(2, "u a")]), inner)), "model")
    assert [node.op for node in graph.nodes] == ["MUL", "ADD", "MUL", "ADD"]
    assert (graph.nodes[0].inputs[0], graph.nodes[1].inputs[1]) == (1, 0)
    assert [node.source for node in graph.nodes[:2]] == ["MUL#2.0", "ADD#2.1"]


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (calling(part([call(1)])), ModelError, "call each other more than 16 deep"),
        (calling(part([call(2)]), part([call(1)])), ModelError, "call each other more than 16 deep"),
        (calling(part(ADDED), op=call(0)), ModelError, r"CALL#0: sub-graph 0 is outside 1\.\.1"),
        (calling(part(ADDED), op=call(2)), ModelError, r"CALL#0: sub-graph 2 is outside 1\.\.1"),
        (calling(part(ADDED), op=call(1, "a")), ModelError, "1 inputs, its sub-graph has 2"),
        (calling(part(ADDED, outputs="y y")), ModelError, "1 outputs, its sub-graph has 2"),
        (calling(part(ADDED, dtype="int32")), ModelError, "'a' is f32, the sub-graph has i32"),
        (calling(part([("ADD", "a c", "y")], "a c")), ModelError, "not distinct tensors without data"),
        (calling(part([("ADD", "a a", "y")], "a a")), ModelError, "not distinct tensors without data"),
        (calling(part([("ADD", "u b", "y")])), ModelError, "input 'u' is not produced before it is used"),
        (calling(part([("ADD", "a c", "a")], outputs="a")), ModelError, "output 'a' has a value already"),
    ],
)  # fmt: skip
def test_a_call_that_does_not_fit_is_refused(
    model: ModelSpec, error: type[EngineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        load(written(model), "model")


def test_calls_of_calls_do_not_multiply_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = [part([call(i + 2, "a b", "u"), call(i + 2, "u b")]) for i in range(12)]
    model = written(calling(*doubled, part(ADDED)))
    assert len(load(model, "model").nodes) == 2**12
    monkeypatch.setattr(calls, "MAX_COPIES", 1 << 12)
    with pytest.raises(ModelError, match="called for more than 4096 operators and values"):
        load(model, "model")


def choosing(*indices: int) -> ModelSpec:
    choice = ("STABLEHLO_CASE", "k a b", "y", {"branch_subgraph_indices": indices})
    return graph("float32", "k a b", "y", [choice], subgraphs=(part(ADDED), part([choice], "k a b")))


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (choosing(), ModelError, "no branch, expected 1 or more"),
        (choosing(1, 3), ModelError, r"sub-graph 3 is outside 1\.\.2"),
        (choosing(1, 2), ModelError, "call each other more than 16 deep"),
        (choosing(*[1] * 17), UnsupportedError, "17 branches, at most 16"),
    ],
)
def test_cases_that_do_not_fit_are_refused(model: ModelSpec, error: type[EngineError], message: str) -> None:
    with pytest.raises(error, match=message):
        load(written(model), "model")


def signed(second: ModelSpec, *others: ModelSpec) -> ModelSpec:
    """A file of two signatures, the second of sub-graph 1."""
    first = graph("float32", "a b", "y", ADDED, subgraphs=(replace(second, signature="second"), *others))
    return replace(first, signature="first")


def test_a_signature_may_call_any_sub_graph() -> None:
    model = written(signed(part([call(2, "b a", "u"), ("SUB", "u c", "y")]), part([("MUL", "a b", "y")])))
    first, second = load(model, "model"), load(model, "model", 1)
    assert [node.op for node in second.nodes] == ["MUL", "SUB"]
    assert (first.signatures["first"].subgraph, first.signatures["second"].subgraph) == (None, 1)
    assert (second.signatures["first"].subgraph, second.signatures["second"].subgraph) == (0, None)
    assert dict(second.signatures["second"].inputs) == {"a": 1, "b": 2}
    with pytest.raises(ModelError, match="sub-graph 3 of 3"):
        load(model, "model", 3)


def test_a_signature_of_no_sub_graph_is_refused() -> None:
    model = bytearray(written(signed(part(ADDED))))
    table = bindings.Model.GetRootAs(bytes(model), 0)
    entry = next(s for s in map(table.SignatureDefs, range(2)) if s.SubgraphIndex())
    model[entry._tab.Offset(12) + entry._tab.Pos] = 9
    with pytest.raises(ModelError, match="'second' calls sub-graph 9 of 2"):
        load(bytes(model), "model")


def test_variables_that_graphs_share_are_refused() -> None:
    handle = ("VAR_HANDLE", "", "h", {"container": "", "shared_name": "v"})
    once = part([handle, ("ASSIGN_VARIABLE", "h c", "")], "", "")
    uses = ("CALL_ONCE", "", "", {"init_subgraph_index": 2}), handle, ("READ_VARIABLE", "h", "y")
    model = written(signed(part([*uses], "a b"), once))
    assert len(load(model, "model").nodes) == 1
    with pytest.raises(UnsupportedError, match="sub-graph 1 uses variable 'v', which others may use"):
        load(model, "model", 1)


def test_what_is_carried_is_there() -> None:
    loop = ("WHILE", "b", "y", {"cond_subgraph_index": 1, "body_subgraph_index": 1})
    spec = graph("float32", "b", "y", [loop], subgraphs=(part([], "a", "a"),))
    left_out = replace(spec, operators=(replace(spec.operators[0], inputs=("",)),))
    with pytest.raises(ModelError, match="WHILE#0: input 0 is left out, but it is not optional"):
        load(written(left_out), "model")


def test_another_quantisation_inside_is_refused() -> None:
    outer = TensorSpec("a", (2,), "int8", scale=(0.5,), zero_point=(0,))
    inner = TensorSpec("a", (2,), "int8", scale=(0.25,), zero_point=(0,))
    result = TensorSpec("y", (2,), "int8", scale=(0.5,), zero_point=(0,))
    body = ModelSpec((inner, result), (OpSpec("RELU", ("a",), ("y",)),), ("a",), ("y",))
    model = ModelSpec(
        (outer, result), (OpSpec("CALL", ("a",), ("y",), {"subgraph": 1}),), ("a",), ("y",), subgraphs=(body,)
    )
    with pytest.raises(UnsupportedError, match="'a' is quantised in another way inside"):
        load(written(model), "model")
