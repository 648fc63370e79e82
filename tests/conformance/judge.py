"""Runs a case four ways: decomposed, simplified, as kernels, and by TFLite; all have to agree.

A case that asks for it is held against TFLite's builtin kernels too, decomposed for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.numpy_reference import ReferenceExecutor
from runtime.backends.place import place
from runtime.decompose import decompose
from runtime.graph import Graph
from runtime.importers.tflite import load
from runtime.infer import infer
from runtime.simplify import simplify
from runtime.verify import check
from tests.conformance.case import Array, Case, Maker

BUILTIN = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
LATE = find_spec("ai_edge_litert") is not None
"""Whether the oracle has the kernels that tflite-runtime 2.14 does not have yet."""
KERNELS = 1e-5
"""By how much the floats of two kernels may differ, of the largest: they add in different orders. Halves may
be rounded to either neighbour.
"""


def judge(case: Case, dtype: str, tflite_interpreter: Callable[..., Any]) -> None:
    """Raises AssertionError where one of them differs."""
    maker = Maker(case, dtype)
    model = maker.model()
    runs = [maker.inputs() for _ in range(case.runs)]
    where = f"{case} {dtype}"
    graph = infer(load(model, "case"))
    defined = agreed(graph, runs, where)
    for wanted in answers(case, maker, tflite_interpreter, model, runs):
        assert len(defined) == len(wanted)
        for i, want in enumerate(wanted):
            close(
                defined[i], want, case.steps, case.tolerance, f"{where} output {i}: against what is expected"
            )
    if dtype in case.builtin:
        interpreter = tflite_interpreter(model, BUILTIN)
        other = each(lambda inputs: oracle(interpreter, inputs), runs)
        ours = each(ReferenceExecutor(decompose(graph, "builtin")).run, runs)
        for got, want in zip(ours, other, strict=True):
            close(got, want, case.steps, case.tolerance, f"{where}: against the builtin kernels")


def answers(
    case: Case, maker: Maker, tflite_interpreter: Callable[..., Any], model: bytes, runs: list[list[Array]]
) -> Iterator[list[Array]]:
    """What the outputs have to be: as the case defines them, and as TFLite has them."""
    if case.expect is not None:
        yield [np.asarray(array) for array in case.expect(*operands(maker, runs[0]), **case.options)]
    if case.expect is None or (case.late and LATE):
        builtin = case.late or not case.reference
        interpreter = tflite_interpreter(model, BUILTIN if builtin else "BUILTIN_REF")
        yield each(lambda inputs: oracle(interpreter, inputs), runs)


def agreed(graph: Graph, runs: list[list[Array]], where: str) -> list[Array]:
    """The outputs of an inferred graph in runs on these inputs, by definition; simplified atoms and kernels
    have to give the same.
    """
    check(graph, "GRAPH")
    atoms = decompose(graph, "reference")
    check(atoms, "ATOMIC")
    small = simplify(atoms)
    check(small, "ATOMIC")
    defined, simplified = (each(ReferenceExecutor(graph).run, runs) for graph in (atoms, small))
    program = place(fuse(small))
    check(program, "PROGRAM")
    computed = each(CpuBackend().lower(program).run, runs)
    for i, want in enumerate(defined):
        np.testing.assert_array_equal(want, simplified[i], f"{where} output {i}: simplified")
        as_defined(computed[i], want, f"{where} output {i}: kernels against their definition")
    return defined


def as_defined(got: Array, want: Array, where: str) -> None:
    """What kernels computed, against what their atoms mean."""
    apart = max(KERNELS, float(np.finfo(want.dtype).eps)) if want.dtype.kind in "fc" else 0.0
    close(got, want, 0, apart, where)


def each(run: Callable[[list[Array]], list[Array]], runs: list[list[Array]]) -> list[Array]:
    """The outputs of all runs, one after the other."""
    return [output for inputs in runs for output in run(inputs)]


def operands(maker: Maker, inputs: list[Array]) -> list[Array | None]:
    """What the operator reads, in order: inputs and constants; of a whole model, its inputs."""
    if maker.case.graphs is not None:
        return [*inputs]
    drawn = dict(zip(_input_names(maker), inputs, strict=True))
    data = {tensor.name: tensor.data for tensor in maker.tensors}
    names = [f"operand {i}" for i in range(len(maker.case.operands))]
    return [drawn.get(name, data.get(name)) for name in names]


def _input_names(maker: Maker) -> list[str]:
    return [t.name for t in maker.tensors if t.data is None and t.name.startswith("operand")]


def close(got: Array, want: Array, steps: int, tolerance: float, where: str) -> None:
    assert (got.shape, got.dtype) == (want.shape, want.dtype), f"{where}: {got.dtype}{got.shape}"
    if got.dtype.kind in "fc":
        finite = np.abs(want[np.isfinite(want)])
        largest = max(1.0, float(finite.max(initial=0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * largest, err_msg=where)
    else:
        apart = np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0)
        assert apart <= steps, f"{where}: {apart} steps apart, {steps} allowed"


def oracle(interpreter: Any, inputs: list[Array]) -> list[Array]:
    for details, array in zip(interpreter.get_input_details(), inputs, strict=True):
        if array.dtype == np.uint16:  # which set_tensor does not know
            interpreter.tensor(details["index"])()[...] = array
        else:
            interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    return [interpreter.get_tensor(details["index"]) for details in interpreter.get_output_details()]
