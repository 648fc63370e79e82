"""Readers of model files, one per format; each gives a `Graph` at GRAPH level."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.graph import Graph, Shape
from runtime.importers import onnx, tflite


def load(data: bytes, name: str, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph of a model file of any format; raises ModelError, UnsupportedError.

    `input_shapes` replaces the shapes of inputs, by value id, for a format whose operators cannot be told
    without them.
    """
    if onnx.is_onnx(data):
        return onnx.load(data, name, input_shapes)
    return tflite.load(data, name)
