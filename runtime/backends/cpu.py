"""The cpu backend: atoms become C steps, one emitter per atom.

An emitter chooses the kernel row and says what it reads, writes and needs as scratch; when every emitter has
spoken the memory is planned and the parameter structs are filled. Rewrites to fused kernels are in
`runtime.backends.fuse`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ckernels
from ckernels import ffi, lib
from runtime import memory, packed
from runtime.atoms import (
    Clamp,
    Gather,
    Gemm,
    Map,
    Raster,
    Reduce,
    Region,
    Requantize,
    Rng,
    Scatter,
    Sort,
    View,
)
from runtime.backends.flat import ARENA, CONSTANTS, FlatProgram, Memory, Place, Slot, Step
from runtime.backends.fuse import Depthwise, IndirectGemm, Table, fuse
from runtime.control import MAX_TRIPS, If, Loop, While
from runtime.errors import UnsupportedError
from runtime.graph import ABSENT, Array, DType, Graph, Node, Shape, Value
from runtime.memory import aligned
from runtime.packed import Store
from runtime.primitives import PRIMITIVES
from runtime.strides import collapse, is_dense

if TYPE_CHECKING:
    from runtime.compile import Model

Locate = Callable[[int], dict[str, int]]
"""Value id -> initialiser of its `ck_operand`."""
Fields = dict[str, Any]
"""Initialiser of a parameter struct, nested as cffi takes it."""


class CpuBackend:
    """The C kernels of this build, on the instruction sets in `features` (bits of `ck_isa`; default: all that
    are here).
    """

    name = "cpu"

    def __init__(self, features: int | None = None) -> None:
        self._features = ckernels.cpu_features() if features is None else features
        available = [row for row in ckernels.rows() if row.isa & self._features == row.isa]
        self._kernels = {(row.operator, row.dtype): row for row in available}

    def version(self) -> str:
        return f"{ckernels.build_digest()}/{self._features}"

    def compile(self, model: Model) -> FlatProgram:
        return self.lower(fuse(model.atoms), _store(model.cache_dir))

    def lower(self, graph: Graph, store: Store | None = None) -> FlatProgram:
        """A graph at ATOMIC level as a flat program; raises UnsupportedError, RunError."""
        emitter = Emitter(graph, self._kernels, store)
        for node in graph.nodes:
            emitter.emit(node)
        return emitter.finish()


def _store(cache_dir: Path | None) -> Store | None:
    return None if cache_dir is None else Store(cache_dir / packed.FOLDER)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A step before the memory plan: `fields` fills the struct once every operand has a place.

    What a step with `blocks` reads and writes is there from before the first of them until after the last.
    """

    source: str
    kernel: Any
    struct: str
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    fields: Callable[[Locate, list[Any]], Fields]
    blocks: tuple[Block, ...] = ()


Block = list[_Pending]


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """B and bias of a GEMM as its kernel reads them: `size` bytes, which depend on `form` and the arrays."""

    row: ckernels.Row
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
        params = ffi.new("ck_gemm *", {**self.fields, **operands})
        self.row.pack(params, self.row.nr, ffi.new("char *[]", kept))


class Emitter:
    """One graph on its way to a flat program. `values` grows by scratch buffers and packed weights."""

    def __init__(
        self, graph: Graph, kernels: dict[tuple[str, str], ckernels.Row], store: Store | None = None
    ) -> None:
        self.graph, self.kernels, self.store = graph, kernels, store
        self.values = list(graph.values)
        self.steps: Block = []
        self._same: dict[int, int] = {}
        self._late: dict[int, _Packed] = {}
        self.outputs = list(graph.outputs)
        self.layout = memory.Plan((), 0, 0)

    # ---------------------------------------------------------------- what emitters say

    def emit(self, node: Node) -> None:
        if all(self.values[i].elements == 0 for i in node.outputs):
            return
        rule = _EMITTERS.get(type(node.attrs))
        if rule is None:
            raise UnsupportedError(f"{node.source or node.op}: the cpu backend has no kernel for {node.op}")
        rule(self, node, node.attrs)

    def kernel(self, node: Node, operator: str, *dtypes: str) -> ckernels.Row:
        """The best row for the first of `dtypes` that has one."""
        for dtype in dtypes:
            if row := self.kernels.get((operator, dtype)):
                return row
        raise UnsupportedError(
            f"{node.source or node.op}: the cpu backend has no {operator} for {dtypes[0].lower()}"
        )

    def step(
        self,
        node: Node,
        row: ckernels.Row,
        struct: str,
        fields: Callable[[Locate, list[Any]], Fields],
        reads: Sequence[int],
        scratch: Sequence[int] = (),
    ) -> None:
        """One step that writes the node's outputs. `fields(at, keep)` may append to `keep` what the struct
        points to.
        """
        present = tuple(i for i in reads if i != ABSENT)
        self.steps.append(
            _Pending(node.source, row.kernel, struct, present, (*node.outputs, *scratch), fields)
        )

    def buffer(self, size: int) -> int:
        """A new value of `size` bytes: scratch of one step."""
        self.values.append(Value("scratch", (size,), DType.U8))
        return len(self.values) - 1

    def constant(self, data: Array) -> int:
        self.values.append(Value("packed", data.shape, DType.of(data), data=data))
        return len(self.values) - 1

    def packed(self, what: _Packed) -> int:
        """A constant that is made where it will be."""
        index = self.buffer(what.size)
        self._late[index] = what
        return index

    def alias(self, index: int, of: int) -> None:
        """One value is another under a second name: they share their memory."""
        self._same[index] = self.root(of)

    def root(self, index: int) -> int:
        return self._same.get(index, index)

    def zero(self, node: Node, sizes: Shape) -> None:
        """Clears an output of which the node writes only a part."""
        out = self.values[node.outputs[0]]
        if math.prod(sizes) < out.elements:
            _raster(self, replace(node, inputs=()), Raster((), 0))

    # ---------------------------------------------------------------- sub-graphs and states

    def inline(self, part: Graph, bound: Sequence[int]) -> tuple[Block, list[int]]:
        """The steps of a sub-graph whose inputs are the values `bound`, and the ids of its outputs."""
        number = dict(zip(part.inputs, bound, strict=True))
        for i, value in enumerate(part.values):
            if i not in number:
                number[i] = len(self.values)
                self.values.append(value)
        outer, self.steps = self.steps, []
        for node in part.nodes:
            inputs, outputs = (tuple(number[i] for i in ids) for ids in (node.inputs, node.outputs))
            self.emit(replace(node, inputs=inputs, outputs=outputs))
        block, self.steps = self.steps, outer
        return block, [number[i] for i in part.outputs]

    def like(self, value: Value) -> int:
        """A new value of the shape and type of another."""
        self.values.append(replace(value, data=None))
        return len(self.values) - 1

    def control(
        self,
        node: Node,
        operator: str,
        fields: Callable[[Locate, list[Any]], Fields],
        reads: Sequence[int],
        blocks: Sequence[Block],
    ) -> None:
        """One step that runs blocks, and writes the node's outputs."""
        row, struct = self.kernel(node, operator, "X8"), f"ck_{operator.lower()}"
        self.steps.append(
            _Pending(node.source, row.kernel, struct, tuple(reads), node.outputs, fields, tuple(blocks))
        )

    def move(self, node: Node, source: int, target: int) -> None:
        """A step that copies a whole value."""
        value = self.values[source]
        if not value.elements:
            return
        row = self.kernel(node, "RASTER", "X8")
        line = View(0, (1,))
        region = _region(Region(0, line, line, (value.nbytes,)))

        def fields(at: Locate, keep: list[Any]) -> Fields:
            inputs, regions = _array("ck_operand", [at(source)], keep), _array("ck_region", [region], keep)
            return {"out": at(target), "inputs": inputs, "regions": regions, "n_regions": 1}

        self.steps.append(_Pending(node.source, row.kernel, "ck_raster", (source,), (target,), fields))

    def assign(self, node: Node, sources: Sequence[int], slots: Sequence[int]) -> list[int]:
        """Steps that put the first `sources` into the slots, all at once; where all are after that."""
        taken, sources = {self.root(i) for i in slots}, list(sources)
        for k, source in enumerate(sources):
            own = k < len(slots) and self.root(source) == self.root(slots[k])
            if self.root(source) in taken and not own:
                sources[k] = self.like(self.values[source])
                self.move(node, source, sources[k])
        for source, slot in zip(sources, slots, strict=False):
            if self.root(source) != self.root(slot):
                self.move(node, source, slot)
        return sources

    def block(self, steps: Block, at: Locate, keep: list[Any]) -> Fields:
        """The initialiser of a `ck_block`."""
        filled = [
            {"kernel": step.kernel, "params": ffi.new(f"{step.struct} *", step.fields(at, keep))}
            for step in steps
        ]
        keep.extend(step["params"] for step in filled)
        return {"steps": _array("ck_step", filled, keep), "n_steps": len(filled)}

    def keep_states(self) -> None:
        """The last steps leave what the next run finds."""
        slots, finals = ([getattr(s, end) for s in self.graph.states] for end in ("value", "final"))
        kept = self.assign(Node("STATE", (), (), source="variables"), [*finals, *self.outputs], slots)
        self.outputs = kept[len(slots) :]

    # ---------------------------------------------------------------- the end

    def finish(self) -> FlatProgram:
        self.keep_states()
        places, memories = self.place(self.lifetimes())
        steps = []
        for step in self.steps:
            keep: list[Any] = []
            params = ffi.new(f"{step.struct} *", step.fields(lambda i: self._operand(places, i), keep))
            steps.append(Step(step.kernel, params, tuple(keep), step.source))
        ends = [
            [(places[self.root(i)], self.values[i]) for i in side]
            for side in (self.graph.inputs, self.outputs)
        ]
        self.steps = []  # they hold us, and we the whole graph: without the circle it is free at once
        states = [Slot(places[s.value], s.initial, s.resource) for s in self.graph.states]
        return FlatProgram(steps, memories, ends[0], ends[1], states, self.layout)

    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """Of every value that a step or an end of the graph touches: the first and the last moment that need
        it. Moments are counted through the steps, and through those inside them.
        """
        spans = {self.root(i): (0, 0) for i in self.graph.starts}
        end = self._touch(self.steps, spans, 0)
        for i in (*self.outputs, *(state.value for state in self.graph.states)):
            spans[self.root(i)] = (spans.get(self.root(i), (0, 0))[0], end)
        return spans

    def _touch(self, steps: Block, spans: dict[int, tuple[int, int]], at: int) -> int:
        """Widens the spans of what the steps need from the moment `at` on; the moment after them."""
        for step in steps:
            first = at
            for block in step.blocks:
                at = self._touch(block, spans, at + 1)
            for i in (*step.writes, *step.reads):
                begun, ended = spans.get(self.root(i), (first, at))
                spans[self.root(i)] = min(begun, first), max(ended, at)
            at += 1
        return at

    def place(self, spans: Mapping[int, tuple[int, int]]) -> tuple[dict[int, Place], list[Memory]]:
        """A place for every value: constants side by side, all others in an arena that they share over
        time.
        """
        alive = [i for i in spans if self.values[i].data is None and i not in self._late]
        self.layout = memory.plan([memory.Block(self.values[i].nbytes, *spans[i]) for i in alive])
        places = {i: Place(ARENA, offset) for i, offset in zip(alive, self.layout.offsets, strict=True)}
        size = 0
        for i in spans.keys() - places.keys():
            places[i] = Place(CONSTANTS, size)
            size += aligned(self.values[i].nbytes)
        return places, [Memory(self.layout.size, "arena"), self.weights(places, size)]

    def weights(self, places: Mapping[int, Place], size: int) -> Memory:
        """The constants: in a file that processes share, else in memory of our own."""
        constants = {i: place for i, place in places.items() if place.base == CONSTANTS}

        def fill(out: Array) -> None:
            for i, place in constants.items():
                self.fill_constant(i, out[place.offset : place.offset + self.values[i].nbytes])

        if self.store is not None and 0 < size <= memory.limit():
            mapping = self.store.open(self.digest(constants), size, fill)
            if mapping is not None:
                return Memory.of(mapping, packed.HEADER)
        own = Memory(size, "weights")
        fill(own.bytes)
        return own

    def digest(self, constants: Mapping[int, Place]) -> bytes:
        """SHA-256 of all that the bytes of the weights depend on."""
        digest = hashlib.sha256(ckernels.build_digest().encode())
        for i, place in constants.items():
            late, data = self._late.get(i), self.values[i].data
            digest.update(f"{place.offset} {self.values[i].nbytes} {late and late.form}".encode())
            for array in (data,) if late is None else (late.b, late.bias):
                if array is not None:
                    digest.update(np.ascontiguousarray(array).data)
        return digest.digest()

    def fill_constants(self, places: Mapping[int, Place], memories: Sequence[Memory]) -> None:
        """Every constant, each in the memory of its place."""
        for i, place in places.items():
            if i in self._late or self.values[i].data is not None:
                size = self.values[i].nbytes
                self.fill_constant(i, memories[place.base].bytes[place.offset : place.offset + size])

    def fill_constant(self, index: int, out: Array) -> None:
        """Writes one constant to its bytes."""
        if index in self._late:
            self._late[index].write(out)
        elif (data := self.values[index].data) is not None:
            out.view(self.values[index].dtype.numpy)[...] = np.ravel(data)

    def _operand(self, places: dict[int, Place], index: int) -> dict[str, int]:
        if index == ABSENT:
            return {"base": -1}
        place = places[self.root(index)]
        return {"base": place.base, "offset": place.offset}


# -------------------------------------------------------------------- control flow


def _if(low: Emitter, node: Node, atom: If) -> None:
    test, *operands = node.inputs
    blocks = []
    for part in (atom.then, atom.orelse):
        block, results = low.inline(part, operands)
        outer, low.steps = low.steps, block
        low.assign(node, results, node.outputs)
        low.steps = outer
        blocks.append(block)

    def fields(at: Locate, keep: list[Any]) -> Fields:
        then, orelse = (low.block(block, at, keep) for block in blocks)
        return {"test": at(test), "then": then, "orelse": orelse}

    low.control(node, "IF", fields, node.inputs, blocks)


def _while(low: Emitter, node: Node, atom: While) -> None:
    """The outputs are the places of what is carried."""
    slots = node.outputs
    low.assign(node, node.inputs, slots)
    cond, (test,) = low.inline(atom.cond, slots)
    body, results = low.inline(atom.body, slots)
    outer, low.steps = low.steps, body
    low.assign(node, results, slots)
    low.steps = outer

    def fields(at: Locate, keep: list[Any]) -> Fields:
        blocks = {"cond": low.block(cond, at, keep), "body": low.block(body, at, keep)}
        return {"test": at(test), **blocks, "most_trips": MAX_TRIPS}

    low.control(node, "WHILE", fields, [test], [cond, body])


def _loop(low: Emitter, node: Node, atom: Loop) -> None:
    """The outputs are the places of what is carried, and of what is stacked."""
    slots, fixed = node.outputs[: atom.carried], len(node.inputs) - atom.fixed
    low.assign(node, node.inputs[: atom.carried], slots)
    wholes, same = node.inputs[atom.carried : fixed], node.inputs[fixed:]
    parts = [low.like(atom.body.values[i]) for i in atom.body.inputs[atom.carried : fixed]]
    body, results = low.inline(atom.body, [*slots, *parts, *same])
    outer, low.steps = low.steps, body
    results = low.assign(node, results, slots)[atom.carried :]
    low.steps = outer
    stacked = node.outputs[atom.carried :]

    def fields(at: Locate, keep: list[Any]) -> Fields:
        cut, kept = (
            [
                {"whole": at(a), "part": at(b), "bytes": low.values[b].nbytes}
                for a, b in zip(*pair, strict=True)
            ]
            for pair in ((wholes, parts), (stacked, results))
        )
        slices = {"slices": _array("ck_slice", cut, keep), "stacked": _array("ck_slice", kept, keep)}
        sizes = {"trips": atom.trips, "reverse": atom.reverse, "n_slices": len(cut), "n_stacked": len(kept)}
        return {"body": low.block(body, at, keep), **sizes, **slices}

    low.control(node, "LOOP", fields, [*wholes, *same, *parts, *results], [body])


# -------------------------------------------------------------------- C initialisers


def _dtype(dtype: DType) -> int:
    return int(getattr(lib, f"CK_{dtype.name}"))


def _bits(dtype: DType) -> str:
    """The name of the rows that move any element of this size."""
    return f"X{dtype.size * 8}"


def _view(view: View) -> Fields:
    """Unused leading dimensions have stride 0."""
    return {"offset": view.offset, "strides": [0] * (6 - len(view.strides)) + list(view.strides)}


def _sizes(sizes: Shape) -> list[int]:
    return [1] * (6 - len(sizes)) + list(sizes)


def _matrix(view: View) -> Fields:
    """A view over (batch, row, column) stands in the first three strides."""
    return {"offset": view.offset, "strides": [*view.strides, 0, 0, 0]}


def _array(kind: str, items: Any, keep: list[Any]) -> Any:
    keep.append(ffi.new(f"{kind}[]", items))
    return keep[-1]


def _numbers(data: Array, keep: list[Any]) -> Any:
    """A pointer to an array of int32."""
    keep.append(ffi.from_buffer("int32_t[]", np.ascontiguousarray(data, np.int32)))
    return keep[-1]


# -------------------------------------------------------------------- one emitter per atom


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
            node, "RASTER_ADD", *([out.dtype.name] if out.dtype in _REAL else [_bits(out.dtype)])
        )
    else:
        row = low.kernel(node, "RASTER", _bits(out.dtype))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        return {
            "out": at(node.outputs[0]),
            "inputs": _array("ck_operand", [at(i) for i in node.inputs], keep),
            "regions": _array("ck_region", [_region(region) for region in atom.regions], keep),
            "n_regions": len(atom.regions),
            "filled": atom.fill is not None or atom.mode == "add",
            "elements": out.elements,
            "fill": np.array(atom.fill or 0, out.dtype.numpy).tobytes().ljust(8, b"\0"),
        }

    low.step(node, row, "ck_raster", fields, node.inputs)


_REAL = (DType.F32, DType.F16)


def _region(region: Any) -> Fields:
    sizes, (source, destination) = collapse(region.sizes, region.source, region.destination)
    return {
        "input": region.input,
        "source": _view(source),
        "destination": _view(destination),
        "sizes": _sizes(sizes),
    }


def _indirect(low: Emitter, node: Node, fused: IndirectGemm) -> None:
    _gemm(low, node, fused.gemm, fused.table)


def _gemm(low: Emitter, node: Node, atom: Gemm, table: Table | None = None) -> None:
    (a, b), out = (low.values[i] for i in node.inputs[:2]), low.values[node.outputs[0]]
    bias = node.inputs[2] if len(node.inputs) > 2 else ABSENT
    real = a.dtype is DType.F32
    quantised = {DType.I8: "Q8", DType.U8: "Q8", DType.I16: "Q16"}
    row = low.kernel(node, "GEMM", quantised.get(a.dtype, a.dtype.name))
    low.zero(node, (atom.batch, atom.m, atom.n))
    depth, width = -(-atom.k // row.kr) * row.kr, -(-atom.n // row.nr) * row.nr
    size = atom.batch * width * (4 + depth * (4 if real else 2))
    fixed = {
        **{
            "batch": atom.batch,
            "m": atom.m,
            "n": atom.n,
            "k": atom.k,
            "a_zero": atom.a_zero,
            "b_zero": atom.b_zero,
        },
        **{"a_view": _matrix(atom.a), "b_view": _matrix(atom.b), "c_view": _matrix(atom.c)},
        **{"a_dtype": _dtype(a.dtype), "b_dtype": _dtype(b.dtype), "c_dtype": _dtype(out.dtype), "taps": 1},
    }
    bias_data = None if bias == ABSENT else low.values[bias].data
    constant = b.data is not None and (bias == ABSENT or bias_data is not None)
    if constant:
        assert b.data is not None
        panels = low.packed(_Packed(row, fixed, b.data, bias_data, size))
    else:
        panels = low.buffer(size)
    scratch = low.buffer(row.mr * depth * (4 if real else 2))
    pad = ABSENT if table is None else low.constant(np.full(table.chunk, table.fill, a.dtype.numpy))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        operands = {
            "a": at(node.inputs[0]),
            "c": at(node.outputs[0]),
            "packed": at(panels),
            "scratch": at(scratch),
        }
        absent = ABSENT if constant else node.inputs[1], ABSENT if constant else bias
        late = {"b": at(absent[0]), "bias": at(absent[1]), "pad": at(pad), "pack_now": not constant}
        through = {} if table is None else {"rows": _numbers(table.rows, keep), "taps": table.rows.shape[1]}
        return {**fixed, **operands, **late, **through, **_epilogue(atom.epilogue, atom.n, row.nr, "c", keep)}

    reads = [node.inputs[0], panels, pad] if constant else [*node.inputs, pad]
    low.step(node, row, "ck_gemm", fields, reads, [scratch] if constant else [scratch, panels])


def _epilogue(last: Clamp | Requantize | None, n: int, group: int, prefix: str, keep: list[Any]) -> Fields:
    """The fields of an epilogue over n columns, read in groups, in a struct that calls its output
    `prefix`.
    """
    if isinstance(last, Requantize):
        tail = (0, -n % group)
        pairs = (np.broadcast_to(np.array(x, np.int32), n) for x in (last.multiplier, last.shift))
        multiplier, shift = (np.pad(x, tail) for x in pairs)
        bounds = {
            "zero": last.zero_point,
            "low": last.low,
            "high": last.high,
            "ties_away": last.ties == "away",
        }
        named = {f"{prefix}_{name}": number for name, number in bounds.items()}
        return {"multiplier": _numbers(multiplier, keep), "shift": _numbers(shift, keep), **named}
    clamp = last or Clamp()
    return {"low": clamp.low, "high": clamp.high}


def _depthwise(low: Emitter, node: Node, fused: Depthwise) -> None:
    value = low.values[node.inputs[0]]
    row = low.kernel(node, "DEPTHWISE", "F32" if value.dtype is DType.F32 else "Q8")
    weights, bias = low.constant(fused.weights), low.constant(fused.bias)
    table = fused.table
    pad = low.constant(np.full(table.chunk, table.fill, value.dtype.numpy))

    def fields(at: Locate, keep: list[Any]) -> Fields:
        operands = {"in": at(node.inputs[0]), "out": at(node.outputs[0])}
        constants = {"weights": at(weights), "bias": at(bias), "pad": at(pad)}
        (m, taps), rows = table.rows.shape, _numbers(table.rows, keep)
        sizes = {"m": m, "taps": taps, "channels": table.chunk, "rows": rows}
        types = {"dtype": _dtype(value.dtype), "in_zero": fused.in_zero}
        return {
            **operands,
            **constants,
            **sizes,
            **types,
            **_epilogue(fused.epilogue, table.chunk, 1, "out", keep),
        }

    low.step(node, row, "ck_depthwise", fields, [node.inputs[0], weights, bias, pad])


def _map(low: Emitter, node: Node, atom: Map) -> None:
    out = low.values[node.outputs[0]]
    row = low.kernel(node, "MAP", atom.compute.upper())
    low.zero(node, atom.sizes)
    sizes, (output, *views) = collapse(atom.sizes, atom.output, *atom.views)
    program = [_instruction(step, atom.compute) for step in atom.program]
    if _deepest(atom) > lib.ck_map_stack():
        raise UnsupportedError(f"{node.source}: a MAP program is deeper than {lib.ck_map_stack()} operands")

    def fields(at: Locate, keep: list[Any]) -> Fields:
        return {
            "out": at(node.outputs[0]),
            "out_dtype": _dtype(out.dtype),
            "n_instructions": len(program),
            "inputs": _array("ck_operand", [at(i) for i in node.inputs], keep),
            "dtypes": _array("int32_t", [_dtype(low.values[i].dtype) for i in node.inputs], keep),
            "views": _array("ck_view", [_view(view) for view in views], keep),
            "program": _array("ck_instruction", program, keep),
            "output": _view(output),
            "sizes": _sizes(sizes),
        }

    low.step(node, row, "ck_map", fields, node.inputs)


def _instruction(step: Any, compute: str) -> Fields:
    if step.name == "load":
        return {"op": lib.CK_MAP_LOAD, "input": int(step.args[0])}
    op = lib.CK_MAP_CONST if step.name == "const" else _PRIMITIVES[step.name]
    values = (
        {"real": list(map(float, step.args))} if compute == "f32" else {"integer": list(map(int, step.args))}
    )
    return {"op": op, **values}


def _deepest(atom: Map) -> int:
    """The greatest number of operands on the stack at once."""
    depth = deepest = 0
    for step in atom.program:
        depth += 1 - (0 if step.name in ("load", "const") else PRIMITIVES[step.name].arity)
        deepest = max(deepest, depth)
    return deepest


def _reduce(low: Emitter, node: Node, atom: Reduce) -> None:
    dtype = low.values[node.inputs[0]].dtype
    row = low.kernel(node, "REDUCE", "U8" if dtype is DType.BOOL else dtype.name)
    if atom.axis == 0 and atom.op not in ("sum", "prod", "any", "all"):
        raise UnsupportedError(f"{node.source}: {atom.op} over nothing")

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "in": at(node.inputs[0]),
            "out": at(node.outputs[0]),
            "op": getattr(lib, f"CK_{atom.op.upper()}"),
            "out_dtype": _dtype(low.values[node.outputs[0]].dtype),
            "outer": atom.outer,
            "axis": atom.axis,
            "inner": atom.inner,
        }

    low.step(node, row, "ck_reduce", fields, node.inputs)


def _gather(low: Emitter, node: Node, atom: Gather) -> None:
    rows, index = node.inputs

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "rows_in": at(rows),
            "index": at(index),
            "out": at(node.outputs[0]),
            "index_dtype": _dtype(low.values[index].dtype),
            "rows": atom.rows,
            "width": atom.width,
            "count": atom.count,
        }

    low.step(
        node, low.kernel(node, "GATHER", _bits(low.values[rows].dtype)), "ck_gather", fields, node.inputs
    )


def _scatter(low: Emitter, node: Node, atom: Scatter) -> None:
    base, index, update = node.inputs

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "base": at(base),
            "index": at(index),
            "update": at(update),
            "out": at(node.outputs[0]),
            "index_dtype": _dtype(low.values[index].dtype),
            "mode": getattr(lib, f"CK_SCATTER_{atom.mode.upper()}"),
            "rows": atom.rows,
            "width": atom.width,
            "count": atom.count,
        }

    dtype = DType.U8 if low.values[base].dtype is DType.BOOL else low.values[base].dtype
    low.step(node, low.kernel(node, "SCATTER", dtype.name), "ck_scatter", fields, node.inputs)


def _sort(low: Emitter, node: Node, atom: Sort) -> None:
    scratch = low.buffer(2 * 4 * atom.width)

    def fields(at: Locate, keep: list[Any]) -> Fields:  # noqa: ARG001
        return {
            "in": at(node.inputs[0]),
            "values": at(node.outputs[0]),
            "indices": at(node.outputs[1]),
            "scratch": at(scratch),
            "rows": atom.rows,
            "width": atom.width,
            "k": atom.k,
        }

    row = low.kernel(node, "SORT", low.values[node.inputs[0]].dtype.name)
    low.step(node, row, "ck_sort", fields, node.inputs, [scratch])


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


_EMITTERS: dict[type[Any], Callable[[Emitter, Node, Any], None]] = {
    Raster: _raster,
    Gemm: _gemm,
    Map: _map,
    Reduce: _reduce,
    Gather: _gather,
    Scatter: _scatter,
    Sort: _sort,
    Rng: _rng,
    If: _if,
    While: _while,
    Loop: _loop,
    IndirectGemm: _indirect,
    Depthwise: _depthwise,
}
_PRIMITIVES = ckernels.primitives()
