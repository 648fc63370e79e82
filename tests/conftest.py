"""Fixtures for every test: the models that lie beside the project, and TFLite, the oracle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 12):
    from tflite_runtime import interpreter as oracle
else:
    from ai_edge_litert import interpreter as oracle


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of full-size .tflite models; it is not part of the project."""
    folder = Path(__file__).parents[1].parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: it holds the models that are too large for the project")
    return folder


@pytest.fixture(scope="session")
def tflite_interpreter() -> Callable[..., Any]:
    """(model bytes, resolver) -> an allocated TFLite interpreter, by default on its reference kernels."""

    def interpreter(model: bytes, resolver: str = "BUILTIN_REF") -> Any:
        kind = oracle.OpResolverType[resolver]
        made = oracle.Interpreter(model_content=model, experimental_op_resolver_type=kind, num_threads=1)
        made.allocate_tensors()
        return made

    return interpreter
