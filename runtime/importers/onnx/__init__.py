"""Read an ONNX model: `load(model, name) -> Graph` at GRAPH level.

Each ONNX operator is one row: the attributes that it has and a translation into the operators of
`runtime.operators`, with their NHWC layout and their attributes. What ONNX has in NCHW goes through
TRANSPOSE, which the raster planner removes again.
"""

from __future__ import annotations

from runtime.importers.onnx.translate import declared_shapes, load

__all__ = ["declared_shapes", "load"]
