"""Shapes that models compute from the shape of their input follow it, as TFLite's do, after every resize."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.interpreter import Interpreter
from tests.conformance.case import ints, written

FIRST = OpSpec("STRIDED_SLICE", ("shape", "0", "1", "1"), ("batch",), {"shrink_axis_mask": 1})
SHAPE = OpSpec("SHAPE", ("x",), ("shape",), {"out_type": 2})

CHAINS: dict[str, tuple[OpSpec, ...]] = {
    "flatten": (
        SHAPE,
        FIRST,
        OpSpec("PACK", ("batch", "twelve"), ("target",), {"values_count": 2}),
        OpSpec("RESHAPE", ("x", "target"), ("y",)),
    ),
    "count the rest": (
        SHAPE,
        OpSpec("STRIDED_SLICE", ("shape", "1", "3", "1"), ("rest",)),
        OpSpec("REDUCE_PROD", ("rest", "axis"), ("inner",)),
        OpSpec("PACK", ("minus", "inner"), ("target",), {"values_count": 2}),
        OpSpec("RESHAPE", ("x", "target"), ("y",)),
    ),
    "a column of ones": (
        SHAPE,
        OpSpec("STRIDED_SLICE", ("shape", "0", "2", "1"), ("outer",)),
        OpSpec("CONCATENATION", ("outer", "1"), ("target",)),
        OpSpec("FILL", ("target", "real"), ("ones",)),
        OpSpec("CONCATENATION", ("x", "ones"), ("y",), {"axis": 2}),
    ),
    "twice as large": (
        SHAPE,
        OpSpec("MUL", ("shape", "2"), ("target",)),
        OpSpec("SLICE", ("shape", "0", "1"), ("batch",)),
        OpSpec("SQUEEZE", ("batch",), ("count",)),
        OpSpec("RANGE", ("none", "count", "one"), ("numbers",)),
        OpSpec("TILE", ("x", "two each"), ("large",)),
        OpSpec("GATHER", ("large", "numbers"), ("y",)),
    ),
    "nothing before, nothing after": (
        SHAPE,
        OpSpec("STRIDED_SLICE", ("shape", "0", "0", "1"), ("before",)),
        OpSpec("STRIDED_SLICE", ("shape", "3", "3", "1"), ("after",)),
        OpSpec("REDUCE_PROD", ("before", "axis"), ("units",), {"keep_dims": True}),
        OpSpec("CONCATENATION", ("before", "shape", "units", "after"), ("target",)),
        OpSpec("RESHAPE", ("x", "target"), ("y",)),
    ),
    "broadcast": (
        SHAPE,
        OpSpec("BROADCAST_ARGS", ("shape", "one row"), ("target",)),
        OpSpec("BROADCAST_TO", ("row", "target"), ("rows",)),
        OpSpec("ADD", ("x", "rows"), ("y",)),
    ),
    "rank": (
        OpSpec("RANK", ("x",), ("rank",)),
        OpSpec("RANGE", ("none", "rank", "one"), ("order",)),
        OpSpec("REVERSE_V2", ("order", "axis"), ("turned",)),
        OpSpec("TRANSPOSE", ("x", "turned"), ("y",)),
    ),
}
CONSTANTS = {
    **{str(n): ints(n) for n in range(4)},
    "twelve": np.array(12, np.int32),
    "minus": np.array(-1, np.int32),
    "none": np.array(0, np.int32),
    "one": np.array(1, np.int32),
    "axis": ints(0),
    "real": np.array(1.5, np.float32),
    "two each": ints(2, 2, 2),
    "one row": ints(1, 3, 4),
    "row": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
}
SCALARS = ("batch", "inner", "count", "rank")


def model(chain: Sequence[OpSpec]) -> bytes:
    made = [name for op in chain for name in op.outputs]
    used = {name for op in chain for name in op.inputs}
    tensors = [TensorSpec("x", (-1, 3, 4))]
    tensors += [TensorSpec.constant(name, data) for name, data in CONSTANTS.items() if name in used]
    for name in made:
        real = name in ("y", "ones", "large", "rows")
        tensors.append(TensorSpec(name, () if name in SCALARS else (1,), "float32" if real else "int32"))
    return written(ModelSpec(tuple(tensors), tuple(chain), ("x",), ("y",)))


def run(interpreter: Any, batch: int) -> np.ndarray[Any, Any]:
    index = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(index, [batch, 3, 4])
    interpreter.allocate_tensors()
    x = np.random.default_rng(batch).normal(size=(batch, 3, 4)).astype(np.float32)
    interpreter.set_tensor(index, x)
    interpreter.invoke()
    out: np.ndarray[Any, Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return out


@pytest.mark.parametrize("name", CHAINS)
def test_computed_shapes_follow_the_batch(name: str, tflite_interpreter: Callable[..., Any]) -> None:
    data = model(CHAINS[name])
    ours = Interpreter(model_content=data)
    for batch in (1, 5, 2):
        np.testing.assert_array_equal(run(ours, batch), run(tflite_interpreter(data), batch))
