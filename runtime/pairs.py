"""Complex numbers as pairs of floats: no atom knows them, so at level ATOMIC there are none.

A complex64 value of shape (..., n) is there an f32 value of shape (..., 2n), the real and the imaginary part
of each number one after the other, which is how they lie in memory. Callers see complex numbers all the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.errors import UnsupportedError
from runtime.graph import Array, DType, Graph, Shape, Value

OPERATORS = frozenset({"RFFT2D", "REAL", "IMAG", "COMPLEX_ABS", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"})
"""Whose rules know of pairs, or need not know."""


def in_pairs(graph: Graph) -> Graph:
    """The graph with floats in the place of complex numbers; the graphs inside its nodes stay.

    Raises UnsupportedError for a variable of complex numbers.
    """
    for state in graph.states:
        if (value := graph.values[state.value]).dtype is DType.C64:
            raise UnsupportedError(
                f"variable {value.name!r} is {value.dtype.value}, which no variable can be"
            )
    values = tuple([_pair(value) if value.dtype is DType.C64 else value for value in graph.values])
    return replace(graph, values=values)


def seen(value: Value) -> tuple[Shape, DType]:
    """What a value is to a caller."""
    return (value.shape, value.dtype) if value.pairs is None else (value.pairs, DType.C64)


def in_floats(array: Array, value: Value) -> Array:
    """What a caller gives for a value, as it is at level ATOMIC."""
    return array if value.pairs is None else array.reshape(-1).view(np.float32).reshape(value.shape)


def as_seen(array: Array, value: Value) -> Array:
    """The other way round."""
    return array if value.pairs is None else array.reshape(-1).view(np.complex64).reshape(value.pairs)


def _pair(value: Value) -> Value:
    shape = (*value.shape[:-1], 2 * value.shape[-1]) if value.shape else (2,)
    pair = Value(value.name, shape, DType.F32, pairs=value.shape)
    return pair if value.data is None else replace(pair, data=in_floats(value.data, pair))
