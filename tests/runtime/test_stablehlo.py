"""Attributes of StableHLO's operators that do not fit their operands, each refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.decompose import decompose
from runtime.errors import EngineError, ModelError, UnsupportedError
from runtime.importers.tflite import load
from runtime.infer import infer
from tests.conformance.case import Case, Maker, X, ints, written
from tests.conformance.control import WHILES, while_model
from tests.conformance.stablehlo.product import CHANNELS_LAST, DOT, layout
from tests.conformance.stablehlo.sort import sorting

BIG = 2**40
GATHER = {
    "offset_dims": (1,),
    "collapsed_slice_dims": (0,),
    "start_index_map": (0,),
    "index_vector_dim": 1,
    "slice_sizes": (1, 3),
}
SCATTER = {
    "update_window_dims": (1,),
    "inserted_window_dims": (0,),
    "scatter_dims_to_operand_dims": (0,),
    "index_vector_dim": 1,
}


def pads(low: Any, high: Any, inner: Any) -> dict[str, Any]:
    return {"edge_padding_low": low, "edge_padding_high": high, "interior_padding": inner}


def gather(**changed: Any) -> Case:
    return Case("STABLEHLO_GATHER", (X((5, 3)), X((4, 1), dtype="int32")), {**GATHER, **changed})


def scatter(updates: tuple[int, ...] = (4, 3), body: str = "", **changed: Any) -> Case:
    operands = (X((5, 3)), X((4, 1), dtype="int32"), X(updates))
    return Case("STABLEHLO_SCATTER", operands, {**SCATTER, **changed}, body=body)


def window(*shape: int, body: str = "STABLEHLO_ADD", **options: Any) -> Case:
    return Case("STABLEHLO_REDUCE_WINDOW", (X(shape), X(())), options, body=body)


def dot(batched: Any, contracted: Any) -> Case:
    return Case(
        "STABLEHLO_DOT_GENERAL", (X((2, 3)), X((3, 2))), dict(zip(DOT, (*batched, *contracted), strict=True))
    )


def convolution(**changed: Any) -> Case:
    options = {**layout(CHANNELS_LAST), "batch_group_count": 1, **changed}
    return Case("STABLEHLO_CONVOLUTION", (X((1, 4, 5, 4)), X((2, 2, 4, 2))), options)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("STABLEHLO_ADD", (X((2, 3)), X((3,)))), r"shapes \[\(2, 3\), \(3,\)\]: expected all the same"),
        (Case("STABLEHLO_SELECT", (X((2,), dtype="bool"), X((2, 2)), X((2, 2)))), "a scalar and two"),
        (Case("STABLEHLO_SELECT", (X(()), X((2,)), X((2,)))), "the condition is f32, expected bool"),
        (Case("STABLEHLO_CLAMP", (X((1,)), X((2,)), X(()))), "bounds of shapes"),
        (Case("STABLEHLO_COMPARE", (X((2,)),) * 2, {"comparison_direction": 6}), "expected one of EQ, NE"),
        (Case("STABLEHLO_TRANSPOSE", (X((2, 3)),), {"permutation": (0, 0)}), r"permutation \(0, 0\)"),
        (Case("STABLEHLO_TRANSPOSE", (X((2, 3)),), {"permutation": (0, BIG)}), "axis 1099511627776"),
        (Case("STABLEHLO_CONCATENATE", (X((2, 3)), X((3, 3))), {"dimension": 1}), "differ outside axis 1"),
        (Case("STABLEHLO_CONCATENATE", (X((2, 3)),), {"dimension": BIG}), "axis 1099511627776 is outside"),
        (Case("STABLEHLO_RESHAPE", (X((2, 3)),), out_shape=(4,)), r"do not fill \(4,\)"),
        (Case("STABLEHLO_IOTA", (), {"iota_dimension": 1}, out_shape=(4,)), "axis 1 of an output"),
        (Case("STABLEHLO_IOTA", (), {"iota_dimension": -1}, out_shape=(4,)), "axis -1 of an output"),
        (
            Case("STABLEHLO_BROADCAST_IN_DIM", (X((2,)),), {"broadcast_dimensions": (1,)}, out_shape=(2, 3)),
            r"shape \(2,\) as axes \(1,\) of \(2, 3\)",
        ),
        (
            Case("STABLEHLO_BROADCAST_IN_DIM", (X((2,)),), {"broadcast_dimensions": (2,)}, out_shape=(2, 3)),
            r"broadcast_dimensions \(2,\): expected distinct axes of 0\.\.1",
        ),
        (
            Case(
                "STABLEHLO_SLICE", (X((4,)),), {"start_indices": (3,), "limit_indices": (5,), "strides": (1,)}
            ),
            "does not cut",
        ),
        (
            Case(
                "STABLEHLO_SLICE", (X((4,)),), {"start_indices": (0,), "limit_indices": (4,), "strides": (0,)}
            ),
            "does not cut",
        ),
        (Case("STABLEHLO_PAD", (X((4,)), X(())), pads((0,), (0,), (-1,))), r"interior_padding \(-1,\)"),
        (Case("STABLEHLO_PAD", (X((4,)), X(())), pads((0,), (BIG,), (0,))), "edge_padding_high"),
        (Case("STABLEHLO_PAD", (X((4,)), X(())), pads((-2,), (-2,), (0,))), r"shape \(0,\), expected sizes"),
        (Case("STABLEHLO_PAD", (X((4,)), X((2,))), pads((0,), (0,), (0,))), "has 2 elements, expected 1"),
        (gather(index_vector_dim=3), "index_vector_dim 3"),
        (gather(slice_sizes=(1, 4)), r"slice_sizes \(1, 4\) of \(5, 3\)"),
        (gather(slice_sizes=(2, 3)), "of which"),
        (gather(offset_dims=(2,)), "offset_dims"),
        (gather(offset_dims=()), r"offset_dims \(\) for 1 axes"),
        (gather(collapsed_slice_dims=(0, 0)), "collapsed_slice_dims"),
        (gather(start_index_map=(0, 1)), "start_index_map"),
        (gather(start_index_map=(5,)), "start_index_map"),
        (scatter(updates=(4, 4)), r"windows of \(4,\) do not fit"),
        (scatter(updates=(3, 3)), r"updates of shape \(3, 3\), expected \(4, 3\)"),
        (scatter(update_window_dims=(7,)), "update_window_dims"),
        (scatter(inserted_window_dims=()), "do not fit"),
        (scatter(scatter_dims_to_operand_dims=(-1,)), "scatter_dims_to_operand_dims"),
        (window(4, window_dimensions=(0,)), r"window_dimensions \(0,\)"),
        (window(4, window_dimensions=(5,)), r"shape \(0,\), expected sizes"),
        (window(4, window_dimensions=(2,), window_strides=(0,)), r"window_strides \(0,\)"),
        (window(4, window_dimensions=(2,), padding=(1,)), r"padding \(1,\): expected 2 numbers"),
        (window(4, window_dimensions=(2,), base_dilations=(BIG,)), "base_dilations"),
        (
            Case("STABLEHLO_REDUCE", (X((4,)), X(())), {"dimensions": (1,)}, body="ADD"),
            r"dimensions \(1,\): expected distinct",
        ),
        (
            Case("STABLEHLO_REDUCE", (X((4,)), X((2,))), {"dimensions": (0,)}, body="ADD"),
            "an initial value of f32",
        ),
        (
            Case("STABLEHLO_DYNAMIC_SLICE", (X((4,)), X((), dtype="int32")), {"slice_sizes": (5,)}),
            r"slice_sizes \(5,\)",
        ),
        (
            Case("STABLEHLO_DYNAMIC_SLICE", (X((4, 4)), ints(1)), {"slice_sizes": (1, 1)}),
            "1 start indices, expected a scalar for each axis",
        ),
        (dot(((0,), (0,)), ((0,), (1,))), r"axes \[0\] of lhs are batched and contracted"),
        (dot(((), ()), ((1,), (1,))), r"axes \(1,\) of \(2, 3\) and \(1,\) of \(3, 2\) differ"),
        (dot(((), ()), ((2,), (0,))), r"lhs_contracting_dimensions \(2,\)"),
        (convolution(feature_group_count=2), "4 channels by 2 kernels of 4"),
        (convolution(feature_group_count=0), "feature_group_count = 0"),
        (convolution(input_spatial_dimensions=(1, 1)), r"axes \(0, 1, 1, 3\)"),
        (convolution(output_spatial_dimensions=()), r"axes \(0, 3\)"),
        (convolution(window_strides=(1, 0)), r"window_strides \(1, 0\)"),
        (convolution(padding=(-2, -2, 0, 0)), r"shape \(1, -1, 4, 2\), expected sizes"),
        (
            Case("REDUCE_WINDOW", (X((4,)), X(()), *map(ints, (2, 1, 0))), {"reduce_function": 1}),
            r"window_dilations \(0,\)",
        ),
        (Case("REDUCE_WINDOW", (X((4,)), X(()), *map(ints, (2, 1, 1)))), "reduce_function = 0, expected"),
        (Case("STABLEHLO_DYNAMIC_UPDATE_SLICE", (X((4,)), X((5,)), ints(1))), "does not fit into"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(case: Case, message: str) -> None:
    with pytest.raises(ModelError, match=rf"{case.op}#0: .*{message}|output of {case.op}#0: {message}"):
        compiled(case)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (window(4, body="SUB", window_dimensions=(2,)), "a body that is not one operator of its two inputs"),
        (window(4, body="", window_dimensions=(2,)), "no rule for a reduction of f32 by set"),
        (convolution(batch_group_count=2), "2 groups of batches, expected 1"),
        (scatter(body="STABLEHLO_OR"), "no rule for or of f32"),
        (
            Case("STABLEHLO_COMPARE", (X((2,)),) * 2, {"compare_type": 2}, out_type="bool"),
            "no rule for the order FLOAT_TOTAL_ORDER",
        ),
        (
            Case("STABLEHLO_POWER", (X((2,), dtype="int32"),) * 2, out_type="int32"),
            "no rule for element types",
        ),
    ],
)
def test_what_the_engine_has_no_rule_for_is_refused(case: Case, message: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"{case.op}#0: {message}"):
        compiled(case)


def test_a_body_of_other_numbers_is_refused() -> None:
    case = Case(
        "STABLEHLO_REDUCE", (X((4,), dtype="int32"), X((), dtype="int32")), body="ADD", out_type="int32"
    )
    with pytest.raises(ModelError, match="its body is of f32 f32 f32, its operand is not"):
        compiled(case)


def test_sorts_that_no_comparator_explains_are_refused() -> None:
    def sort(op: str, options: Any = None, key: int = 0, dimension: int = 0) -> Any:
        spec = sorting((4,), ("", ""), key, dimension, op, options or {}, False)("float32")
        return infer(load(written(spec), "model"))

    total = {"comparison_direction": 5, "compare_type": 2}
    for op, options in (("EQUAL", {}), ("STABLEHLO_COMPARE", total), ("STABLEHLO_COMPARE", {})):
        with pytest.raises(UnsupportedError, match="a comparator that is not one LESS or GREATER"):
            sort(op, options)
    with pytest.raises(ModelError, match="axis 1 is outside"):
        sort("LESS", dimension=1)
    spec = sorting((4,), ("", "int32"), 0, 0, "LESS", {}, False)("float32")
    (comparator,) = spec.subgraphs
    for inputs in (comparator.inputs[:2], comparator.inputs[::-1]):
        wrong = replace(spec, subgraphs=(replace(comparator, inputs=inputs),))
        with pytest.raises(ModelError, match="the inputs of its comparator are not two elements of each"):
            load(written(wrong), "model")


def test_a_result_of_a_loop_of_another_type_is_refused() -> None:
    spec = while_model(*WHILES["a sum"], op="STABLEHLO_WHILE")("int32")
    tensors = tuple(replace(t, dtype="float32") if t.name == "r0" else t for t in spec.tensors)
    with pytest.raises(ModelError, match="STABLEHLO_WHILE#0: output 'r0' is f32"):
        infer(load(written(replace(spec, tensors=tensors)), "model"))


def test_declared_shapes_of_the_file_are_bounded() -> None:
    case = Case("STABLEHLO_IOTA", (), {"iota_dimension": 0}, out_shape=(2**15, 2**15))
    with pytest.raises(EngineError, match="at most"):
        compiled(case)


def compiled(case: Case) -> None:
    decompose(infer(load(Maker(case, "float32").model(), "model")), "reference")


def test_lists_of_options_are_of_the_whole_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.importers.tflite.MAX_LIST", 20)
    case = Case("STABLEHLO_TRANSPOSE", (X((2,)),), {"permutation": tuple(np.arange(40).tolist())})
    with pytest.raises(ModelError, match="40 permutation, at most"):
        compiled(case)
