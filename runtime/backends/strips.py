"""Strips: steps that follow each other run in turns, some rows at a time, so that what one writes is still in
the cache when the next reads it, and needs no more memory than that.

Steps that know how they go through their values (`Flow`) make a group while each reads something large that
another of the group writes. A group is cut where its last step has made another part of its output; from the
end to the front each step is told how far it must be by then. No element is made twice, and the results are
the same bit by bit. A value that only the group knows becomes a ring: element x of it lies at x modulo its
length. A step that goes through a ring from front to back finds its begin in a base address of its own, which
a TURN moves; one that finds windows of it through a table has a table of places in the ring (`rings`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.graph import Array

if TYPE_CHECKING:
    from runtime.backends.steps import Pending

DEFAULT_CACHE = 512 * 1024
"""Bytes of the second cache of a core, where the machine does not say: those of a Cortex-A53's cluster."""
SHARE, LARGE = 0.75, 0.25
"""Of the cache: for all that a strip of a group touches; and what is smaller than is still there when the
next step reads it.
"""
CALL_COST = 16384
"""Bytes that go to memory in the time that one more call of a kernel takes."""
SECOND_CACHE = Path("/sys/devices/system/cpu/cpu0/cache/index2")
FEWEST_ROWS = 48
"""Of a matrix product in a strip: with fewer, the weights would be read again too often."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Unit u needs the elements [u * step, (u + 1) * step) of an input."""

    step: int

    def end(self, units: int) -> int:
        """The first `units` units need no element from here on."""
        return units * self.step

    def begin(self, unit: int) -> int:
        """The units from this one on need no element before."""
        return unit * self.step

    @property
    def reach(self) -> int:
        """The most elements between the two for neighbouring units."""
        return self.step


@dataclass(frozen=True, eq=False)
class Windows:
    """Unit u needs the chunks of an input that begin at rows[u], but for negative ones; `aligned`: all begin
    at multiples of `chunk`.
    """

    rows: Array
    chunk: int
    aligned: bool = False

    @cached_property
    def _ends(self) -> Array:
        return np.maximum.accumulate(self.rows.max(axis=1)) + self.chunk

    @cached_property
    def _begins(self) -> Array:
        lowest = self.rows.view(np.uint32).min(axis=1)  # what is negative is then far
        return np.minimum.accumulate(lowest[::-1])[::-1]

    def end(self, units: int) -> int:
        return int(self._ends[units - 1]) if units else 0

    def begin(self, unit: int) -> int:
        return int(self._begins[min(unit, len(self.rows) - 1)])

    @cached_property
    def reach(self) -> int:
        return int((self._ends - self._begins).max())

    def ring(self, least: int, quantum: int) -> int | None:
        """The shortest ring of a multiple of `quantum` elements in which no chunk is torn, up to twice
        `least`.
        """
        length = -(-least // quantum) * quantum
        if self.aligned and length % self.chunk == 0:
            return length
        starts = np.unique(self.rows[self.rows >= 0])
        for longer in range(length, 2 * length, quantum):
            if ((starts % longer) + self.chunk <= longer).all():
                return longer
        return None

    def within(self, ring: int) -> Array:
        """The table of places in a ring."""
        return np.where(self.rows < 0, self.rows, self.rows % ring)


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """How a step goes through its values from front to back: unit u of `units` writes the elements [u * out,
    (u + 1) * out) of its output, and `needs` says what it reads. Parts begin at a multiple of `align` units.
    """

    units: int
    out: int
    needs: Mapping[int, Stream | Windows]
    align: int = 1
    rows: bool = False
    """Whether units are rows of a matrix product."""


@dataclass(frozen=True, slots=True)
class Part:
    """Units [begin, end) of a step, known by its position in the program; for each value of a ring that it
    goes through, how many elements of it have been left behind by whole turns.
    """

    step: int
    begin: int
    end: int
    behind: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """The steps [first, last], the parts that run them, and the lengths of the rings of their values."""

    first: int
    last: int
    parts: tuple[Part, ...]
    rings: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Values:
    """What is known of the values of a program: by `root` the name of the memory, and by that name the
    elements, the bytes of one, and whether nobody but these steps may touch it.
    """

    root: Callable[[int], int]
    elements: Callable[[int], int]
    width: Callable[[int], int]
    private: Callable[[int, int, int], bool]

    def bytes(self, i: int) -> int:
        return self.elements(i) * self.width(i)


def cache_bytes(threads: int = 1) -> int:
    """What each of so many threads has of the second caches of this machine."""
    try:
        size = (SECOND_CACHE / "size").read_text().strip()
        sharing = (SECOND_CACHE / "shared_cpu_map").read_text().replace(",", "")
        return int(size.removesuffix("K")) * 1024 // min(threads, int(sharing, 16).bit_count())
    except (OSError, ValueError, ZeroDivisionError):
        return DEFAULT_CACHE // threads


def groups(steps: Sequence[Pending], values: Values, cache: int) -> list[Group]:
    """The steps that are run in strips: of every run of steps that flow into each other through large values,
    the cuts that cost least.
    """
    found, first = list[Group](), 0
    while first < len(steps):
        links = list[_Link]()
        for step in steps[first:]:
            if step.flow is None or (links and not _takes(links, step, values, LARGE * cache)):
                break
            links.append(_Link.of(step, step.flow, values))
        for begin, end, strips in _best(links, values, cache):
            if strips > 1:
                found.append(_Chain(first + begin, links[begin:end], values).cut(strips))
        first += max(len(links), 1)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Link:
    """A step that flows: its values by the names of their memory, and the bytes that it needs of all others
    at any time, and of its inputs for one unit.
    """

    flow: Flow
    output: int
    needs: dict[int, Stream | Windows]
    fixed: int

    @staticmethod
    def of(step: Pending, flow: Flow, values: Values) -> _Link:
        needs = {values.root(i): need for i, need in flow.needs.items()}
        output = values.root(step.output)
        others = {values.root(i) for i in (*step.reads, *step.writes)} - needs.keys() - {output}
        reach = sum(need.reach * values.width(i) for i, need in needs.items())
        return _Link(flow, output, needs, reach + sum(map(values.bytes, others)))


def _takes(links: Sequence[_Link], step: Pending, values: Values, large: float) -> bool:
    """Whether a step reads, from front to back, something large that the links write, and nothing of what
    they write in another way.
    """
    written = {link.output for link in links}
    flowing = {values.root(i) for i in (step.flow.needs if step.flow else ())}
    others = {values.root(i) for i in step.reads} - flowing
    return others.isdisjoint(written) and any(values.bytes(i) > large for i in flowing & written)


def _best(links: Sequence[_Link], values: Values, cache: int) -> list[tuple[int, int, int]]:
    """Chains (begin, end, number of strips) of all links at the least cost, in bytes that go to memory: of
    every large value that leaves a chain, there and back, and of the calls.
    """
    best: list[tuple[float, list[tuple[int, int, int]]]] = [(0, [])]
    for end in range(1, len(links) + 1):
        size = values.bytes(links[end - 1].output)
        leaving, flowing, room, most = (
            2 * size if size > LARGE * cache else 0,
            set[int](),
            SHARE * cache,
            1 << 16,
        )
        ways = list[tuple[float, list[tuple[int, int, int]]]]()
        for begin in reversed(range(end)):
            link = links[begin]
            flowing |= {link.output, *link.needs}
            room -= link.fixed
            most = min(most, link.flow.units // FEWEST_ROWS) if link.flow.rows else most
            strips = math.ceil(sum(map(values.bytes, flowing)) / room) if room > 0 else most + 1
            if begin + 1 == end:
                strips = 1
            elif strips > most:
                break
            cost = best[begin][0] + leaving + CALL_COST * strips * (end - begin)
            ways.append((cost, [*best[begin][1], (begin, end, strips)]))
        best.append(min(ways, key=lambda way: way[0]))
    return best[-1][1]


class _Chain:
    """Links that are run in strips; the first is number `first` of the program."""

    def __init__(self, first: int, links: Sequence[_Link], values: Values) -> None:
        self.first, self.links, self.values = first, links, values
        self.last = first + len(links) - 1

    def cut(self, strips: int) -> Group:
        goals = list(self._goals(strips))
        inner = {
            link.output for link in self.links if self.values.private(link.output, self.first, self.last)
        }
        rings = {i: length for i in inner if (length := self._ring(i, goals)) is not None}
        paths = [self._paths(link, rings) for link in self.links]
        parts = [
            part
            for begins, ends in pairwise(goals)
            for at, (begin, end) in enumerate(zip(begins, ends, strict=True))
            for part in _parts(self.first + at, begin, end, paths[at])
        ]
        return Group(self.first, self.last, tuple(parts), rings)

    def _goals(self, strips: int) -> Iterator[list[int]]:
        """How many units of each step are done before the first strip, and after each."""
        done = [0] * len(self.links)
        yield done
        readers = [
            [
                (k, self.links[k].needs[link.output])
                for k in range(at + 1, len(self.links))
                if link.output in self.links[k].needs
            ]
            for at, link in enumerate(self.links)
        ]
        for strip in range(1, strips + 1):
            goal = [link.flow.units for link in self.links]
            for at in reversed(range(len(goal) if strip < strips else 0)):
                flow = self.links[at].flow
                wanted = max(
                    [need.end(goal[k]) for k, need in readers[at]],
                    default=flow.units * flow.out * strip // strips,
                )
                units = -(-wanted // (flow.out * flow.align)) * flow.align
                goal[at] = min(max(units, done[at]), flow.units)
            done = goal
            yield done

    def _ring(self, i: int, goals: Sequence[Sequence[int]]) -> int | None:
        """Elements of the ring of a value: what a strip needs from its begin, and makes until its end."""
        writers = [at for at, link in enumerate(self.links) if link.output == i]
        readers = [(at, link.needs[i]) for at, link in enumerate(self.links) if i in link.needs]
        out, least = self.links[writers[0]].flow.out, 0
        for begins, ends in pairwise(goals):
            needed = min((need.begin(begins[at]) for at, need in readers), default=0)
            least = max(least, ends[writers[0]] * out - needed)
        steps = [need.step for _, need in readers if isinstance(need, Stream)]
        quantum = math.lcm(*steps, *(self.links[at].flow.out * self.links[at].flow.align for at in writers))
        length: int | None = -(-least // quantum) * quantum
        for _, need in readers:
            if isinstance(need, Windows) and length is not None:
                length = need.ring(length, quantum)
        return None if length is None or length >= self.values.elements(i) else length

    def _paths(self, link: _Link, rings: Mapping[int, int]) -> dict[int, tuple[int, int]]:
        """Of each ring that a step goes through: its length, and the elements of a unit."""
        steps = {i: need.step for i, need in link.needs.items() if isinstance(need, Stream)}
        return {
            i: (rings[i], step) for i, step in (steps | {link.output: link.flow.out}).items() if i in rings
        }


def _parts(step: int, begin: int, end: int, paths: Mapping[int, tuple[int, int]]) -> Iterator[Part]:
    """The units of one step in one strip, cut where a ring begins again."""
    while begin < end:
        behind, until = dict[int, int](), end
        for i, (ring, elements) in paths.items():
            behind[i] = begin * elements // ring * ring
            until = min(until, (behind[i] + ring) // elements)
        yield Part(step, begin, until, behind)
        begin = until
