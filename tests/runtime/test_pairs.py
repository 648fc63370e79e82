"""Complex numbers: pairs of floats to the atoms, complex numbers to callers."""

from __future__ import annotations

import numpy as np
import pytest

import runtime
from runtime.backends.numpy_reference import ReferenceExecutor
from runtime.decompose import decompose
from runtime.errors import UnsupportedError, VerifyError
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.graph import DType, Graph, Node, State, Value
from runtime.interpreter import Interpreter
from runtime.verify import check
from tests.conformance.case import ints, written

Z = (np.arange(12) - 1j * np.arange(12) ** 2).astype(np.complex64).reshape(3, 4)


def reshaped(dtype: str = "complex64", op: str = "RESHAPE") -> bytes:
    tensors = (
        TensorSpec("z", (3, 4), dtype),
        TensorSpec.constant("shape", ints(2, 6)),
        TensorSpec("y", (2, 6) if op == "RESHAPE" else (3, 4), dtype),
    )
    operands = ("z", "shape") if op == "RESHAPE" else ("z", "z")
    return written(ModelSpec(tensors, (OpSpec(op, operands, ("y",)),), ("z",), ("y",)))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_caller_sees_complex_numbers(backend):
    program = runtime.load(reshaped(), backend)
    assert [(t.dtype, t.shape) for t in program.inputs] == [(DType.C64, (3, 4))]
    (got,) = program.run([Z]).values()
    np.testing.assert_array_equal(got, Z.reshape(2, 6), strict=True)


def test_the_interpreter_has_complex_tensors():
    interpreter = Interpreter(model_content=reshaped())
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] is made["dtype"] is np.complex64 and [*given["shape"]] == [3, 4]
    interpreter.set_tensor(given["index"], Z)
    interpreter.invoke()
    np.testing.assert_array_equal(interpreter.get_tensor(made["index"]), Z.reshape(2, 6), strict=True)


@pytest.mark.parametrize("op", ["ADD", "MUL", "EQUAL"])
def test_other_operators_refuse_them_by_name(op):
    with pytest.raises(UnsupportedError, match=rf"{op}#0: no rule for element types c64 c64 c64"):
        runtime.load(reshaped(op=op), "cpu")


@pytest.mark.parametrize("op", ["REAL", "COMPLEX_ABS"])
@pytest.mark.parametrize(("source", "target"), [("float32", "float32"), ("complex64", "complex64")])
def test_their_parts_are_floats(op, source, target):
    tensors = (TensorSpec("z", (3,), source), TensorSpec("y", (3,), target))
    model = written(ModelSpec(tensors, (OpSpec(op, ("z",), ("y",)),), ("z",), ("y",)))
    with pytest.raises(UnsupportedError, match=f"{op}#0: no rule for element types"):
        runtime.load(model, "cpu")


def test_a_constant_is_in_pairs_too():
    values = (Value("z", (), DType.C64, data=Z[1, 1].reshape(())), Value("y", (1,), DType.C64))
    graph = Graph(values, (Node("RESHAPE", (0,), (1,)),), (), (1,))
    atoms = decompose(graph, "reference")
    check(atoms, "ATOMIC")
    np.testing.assert_array_equal(ReferenceExecutor(atoms).run([])[0], Z[1, 1:2], strict=True)


def test_atoms_know_none():
    graph = Graph((Value("z", (3,), DType.C64),), (), (0,), (0,))
    check(graph, "GRAPH")
    with pytest.raises(VerifyError, match="'z': complex numbers are pairs to atoms"):
        check(graph, "ATOMIC")


def test_variables_are_refused():
    """Without making what is in them, which may be large."""
    initial = np.broadcast_to(np.complex64(0), (2**14, 2**14))
    values = (Value("kept", initial.shape, DType.C64),)
    graph = Graph(values, (), (), (0,), states=(State(0, 0, initial),))
    with pytest.raises(UnsupportedError, match="variable 'kept' is c64"):
        decompose(graph, "reference")


@pytest.mark.parametrize(("source", "target"), [("float32", "complex64"), ("complex64", "float32")])
def test_a_view_changes_no_type(source, target):
    tensors = (
        TensorSpec("x", (4,), source),
        TensorSpec.constant("axis", ints(0)),
        TensorSpec("y", (1, 4), target),
    )
    model = written(ModelSpec(tensors, (OpSpec("EXPAND_DIMS", ("x", "axis"), ("y",)),), ("x",), ("y",)))
    with pytest.raises(UnsupportedError, match="EXPAND_DIMS#0: no rule for element types"):
        runtime.load(model, "cpu")


@pytest.mark.parametrize("lengths", [(1, 12), (0, 4), (2, -4)])
def test_lengths_are_powers_of_two(lengths):
    tensors = (
        TensorSpec("x", (4, 4)),
        TensorSpec.constant("lengths", ints(*lengths)),
        TensorSpec("y", (4, 3), "complex64"),
    )
    model = written(ModelSpec(tensors, (OpSpec("RFFT2D", ("x", "lengths"), ("y",)),), ("x",), ("y",)))
    with pytest.raises(runtime.errors.ModelError, match="expected two powers of two"):
        runtime.load(model, "cpu")


@pytest.mark.parametrize("lengths", [(2**12, 4), (1, 2**21)])
def test_a_long_transform_is_refused_before_its_waves_are_made(lengths):
    shape = (lengths[0], 4)
    tensors = (
        TensorSpec("x", shape),
        TensorSpec.constant("lengths", ints(*lengths)),
        TensorSpec("y", (lengths[0], lengths[1] // 2 + 1), "complex64"),
    )
    model = written(ModelSpec(tensors, (OpSpec("RFFT2D", ("x", "lengths"), ("y",)),), ("x",), ("y",)))
    with pytest.raises(UnsupportedError, match=r"RFFT2D#0: a transform of .* needs more than"):
        runtime.load(model, "cpu")
