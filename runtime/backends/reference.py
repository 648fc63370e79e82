"""The reference backend: the eight atoms in NumPy, the definition that judges every other backend.

It is complete and slow. Every address is checked by NumPy itself (`numpy.ndarray(buffer=...)` refuses a view
that leaves its buffer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from runtime.atoms import Clamp, Gather, Gemm, Map, Raster, Reduce, Requantize, Rng, Scatter, Sort, View
from runtime.control import CONTROL, MAX_TRIPS, If, Loop, While
from runtime.errors import RunError
from runtime.graph import FLOATS, Array, DType, Graph, Node, Shape, Value
from runtime.primitives import COMPUTE_TYPES, FLOAT, evaluate
from runtime.quantized import multiply_by_quantized_multiplier, wrap_i32


def run(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """Outputs of the graph, in the order of `graph.outputs`, for one array per graph input in their order.

    Raises RunError for an input of the wrong count, shape or type, an index outside its rows, or a loop
    without an end.
    """
    return step(graph, inputs, [state.initial for state in graph.states])[0]


def step(graph: Graph, inputs: Sequence[Array], states: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """(outputs, what the next run finds) of a run that finds `states`. Raises as `run`."""
    if len(inputs) != len(graph.inputs):
        raise RunError(f"the graph has {len(graph.inputs)} inputs, got {len(inputs)} arrays")
    arrays = dict(graph.constants())
    for index, array in zip(graph.starts, (*inputs, *states), strict=True):
        arrays[index] = _checked_input(graph.values[index], array)
    for node in graph.nodes:
        arrays.update(zip(node.outputs, _run_node(graph, node, arrays), strict=True))
    outputs = [arrays[index].reshape(graph.values[index].shape) for index in graph.outputs]
    return outputs, [arrays[state.final].reshape(state.initial.shape) for state in graph.states]


def run_atom(attrs: Any, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    """One atom on arrays: its outputs, dense, of the shapes and types that `outputs` declare."""
    with np.errstate(all="ignore"):
        return _ATOMS[type(attrs)](attrs, inputs, outputs)


def _checked_input(value: Value, array: Array) -> Array:
    if array.shape != value.shape or array.dtype != value.dtype.numpy:
        expected = f"{value.dtype.value} {value.shape}"
        raise RunError(f"input {value.name!r}: expected {expected}, got {array.dtype} {array.shape}")
    return array


def _run_node(graph: Graph, node: Node, arrays: Mapping[int, Array]) -> list[Array]:
    try:
        inputs = [arrays[index] for index in node.inputs]
        if isinstance(node.attrs, CONTROL):
            results = _CONTROL[type(node.attrs)](node.attrs, inputs)
            return [a.reshape(graph.values[i].shape) for i, a in zip(node.outputs, results, strict=True)]
        return run_atom(node.attrs, inputs, [graph.values[index] for index in node.outputs])
    except RunError as error:
        raise RunError(f"{node.source or node.op}: {error}") from None


def window(array: Array, view: View, sizes: Shape) -> Array:
    """The elements that a view addresses: an array of shape `sizes` that shares memory with a dense `array`.

    Raises ValueError for a view that leaves the array.
    """
    if 0 in sizes:
        return np.empty(sizes, array.dtype)
    size = array.itemsize
    strides = tuple(stride * size for stride in view.strides)
    return np.ndarray(sizes, array.dtype, np.ascontiguousarray(array), view.offset * size, strides)


def addresses(view: View, sizes: Shape) -> Array:
    """The flat address of every index below `sizes`."""
    out = np.full(sizes, view.offset, np.int64)
    for axis, (size, stride) in enumerate(zip(sizes, view.strides, strict=True)):
        out += (np.arange(size) * stride).reshape((size,) + (1,) * (len(sizes) - axis - 1))
    return out


def saturate(array: Array, dtype: DType) -> Array:
    """The store of MAP: floats are truncated, integers saturate, NaN becomes 0, bool is `!= 0`.

    A u64 takes the bits of an i64; to f16 a double is rounded by way of f32.
    """
    if dtype in FLOATS:
        return (array.astype(np.float32) if dtype is DType.F16 else array).astype(dtype.numpy)
    if dtype is DType.BOOL:
        return np.not_equal(array, 0)
    if dtype is DType.U64:
        return _unsigned(array)
    if array.dtype.kind == "f":
        wide = np.nan_to_num(array.astype(np.float64), nan=0.0)
        inside = np.clip(wide, -(2.0**63), 2.0**63 - 1024).astype(np.int64)
        array = np.where(wide >= 2.0**63, np.iinfo(np.int64).max, inside)
    limits = np.iinfo(dtype.numpy)
    return np.clip(array.astype(np.int64), limits.min, limits.max).astype(dtype.numpy)


def _unsigned(array: Array) -> Array:
    if array.dtype.kind != "f":
        return array.astype(np.uint64)
    wide = np.nan_to_num(array.astype(np.float64), nan=0.0)
    inside = np.clip(wide, 0.0, 2.0**64 - 2048).astype(np.uint64)
    return np.where(wide >= 2.0**64, np.iinfo(np.uint64).max, inside)


def _raster(attrs: Raster, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    out = np.full(outputs[0].shape, attrs.fill or 0, outputs[0].dtype.numpy)
    for region in attrs.regions:
        source = window(inputs[region.input].view(out.dtype), region.source, region.sizes)
        if attrs.mode == "copy":
            window(out, region.destination, region.sizes)[...] = source
        else:
            np.add.at(out.reshape(-1), addresses(region.destination, region.sizes), source)
    return [out]


def _gemm(attrs: Gemm, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    # dense operands: the order in which floats add up must not depend on the views
    a = np.ascontiguousarray(window(inputs[0], attrs.a, (attrs.batch, attrs.m, attrs.k)))
    b = np.ascontiguousarray(window(inputs[1], attrs.b, (attrs.batch, attrs.k, attrs.n)))
    out = np.zeros(outputs[0].shape, outputs[0].dtype.numpy)
    if a.dtype == np.float32:
        sums = np.matmul(a, b)
    else:  # exact: a double, which NumPy multiplies fastest, holds 2^22 products of 16 bits each
        wide = np.float64 if attrs.k <= 2**22 else np.int64
        sums = np.matmul(a.astype(wide) - attrs.a_zero, b.astype(wide) - attrs.b_zero).astype(np.int64)
    if len(inputs) > 2:
        sums = sums + inputs[2].reshape(-1)
    window(out, attrs.c, (attrs.batch, attrs.m, attrs.n))[...] = _epilogue(
        attrs.epilogue, sums, outputs[0].dtype
    )
    return [out]


def _epilogue(epilogue: Clamp | Requantize | None, sums: Array, dtype: DType) -> Array:
    if epilogue is None:
        return sums if sums.dtype == np.float32 or dtype is DType.I64 else wrap_i32(sums)
    if isinstance(epilogue, Clamp):
        return np.clip(sums, np.float32(epilogue.low), np.float32(epilogue.high))
    scaled = multiply_by_quantized_multiplier(
        wrap_i32(sums), np.array(epilogue.multiplier), np.array(epilogue.shift), epilogue.ties
    )
    return np.clip(wrap_i32(scaled.astype(np.int64) + epilogue.zero_point), epilogue.low, epilogue.high)


def _map(attrs: Map, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    loaded = [
        _converted(window(array, view, attrs.sizes), attrs.compute)
        for array, view in zip(inputs, attrs.views, strict=True)
    ]
    out = np.zeros(outputs[0].shape, outputs[0].dtype.numpy)
    window(out, attrs.output, attrs.sizes)[...] = saturate(
        evaluate(attrs.program, loaded, attrs.compute), outputs[0].dtype
    )
    return [out]


def _converted(array: Array, compute: str) -> Array:
    """To the compute type: a float becomes an integer truncated and saturating, a wide integer wraps."""
    if compute not in FLOAT and array.dtype.kind == "f":
        return saturate(np.trunc(array), DType(compute))
    return array.astype(COMPUTE_TYPES[compute])


def _reduce(attrs: Reduce, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    array, out = inputs[0].reshape(attrs.outer, attrs.axis, attrs.inner), outputs[0]
    if attrs.op in ("sum", "prod"):
        reduced = _REDUCERS[attrs.op](array, axis=1, dtype=out.dtype.numpy)
    else:
        reduced = _REDUCERS[attrs.op](array, axis=1)
    return [reduced.astype(out.dtype.numpy).reshape(out.shape)]


def _place(extreme: Any, array: Array, axis: int) -> Array:
    """Where along the axis the extreme number stands first; 0 where a NaN comes before it all."""
    found = np.argmax(array == extreme.reduce(array, axis, keepdims=True), axis)
    first = np.take(array, 0, axis)
    return np.where(first != first, 0, found)


_REDUCERS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "max": np.fmax.reduce,
    "min": np.fmin.reduce,
    "prod": np.prod,
    "any": np.any,
    "all": np.all,
    "argmax": partial(_place, np.fmax),
    "argmin": partial(_place, np.fmin),
}


def _gather(attrs: Gather, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    rows, index = inputs[0].reshape(attrs.rows, attrs.width), _checked_index(inputs[1], attrs.rows)
    return [rows[index].reshape(outputs[0].shape)]


def _scatter(attrs: Scatter, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    out = inputs[0].reshape(attrs.rows, attrs.width).copy()
    index, update = _checked_index(inputs[1], attrs.rows), inputs[2].reshape(attrs.count, attrs.width)
    if attrs.mode == "set":
        out[index] = update
    else:
        (np.add if attrs.mode == "add" else np.maximum).at(out, index, update)
    return [out.reshape(outputs[0].shape)]


def _checked_index(index: Array, rows: int) -> Array:
    flat = index.reshape(-1)
    if flat.size and (flat.min() < 0 or flat.max() >= rows):
        raise RunError(f"index {flat[(flat < 0) | (flat >= rows)][0]} is outside 0..{rows - 1}")
    return flat


def _sort(attrs: Sort, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:
    rows = inputs[0].reshape(attrs.rows, attrs.width)
    ascending = np.argsort(rows[:, ::-1], axis=1, kind="stable")  # mirrored, so that equals stay in order
    index = (attrs.width - 1 - ascending)[:, ::-1][:, : attrs.k]
    values = np.take_along_axis(rows, index, axis=1)
    return [values.reshape(outputs[0].shape), index.astype(np.int32).reshape(outputs[1].shape)]


def _rng(attrs: Rng, inputs: Sequence[Array], outputs: Sequence[Value]) -> list[Array]:  # noqa: ARG001
    blocks = philox(np.arange(-(-outputs[0].elements // 4), dtype=np.uint64), attrs.seed, attrs.stream)
    words = np.stack(blocks, axis=1).reshape(-1)[: outputs[0].elements]
    return [words.view(np.int32).reshape(outputs[0].shape)]


def philox(block: Array, seed: int, stream: int) -> list[Array]:
    """Philox 4x32-10 (Salmon et al., SC 2011): the four u32 words of each u64 block of a stream."""
    low32 = np.uint64(0xFFFFFFFF)
    high = np.full_like(block, stream)
    words = [block & low32, block >> np.uint64(32), high & low32, high >> np.uint64(32)]
    keys = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    for _ in range(10):
        first, second = words[0] * np.uint64(0xD2511F53), words[2] * np.uint64(0xCD9E8D57)
        words = [
            (second >> np.uint64(32)) ^ words[1] ^ np.uint64(keys[0]),
            second & low32,
            (first >> np.uint64(32)) ^ words[3] ^ np.uint64(keys[1]),
            first & low32,
        ]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return [word.astype(np.uint32) for word in words]


_ATOMS: dict[type[Any], Callable[[Any, Sequence[Array], Sequence[Value]], list[Array]]] = {
    Raster: _raster,
    Gemm: _gemm,
    Map: _map,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Sort: _sort,
    Rng: _rng,
}


# ---------------------------------------------------------------- control flow


def _called(part: Graph, inputs: Sequence[Array]) -> list[Array]:
    """A sub-graph on arrays of the right sizes, whatever their shapes."""
    shaped = [a.reshape(part.values[i].shape) for i, a in zip(part.inputs, inputs, strict=True)]
    return run(part, shaped)


def _if(attrs: If, inputs: Sequence[Array]) -> list[Array]:
    return _called(attrs.then if inputs[0].reshape(()) else attrs.orelse, inputs[1:])


def _while(attrs: While, inputs: Sequence[Array]) -> list[Array]:
    carried, trips = list(inputs), 0
    while _called(attrs.cond, carried)[0].reshape(()):
        if (trips := trips + 1) > MAX_TRIPS:
            raise RunError(f"no end after {MAX_TRIPS} trips")
        carried = _called(attrs.body, carried)
    return carried


def _loop(attrs: Loop, inputs: Sequence[Array]) -> list[Array]:
    fixed = len(inputs) - attrs.fixed
    carried, same = inputs[: attrs.carried], inputs[fixed:]
    sequences = [array.reshape(attrs.trips, -1) for array in inputs[attrs.carried : fixed]]
    slices: dict[int, list[Array]] = {}
    for trip in range(attrs.trips)[:: -1 if attrs.reverse else 1]:
        outputs = _called(attrs.body, [*carried, *(sequence[trip] for sequence in sequences), *same])
        carried, slices[trip] = outputs[: attrs.carried], outputs[attrs.carried :]
    stacked = [np.stack(rows) for rows in zip(*(slices[trip] for trip in range(attrs.trips)), strict=True)]
    return [*carried, *stacked]


_CONTROL: dict[type[Any], Callable[[Any, Sequence[Array]], list[Array]]] = {
    If: _if,
    While: _while,
    Loop: _loop,
}
