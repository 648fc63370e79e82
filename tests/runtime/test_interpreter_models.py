"""Full-size models through `runtime.Interpreter` against TFLite: floats within 1e-4 of the output's scale,
integers within one step and at least 99 % equal, on random inputs and on photographs, with every instruction
set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ckernels
from runtime import Interpreter
from runtime.backends import reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.tflite import interpreter_module
from runtime.bench import random_input
from runtime.compile import read
from runtime.graph import Array

OpResolverType = interpreter_module().OpResolverType
FLOATS = ["ad01_f32", "kws_f32", "resnet8_f32", "vww_f32"]
INTEGERS = ["ad01_int8", "kws_int8", "resnet8_int8", "vww_int8", "mobilenet_v2_quant"]


LITERT = sys.version_info >= (3, 12)
REFERENCE = "BUILTIN_REF"
DEFAULT = "BUILTIN_WITHOUT_DEFAULT_DELEGATES" if LITERT else "AUTO"
"""What a user of tflite-runtime gets who asks for nothing. Its successor hands integers to XNNPACK and rounds
in its own way: in its builtin kernels on uint8, and in its reference FULLY_CONNECTED (once, not twice)."""
ODD_IN_LITERT = {("mobilenet_v2_quant", DEFAULT), ("ad01_int8", REFERENCE)}
CASES = [
    (name, resolver)
    for name in (*FLOATS, *INTEGERS)
    for resolver in (DEFAULT, REFERENCE)
    if not (LITERT and (name, resolver) in ODD_IN_LITERT)
]


def run(interpreter: Any, array: Array) -> Array:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], array)
    interpreter.invoke()
    output: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return output


def pair(folder: Path, name: str, resolver: str, oracle: Callable[..., Any]) -> tuple[Interpreter, Any]:
    path = folder / f"{name}.tflite"
    tflite = oracle(path.read_bytes(), resolver)
    ours = Interpreter(path, experimental_op_resolver_type=OpResolverType[resolver])
    ours.allocate_tensors()
    return ours, tflite


@pytest.mark.parametrize(("name", "resolver"), CASES)
def test_random_inputs(
    name: str, resolver: str, shared_models: Path, tflite_interpreter: Callable[..., Any]
) -> None:
    ours, tflite = pair(shared_models, name, resolver, tflite_interpreter)
    rng, detail = np.random.default_rng(11), ours.get_input_details()[0]
    got, want = [], []
    for _ in range(3 if name.startswith("mobilenet") else 10):
        array = random_input(rng, detail["shape"], detail["dtype"])
        got.append(run(ours, array))
        want.append(run(tflite, array))
    if name in FLOATS:
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * float(np.abs(want).max()))
    else:
        steps = np.abs(np.array(got, int) - np.array(want, int))
        assert steps.max() <= 1 and (steps == 0).mean() >= 0.99


@pytest.mark.parametrize("resolver", [resolver for name, resolver in CASES if name == "mobilenet_v2_quant"])
@pytest.mark.parametrize("image", ["bird.bmp", "cat_720p.jpg", "hot_dog.jpg"])
def test_photographs(
    image: str, resolver: str, shared_models: Path, tflite_interpreter: Callable[..., Any]
) -> None:
    ours, tflite = pair(shared_models, "mobilenet_v2_quant", resolver, tflite_interpreter)
    picture = Image.open(shared_models.parent / "images" / image).convert("RGB").resize((224, 224))
    got, want = (run(side, np.asarray(picture)[None]).astype(int) for side in (ours, tflite))
    assert got.argmax() == want.argmax()
    assert np.abs(got - want).max() <= 1 and (got == want).mean() >= 0.99


@pytest.mark.parametrize("features", sorted({0, int(ckernels.lib.ck_cpu_features())}))
@pytest.mark.parametrize("name", [*FLOATS, *INTEGERS])
def test_the_cpu_backend_equals_the_reference(name: str, features: int, shared_models: Path) -> None:
    """Integers bit for bit, whatever the instruction set."""
    model = read(shared_models / f"{name}.tflite")
    program = CpuBackend(features).compile(model)
    tensor = program.inputs[0]
    array = random_input(np.random.default_rng(12), tensor.shape, tensor.dtype.numpy.type)
    (got,), (want,) = program.run([array]), reference.run(model.atoms, [array])
    if name in FLOATS:
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * float(np.abs(want).max()))
    else:
        np.testing.assert_array_equal(got, want)
