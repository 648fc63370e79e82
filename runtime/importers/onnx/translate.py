"""All operators of ONNX that the engine translates, and a file of them as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from runtime.errors import ModelError
from runtime.graph import Graph, Shape, Value
from runtime.importers.onnx import (
    binary,
    constant,
    control,
    conv,
    einsum,
    elementwise,
    index,
    integer,
    matrix,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    views,
)
from runtime.importers.onnx.builder import Builder, Room
from runtime.importers.onnx.reader import declared_shapes, parse
from runtime.importers.onnx.translation import Row
from runtime.importers.onnx.walk import bind, numbered, own, results_of, walk
from runtime.shapes.operands import checked

__all__ = ["declared_shapes", "load"]

ROWS: dict[str, Row] = {
    **binary.ROWS,
    **constant.ROWS,
    **control.ROWS,
    **conv.ROWS,
    **einsum.ROWS,
    **elementwise.ROWS,
    **index.ROWS,
    **integer.ROWS,
    **matrix.ROWS,
    **norm.ROWS,
    **pool.ROWS,
    **quantize.ROWS,
    **recurrent.ROWS,
    **reduce.ROWS,
    **resize.ROWS,
    **views.ROWS,
}


def load(data: bytes, name: str, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph of a model file; value i is its input i. An open dimension is 1 unless `input_shapes` has it.

    Raises ModelError for bytes that are not a sound model, UnsupportedError for a sound one that uses what
    the engine does not have.
    """
    body, entries, opset = parse(data, name)
    builder, scope = Builder(name, opset, ROWS, Room.of(len(data))), dict[str, int]()
    for i, (tensor, (dtype, shape)) in enumerate(zip(body.inputs, entries, strict=True)):
        given = checked(tuple(map(int, (input_shapes or {}).get(i, shape))), f"input {tensor!r}")
        if len(given) != len(shape):
            raise ModelError(f"{name}: input {tensor!r} has rank {len(shape)}, got shape {given}")
        bind(builder, scope, tensor, builder.add(Value(tensor, given, dtype)))
    walk(builder, scope, body)
    inputs, ends = list(range(len(body.inputs))), list[int]()
    for output, end in zip(body.outputs, results_of(builder, scope, body), strict=True):
        ends += own(builder, f"output {output!r}", [end], [*inputs, *ends])
        builder.values[ends[-1]] = replace(builder.values[ends[-1]], name=output)
    return numbered(builder, inputs, ends)
