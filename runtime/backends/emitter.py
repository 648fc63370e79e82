"""A graph on its way to a flat program.

A rule of `atom_steps` or `control_steps` says for a node what its step reads, writes and needs as scratch;
when all have spoken the memory is planned and the parameter structs are filled.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import ckernels
from ckernels import ffi
from runtime import memory, packed
from runtime.atoms import Raster, Region, View
from runtime.backends import atom_steps, control_steps, strips
from runtime.backends.cost import Machine, unmeasured
from runtime.backends.flat import (
    ARENA,
    CONSTANTS,
    INPUTS,
    RINGS,
    SCRATCH,
    Call,
    FlatProgram,
    Memory,
    Place,
    Slot,
    Step,
)
from runtime.backends.rings import Rings
from runtime.backends.stages import is_worth_threads, stages
from runtime.backends.steps import Block, Fields, Locate, Packed, Pending, array_of, region_of
from runtime.backends.strips import DEFAULT_CACHE, Flow, Group, groups
from runtime.errors import UnsupportedError
from runtime.graph import ABSENT, Array, DType, Graph, Node, Shape, Value
from runtime.memory import aligned
from runtime.packed import Store

RULES = {**atom_steps.RULES, **control_steps.RULES}


class Emitter:
    """One graph on its way to a flat program for `threads` threads. `values` grows by buffers and packed
    weights; `cache` is what each thread has of the second cache, `machine` tells what steps cost here, where
    that is measured.
    """

    def __init__(
        self,
        graph: Graph,
        kernels: dict[tuple[str, str], ckernels.Row],
        store: Store | None = None,
        cache: int = DEFAULT_CACHE,
        threads: int = 1,
        machine: Callable[[], Machine] | None = None,
    ) -> None:
        self.graph, self.kernels, self.store = graph, kernels, store
        self.values, self.cache, self.threads = list(graph.values), cache, threads
        self.machine = machine
        self.scratch_size = 0
        self.steps: Block = []
        self._same: dict[int, int] = {}
        self._names: dict[int, list[int]] = {}
        self._kept = {*graph.starts, *graph.ends}
        self._late: dict[int, Packed] = {}
        self._packed: dict[tuple[str, int, int], int] = {}
        self._shared = graph.in_parts()
        self._readers = Counter(i for node in graph.nodes for i in set(node.inputs))
        self._depth = 0
        self.outputs = list(graph.outputs)
        self.layout = memory.Plan((), 0, 0)

    # ---------------------------------------------------------------- what emitters say

    def emit(self, node: Node) -> None:
        if all(self.values[i].elements == 0 for i in node.outputs):
            return
        rule = RULES.get(type(node.attrs))
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
        writes: Sequence[int] = (),
        operations: int = 0,
        flow: Flow | None = None,
    ) -> None:
        """One step that writes the node's outputs, or other `writes`. `fields(at, keep)` may append to `keep`
        what the struct points to.
        """
        present = tuple(i for i in reads if i != ABSENT)
        written = tuple(writes or node.outputs)
        self.steps.append(Pending(node.source, row, struct, present, written, fields, (), operations, flow))

    def buffer(self, size: int) -> int:
        """A new value of `size` bytes."""
        self.values.append(Value("buffer", (size,), DType.U8))
        return len(self.values) - 1

    def scratch(self, size: int) -> dict[str, int]:
        """The operand of `size` bytes for one step, of which each thread has its own."""
        self.scratch_size = max(self.scratch_size, size)
        return {"base": SCRATCH, "offset": 0}

    def constant(self, data: Array) -> int:
        self.values.append(Value("packed", data.shape, DType.of(data), data=data))
        return len(self.values) - 1

    def packed(self, what: Packed) -> int:
        """A constant that is made where it will be; the same one for the same weights, packed alike."""
        if what.key not in self._packed:
            self._packed[what.key] = index = self.buffer(what.size)
            self._late[index] = what
        return self._packed[what.key]

    def alias(self, index: int, of: int) -> None:
        """One value is another under a second name: they share their memory."""
        root = self._same[index] = self.root(of)
        self._names.setdefault(root, [root]).append(index)

    def root(self, index: int) -> int:
        return self._same.get(index, index)

    def is_shared(self, index: int) -> bool:
        """Whether several nodes write a value, each a part."""
        return index in self._shared

    def is_last(self, index: int) -> bool:
        """Whether nobody but a node that reads this value, once in a run, ever reads its memory."""
        root = self.root(index)
        names = self._names.get(root, [root])
        inner = self._depth == 0 and self._kept.isdisjoint(names) and self._shared.isdisjoint(names)
        return inner and self.values[root].data is None and all(self._readers[i] == 1 for i in names)

    def zero(self, node: Node, sizes: Shape) -> None:
        """Clears an output of which the node writes only a part, and no other node writes the rest."""
        out = self.values[node.outputs[0]]
        if math.prod(sizes) < out.elements and not self.is_shared(node.outputs[0]):
            RULES[Raster](self, replace(node, inputs=()), Raster((), 0))

    # ---------------------------------------------------------------- sub-graphs and states

    def inline(self, part: Graph, bound: Sequence[int]) -> tuple[Block, list[int]]:
        """The steps of a sub-graph whose inputs are the values `bound`, and the ids of its outputs."""
        number = dict(zip(part.inputs, bound, strict=True))
        for i, value in enumerate(part.values):
            if i not in number:
                number[i] = len(self.values)
                self.values.append(value)
        self._shared |= {number[i] for i in part.in_parts()}
        outer, self.steps = self.steps, []
        self._depth += 1
        for node in part.nodes:
            inputs, outputs = (tuple(number[i] for i in ids) for ids in (node.inputs, node.outputs))
            self.emit(replace(node, inputs=inputs, outputs=outputs))
        self._depth -= 1
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
            Pending(node.source, row, struct, tuple(reads), node.outputs, fields, tuple(blocks))
        )

    def move(self, node: Node, source: int, target: int) -> None:
        """A step that copies a whole value."""
        value = self.values[source]
        if not value.elements:
            return
        row = self.kernel(node, "RASTER", "X8")
        line = View(0, (1,))
        region = region_of(Region(0, line, line, (value.nbytes,)), 1)

        def fields(at: Locate, keep: list[Any]) -> Fields:
            inputs, regions = (
                array_of("ck_operand", [at(source)], keep),
                array_of("ck_region", [region], keep),
            )
            return {"out": at(target), "inputs": inputs, "regions": regions, "n_regions": 1}

        self.steps.append(Pending(node.source, row, "ck_raster", (source,), (target,), fields))

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
        params = [ffi.new(f"{step.struct} *", step.fields(at, keep)) for step in steps]
        keep.extend(params)
        filled = [
            (step.row.kernel, made, 0, step.row.units(made)) for step, made in zip(steps, params, strict=True)
        ]
        return {"steps": array_of("ck_step", filled, keep), "n_steps": len(filled)}

    def keep_states(self) -> None:
        """The last steps leave what the next run finds."""
        slots, finals = ([getattr(s, end) for s in self.graph.states] for end in ("value", "final"))
        kept = self.assign(Node("STATE", (), (), source="variables"), [*finals, *self.outputs], slots)
        self.outputs = kept[len(slots) :]

    # ---------------------------------------------------------------- the end

    def finish(self) -> FlatProgram:
        self.keep_states()
        cut = groups(self.steps, self.facts(), self.cache * self.threads)
        rings = Rings(cut, RINGS)
        places, memories = self.place(self.lifetimes(cut), rings.lengths)
        steps = []
        for number, step in enumerate(self.steps):
            keep: list[Any] = []
            params = ffi.new(
                f"{step.struct} *", step.fields(partial(self._operand, rings, places, number), keep)
            )
            rings.tables(step, params, self.root, keep)
            steps.append(Step(step.row, params, tuple(keep), step.source, step.operations))
        if rings.bases:
            steps += rings.turns(self.kernels["TURN", "X8"], places)
        calls = list(rings.calls(steps, lambda i: self.values[i].dtype.size))
        cuts = [[call] for call in calls] if self.threads == 1 else self.cut(calls, steps)
        ends = [
            [(places[self.root(i)], self.values[i]) for i in side]
            for side in (self.graph.inputs, self.outputs)
        ]
        self.steps = []  # they hold us, and we the whole graph: without the circle it is free at once
        states = [Slot(places[s.value], s.initial, s.resource) for s in self.graph.states]
        return FlatProgram(
            steps, cuts, self.threads, memories, len(rings.bases), ends[0], ends[1], states, self.layout
        )

    def cut(self, calls: Sequence[Call], steps: Sequence[Step]) -> list[list[Call]]:
        """Each call with what threads may do beside it. A small program has no need of a measured machine."""
        guess = unmeasured(self.kernels.values())
        if not is_worth_threads(steps, guess):
            return [[call] for call in calls]
        return list(stages(calls, steps, self.threads, self.machine() if self.machine else guess))

    def lifetimes(self, cut: Sequence[Group]) -> dict[int, tuple[int, int]]:
        """Of every value that a step or an end of the graph touches: the first and the last moment that need
        it. Moments are counted through the steps, and through those inside them; a group is one moment.
        """
        spans, end, at = {self.root(i): (0, 0) for i in self.graph.starts}, 0, 0
        for group in cut:
            end = self._touch(self.steps[at : group.first], spans, end)
            for step in self.steps[group.first : group.last + 1]:
                self._touch([step], spans, end)
            end, at = end + 1, group.last + 1
        end = self._touch(self.steps[at:], spans, end)
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

    def facts(self) -> strips.Values:
        """What `strips` has to know of the values."""
        known = self._shared | {self.root(i) for i in (*self.graph.starts, *self.graph.ends, *self.outputs)}
        first, last = dict[int, int](), dict[int, int]()
        for at, step in enumerate(self.steps):
            for i in map(self.root, _touched(step)):
                first.setdefault(i, at)
                last[i] = at

        def private(i: int, begin: int, end: int) -> bool:
            return i not in known and begin <= first[i] and last[i] <= end

        values = self.values
        return strips.Values(self.root, lambda i: values[i].elements, lambda i: values[i].dtype.size, private)

    def place(
        self, spans: Mapping[int, tuple[int, int]], rings: Mapping[int, int]
    ) -> tuple[dict[int, Place], list[Memory]]:
        """A place for every value: inputs side by side, constants too, all others in an arena that they share
        over time. `rings` says of how many elements a value needs a place for, where that is not all.
        """
        given = dict.fromkeys(self.root(i) for i in self.graph.inputs)
        alive = [i for i in spans if self.values[i].data is None and i not in self._late and i not in given]
        sizes = [rings.get(i, self.values[i].elements) * self.values[i].dtype.size for i in alive]
        self.layout = memory.plan([memory.Block(s, *spans[i]) for s, i in zip(sizes, alive, strict=True)])
        places = {i: Place(ARENA, offset) for i, offset in zip(alive, self.layout.offsets, strict=True)}
        room = 0
        for i in given:
            places[i] = Place(INPUTS, room)
            room += aligned(self.values[i].nbytes)
        size = 0
        for i in spans.keys() - places.keys():
            places[i] = Place(CONSTANTS, size)
            size += aligned(self.values[i].nbytes)
        memories = [Memory(self.layout.size, "arena"), self.weights(places, size), Memory(room, "inputs")]
        return places, [*memories, Memory(self.threads * aligned(self.scratch_size), "scratch")]

    def weights(self, places: Mapping[int, Place], size: int) -> Memory:
        """The constants: in a file that processes share, else in memory of our own."""
        constants = {i: place for i, place in places.items() if place.base == CONSTANTS}

        def fill(out: Array) -> None:
            for i, place in constants.items():
                self.fill_constant(i, out[place.offset : place.offset + self.values[i].nbytes])

        if self.store is not None and 0 < size <= memory.limit():
            mapping = self.store.open(self.digest(constants), size + memory.SLACK, fill)
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

    def _operand(self, rings: Rings, places: dict[int, Place], step: int, index: int) -> dict[str, int]:
        if index == ABSENT:
            return {"base": -1}
        place = rings.place(step, self.root(index), places)
        return {"base": place.base, "offset": place.offset}


def _touched(step: Pending) -> Iterator[int]:
    """The values that a step and those inside it read and write."""
    yield from (*step.reads, *step.writes)
    for block in step.blocks:
        for inner in block:
            yield from _touched(inner)
