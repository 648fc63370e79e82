"""The C steps of each atom and fused kernel: one function each, which chooses the kernel row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import ckernels
from ckernels import ffi, lib
from runtime.atoms import Clamp, Gather, Gemm, Map, Raster, Reduce, Requantize, Rng, Scatter, Sort
from runtime.backends import stages, strips
from runtime.backends.byte_pairs import Pair, pair_of
from runtime.backends.cost import MAP_BLOCK
from runtime.backends.depthwise_blocks import SMALLEST_SHIFT, in_blocks
from runtime.backends.steps import (
    Fields,
    Locate,
    Packed,
    array_of,
    bits_of,
    bytes_of,
    dtype_of,
    matrix_of,
    numbers_of,
    region_of,
    sizes_of,
    view_of,
)
from runtime.backends.strips import Flow, Stream, Windows
from runtime.errors import UnsupportedError
from runtime.fused import Depthwise, IndirectGemm, IndirectReduce, Lookup, Table, Winograd
from runtime.graph import ABSENT, FLOATS, Array, DType, Node
from runtime.primitives import FLOAT, deepest
from runtime.raster import is_disjoint
from runtime.strides import collapse, is_dense

if TYPE_CHECKING:
    from runtime.backends.emitter import Emitter

SLIDING_TAPS = 9
TILES_SHARE, STAYING = 0.6, 0.5
"""Of the cache: for a block of tiles of a Winograd convolution; for weights that are read for each block."""
PAIR_ROWS = 64
"""Into which a pair of one long row is cut."""
LOOKUP_ALIGN, MAP_ALIGN = 64, 16
"""Elements of a vector."""


def _raster(low: Emitter, node: Node, atom: Raster) -> None:
    out = low.values[node.outputs[0]]
    if atom.mode == "copy" and atom.fill is None and len(atom.regions) == 1:
        region = atom.regions[0]
        source = low.values[node.inputs[region.input]]
        whole = is_dense(region.source, region.sizes) and is_dense(region.destination, region.sizes)
        if whole and source.data is None and source.elements == out.elements == math.prod(region.sizes):
            low.alias(node.outputs[0], node.inputs[region.input])
            return
    if atom.mode == "add":
        row = low.kernel(
            node, "RASTER_ADD", *([out.dtype.name] if out.dtype in FLOATS else [bits_of(out.dtype)])
        )
    else:
        row = low.kernel(node, "RASTER", bits_of(out.dtype))
    regions = [region_of(region, out.dtype.size, atom.mode == "add") for region in atom.regions]
    any_order = low.threads > 1 and is_disjoint(atom, out.elements)

    def fields(at: Locate, keep: list[Any]) -> Fields:
        return {
            "out": at(node.outputs[0]),
            "inputs": array_of("ck_operand", [at(i) for i in node.inputs], keep),
            "regions": array_of("ck_region", regions, keep),
            "n_regions": len(atom.regions),
            "filled": atom.fill is not None or atom.mode == "add",
            "any_order": any_order,
            "elements": out.elements,
            "fill": np.array(atom.fill or 0, out.dtype.numpy).tobytes().ljust(8, b"\0"),
        }

    low.step(node, row, "ck_raster", fields, node.inputs)


def _indirect(low: Emitter, node: Node, fused: IndirectGemm) -> None:
    _gemm(low, node, fused.gemm, fused.table)


def _gemm(low: Emitter, node: Node, atom: Gemm, table: Table | None = None) -> None:
    (a, b), out = (low.values[i] for i in node.inputs[:2]), low.values[node.outputs[0]]
    bias = node.inputs[2] if len(node.inputs) > 2 else ABSENT
    quantised = {DType.I8: "Q8", DType.U8: "Q8", DType.I16: "Q16"}
    row = low.kernel(node, "GEMM", quantised.get(a.dtype, a.dtype.name))
    low.zero(node, (atom.batch, atom.m, atom.n))
    packing = {
        **{"batch": atom.batch, "m": atom.m, "n": atom.n, "k": atom.k, "b_view": matrix_of(atom.b)},
        **{"a_zero": atom.a_zero, "b_zero": atom.b_zero, "nr": row.nr},
        **{"a_dtype": dtype_of(a.dtype), "b_dtype": dtype_of(b.dtype)},
        "taps": 1 if table is None else table.rows.shape[1],
    }
    views = {"a_view": matrix_of(atom.a), "c_view": matrix_of(atom.c)}
    columns = atom.batch == 1 and by_columns(row, atom.m, atom.n)
    fixed = {**packing, **views, "c_dtype": dtype_of(out.dtype), "by_columns": columns}
    size, tile = room(row, "ck_gemm", fixed)
    bias_data = None if bias == ABSENT else low.values[bias].data
    constant = b.data is not None and (bias == ABSENT or bias_data is not None)
    if constant:
        assert b.data is not None
        panels = low.packed(Packed(row, "ck_gemm", packing, b.data, bias_data, size))
    else:
        panels = low.buffer(size)
        _pack(low, node, row, fixed, panels)
    scratch = low.scratch(tile)
    pad = ABSENT if table is None else low.constant(np.full(table.chunk, table.fill, a.dtype.numpy))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        operands = {"a": at(node.inputs[0]), "c": at(node.outputs[0]), "packed": at(panels), "pad": at(pad)}
        others = {"scratch": scratch, "b": at(ABSENT), "bias": at(ABSENT)}
        through = {} if table is None else {"rows": numbers_of(table.rows, keep)}
        last = _epilogue(atom.epilogue, atom.n, row.nr, "c", keep)
        return {**fixed, **operands, **others, **through, **last}

    products = atom.batch * atom.m * atom.n * atom.k
    in_rows = constant and not columns
    flow = _gemm_flow(node.inputs[0], atom, out.elements, row.mr, table) if in_rows else None
    low.step(node, row, "ck_gemm", fields, [node.inputs[0], panels, pad], (), 2 * products, flow)


def by_columns(row: ckernels.Row, m: int, n: int) -> bool:
    """Whether a product is shared out among threads by its columns: it has few rows, and more panels than
    tiles of rows.
    """
    return m < 2 * strips.FEWEST_ROWS and -(-n // row.nr) > max(m // row.mr, 1)


def _pack(low: Emitter, node: Node, row: ckernels.Row, fixed: Fields, panels: int) -> None:
    """The step that packs the B and the bias of a product whose B is not constant."""
    b, bias = (*node.inputs[1:], ABSENT)[:2]

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {**fixed, "b": at(b), "bias": at(bias), "packed": at(panels)}

    low.step(node, row.packing, "ck_gemm", fields, [b, bias], [panels])


def _gemm_flow(a: int, atom: Gemm, elements: int, align: int, table: Table | None) -> Flow | None:
    sizes = atom.batch, atom.m, atom.n
    if atom.batch > 1 or not is_dense(atom.c, sizes) or atom.m * atom.n != elements:
        return None
    if table is not None:
        return Flow(atom.m, atom.n, {a: Windows(table.rows, table.chunk)}, align, rows=True)
    if not is_dense(atom.a, (1, atom.m, atom.k)):
        return None
    return Flow(atom.m, atom.n, {a: Stream(atom.k)}, align, rows=True)


def room(row: ckernels.Row, struct: str, fields: Fields) -> tuple[int, int]:
    """Bytes of a kernel's packed panels, and of its scratch."""
    sizes = ffi.new("int64_t[2]")
    getattr(lib, f"{struct}_room")(row.entry, ffi.new(f"{struct} *", fields), sizes, sizes + 1)
    return sizes[0], sizes[1]


def _winograd(low: Emitter, node: Node, fused: Winograd) -> None:
    gemm, row = fused.gemm, low.kernel(node, "WINOGRAD", "F32")
    channels, height = gemm.k // 9, gemm.m // fused.columns
    low.zero(node, (gemm.m, gemm.n))
    packing = {
        **{"tile": fused.tile, "channels": channels, "n": gemm.n, "nr": row.nr},
        "b_view": matrix_of(gemm.b),
    }
    fixed = {
        **packing,
        "block": tiles_at_once(fused, row, low.cache),
        **{"width": fused.width, "left": fused.left, "in_step": fused.step},
        **{"height": height, "columns": fused.columns, "out_step": gemm.c.strides[1]},
        "by_columns": by_columns(row, _tiles(fused), gemm.n),
    }
    weights, bias = (*(low.values[i].data for i in node.inputs[1:]), None)[:2]
    assert weights is not None
    size, block = room(row, "ck_winograd", fixed)
    panels = low.packed(Packed(row, "ck_winograd", packing, weights, bias, size))
    pad, scratch = low.constant(np.zeros(channels, np.float32)), low.scratch(block)

    def fields(at: Locate, keep: list[Any]) -> Fields:
        out = at(node.outputs[0])
        operands = {"in": at(node.inputs[0]), "out": out | {"offset": out["offset"] + 4 * gemm.c.offset}}
        constants = {"packed": at(panels), "pad": at(pad), "b": at(ABSENT), "bias": at(ABSENT)}
        others = {"scratch": scratch, "rows": numbers_of(fused.rows, keep)}
        return {
            **fixed,
            **operands,
            **constants,
            **others,
            **_epilogue(gemm.epilogue, gemm.n, 1, "out", keep),
        }

    products = gemm.m * gemm.n * gemm.k
    low.step(node, row, "ck_winograd", fields, [node.inputs[0], panels, pad], (), 2 * products)


def _tiles(fused: Winograd) -> int:
    return len(fused.rows) * -(-fused.columns // fused.tile)


def tiles_at_once(fused: Winograd, row: ckernels.Row, cache: int) -> int:
    """Few where the weights stay in the cache and may be read again; else as many as leave their share of it
    in the scratch: inputs, and products of a panel.
    """
    channels, positions = fused.gemm.k // 9, (fused.tile + 2) ** 2
    few, many = 2 * row.mr, int(TILES_SHARE * cache) // (4 * positions * (channels + row.nr))
    stay = 4 * positions * channels * fused.gemm.n <= STAYING * cache
    return min(few if stay else max(few, many), _tiles(fused))


def _epilogue(last: Clamp | Requantize | None, n: int, group: int, prefix: str, keep: list[Any]) -> Fields:
    """The fields of an epilogue over n columns, read in groups, in a struct that calls its output
    `prefix`.
    """
    if isinstance(last, Requantize):
        multiplier, shift = np.zeros((2, n + -n % group), np.int32)
        shift[n:] = SMALLEST_SHIFT  # as quick as any: see ckernels/lanes.h
        multiplier[:n], shift[:n] = last.multiplier, last.shift
        bounds = {
            "zero": last.zero_point,
            "low": last.low,
            "high": last.high,
            "ties_away": last.ties == "away",
        }
        named = {f"{prefix}_{name}": number for name, number in bounds.items()}
        return {"multiplier": numbers_of(multiplier, keep), "shift": numbers_of(shift, keep), **named}
    clamp = last or Clamp()
    return {"low": clamp.low, "high": clamp.high}


def _depthwise(low: Emitter, node: Node, fused: Depthwise) -> None:
    value = low.values[node.inputs[0]]
    table, blocks = fused.table, None
    if ("DEPTHWISE", "S8") in low.kernels and value.dtype is not DType.F32:
        blocks = in_blocks(fused, value.dtype is DType.I8)
    row = low.kernel(node, "DEPTHWISE", "F32" if value.dtype is DType.F32 else "S8" if blocks else "Q8")
    fused = blocks or fused
    weights, bias = low.constant(fused.weights), low.constant(fused.bias)
    pad = low.constant(np.full(table.chunk, table.fill, value.dtype.numpy))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        operands = {"in": at(node.inputs[0]), "out": at(node.outputs[0])}
        constants = {"weights": at(weights), "bias": at(bias), "pad": at(pad)}
        (m, taps), rows = table.rows.shape, numbers_of(table.rows, keep)
        sizes = {"m": m, "taps": taps, "channels": table.chunk, "rows": rows}
        if value.dtype is DType.F32 and taps == SLIDING_TAPS:
            sizes["slides"] = bytes_of(slides(table.rows), keep)
        types = {"dtype": dtype_of(value.dtype), "in_zero": fused.in_zero}
        return {
            **operands,
            **constants,
            **sizes,
            **types,
            **_epilogue(fused.epilogue, fused.bias.size, 1, "out", keep),
        }

    reads, products = [node.inputs[0], weights, bias, pad], table.rows.size * table.chunk
    flow = Flow(len(table.rows), table.chunk, {node.inputs[0]: Windows(table.rows, table.chunk, True)}, 2)
    low.step(node, row, "ck_depthwise", fields, reads, operations=2 * products, flow=flow)


def slides(rows: Array) -> Array:
    """Of windows of 3x3, in columns: whether the three steps from a row on each move by a column."""
    moves = (rows[:-1, 3:] == rows[1:, :-3]).all(axis=1)
    found = np.zeros(len(rows), np.uint8)
    found[:-3] = moves[:-2] & moves[1:-1] & moves[2:]
    return found


def _lookup(low: Emitter, node: Node, fused: Lookup) -> None:
    table, elements = low.constant(fused.table), low.values[node.outputs[0]].elements

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        source = at(node.inputs[0])
        first = {**source, "offset": source["offset"] + fused.offset}
        return {"in": first, "table": at(table), "out": at(node.outputs[0]), "elements": elements}

    flow = Flow(elements, 1, {node.inputs[0]: Stream(1)}, LOOKUP_ALIGN) if fused.offset == 0 else None
    row = low.kernel(node, "LOOKUP", "X8")
    low.step(node, row, "ck_lookup", fields, [node.inputs[0], table], flow=flow)


def _pair(low: Emitter, node: Node, pair: Pair) -> None:
    dtype = low.values[node.outputs[0]].dtype

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        places = zip(("a", "b", "out"), pair.operands, pair.offsets, strict=True)
        operands = {name: (place := at(i)) | {"offset": place["offset"] + x} for name, i, x in places}
        return {**operands, "dtype": dtype_of(dtype), **numbers}

    row, flow = low.kernel(node, pair.operator, "Q8"), _pair_flow(pair, low.values[node.outputs[0]].elements)
    numbers = _in_rows(pair.numbers)
    low.step(node, row, "ck_pair", fields, node.inputs, flow=flow)


def _in_rows(numbers: Fields) -> Fields:
    """The same pair in many rows, which threads can share out, where it is in one that is long."""
    rows, width = PAIR_ROWS, numbers["width"] // PAIR_ROWS
    if numbers["rows"] > 1 or width < stages.ELEMENTS or numbers["width"] % rows:
        return numbers
    steps = {f"{name}_step": width for name in ("a", "b", "out")}
    return numbers | steps | {"rows": rows, "width": width}


def _pair_flow(pair: Pair, elements: int) -> Flow | None:
    """Where all three are dense."""
    rows, width = pair.numbers["rows"], pair.numbers["width"]
    steps = {pair.numbers[f"{name}_step"] for name in ("a", "b", "out")}
    if rows == 1 or steps != {width} or any(pair.offsets) or rows * width != elements:
        return None
    return Flow(rows, width, dict.fromkeys(pair.operands[:2], Stream(width)))


def _map(low: Emitter, node: Node, atom: Map) -> None:
    if (pair := pair_of(node, atom, low.values)) is not None:
        _pair(low, node, pair)
        return
    out = low.values[node.outputs[0]]
    row = low.kernel(node, "MAP", atom.compute.upper())
    low.zero(node, atom.sizes)
    sizes, (output, *views) = collapse(atom.sizes, atom.output, *atom.views)
    program = [_instruction(step, atom.compute) for step in atom.program]
    if deepest(atom.program) > lib.ck_map_stack():
        raise UnsupportedError(f"{node.source}: a MAP program is deeper than {lib.ck_map_stack()} operands")

    flow = _map_flow(node, atom, out.elements)
    if (place := _in_place(low, node, flow)) is not None:
        low.alias(node.outputs[0], place)

    def fields(at: Locate, keep: list[Any]) -> Fields:
        return {
            "out": at(node.outputs[0]),
            "out_dtype": dtype_of(out.dtype),
            "n_instructions": len(program),
            "inputs": array_of("ck_operand", [at(i) for i in node.inputs], keep),
            "dtypes": array_of("int32_t", [dtype_of(low.values[i].dtype) for i in node.inputs], keep),
            "views": array_of("ck_view", [view_of(view) for view in views], keep),
            "program": array_of("ck_instruction", program, keep),
            "output": view_of(output),
            "sizes": sizes_of(sizes),
        }

    low.step(node, row, "ck_map", fields, node.inputs, flow=flow)


def _in_place(low: Emitter, node: Node, flow: Flow | None) -> int | None:
    """An input that the output may take the place of: read side by side with it, for the last time."""
    if flow is None or low.is_shared(node.outputs[0]):
        return None
    size = low.values[node.outputs[0]].dtype.size
    for i in flow.needs:
        value = low.values[i]
        if value.dtype.size == size and value.elements == flow.units and low.is_last(i):
            return i
    return None


def _map_flow(node: Node, atom: Map, elements: int) -> Flow | None:
    """Inputs that are not read side by side with the output must be there as a whole."""
    if not is_dense(atom.output, atom.sizes) or math.prod(atom.sizes) != elements:
        return None
    others = {i for i, view in zip(node.inputs, atom.views, strict=True) if not is_dense(view, atom.sizes)}
    needs = {i: Stream(1) for i in node.inputs if i not in others}
    row = collapse(atom.sizes, atom.output, *atom.views)[0][-1]
    return Flow(elements, 1, needs, row if row <= MAP_BLOCK else MAP_ALIGN) if needs else None


def _instruction(step: Any, compute: str) -> Fields:
    if step.name == "load":
        return {"op": lib.CK_MAP_LOAD, "input": int(step.args[0])}
    op = lib.CK_MAP_CONST if step.name == "const" else _PRIMITIVES[step.name]
    real = compute in FLOAT
    values = {"real": list(map(float, step.args))} if real else {"integer": list(map(int, step.args))}
    return {"op": op, **values}


def _indirect_reduce(low: Emitter, node: Node, fused: IndirectReduce) -> None:
    _reduce(low, node, fused.reduce, fused.table)


def _reduce(low: Emitter, node: Node, atom: Reduce, table: Table | None = None) -> None:
    dtype = low.values[node.inputs[0]].dtype
    row = low.kernel(node, "REDUCE", "U8" if dtype is DType.BOOL else dtype.name)
    if atom.axis == 0 and atom.op not in ("sum", "prod", "any", "all"):
        raise UnsupportedError(f"{node.source}: {atom.op} over nothing")

    pad = ABSENT if table is None else low.constant(np.full(table.chunk, table.fill, dtype.numpy))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        return {
            "in": at(node.inputs[0]),
            "out": at(node.outputs[0]),
            "pad": at(pad),
            **({} if table is None else {"rows": numbers_of(table.rows, keep)}),
            "op": getattr(lib, f"CK_{atom.op.upper()}"),
            "out_dtype": dtype_of(low.values[node.outputs[0]].dtype),
            "outer": atom.outer,
            "axis": atom.axis,
            "inner": atom.inner,
        }

    low.step(node, row, "ck_reduce", fields, [*node.inputs, pad])


def _gather(low: Emitter, node: Node, atom: Gather) -> None:
    rows, index = node.inputs

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "rows_in": at(rows),
            "index": at(index),
            "out": at(node.outputs[0]),
            "index_dtype": dtype_of(low.values[index].dtype),
            "rows": atom.rows,
            "width": atom.width,
            "count": atom.count,
        }

    low.step(
        node, low.kernel(node, "GATHER", bits_of(low.values[rows].dtype)), "ck_gather", fields, node.inputs
    )


def _scatter(low: Emitter, node: Node, atom: Scatter) -> None:
    base, index, update = node.inputs

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "base": at(base),
            "index": at(index),
            "update": at(update),
            "out": at(node.outputs[0]),
            "index_dtype": dtype_of(low.values[index].dtype),
            "mode": getattr(lib, f"CK_SCATTER_{atom.mode.upper()}"),
            "rows": atom.rows,
            "width": atom.width,
            "count": atom.count,
        }

    dtype = low.values[base].dtype
    name = _INTEGERS[dtype.size] if atom.mode == "set" else dtype.name  # of any type, bits are set
    low.step(node, low.kernel(node, "SCATTER", name), "ck_scatter", fields, node.inputs)


_INTEGERS = {1: "U8", 2: "I16", 4: "I32", 8: "I64"}


def _sort(low: Emitter, node: Node, atom: Sort) -> None:
    scratch = low.scratch(2 * 4 * atom.width)

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "in": at(node.inputs[0]),
            "values": at(node.outputs[0]),
            "indices": at(node.outputs[1]),
            "scratch": scratch,
            "rows": atom.rows,
            "width": atom.width,
            "k": atom.k,
        }

    row = low.kernel(node, "SORT", low.values[node.inputs[0]].dtype.name)
    low.step(node, row, "ck_sort", fields, node.inputs)


def _rng(low: Emitter, node: Node, atom: Rng) -> None:
    out = low.values[node.outputs[0]]

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "out": at(node.outputs[0]),
            "seed": atom.seed,
            "stream": atom.stream,
            "elements": out.elements,
        }

    low.step(node, low.kernel(node, "RNG", out.dtype.name), "ck_rng", fields, node.inputs)


RULES: dict[type[Any], Callable[[Emitter, Node, Any], None]] = {
    Raster: _raster,
    Gemm: _gemm,
    Map: _map,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Sort: _sort,
    Rng: _rng,
    IndirectGemm: _indirect,
    Winograd: _winograd,
    IndirectReduce: _indirect_reduce,
    Depthwise: _depthwise,
    Lookup: _lookup,
}
_PRIMITIVES = ckernels.primitives()
