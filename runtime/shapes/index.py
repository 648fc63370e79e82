"""Shapes of operators that read, write or find elements by their position."""

from __future__ import annotations

import math

import numpy as np

from runtime.errors import UnsupportedError
from runtime.graph import Array, Shape
from runtime.shapes.operands import Operands, Rule


def known(x: Operands, i: int) -> Array:
    """The data of an operand that decides how large the output is."""
    value = x.value(i)
    if value.data is None:
        raise UnsupportedError(
            f"{x.node.source}: the shape of the output depends on the elements of {value.name!r}, which are "
            "known only at run time; the tflite backend may run this model"
        )
    return value.data


def single(x: Operands, i: int) -> int:
    """The number in a constant of one element."""
    if len(numbers := x.constant(i)) != 1:
        raise x.bad(f"input {i} has {len(numbers)} elements, expected 1")
    return numbers[0]


def batch_axis(x: Operands) -> tuple[int, int]:
    """(batch dimensions, axis) of GATHER, neither negative."""
    shape, index = x.shape(0), x.shape(1)
    axis, batch = x.axis(x.attr("axis"), len(shape)), int(x.attr("batch_dims"))
    batch += len(index) if batch < 0 else 0
    if not 0 <= batch <= min(axis, len(index)) or shape[:batch] != index[:batch]:
        raise x.bad(f"{batch} batch dimensions of {shape} and {index}, axis {axis}: expected equal ones")
    return batch, axis


def _gather(x: Operands) -> list[Shape]:
    shape, index, (batch, axis) = x.shape(0), x.shape(1), batch_axis(x)
    return [shape[:axis] + index[batch:] + shape[axis + 1 :]]


def _depth(x: Operands, index: Shape, rank: int) -> int:
    """Numbers in one index: the last dimension of a tensor of indices."""
    if not index or index[-1] > rank:
        raise x.bad(f"indices of shape {index}, expected at most {rank} numbers each")
    return index[-1]


def _gather_nd(x: Operands) -> list[Shape]:
    shape, index = x.shape(0), x.shape(1)
    return [index[:-1] + shape[_depth(x, index, len(shape)) :]]


def _scatter_nd(x: Operands) -> list[Shape]:
    index, updates, shape = x.shape(0), x.shape(1), x.constant(2)
    expected = index[:-1] + shape[_depth(x, index, len(shape)) :]
    if updates != expected:
        raise x.bad(f"updates of shape {updates}, expected {expected}")
    return [shape]


def _sparse_to_dense(x: Operands) -> list[Shape]:
    index, shape, values = x.shape(0), x.constant(1), x.shape(2)
    count, depth = (index[0], index[1]) if len(index) == 2 else (math.prod(index), 1)
    if len(index) > 2 or depth != len(shape):
        raise x.bad(f"indices of shape {index} into {shape}, expected one number for each axis")
    if len(values) > 1 or math.prod(values) not in ({count} if values else {1}):
        raise x.bad(f"values of shape {values}, expected one, or one for each of {count} indices")
    if x.value(3).elements != 1:
        raise x.bad(f"default value of shape {x.shape(3)}, expected one element")
    return [shape]


def one_hot_axis(x: Operands) -> int:
    """Where the new axis stands; -1 is the last."""
    return x.axis(x.attr("axis"), len(x.shape(0)) + 1)


def _one_hot(x: Operands) -> list[Shape]:
    shape, depth, axis = x.shape(0), single(x, 1), one_hot_axis(x)
    if x.value(2).elements != 1 or x.value(3).elements != 1:
        raise x.bad("on and off value: expected one element each")
    return [(*shape[:axis], depth, *shape[axis:])]


def _embedding_lookup(x: Operands) -> list[Shape]:
    shape = x.shape(1)
    if len(shape) < 2:
        raise x.bad(f"embeddings of shape {shape}, expected rank 2 or more")
    return [x.shape(0, rank=1) + shape[1:]]


def _embedding_lookup_sparse(x: Operands) -> list[Shape]:
    ids, indices, dense_shape = x.shape(0, rank=1), x.shape(1, rank=2), x.constant(2)
    if indices != (*ids, len(dense_shape)) or x.shape(3) != ids or len(x.shape(4)) < 2:
        shapes = [x.shape(i) for i in range(5)]
        raise x.bad(f"ids, indices, dense shape, weights and embeddings of shapes {shapes} do not fit")
    return [dense_shape[:-1] + x.shape(4)[1:]]


def _topk(x: Operands) -> list[Shape]:
    shape, k = x.shape(0), single(x, 1)
    if not shape or not 1 <= k <= shape[-1]:
        raise x.bad(f"the top {k} of rows of {shape}, expected 1..{shape[-1] if shape else 0}")
    return [(*shape[:-1], k)] * 2


def _hashtable_lookup(x: Operands) -> list[Shape]:
    lookup, keys, values = x.shape(0, rank=1), x.shape(1, rank=1), x.shape(2)
    if values[:1] != keys:
        raise x.bad(f"{keys[0]} keys for values of shape {values}, expected one for each row")
    return [lookup + values[1:], lookup]


def unique(x: Operands) -> tuple[Array, Array]:
    """(distinct elements in order of appearance, where among them each element is)."""
    x.shape(0, rank=1)
    _, first, inverse = np.unique(known(x, 0), return_index=True, return_inverse=True, equal_nan=False)
    order = np.argsort(first)
    return known(x, 0)[first[order]], np.argsort(order)[inverse.reshape(-1)]


def _unique(x: Operands) -> list[Shape]:
    return [array.shape for array in unique(x)]


def _where(x: Operands) -> list[Shape]:
    shape, found = x.shape(0), np.count_nonzero(known(x, 0))
    if not shape or not found:
        raise UnsupportedError(f"{x.node.source}: no element of shape {shape} is true: the output is empty")
    return [(int(found), len(shape))]


def _bucketize(x: Operands) -> list[Shape]:
    boundaries = x.attr("boundaries")
    if not boundaries or list(boundaries) != sorted(boundaries):
        raise x.bad(f"boundaries {boundaries[:4]}: expected one or more in ascending order")
    return [x.shape(0)]


RULES: dict[str, Rule] = {
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "SCATTER_ND": _scatter_nd,
    "SPARSE_TO_DENSE": _sparse_to_dense,
    "ONE_HOT": _one_hot,
    "EMBEDDING_LOOKUP": _embedding_lookup,
    "EMBEDDING_LOOKUP_SPARSE": _embedding_lookup_sparse,
    "TOPK_V2": _topk,
    "HASHTABLE_LOOKUP": _hashtable_lookup,
    "UNIQUE": _unique,
    "WHERE": _where,
    "BUCKETIZE": _bucketize,
}
