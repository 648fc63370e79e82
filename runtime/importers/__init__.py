"""Readers of model files, one per format; each gives a `Graph` at GRAPH level.

What reads ONNX, the `onnx` package included, is imported when the first such file is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from runtime.graph import Graph, Shape
from runtime.importers import tflite

Format = Literal["tflite", "onnx"]


def format_of(data: bytes, name: str) -> Format:
    """By the file's name, or by its first field: that of ONNX is the version of the format, a number."""
    if data[4:8] == tflite.IDENTIFIER:
        return "tflite"
    return "onnx" if name.endswith(".onnx") or data[:1] == b"\x08" else "tflite"


def load(data: bytes, name: str, input_shapes: Mapping[int, Shape] | None = None, subgraph: int = 0) -> Graph:
    """The graph of a model file of any format, of several the one that a signature names; raises ModelError,
    UnsupportedError.

    `input_shapes` replaces the shapes of inputs, by value id, for a format whose operators cannot be
    translated without them. The values of inputs and outputs have the same ids under all shapes.
    """
    if format_of(data, name) == "tflite":
        return tflite.load(data, name, subgraph)
    from runtime.importers import onnx

    return onnx.load(data, name, input_shapes)


def declared_shapes(data: bytes, name: str, subgraph: int = 0) -> Mapping[int, Shape]:
    """The shapes of inputs as the file has them, -1 where it leaves a dimension open; for bytes that `load`
    took. A format may give those of other values too.
    """
    if format_of(data, name) == "tflite":
        return tflite.declared_shapes(data, subgraph)
    from runtime.importers import onnx

    return onnx.declared_shapes(data, name)
