"""Program: what it refuses, what it promises about its arrays, and many of them at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import RunError, TensorInfo
from runtime.graph import DType
from runtime.program import distinct

MODELS = Path(__file__).parents[2] / "specs" / "models"


@pytest.fixture(scope="module")
def program() -> runtime.Program:
    return runtime.load(MODELS / "digits_int8.tflite", backend="cpu")


def zeros(program: runtime.Program) -> dict[str, Any]:
    return {t.name: np.zeros(t.shape, t.dtype.numpy) for t in program.inputs}


def test_it_describes_its_ends(program: runtime.Program) -> None:
    (tensor,) = program.inputs
    assert isinstance(tensor, TensorInfo) and tensor.dtype is DType.I8 and tensor.scale > 0
    assert repr(program).startswith("<Program on cpu: (")


def test_names_that_a_model_repeats_are_told_apart() -> None:
    """Of a model with two tensors of one name, no output is lost."""
    names = ["x", "x", "", "x#3", "x", ""]
    told = [t.name for t in distinct([TensorInfo(name, (1,), DType.F32) for name in names])]
    assert told == ["x", "x#1", "", "x#3", "x#4", "#5"]


def test_inputs_by_name_and_in_order_are_the_same(program: runtime.Program) -> None:
    named, name = zeros(program), program.inputs[0].name
    by_name, in_order = program.run(named), program.run([named[name]])
    for output in program.outputs:
        np.testing.assert_array_equal(by_name[output.name], in_order[output.name])
        assert by_name[output.name].shape == output.shape


def test_outputs_are_arrays_of_their_own(program: runtime.Program) -> None:
    (name,) = program.run(zeros(program))
    first = program.run(zeros(program))[name]
    kept = first.copy()
    first[...] = 77
    np.testing.assert_array_equal(program.run(zeros(program))[name], kept)


def test_inputs_are_not_written_to_and_may_have_any_layout(program: runtime.Program) -> None:
    tensor = program.inputs[0]
    rng = np.random.default_rng(0)
    dense = rng.integers(-128, 128, tensor.shape).astype(np.int8)
    strided = np.asfortranarray(dense)
    strided.setflags(write=False)
    first, second = (next(iter(program.run([x]).values())) for x in (dense, strided))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("backend", ["cpu", "reference", "tflite"])
def test_what_it_refuses(backend: str) -> None:
    program = runtime.load(MODELS / "digits_int8.tflite", backend=backend)
    tensor, good = program.inputs[0], zeros(program)
    array = good[tensor.name]
    shape = list(tensor.shape)
    refused: list[tuple[Any, str]] = [
        ({}, f"input '{tensor.name}' is missing: expected "),
        ({**good, "nope": array}, "there is no input 'nope': expected "),
        ([], "expected a list of 1 arrays, for .*; got 0 arrays"),
        (array, "got one array"),
        ([array[0]], rf"expected int8 \[{', '.join(map(str, shape))}\], got int8 "),
        ([array.astype(np.float32)], "expected int8 .*, got float32 "),
        ([array.tolist()], "expected int8 .*, got list"),
    ]
    for inputs, message in refused:
        with pytest.raises(RunError, match=message):
            program.run(inputs)


def test_programs_run_side_by_side_and_one_program_is_safe_to_share() -> None:
    """Eight threads on two Programs: every thread reads its own result."""
    programs = [runtime.load(MODELS / "digits_int8.tflite", backend="cpu") for _ in range(2)]
    rng = np.random.default_rng(3)
    inputs = [rng.integers(-128, 128, programs[0].inputs[0].shape).astype(np.int8) for _ in range(8)]
    name = programs[0].outputs[0].name
    expected = [programs[0].run([x])[name] for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(200):
            if not np.array_equal(programs[i % 2].run([inputs[i]])[name], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
