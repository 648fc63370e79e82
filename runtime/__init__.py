"""The tensor engine: models in, Programs out. `load` and `Interpreter` are the two ways in; README has both
in use.
"""

from runtime.compile import load
from runtime.errors import EngineError, ExportError, ModelError, RunError, UnsupportedError
from runtime.interpreter import Interpreter
from runtime.program import Program, TensorInfo

__all__ = [
    "EngineError",
    "ExportError",
    "Interpreter",
    "ModelError",
    "Program",
    "RunError",
    "TensorInfo",
    "UnsupportedError",
    "load",
]
