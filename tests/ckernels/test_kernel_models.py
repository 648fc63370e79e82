"""Whole models on the kernels against the reference backend: integers equal, floats within a few ulp of the
output's largest value.

kws_f32 keeps int8 weights and rounds its activations to int8 on the way: a sum that differs in its last bit
may round to the next of 255 steps, so it has a bound of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.compile import read
from runtime.graph import Array, DType, Value

HERE = Path(__file__).parents[2] / "specs" / "models"
ULPS = {"digits_int8": 0, "telemetry_ae_f32": 8, "kws_int8": 0, "kws_f32": 2**14}


def draw(value: Value, rng: np.random.Generator) -> Array:
    if value.dtype is DType.F32:
        return rng.standard_normal(value.shape).astype(np.float32)
    limits = np.iinfo(value.dtype.numpy)
    return rng.integers(limits.min, limits.max, value.shape, value.dtype.numpy, endpoint=True)


@pytest.mark.parametrize("name", ULPS)
def test_a_model_on_the_kernels(name: str, request: pytest.FixtureRequest) -> None:
    own = HERE / f"{name}.tflite"
    model = read(own if own.exists() else request.getfixturevalue("shared_models") / own.name)
    program, rng = CpuBackend().compile(model), np.random.default_rng(3)
    for _ in range(4):
        arrays = [draw(model.graph.values[i], rng) for i in model.graph.inputs]
        for got, want in zip(program.run(arrays), reference.run(model.atoms, arrays), strict=True):
            assert (got.dtype, got.shape) == (want.dtype, want.shape)
            if ULPS[name]:
                bound = ULPS[name] * float(np.spacing(np.abs(want).max()))
                np.testing.assert_allclose(got, want, rtol=0, atol=bound)
            else:
                np.testing.assert_array_equal(got, want)
