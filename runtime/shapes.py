"""Shapes of every value from the shapes of the inputs: one rule per TFLite operator.

`infer` overrides what the file declares, so that a resized input flows through the graph. A rule also refuses
operands whose shapes do not fit together, which is what the rules of `runtime.decompose` rely on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from runtime.atoms import MAX_RANK
from runtime.errors import ModelError, UnsupportedError
from runtime.graph import ABSENT, Graph, Node, Shape, Value

MAX_ELEMENTS = 2**28
"""Of one tensor: a GiB of floats, which no board that this engine is for could hold twice."""
MAX_LIST = 4096
"""Numbers in a constant that lists axes, sizes or paddings."""


def infer(graph: Graph, input_shapes: Mapping[int, Shape] | None = None) -> Graph:
    """The graph with every shape inferred; `input_shapes` replaces those of graph inputs, by value id.

    Raises ModelError where shapes do not fit together, UnsupportedError where a shape depends on run-time
    data.
    """
    values = list(graph.values)
    for index, shape in (input_shapes or {}).items():
        if index not in graph.inputs:
            raise ModelError(f"value {index} is not an input of the graph: inputs are {list(graph.inputs)}")
        values[index] = replace(values[index], shape=_checked(tuple(map(int, shape)), values[index].name))
    for node in graph.nodes:
        operands = tuple(None if index == ABSENT else values[index] for index in node.inputs)
        shapes = RULES[node.op](Operands(node, operands))
        if len(shapes) != len(node.outputs):
            raise ModelError(
                f"{node.source}: gives {len(shapes)} outputs, the model declares {len(node.outputs)}"
            )
        for index, shape in zip(node.outputs, shapes, strict=True):
            values[index] = replace(values[index], shape=_checked(shape, f"output of {node.source}"))
    return replace(graph, values=tuple(values))


def _checked(shape: Shape, where: str) -> Shape:
    if len(shape) > MAX_RANK:
        raise UnsupportedError(f"{where}: rank {len(shape)}, the most is {MAX_RANK}")
    if any(size < 1 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ModelError(f"{where}: shape {shape}, expected sizes >= 1 and at most {MAX_ELEMENTS} elements")
    return shape


@dataclass(frozen=True, slots=True)
class Operands:
    """What a rule sees: one node and its input values."""

    node: Node
    values: tuple[Value | None, ...]

    def bad(self, what: str) -> ModelError:
        return ModelError(f"{self.node.source}: {what}")

    def value(self, i: int) -> Value:
        value = self.values[i]
        if value is None:
            raise self.bad(f"input {i} is left out, but it is not optional")
        return value

    def shape(self, i: int, rank: int | None = None) -> Shape:
        """Of an operand that is data: no rule has to think of one without elements."""
        shape = self.value(i).shape
        if rank is not None and len(shape) != rank:
            raise self.bad(f"input {i} has shape {shape}, expected rank {rank}")
        if 0 in shape:
            raise self.bad(f"input {i} has shape {shape}, expected sizes >= 1")
        return shape

    def constant(self, i: int) -> tuple[int, ...]:
        """The numbers of an integer constant, such as a list of axes."""
        value = self.value(i)
        if value.data is None:
            raise UnsupportedError(f"{self.node.source}: input {i} ({value.name!r}) must be a constant")
        if value.data.dtype.kind != "i" or value.elements > MAX_LIST:
            got = f"{value.elements} of {value.dtype.value}"
            raise self.bad(f"input {i} is {got}, expected at most {MAX_LIST} of i32 or i64")
        return tuple(int(number) for number in value.data.reshape(-1))

    def attr(self, name: str) -> Any:
        return self.node.attrs[name]

    def positive(self, name: str) -> int:
        if (number := int(self.attr(name))) < 1:
            raise self.bad(f"{name} = {number}, expected at least 1")
        return number

    def axis(self, axis: int, rank: int) -> int:
        if not -rank <= axis < rank:
            raise self.bad(f"axis {axis} is outside -{rank}..{rank - 1}")
        return axis % rank

    def axes(self, i: int, rank: int) -> tuple[int, ...]:
        """Distinct axes of a constant input, sorted."""
        return tuple(sorted({self.axis(axis, rank) for axis in self.constant(i)}))


Rule = Callable[[Operands], list[Shape]]

# ---------------------------------------------------------------- element-wise


def _same(x: Operands) -> list[Shape]:
    return [x.shape(0)]


def _broadcast(x: Operands) -> list[Shape]:
    try:
        return [np.broadcast_shapes(x.shape(0), x.shape(1))]
    except ValueError:
        raise x.bad(f"shapes {x.shape(0)} and {x.shape(1)} do not broadcast together") from None


# ---------------------------------------------------------------- windows and matrices


def window(padding: str, size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """(output size, padding before) of a sliding window along one axis, by TensorFlow's rule."""
    reach = (kernel - 1) * dilation + 1
    if padding == "VALID":
        return (size - reach) // stride + 1, 0
    out = -(-size // stride)
    return out, max((out - 1) * stride + reach - size, 0) // 2


def _windows(x: Operands, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> tuple[int, int]:
    _, height, width, _ = x.shape(0, rank=4)
    strides, padding = (x.positive("stride_h"), x.positive("stride_w")), x.attr("padding")
    out = [window(padding, *axis)[0] for axis in zip((height, width), kernel, strides, dilation, strict=True)]
    if min(out) < 1:
        raise x.bad(f"a window of {kernel} does not fit an input of {(height, width)}")
    return out[0], out[1]


def _bias(x: Operands, channels: int) -> None:
    bias = x.values[2] if len(x.values) > 2 else None
    if bias is not None and bias.elements != channels:
        raise x.bad(f"bias has {bias.elements} elements, expected {channels}")


def _conv(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    out_channels, height, width, in_channels = x.shape(1, rank=4)
    if depth % in_channels or out_channels % (depth // in_channels):
        raise x.bad(f"weights {x.shape(1)} do not fit an input of {depth} channels")
    _bias(x, out_channels)
    dilation = x.positive("dilation_h_factor"), x.positive("dilation_w_factor")
    return [(batch, *_windows(x, (height, width), dilation), out_channels)]


def _depthwise(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    one, height, width, out_channels = x.shape(1, rank=4)
    if one != 1 or out_channels % depth:
        raise x.bad(
            f"weights {x.shape(1)} do not fit an input of {depth} channels: expected (1, h, w, n·{depth})"
        )
    _bias(x, out_channels)
    dilation = x.positive("dilation_h_factor"), x.positive("dilation_w_factor")
    return [(batch, *_windows(x, (height, width), dilation), out_channels)]


def _pool(x: Operands) -> list[Shape]:
    batch, _, _, depth = x.shape(0, rank=4)
    return [(batch, *_windows(x, (x.positive("filter_height"), x.positive("filter_width"))), depth)]


def _fully_connected(x: Operands) -> list[Shape]:
    shape, (units, depth) = x.shape(0), x.shape(1, rank=2)
    _bias(x, units)
    if x.attr("keep_num_dims"):
        if not shape or shape[-1] != depth:
            raise x.bad(f"input {shape} does not end in {depth}")
        return [(*shape[:-1], units)]
    if math.prod(shape) % depth:
        raise x.bad(f"{math.prod(shape)} elements are not rows of {depth}")
    return [(math.prod(shape) // depth, units)]


def _batch_matmul(x: Operands) -> list[Shape]:
    a, b = x.shape(0), x.shape(1)
    if len(a) < 2 or len(b) < 2:
        raise x.bad(f"shapes {a} and {b}, expected rank 2 or more")
    (rows, inner), (depth, columns) = a[-2:], b[-2:]
    if x.attr("adj_x"):
        rows, inner = inner, rows
    if x.attr("adj_y"):
        depth, columns = columns, depth
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        raise x.bad(f"batches {a[:-2]} and {b[:-2]} do not broadcast together") from None
    if inner != depth:
        raise x.bad(f"inner sizes {inner} and {depth} differ")
    return [(*batch, rows, columns)]


# ---------------------------------------------------------------- views


def _reshape(x: Operands) -> list[Shape]:
    given = len(x.values) > 1 and x.values[1] is not None
    target = list(x.constant(1) if given else x.attr("new_shape"))
    if target == [0] and not given:
        target = []  # old converters write a scalar like this
    total, known = x.value(0).elements, math.prod(size for size in target if size != -1)
    if target.count(-1) > 1 or any(size < -1 for size in target):
        raise x.bad(f"new shape {tuple(target)}: expected sizes >= 0 and at most one -1")
    if -1 in target:
        target[target.index(-1)] = total // max(known, 1)
    if math.prod(target) != total:
        raise x.bad(f"{x.shape(0)} has {total} elements, they do not fill {tuple(target)}")
    return [tuple(target)]


def _squeeze(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes = {x.axis(axis, len(shape)) for axis in x.attr("squeeze_dims")}
    if any(shape[axis] != 1 for axis in axes):
        raise x.bad(f"axes {sorted(axes)} of {shape} are not all of size 1")
    return [tuple(size for i, size in enumerate(shape) if i not in axes and (axes or size != 1))]


def _expand_dims(x: Operands) -> list[Shape]:
    shape, axes = x.shape(0), x.constant(1)
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    axis = x.axis(axes[0], len(shape) + 1)
    return [(*shape[:axis], 1, *shape[axis:])]


def _transpose(x: Operands) -> list[Shape]:
    shape, order = x.shape(0), x.constant(1)
    axes = [x.axis(axis, len(shape)) for axis in order]
    if sorted(axes) != list(range(len(shape))):
        raise x.bad(f"permutation {order} does not fit shape {shape}")
    return [tuple(shape[axis] for axis in axes)]


def _concatenation(x: Operands) -> list[Shape]:
    first = x.shape(0)
    axis = x.axis(x.attr("axis"), len(first))
    others = [x.shape(i, rank=len(first)) for i in range(len(x.values))]
    if any(o[:axis] != first[:axis] or o[axis + 1 :] != first[axis + 1 :] for o in others):
        raise x.bad(f"shapes {others} differ outside axis {axis}")
    return [(*first[:axis], sum(o[axis] for o in others), *first[axis + 1 :])]


def paddings(x: Operands) -> list[tuple[int, int]]:
    """(before, after) per axis of PAD and PADV2."""
    shape, numbers = x.shape(0), x.constant(1)
    if len(numbers) != 2 * len(shape) or any(not 0 <= number <= MAX_ELEMENTS for number in numbers):
        raise x.bad(f"paddings {numbers}: expected two numbers >= 0 for each axis of {shape}")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _pad(x: Operands) -> list[Shape]:
    return [tuple(size + sum(p) for size, p in zip(x.shape(0), paddings(x), strict=True))]


def _slice(x: Operands) -> list[Shape]:
    shape, begin, size = x.shape(0), x.constant(1), x.constant(2)
    if len(begin) != len(shape) or len(size) != len(shape):
        raise x.bad(f"begin {begin} and size {size} do not have one number for each axis of {shape}")
    out = tuple(n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True))
    if any(b < 0 or s < 0 or b + s > n for n, b, s in zip(shape, begin, out, strict=True)):
        raise x.bad(f"begin {begin} and size {size} leave the input of shape {shape}")
    return [out]


@dataclass(frozen=True, slots=True)
class Cut:
    """One axis of a strided slice: `count` elements from `start` by `step`, `kept` in the output or not."""

    start: int
    step: int
    count: int
    kept: bool


def cuts(x: Operands) -> list[Cut]:
    """The slice that STRIDED_SLICE takes of each input axis; begin and end are clipped as in Python."""
    shape, begin, end, strides = x.shape(0), x.constant(1), x.constant(2), x.constant(3)
    if x.attr("ellipsis_mask") or x.attr("new_axis_mask"):
        raise UnsupportedError(f"{x.node.source}: ellipsis and new-axis masks are not known")
    if not len(begin) == len(end) == len(strides) <= len(shape) or 0 in strides:
        raise x.bad(f"begin {begin}, end {end}, strides {strides} do not fit shape {shape}")
    out = []
    for i, size in enumerate(shape):
        bit = 1 << i
        if i >= len(begin):
            out.append(Cut(0, 1, size, True))
        elif x.attr("shrink_axis_mask") & bit:
            out.append(Cut(x.axis(begin[i], size), 1, 1, False))
        else:
            first = None if x.attr("begin_mask") & bit else begin[i]
            last = None if x.attr("end_mask") & bit else end[i] + begin[i] * bool(x.attr("offset"))
            taken = range(*slice(first, last, strides[i]).indices(size))
            out.append(Cut(taken.start, strides[i], len(taken), True))
    return out


def _strided_slice(x: Operands) -> list[Shape]:
    return [tuple(cut.count for cut in cuts(x) if cut.kept)]


def _split(x: Operands) -> list[Shape]:
    axes, shape, parts = x.constant(0), x.shape(1), x.positive("num_splits")
    axis = x.axis(axes[0] if axes else 0, len(shape))
    if shape[axis] % parts or parts != len(x.node.outputs):
        raise x.bad(
            f"axis {axis} of {shape} does not split into {parts} parts for {len(x.node.outputs)} outputs"
        )
    return [(*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])] * parts


def _pack(x: Operands) -> list[Shape]:
    shape, count = x.shape(0), len(x.values)
    axis = x.axis(x.attr("axis"), len(shape) + 1)
    if any(x.shape(i) != shape for i in range(count)) or x.attr("values_count") != count:
        raise x.bad(f"{count} inputs of shapes {[x.shape(i) for i in range(count)]}: expected all the same")
    return [(*shape[:axis], count, *shape[axis:])]


def _gather(x: Operands) -> list[Shape]:
    shape, index = x.shape(0), x.shape(1)
    if x.attr("batch_dims") or x.axis(x.attr("axis"), len(shape)) != 0:
        raise UnsupportedError(f"{x.node.source}: only axis 0 without batch dimensions is known")
    return [(*index, *shape[1:])]


# ---------------------------------------------------------------- reductions


def _reduce(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes, keep = x.axes(1, len(shape)), x.attr("keep_dims")
    return [tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)]


def _arg(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes = x.axes(1, len(shape))
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    return [shape[: axes[0]] + shape[axes[0] + 1 :]]


RULES: dict[str, Rule] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"), _broadcast),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "HARD_SWISH", "LOGISTIC", "TANH"), _same),
    **dict.fromkeys(
        ("ABS", "NEG", "EXP", "SQRT", "RSQRT", "SOFTMAX", "QUANTIZE", "DEQUANTIZE", "CAST"), _same
    ),
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "PACK": _pack,
    "GATHER": _gather,
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX"), _reduce),
    "ARG_MAX": _arg,
}
