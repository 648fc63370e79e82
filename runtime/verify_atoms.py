"""What an atom promises: every address inside its value, every operand of a type that the kernels expect."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from runtime.atoms import (
    MAX_RANK,
    Clamp,
    Gather,
    Gemm,
    Instruction,
    Map,
    Raster,
    Reduce,
    Requantize,
    Rng,
    Scatter,
    Sort,
    View,
)
from runtime.errors import VerifyError
from runtime.fused import Depthwise, IndirectGemm, IndirectReduce, Lookup, Table, Winograd
from runtime.graph import DType, Shape, Value
from runtime.primitives import COMPUTE_TYPES, FLOAT, MAX_STACK, PRIMITIVES
from runtime.quantized import I32_MAX
from runtime.strides import extent

BYTES = frozenset({DType.I8, DType.U8})
SMALL = BYTES | {DType.I16}
NUMBERS = frozenset({DType.F32, DType.I8, DType.U8, DType.I16, DType.I32, DType.I64})
INDEX = frozenset({DType.I32, DType.I64})
RANGES = {dtype: (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max)) for dtype in SMALL | INDEX}


def require(condition: bool, where: str, what: str) -> None:
    """Raises VerifyError."""
    if not condition:
        raise VerifyError(f"{where}: {what}")


class Site:
    """One atom's operands, and the questions that are asked of every atom; `partly` where other nodes write
    the rest of its output.
    """

    def __init__(self, where: str, inputs: list[Value], outputs: list[Value], partly: bool = False) -> None:
        self.where, self.inputs, self.outputs, self.partly = where, inputs, outputs, partly

    def bad(self, what: str) -> VerifyError:
        return VerifyError(f"{self.where}: {what}")

    def require(self, condition: bool, what: str) -> None:
        """The text is made each time; where that costs a load too much, `raise self.bad(...)`."""
        require(condition, self.where, what)

    def counts(self, inputs: int, outputs: int = 1) -> None:
        got = len(self.inputs), len(self.outputs)
        self.require(got == (inputs, outputs), f"{got} inputs and outputs, expected {(inputs, outputs)}")

    def types(self, *expected: DType) -> None:
        got = tuple(value.dtype for value in (*self.inputs, *self.outputs))
        self.require(got == expected, f"types {_names(got)}, expected {_names(expected)}")

    def view(self, view: View, sizes: Shape, value: Value) -> None:
        """Every address inside the value."""
        ranks = len(sizes), len(view.strides)
        if not ranks[0] == ranks[1] <= MAX_RANK:
            raise self.bad(f"ranks {ranks}, the most is {MAX_RANK}")
        if min(sizes, default=1) < 0:
            raise self.bad(f"sizes {sizes}")
        (low, high), elements = extent(view, sizes), value.elements
        inside = low >= 0 and high < max(elements, 1) if high >= low else True
        if not (inside and (0 in sizes or elements > 0)):
            raise self.bad(f"addresses {low}..{high} of {elements}")

    def holds(self, value: Value, elements: int) -> None:
        self.require(
            value.elements == elements, f"{value.name!r} has {value.elements} elements, not {elements}"
        )


def _names(types: tuple[DType, ...]) -> str:
    return " ".join(dtype.value for dtype in types)


def _raster(at: Site, attrs: Raster) -> None:
    at.require(len(at.outputs) == 1, "has one output")
    out, covered = at.outputs[0], 0
    if attrs.mode == "add" or out.dtype is DType.BOOL:
        at.types(*(out.dtype,) * (len(at.inputs) + 1))
    for value in at.inputs:
        at.require(value.dtype.size == out.dtype.size, f"{value.dtype.value} copied to {out.dtype.value}")
    for region in attrs.regions:
        at.require(0 <= region.input < len(at.inputs), f"region of input {region.input}")
        at.view(region.source, region.sizes, at.inputs[region.input])
        at.view(region.destination, region.sizes, out)
        covered += math.prod(region.sizes)
    at.require(
        at.partly or attrs.fill is not None or attrs.mode == "add" or covered >= out.elements,
        "leaves gaps without a fill",
    )


def _gemm(at: Site, attrs: Gemm) -> None:
    _product(at, attrs)
    at.view(attrs.a, (attrs.batch, attrs.m, attrs.k), at.inputs[0])


def _product(at: Site, attrs: Gemm) -> None:
    """All but how A is read."""
    at.counts(3 if len(at.inputs) > 2 else 2)
    sizes = attrs.batch, attrs.m, attrs.n, attrs.k
    at.require(min(sizes) >= 1, f"sizes {sizes}")
    a, b, out = at.inputs[0], at.inputs[1], at.outputs[0]
    at.view(attrs.b, (attrs.batch, attrs.k, attrs.n), b)
    at.view(attrs.c, (attrs.batch, attrs.m, attrs.n), out)
    if len(at.inputs) > 2:
        at.holds(at.inputs[2], attrs.n)
    epilogue = attrs.epilogue
    if a.dtype is DType.F32:
        at.require(
            isinstance(epilogue, Clamp) and not attrs.a_zero and not attrs.b_zero, "floats take a Clamp"
        )
        at.types(*(DType.F32,) * (len(at.inputs) + 1))
        return
    if a.dtype is DType.I16:
        at.counts(2)
        at.require(
            b.dtype in (DType.I8, DType.I16) and out.dtype in INDEX, "i16 takes i8 or i16 to i32 or i64"
        )
        at.require(
            epilogue is None and not attrs.a_zero and not attrs.b_zero, "i16 takes neither epilogue nor zeros"
        )
        return
    wide = {value.dtype for value in at.inputs[2:]} | ({out.dtype} if epilogue is None else set())
    at.require({a.dtype, b.dtype} <= BYTES and wide <= {DType.I32}, "operands are bytes, bias and sums i32")
    at.require(isinstance(epilogue, Requantize) or epilogue is None, "bytes take a Requantize")
    for zero, value in ((attrs.a_zero, a), (attrs.b_zero, b)):
        at.require(_fits(zero, value.dtype), f"zero point {zero} of {value.dtype.value}")
    if isinstance(epilogue, Requantize):
        at.require(out.dtype in BYTES, f"requantises to {out.dtype.value}")
        _requantize(at, epilogue, attrs.n, out.dtype)


def _requantize(at: Site, epilogue: Requantize, n: int, dtype: DType) -> None:
    pairs = {len(epilogue.multiplier), len(epilogue.shift)}
    at.require(pairs in ({1}, {n}), f"{pairs} multipliers and shifts for {n} columns")
    for multiplier, shift in zip(epilogue.multiplier, epilogue.shift, strict=True):
        at.require(_sound(multiplier, shift), f"multiplier {multiplier} and shift {shift}")
    low, zero, high = epilogue.low, epilogue.zero_point, epilogue.high
    at.require(
        low <= high and all(_fits(x, dtype) for x in (low, zero, high)), f"range {low}..{high} about {zero}"
    )


def _fits(number: int, dtype: DType) -> bool:
    low, high = RANGES[dtype]
    return low <= number <= high


def _sound(multiplier: float, shift: float) -> bool:
    return 0 <= multiplier <= I32_MAX and -31 <= shift <= 30


def _map(at: Site, attrs: Map) -> None:
    at.counts(len(attrs.views))
    at.require(attrs.compute in COMPUTE_TYPES, f"compute type {attrs.compute}")
    for view, value in zip(attrs.views, at.inputs, strict=True):
        at.view(view, attrs.sizes, value)
    at.view(attrs.output, attrs.sizes, at.outputs[0])
    depth = 0
    for step in attrs.program:
        row = PRIMITIVES.get(step.name)
        arity, args = (0, 1) if row is None else (row.arity, row.args)
        if step.name not in ("load", "const") and (row is None or attrs.compute not in row.computes):
            raise at.bad(f"{step.name} in {attrs.compute}")
        if len(step.args) != args or depth < arity:
            raise at.bad(f"operands of {step.name}")
        if not _constants(step.args, attrs.compute) or not _known(step, len(at.inputs)):
            raise at.bad(f"{step.name} {step.args}")
        depth += 1 - arity
        if depth > MAX_STACK:
            raise at.bad(f"program holds {depth} scalars, the most is {MAX_STACK}")
    at.require(depth == 1, f"program leaves {depth} scalars")


def _known(step: Instruction, inputs: int) -> bool:
    """Whether the arguments are of those that there are."""
    if step.name == "load":
        return step.args[0] in range(inputs)
    return step.name != "mulq" or _sound(*step.args)


def _constants(args: tuple[Any, ...], compute: str) -> bool:
    """Whether the numbers are of the compute type."""
    return compute in FLOAT or all(isinstance(x, int) and _fits(x, DType(compute)) for x in args)


def _reduce(at: Site, attrs: Reduce) -> None:
    _reduction(at, attrs)
    at.holds(at.inputs[0], attrs.outer * attrs.axis * attrs.inner)


def _reduction(at: Site, attrs: Reduce) -> None:
    """All but how the input is read."""
    at.counts(1)
    sizes = attrs.outer, attrs.axis, attrs.inner
    at.require(min(sizes) >= 1, f"sizes {sizes}")
    at.holds(at.outputs[0], attrs.outer * attrs.inner)
    source, target = at.inputs[0].dtype, at.outputs[0].dtype
    legal = {
        "sum": (source, target) in SUMS or (source is target and source in WIDE),
        "prod": source is target and source in WIDE,
        "max": source is target and source in NUMBERS,
        "min": source is target and source in NUMBERS,
        "any": source is target is DType.BOOL,
        "all": source is target is DType.BOOL,
        "argmax": source in NUMBERS | {DType.BOOL} and target in INDEX,
        "argmin": source in NUMBERS | {DType.BOOL} and target in INDEX,
    }
    at.require(legal.get(attrs.op, False), f"{attrs.op} of {source.value} into {target.value}")


WIDE = frozenset({DType.F32, DType.I32, DType.I64})
SUMS = {*((small, DType.I32) for small in SMALL), (DType.I32, DType.I64)}
"""Which integers add up in wider ones."""


def _gather(at: Site, attrs: Gather) -> None:
    at.counts(2)
    at.holds(at.inputs[0], attrs.rows * attrs.width)
    at.holds(at.inputs[1], attrs.count)
    at.holds(at.outputs[0], attrs.count * attrs.width)
    _indexed(at, at.inputs[1])
    at.types(at.outputs[0].dtype, at.inputs[1].dtype, at.outputs[0].dtype)


def _scatter(at: Site, attrs: Scatter) -> None:
    at.counts(3)
    for value, elements in (
        (at.inputs[0], attrs.rows * attrs.width),
        (at.inputs[1], attrs.count),
        (at.inputs[2], attrs.count * attrs.width),
        (at.outputs[0], attrs.rows * attrs.width),
    ):
        at.holds(value, elements)
    _indexed(at, at.inputs[1])
    out = at.outputs[0].dtype
    at.types(out, at.inputs[1].dtype, out, out)
    at.require(out in NUMBERS or attrs.mode == "set", f"{attrs.mode} of {out.value}")


def _indexed(at: Site, index: Value) -> None:
    at.require(index.dtype in INDEX, f"index of type {index.dtype.value}")


def _sort(at: Site, attrs: Sort) -> None:
    at.counts(1, 2)
    at.require(1 <= attrs.k <= attrs.width, f"top {attrs.k} of {attrs.width}")
    at.holds(at.inputs[0], attrs.rows * attrs.width)
    for value in at.outputs:
        at.holds(value, attrs.rows * attrs.k)
    at.require(at.inputs[0].dtype in NUMBERS, f"sorts {at.inputs[0].dtype.value}")
    at.types(at.inputs[0].dtype, at.inputs[0].dtype, DType.I32)


def _rng(at: Site, attrs: Rng) -> None:
    at.counts(0)
    at.types(DType.I32)
    numbers = attrs.seed, attrs.stream
    at.require(all(0 <= number < 2**64 for number in numbers), f"seed and stream {numbers}")


# -------------------------------------------------------------------- what stands for several atoms


def _table(at: Site, table: Table, m: int, width: int) -> None:
    """Every chunk inside the first input; a row is `width` elements."""
    rows, elements = table.rows, at.inputs[0].elements
    shape = rows.shape[0], rows.shape[1] * table.chunk
    at.require(rows.dtype == np.int32 and shape == (m, width), f"a table for {shape}, expected {(m, width)}")
    least, most = int(rows.min()), int(rows.max()) + table.chunk - 1
    at.require(least >= -1 and most < elements, f"a table of {least}..{most} of {elements}")


def _indirect_gemm(at: Site, attrs: IndirectGemm) -> None:
    gemm = attrs.gemm
    _product(at, gemm)
    at.require(gemm.batch == 1, f"a batch of {gemm.batch}")
    _table(at, attrs.table, gemm.m, gemm.k)


def _winograd(at: Site, attrs: Winograd) -> None:
    """Every row of the image inside the first input, and a window at every pixel of the output."""
    gemm, rows = attrs.gemm, attrs.rows
    _product(at, gemm)
    at.types(*(DType.F32,) * (len(at.inputs) + 1))
    at.require(all(value.data is not None for value in at.inputs[1:]), "weights that are no constants")
    sizes = attrs.columns, attrs.width, attrs.step
    at.require(min(sizes) >= 1 and attrs.left >= 0, f"sizes {sizes}, {attrs.left} on the left")
    at.require(attrs.tile in (2, 4), f"tiles of {attrs.tile}")
    height, ragged = divmod(gemm.m, attrs.columns)
    at.require((gemm.batch, gemm.k % 9, ragged, gemm.c.strides[2]) == (1, 0, 0, 1), "no 3x3 of an image")
    shape = -(-height // attrs.tile), attrs.tile + 2
    at.require(rows.dtype == np.int32 and rows.shape == shape, f"rows of {rows.shape}, expected {shape}")
    least, most = int(rows.min()), int(rows.max()) + (attrs.width - 1) * attrs.step + gemm.k // 9 - 1
    at.require(least >= -1 and most < at.inputs[0].elements, f"rows of {least}..{most}")


def _indirect_reduce(at: Site, attrs: IndirectReduce) -> None:
    reduce = attrs.reduce
    _reduction(at, reduce)
    at.require(attrs.table.chunk == reduce.inner, f"chunks of {attrs.table.chunk}, expected {reduce.inner}")
    _table(at, attrs.table, reduce.outer, reduce.axis * reduce.inner)


def _lookup(at: Site, attrs: Lookup) -> None:
    at.counts(1)
    source, out = at.inputs[0], at.outputs[0]
    at.require(source.dtype in BYTES and out.dtype in BYTES, f"types {_names((source.dtype, out.dtype))}")
    last, table = attrs.offset + out.elements, attrs.table
    inside = attrs.offset >= 0 and last <= source.elements
    at.require(inside, f"reads {attrs.offset}..{last} of {source.elements}")
    fits = (table.shape, table.dtype) == ((256,), out.dtype.numpy)
    at.require(fits, f"a table of {table.dtype} {table.shape}")


def _depthwise(at: Site, attrs: Depthwise) -> None:
    at.counts(1)
    (m, taps), channels = attrs.table.rows.shape, attrs.table.chunk
    _table(at, attrs.table, m, taps * channels)
    at.holds(at.outputs[0], m * channels)
    shapes = attrs.weights.shape, attrs.bias.shape
    at.require(shapes == ((taps, channels), (channels,)), f"weights and bias {shapes}")
    source, out = at.inputs[0].dtype, at.outputs[0].dtype
    real = isinstance(attrs.epilogue, Clamp)
    types = {attrs.weights.dtype, attrs.bias.dtype}
    at.require(types == {np.dtype(np.float32 if real else np.int32)}, f"weights and bias of {types}")
    if isinstance(attrs.epilogue, Clamp):
        at.types(DType.F32, DType.F32)
    else:
        at.require(source in BYTES and out in BYTES, f"{source.value} to {out.value}, expected bytes")
        at.require(_fits(attrs.in_zero, source), f"zero point {attrs.in_zero} of {source.value}")
        _requantize(at, attrs.epilogue, channels, out)


def written(attrs: Any) -> int:
    """How many elements a node writes of a value of which others write the rest; 0 where it can't."""
    match attrs:
        case Raster(regions, None, "copy"):
            return sum(math.prod(region.sizes) for region in regions)
        case Map(sizes):
            return math.prod(sizes)
        case Gemm(batch, m, n) | IndirectGemm(Gemm(batch, m, n)) | Winograd(Gemm(batch, m, n)):
            return batch * m * n
    return 0


CHECKS: dict[type[Any], Callable[[Site, Any], None]] = {
    Raster: _raster,
    Gemm: _gemm,
    Map: _map,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Sort: _sort,
    Rng: _rng,
    IndirectGemm: _indirect_gemm,
    Winograd: _winograd,
    IndirectReduce: _indirect_reduce,
    Depthwise: _depthwise,
    Lookup: _lookup,
}
