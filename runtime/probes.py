"""A program with a step for everything that `backends.cost` counts: small products, convolutions, reductions,
copies, a MAP of each primitive, all on inputs that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from runtime.atoms import Clamp, Gather, Gemm, Instruction, Map, Raster, Reduce, Region, Requantize, View
from runtime.backends.winograd import TAPS, TILES, Image, tiled
from runtime.fused import Depthwise, IndirectGemm, IndirectReduce, Lookup, Table
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.primitives import PRIMITIVES, Compute
from runtime.strides import dense

SOURCE, MAPPED = 1 << 18, 1 << 14
"""Elements of the inputs, and of most MAPs."""
COLUMNS = 1024


class Probes:
    """A graph with a node for everything that is measured, each on inputs that all share."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.nodes: list[Node] = []
        self.inputs = {dtype: self.value(SOURCE, dtype) for dtype in (DType.F32, DType.I8, DType.I32)}

    def value(self, elements: int, dtype: DType, data: Array | None = None) -> int:
        self.values.append(Value("probe", (elements,), dtype, data=data))
        return len(self.values) - 1

    def constant(self, elements: int, dtype: DType) -> int:
        return self.value(elements, dtype, np.ones(elements, dtype.numpy))

    def add(self, atom: Any, inputs: Sequence[int], elements: int, dtype: DType) -> None:
        self.nodes.append(Node(atom.NAME, tuple(inputs), (self.value(elements, dtype),), atom))

    def graph(self) -> Graph:
        return Graph(tuple(self.values), tuple(self.nodes), tuple(self.inputs.values()), ())


def probes() -> Graph:
    found = Probes()
    for dtype in (DType.F32, DType.I8):
        _products(found, dtype)
        _depthwise(found, dtype)
        _copies(found, dtype)
    for dtype in found.inputs:
        _reductions(found, dtype)
    _winograd(found)
    _bytes(found)
    _maps(found, "f32", DType.F32)
    _maps(found, "i32", DType.I32)
    return found.graph()


def epilogue(dtype: DType, n: int) -> Clamp | Requantize:
    return Clamp() if dtype is DType.F32 else Requantize((1 << 30,) * n, (-8,) * n, 0, -128, 127)


def gemm_of(m: int, n: int, k: int, dtype: DType, batch: int = 1) -> Gemm:
    sizes = dense((batch, m, k)), dense((batch, k, n)), dense((batch, m, n))
    return Gemm(batch, m, n, k, *sizes, epilogue(dtype, n))


PRODUCTS = """
    96,128,64 96,64,256 96,512,64 48,32,512 192,16,32 36,96,100 7,128,128 3,96,64
    1,256,128 1,128,512 1,32,64 1,16,16 1,512,512 24,32,1500 60,64,1030 48,256,1024 24,256,4096
    784,128,64 784,32,192 3136,64,32 3136,16,96 196,512,128 49,160,960
"""
"""Rows, columns and depth: tiles of many and few rows, of half a panel, wider than a cache, of rows that
share their places in one; and what does not stay in the first cache.
"""
IMAGES = "10,16,64 12,64,32 30,3,32 9,256,128 30,64,64"
"""Side, channels, columns of a convolution by 3x3."""
TILED = "18,16,32 14,64,64 30,32,16 10,32,128 8,128,32"
"""The same, of a Winograd convolution."""
DEPTHWISE = """
    16,64,3,1 32,128,3,1 32,128,3,2 14,240,5,1 10,24,3,1 26,16,3,2 9,200,5,2 9,240,3,1 16,480,3,1 15,480,3,2
"""
"""Side, channels, side of the window, stride."""
REDUCTIONS = "1,4096,1 64,64,1 128,8,1 1,49,512 4,64,16 16,9,64 1,196,200 1,98,96"
"""Outer, axis, inner."""
PAIRS = "1,256 1,16384 64,24 64,200 1,131072"
"""Rows and their width."""
COPIES = "1,16384,1 128,16,1 64,100,1 64,32,2 16,200,3 512,256,1 2048,64,1 1024,64,2"
"""Rows, their width, the step between elements of the source."""
GATHERED = "1024,1 64,128 16,1024"
"""Rows and their width."""


def sizes_in(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, entry.split(","))) for entry in text.split()]


def _products(found: Probes, dtype: DType) -> None:
    source = found.inputs[dtype]

    def add(gemm: Gemm, b: int) -> None:
        found.add(gemm, (source, b), gemm.batch * gemm.m * gemm.n, dtype)

    for m, n, k in sizes_in(PRODUCTS):
        add(gemm_of(m, n, k, dtype), found.constant(k * n, dtype))
    for side in (32, 64):
        add(gemm_of(side, side, side, dtype, 2), source)
    plain, turned = gemm_of(96, 128, 64, dtype), View(0, (0, 1, 96))
    for gemm in (replace(plain, a=turned), replace(plain, c=turned)):
        add(gemm, found.constant(64 * 128, dtype))
    for side, channels, n in sizes_in(IMAGES):
        table = windows(side, channels, 3, 1)
        gemm = gemm_of(len(table.rows), n, TAPS * channels, dtype)
        b = found.constant(gemm.k * n, dtype)
        found.add(IndirectGemm(gemm, table), (source, b), gemm.m * n, dtype)


def windows(side: int, channels: int, taps: int, stride: int) -> Table:
    """Windows of an image without padding, in columns."""
    pixels = np.arange(side * side, dtype=np.int32).reshape(side, side) * channels
    seen = np.lib.stride_tricks.sliding_window_view(pixels, (taps, taps))[::stride, ::stride]
    rows = np.ascontiguousarray(seen.transpose(0, 1, 3, 2)).reshape(-1, taps * taps)
    return Table(rows, channels, 0)


def _depthwise(found: Probes, dtype: DType) -> None:
    wide = np.float32 if dtype is DType.F32 else np.int32
    for side, channels, taps, stride in sizes_in(DEPTHWISE):
        table = windows(side, channels, taps, stride)
        weights, bias = np.ones((taps * taps, channels), wide), np.zeros(channels, wide)
        fused = Depthwise(table, weights, bias, 0, epilogue(dtype, channels))
        found.add(fused, (found.inputs[dtype],), len(table.rows) * channels, dtype)


def _winograd(found: Probes) -> None:
    for side, channels, n in sizes_in(TILED):
        gemm = gemm_of((side - 2) ** 2, n, TAPS * channels, DType.F32)
        image = Image(0, side * channels, channels, side, side, False, False, False, False)
        for tile in TILES:
            inputs = found.inputs[DType.F32], found.constant(gemm.k * n, DType.F32)
            found.add(tiled(image, gemm, tile), inputs, gemm.m * n, DType.F32)


def _reductions(found: Probes, dtype: DType) -> None:
    inputs, table = (found.inputs[dtype],), windows(14, 64, 3, 2)
    wide: dict[Literal["sum", "max"], DType] = {
        "sum": DType.I32 if dtype is DType.I8 else dtype,
        "max": dtype,
    }
    for op, out in wide.items():
        for outer, axis, inner in sizes_in(REDUCTIONS):
            found.add(Reduce(op, outer, axis, inner), inputs, outer * inner, out)
        reduce = Reduce(op, len(table.rows), table.rows.shape[1], table.chunk)
        found.add(IndirectReduce(reduce, table), inputs, reduce.outer * reduce.inner, out)


def _bytes(found: Probes) -> None:
    source = found.inputs[DType.I8]
    for size in (64, 4096, 1 << 17):
        found.add(Lookup(np.zeros(256, np.int8), 0), (source,), size, DType.I8)
    zero, scale = (Instruction("const", (3,)), Instruction("sub")), Instruction("mulq", (1 << 30, -1))
    moved = [(Instruction("load", (i,)), *zero) for i in (0, 1)]
    scaled = [(*term, Instruction("const", (20,)), Instruction("shift_left"), scale) for term in moved]
    for (a, b), name, shift in ((moved, "mul", -8), (scaled, "add", -18)):
        last = Instruction("mulq", (1 << 30, shift)), Instruction("const", (0,)), Instruction("add")
        program = (*a, *b, Instruction(name), *last, Instruction("clamp", (-128, 127)))
        for rows, width in sizes_in(PAIRS):
            view, wider = dense((rows, width)), View(0, (width + 8, 1))
            atom = Map((rows, width), (wider, wider), view, program, "i32")
            found.add(atom, (source, source), rows * width, DType.I8)


def _copies(found: Probes, dtype: DType) -> None:
    source, index = found.inputs[dtype], found.constant(1024, DType.I32)
    for rows, width, step in sizes_in(COPIES):
        region = Region(0, View(0, (width * step + 4, step)), dense((rows, width)), (rows, width))
        found.add(Raster((region,)), (source,), rows * width, dtype)
    found.add(Raster((), 0), (), 8192, dtype)
    for rows, width in sizes_in(GATHERED):
        found.add(Gather(64, width, rows), (source, index), rows * width, dtype)


def _maps(found: Probes, compute: Compute, dtype: DType) -> None:
    def add(elements: int, names: Sequence[Instruction], view: View | None, out: DType, of: DType) -> None:
        """The program on one input, which is read through `view` the first time."""
        flat = dense(sizes := (64, elements // 64))
        loads = PRIMITIVES[names[-1].name].arity
        program = (*(Instruction("load", (i,)) for i in range(loads)), *names)
        views = (view or flat, *[flat] * (loads - 1))
        found.add(Map(sizes, views, flat, program, compute), (found.inputs[of],) * loads, elements, out)

    for name, primitive in PRIMITIVES.items():
        if compute in primitive.computes:
            add(MAPPED, [Instruction(name, (1, 2)[: primitive.args])], None, dtype, dtype)
    both = [Instruction("add")]
    for elements in (64, 512, 1 << 17):
        add(elements, both, None, dtype, dtype)
    for elements, step in ((MAPPED, 0), (MAPPED, 64), (512, 0)):
        add(elements, both, View(0, (1, step)), dtype, dtype)
    add(MAPPED, both, None, dtype, DType.I8)
    add(MAPPED, both, None, DType.I8, dtype)


def weights(sizes: Sequence[int]) -> Graph:
    """A single row times so many bytes of weights."""
    found = Probes()
    for size in sizes:
        gemm = replace(gemm_of(1, COLUMNS, size // 4 // COLUMNS, DType.F32), b=View(0, (0, 0, 0)))
        found.add(gemm, (found.inputs[DType.F32], found.constant(1, DType.F32)), COLUMNS, DType.F32)
    return found.graph()
