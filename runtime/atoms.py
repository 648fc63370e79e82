"""The eight atomic operators: their attributes, and in the docstrings their exact meaning.

`runtime.backends.reference` executes these definitions in NumPy and is the judge of every other backend.
A node at ATOMIC level has one of these classes as `attrs` and its `NAME` as `op`. Views address elements, not
bytes; every value is dense and row-major, so a view is an offset and strides into its flat storage.
Source of the scheme: Walle (OSDI 2022) §4.1, raster and atomic operators; rank 6 and mode add are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from runtime.graph import Shape

MAX_RANK = 6
Ties = Literal["away", "up"]
"""Where a rounding right shift takes a number half-way between two: away from zero, or to the greater one."""


@dataclass(frozen=True, slots=True)
class View:
    """Address of index i: offset + sum(i[d] * strides[d]); a stride may be 0 (broadcast) or negative."""

    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """For every index i below `sizes` (rank <= 6): out[destination(i)] = inputs[input][source(i)]."""

    input: int
    source: View
    destination: View
    sizes: Shape


@dataclass(frozen=True, slots=True)
class Raster:
    """Moves data: out = fill everywhere, then each region, in order, is copied or (mode "add") added.

    `fill` is None when the regions cover the whole output. Any element type; what is copied keeps its bits:
    an input may be of another type of the same size, unless the output is bool.
    """

    NAME: ClassVar = "RASTER"
    regions: tuple[Region, ...]
    fill: float | int | None = None
    mode: Literal["copy", "add"] = "copy"


@dataclass(frozen=True, slots=True)
class Requantize:
    """Integer epilogue of a GEMM: s32 accumulator -> stored integer, as TFLite's kernels round.

    out = clamp(zero_point + multiply_by_quantized_multiplier(acc, multiplier[n], shift[n]), low, high),
    in s32 that wraps, where the fixed-point product is saturating-rounding-doubling-high-multiply, then a
    rounding right shift (`shift` is the power of two, negative shifts right). One (multiplier, shift) per
    column n, or a single one for all.
    """

    multiplier: tuple[int, ...]
    shift: tuple[int, ...]
    zero_point: int
    low: int
    high: int
    ties: Ties = "away"


@dataclass(frozen=True, slots=True)
class Clamp:
    """Float epilogue: out = min(max(acc, low), high); infinities mean no bound."""

    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True, slots=True)
class Gemm:
    """C[b,m,n] = epilogue(sum_k (A[b,m,k] - a_zero) * (B[b,k,n] - b_zero) + bias[n]).

    Inputs: A, B, and optionally bias of n elements. f32·f32 accumulates in f32 with a Clamp; 8-bit·8-bit
    accumulates in s32 (bias s32) with a Requantize, or without an epilogue (None) writes the s32
    accumulators; i16·i8 and i16·i16 accumulate in s64 without bias, zero points and epilogue, and write the
    s64 accumulators, or their low 32 bits to an i32 output. a, b and c are views of rank 3 over
    (batch, m, k), (batch, k, n), (batch, m, n): transposes, broadcast batches and slices cost nothing.
    """

    NAME: ClassVar = "GEMM"
    batch: int
    m: int
    n: int
    k: int
    a: View
    b: View
    c: View
    epilogue: Clamp | Requantize | None
    a_zero: int = 0
    b_zero: int = 0


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of a MAP program on a stack of scalars.

    ("load", i) pushes input i at the current index; ("const", x) pushes x; every other name is a row of
    `runtime.primitives.PRIMITIVES` and pops its arity, pushes one. `args` holds the integers of fixed-point
    primitives, such as (multiplier, shift).
    """

    name: str
    args: tuple[float | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Map:
    """Element-wise, for every index i below `sizes` (rank <= 6):
    out[output(i)] = program(inputs[0][views[0](i)], inputs[1][views[1](i)], ...).

    Inputs are converted to the compute type on load. `compute` "f32" evaluates in float32, "f64" in float64;
    "i32" in int32 that wraps, with 64-bit products inside the fixed-point primitives; "i64" in int64. The
    store converts to the output type: from floats to an integer it expects an integral value already rounded
    by a primitive, and every store to an integer saturates. Only a u64 is to integers the i64 of the same
    bits, loaded and stored. Comparisons give 0 or 1.
    """

    NAME: ClassVar = "MAP"
    sizes: Shape
    views: tuple[View, ...]
    output: View
    program: tuple[Instruction, ...]
    compute: Literal["f32", "f64", "i32", "i64"] = "f32"


@dataclass(frozen=True, slots=True)
class Reduce:
    """out[o,i] = op over a of in[o,a,i]; input dense [outer, axis, inner], output dense [outer, inner].

    sum of 8-bit and 16-bit integers accumulates into an s32 output, of s32 also into s64, of f32 into f32,
    max and min keep the type, any and all are bool, argmax and argmin give i32 or i64, the first of equals.
    Of floats max and min leave NaN out, unless there is nothing else; to argmax and argmin no number is
    better than a NaN that comes first, and a later one is never better.
    """

    NAME: ClassVar = "REDUCE"
    op: Literal["sum", "max", "min", "prod", "any", "all", "argmax", "argmin"]
    outer: int
    axis: int
    inner: int


@dataclass(frozen=True, slots=True)
class Gather:
    """out[i, j] = rows[index[i], j] for `count` indices (i32 or i64) into `rows` rows of `width` elements.

    An index outside 0..rows-1 stops the run with an error that names the node."""

    NAME: ClassVar = "GATHER"
    rows: int
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class Scatter:
    """Inputs base, index, update: out = base, then by i: out[index[i], j] = / += / max= update[i, j]."""

    NAME: ClassVar = "SCATTER"
    mode: Literal["set", "add", "max"]
    rows: int
    width: int
    count: int


@dataclass(frozen=True, slots=True)
class Sort:
    """Top k of `rows` rows of `width` each, descending, equals by lower index: values and i32 indices."""

    NAME: ClassVar = "SORT"
    rows: int
    width: int
    k: int


@dataclass(frozen=True, slots=True)
class Rng:
    """out[i] = word i % 4 of the Philox 4x32-10 block i // 4 of a stream, its 32 bits as i32.

    The key is `seed`; the counter is the block in its low 64 bits and `stream` in its high ones. Numbers that
    a replay gives bit by bit, and that MAP turns into a distribution.
    """

    NAME: ClassVar = "RNG"
    seed: int
    stream: int


Atom = Raster | Gemm | Map | Reduce | Gather | Scatter | Sort | Rng
ATOMS: tuple[type[Atom], ...] = (Raster, Gemm, Map, Reduce, Gather, Scatter, Sort, Rng)
