"""What the cpu backend has kernels for beside the atoms: each stands for several atoms, where
`backends/fuse.py` finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from runtime.atoms import Clamp, Gemm, Reduce, Requantize
from runtime.graph import Array


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`rows[m, t]` (int32): the element of the input where chunk t of row m starts, -1 where the chunk is all
    `fill`.
    """

    rows: Array
    chunk: int
    fill: float


@dataclass(frozen=True, slots=True, eq=False)
class IndirectGemm:
    """`gemm`, whose A is read through `table` from the first input."""

    NAME: ClassVar = "INDIRECT_GEMM"
    gemm: Gemm
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class Depthwise:
    """out[m, c] = epilogue(sum_t (in[rows[m, t] + c] - in_zero) * weights[t, c] + bias[c]); no zero point in
    weights.
    """

    NAME: ClassVar = "DEPTHWISE"
    table: Table
    weights: Array
    bias: Array
    in_zero: int
    epilogue: Clamp | Requantize


@dataclass(frozen=True, slots=True, eq=False)
class Winograd:
    """`gemm`, whose rows of A are the 3x3 windows of an image, moved by one pixel each, done in tiles
    of `tile` x `tile` windows (see ckernels/winograd.h).

    `rows[r, i]` (int32): the element of the first input where row i of what row r of tiles reads starts, -1
    where it is all zeros. A row of the image has `width` pixels, `step` elements apart, and `left` of zeros
    before them; one of windows has `columns`.
    """

    NAME: ClassVar = "WINOGRAD"
    gemm: Gemm
    rows: Array
    tile: int
    columns: int
    width: int
    left: int
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class IndirectReduce:
    """`reduce`, the slices of whose axis are chunks that `table` finds in the input."""

    NAME: ClassVar = "INDIRECT_REDUCE"
    reduce: Reduce
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class Lookup:
    """out[i] = table[in[offset + i]], of bytes by their bits; the table is of the output's type."""

    NAME: ClassVar = "LOOKUP"
    table: Array
    offset: int


FUSED = (IndirectGemm, Winograd, Depthwise, IndirectReduce, Lookup)
