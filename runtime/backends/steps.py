"""A C step before the memory plan, and the initialisers of the structs in `ck.h`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import ckernels
from ckernels import ffi, lib
from runtime.atoms import Region, View
from runtime.backends.strips import Flow
from runtime.graph import Array, DType, Shape
from runtime.strides import collapse

START, LINE = 12, 64
"""What a loop costs to begin, in copies of one element; bytes of a line of the cache."""
Locate = Callable[[int], dict[str, int]]
"""Value id -> initialiser of its `ck_operand`."""
Fields = dict[str, Any]
"""Initialiser of a parameter struct, nested as cffi takes it."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A step before the memory plan: `fields` fills the struct once every operand has a place.

    `operations` counts multiplications and additions of a matrix product. What a step with `blocks` reads and
    writes is there from before the first of them until after the last. With a `flow` it may be run in parts.
    """

    source: str
    row: ckernels.Row
    struct: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    fields: Callable[[Locate, list[Any]], Fields]
    blocks: tuple[Block, ...] = ()
    operations: int = 0
    flow: Flow | None = None

    @property
    def output(self) -> int:
        return self.writes[0]


Block = list[Pending]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """B and bias as a kernel reads them: `size` bytes, which depend on `form` and the arrays; `fields` are
    what is known of `struct` by then.
    """

    row: ckernels.Row
    struct: str
    fields: Fields
    b: Array
    bias: Array | None
    size: int

    @property
    def form(self) -> str:
        return f"{self.row.name} {sorted(self.fields.items())}"

    def write(self, out: Array) -> None:
        out[...] = 0
        kept = [
            ffi.from_buffer("char[]", np.ascontiguousarray(data))
            for data in (self.b, out, *([] if self.bias is None else [self.bias]))
        ]
        operands = {
            "b": {"base": 0},
            "packed": {"base": 1},
            "bias": {"base": -1 if self.bias is None else 2},
        }
        params = ffi.new(f"{self.struct} *", {**self.fields, **operands})
        panels = self.fields.get("batch", 1) * -(-self.fields["n"] // self.row.nr)
        self.row.pack(params, 0, panels, ffi.new("char *[]", kept))


# -------------------------------------------------------------------- C initialisers


_CODES = {d: int(getattr(lib, name)) for d in DType if hasattr(lib, name := f"CK_{d.name}")}


def dtype_of(dtype: DType) -> int:
    return _CODES[dtype]


def bits_of(dtype: DType) -> str:
    """The name of the rows that move any element of this size."""
    return f"X{dtype.size * 8}"


def view_of(view: View) -> Fields:
    """Unused leading dimensions have stride 0."""
    return {"offset": view.offset, "strides": [0] * (6 - len(view.strides)) + list(view.strides)}


def sizes_of(sizes: Shape) -> list[int]:
    return [1] * (6 - len(sizes)) + list(sizes)


def matrix_of(view: View) -> Fields:
    """A view over (batch, row, column) stands in the first three strides."""
    return {"offset": view.offset, "strides": [*view.strides, 0, 0, 0]}


def array_of(kind: str, items: Any, keep: list[Any]) -> Any:
    keep.append(ffi.new(f"{kind}[]", items))
    return keep[-1]


def numbers_of(data: Array, keep: list[Any]) -> Any:
    """A pointer to an array of int32."""
    keep.append(ffi.from_buffer("int32_t[]", np.ascontiguousarray(data, np.int32)))
    return keep[-1]


def bytes_of(data: Array, keep: list[Any]) -> Any:
    """A pointer to an array of uint8."""
    keep.append(ffi.from_buffer("uint8_t[]", np.ascontiguousarray(data, np.uint8)))
    return keep[-1]


def inner_cost(sizes: Shape, views: Sequence[View], loop: int, size: int) -> float:
    """About what an element costs with this loop inside: its share of the loop's start, a copy one by one, a
    line of the cache for each.
    """
    strides = [view.strides[loop] for view in views]
    return START / sizes[loop] + (strides != [1, 1]) + sum(2 * (abs(x) * size > LINE) for x in strides)


def region_of(region: Region, size: int, in_order: bool = False) -> Fields:
    """A region of elements of `size` bytes; its loops in the quickest order where any order will do."""
    sizes, views = collapse(region.sizes, region.source, region.destination)
    if not in_order:
        inner = min(reversed(range(len(sizes))), key=lambda d: inner_cost(sizes, views, d, size))
        loops = [*(d for d in range(len(sizes)) if d != inner), inner]
        sizes = tuple([sizes[d] for d in loops])
        views = [View(view.offset, tuple([view.strides[d] for d in loops])) for view in views]
    source, destination = views
    return {
        "input": region.input,
        "source": view_of(source),
        "destination": view_of(destination),
        "sizes": sizes_of(sizes),
    }
