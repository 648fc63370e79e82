"""What depends on shapes and constants alone: it becomes a constant."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.graph import DType
from runtime.importers.onnx.elementwise import TYPES
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import MAX_CONSTANT, Row, Translation


def constant(t: Translation) -> int:
    given = [(name, value) for name, value in t.attrs.items() if value is not None]
    if len(given) != 1:
        raise t.bad(f"{len(given)} values, expected 1")
    name, value = given[0]
    if name == "value":
        return t.constant(value)
    return t.constant(value, DType.F32 if "float" in name else DType.I64)


def constant_of_shape(t: Translation) -> int:
    value = np.zeros(1, np.float32) if t.attr("value") is None else t.attr("value")
    if value.size != 1:
        raise t.bad(f"value has {value.size} elements, expected 1")
    shape = t.integers(0)
    if any(size < 0 for size in shape):
        raise t.bad(f"shape {shape}, expected sizes >= 0")
    return t.filled(shape, value.reshape(-1)[0], DType.of(value))


def range_(t: Translation) -> int:
    start, limit, delta = (t.number(i) for i in range(3))
    if delta == 0 or not math.isfinite((limit - start) / delta):
        raise t.bad(f"from {start} to {limit} by {delta}")
    count = max(math.ceil((limit - start) / delta), 0)
    if count > MAX_CONSTANT:
        raise t.lacking(f"a constant of {count} elements, at most {MAX_CONSTANT}")
    dtype = t.dtype(t.input(0))
    return t.constant((start + np.arange(count) * delta).astype(dtype.numpy))


def shape_of(t: Translation) -> int:
    shape = t.shape(t.input(0))
    return t.constant(np.array(shape[slice(t.attr("start"), t.attr("end"))], np.int64).reshape(-1))


def size_of(t: Translation) -> int:
    return t.constant(math.prod(t.shape(t.input(0))), DType.I64)


def eye_like(t: Translation) -> int:
    """Ones on a diagonal, of the shape of a matrix."""
    shape = t.shape(t.input(0))
    dtype = TYPES[t.choice("dtype", list(TYPES))] if t.attr("dtype") is not None else t.dtype(t.input(0))
    if len(shape) != 2 or math.prod(shape) > MAX_CONSTANT or abs(t.attr("k")) >= 2**31:
        raise t.bad(f"shape {shape} and diagonal {t.attr('k')}, expected a matrix")
    return t.constant(np.eye(*shape, k=t.attr("k")), dtype)


def window(cosines: Sequence[float]) -> Row:
    """A sum of cosines of 0, 1, 2 ... periods over a number of elements."""

    def rule(t: Translation) -> int:
        size, dtype = t.integer(0), TYPES[t.choice("output_datatype", (1,))]
        if not 1 <= size <= MAX_CONSTANT:
            raise t.bad(f"size {size}, expected 1..{MAX_CONSTANT}")
        angles = 2 * np.pi * np.arange(size) / max(size if t.attr("periodic") else size - 1, 1)
        parts = (factor * np.cos(i * angles) for i, factor in enumerate(cosines))
        return t.constant(sum(parts, np.zeros(size)), dtype)

    return Row(rule, attrs={"output_datatype": 1, "periodic": 1})


def non_zero(t: Translation) -> int:
    """The places of what is not 0, whose number has to be known: one row for each axis."""
    places = np.array(np.nonzero(t.data(0)), np.int64)
    if places.shape[0] == 0:
        raise t.lacking("a scalar")
    return t.constant(places)


ROWS: dict[str, Row] = {
    "Constant": Row(
        constant,
        (0, 0),
        {
            "value": Kind.TENSOR,
            "value_float": Kind.FLOAT,
            "value_floats": Kind.FLOATS,
            "value_int": Kind.INT,
            "value_ints": Kind.INTS,
        },
    ),
    "ConstantOfShape": Row(constant_of_shape, attrs={"value": Kind.TENSOR}),
    "Range": Row(range_, (3, 3)),
    "Shape": Row(shape_of, attrs={"start": 0, "end": Kind.INT}),
    "Size": Row(size_of),
    "EyeLike": Row(eye_like, attrs={"dtype": Kind.INT, "k": 0}),
    "HannWindow": window((0.5, -0.5)),
    "HammingWindow": window((25 / 46, -21 / 46)),
    "BlackmanWindow": window((0.42, -0.5, 0.08)),
    "NonZero": Row(non_zero),
}
