"""Runs a case by definition, simplified, as kernels, and by onnxruntime; all have to agree."""

from __future__ import annotations

import numpy as np
import onnxruntime

from runtime.errors import UnsupportedError
from runtime.importers.onnx import load
from runtime.infer import infer
from tests.conformance.judge import agreed, close
from tests.conformance.onnx.case import Array, Case


class WaitingError(Exception):
    """The translation needs an operator that the engine does not have yet."""


def judge(case: Case, opset: int) -> None:
    """Raises AssertionError where one of them differs."""
    compare(case.model(opset), case.drawn(), f"{case} opset {opset}", case.tolerance, case.steps)


def compare(
    model: bytes, inputs: dict[str, Array], where: str, tolerance: float = 1e-5, steps: int = 0
) -> None:
    try:
        graph = infer(load(model, where))
    except UnsupportedError as error:
        if "does not have yet" in str(error):
            raise WaitingError(str(error)) from None
        raise
    defined = agreed(graph, [list(inputs.values())], where)
    wanted = oracle(model, inputs)
    assert len(defined) == len(wanted)
    for i, want in enumerate(wanted):
        close(defined[i], np.asarray(want), steps, tolerance, f"{where} output {i}: against onnxruntime")


def oracle(model: bytes, inputs: dict[str, Array]) -> list[Array]:
    """What onnxruntime computes, node by node as the model is written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, inputs)
    return outputs
