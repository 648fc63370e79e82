"""Where the steps of groups find the values that are rings, and the calls that run them (see `strips`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ckernels
from ckernels import ffi
from runtime.backends.flat import Call, Place, Step
from runtime.backends.steps import Pending, numbers_of
from runtime.backends.strips import Group, Windows


class Rings:
    """The rings of all groups of a program, and the base addresses, from `first_base` on, by which steps go
    through them.
    """

    def __init__(self, groups: Sequence[Group], first_base: int) -> None:
        self.groups = groups
        self.lengths = {i: length for group in groups for i, length in group.rings.items()}
        paths = dict.fromkeys((p.step, i) for group in groups for p in group.parts for i in p.behind)
        self.bases = {path: first_base + number for number, path in enumerate(paths)}

    def place(self, step: int, index: int, places: dict[int, Place]) -> Place:
        """Where a step finds a value: a ring that it goes through begins where its own base says."""
        base = self.bases.get((step, index))
        return places[index] if base is None else Place(base, 0)

    def tables(self, step: Pending, params: Any, root: Callable[[int], int], keep: list[Any]) -> None:
        """Replaces a table of places in a value by that of places in its ring."""
        for i, need in step.flow.needs.items() if step.flow else ():
            if isinstance(need, Windows) and (length := self.lengths.get(root(i))) is not None:
                params.rows = numbers_of(need.within(length), keep)

    def turns(self, row: ckernels.Row, places: dict[int, Place]) -> list[Step]:
        """A step for each base, which sets it."""
        turns = []
        for (_, index), base in self.bases.items():
            origin = {"base": places[index].base, "offset": places[index].offset}
            turns.append(Step(row, ffi.new("ck_turn *", {"origin": origin, "base": base}), (), "turn"))
        return turns

    def calls(self, steps: Sequence[Step], widths: Callable[[int], int]) -> Iterator[Call]:
        """Those of the program whose last steps are the turns: the parts of groups, and all others as a
        whole.
        """
        at, end = 0, len(steps) - len(self.bases)
        turn = {path: end + number for number, path in enumerate(self.bases)}
        for group in self.groups:
            yield from (Call(i, 0, steps[i].units) for i in range(at, group.first))
            behind = dict[tuple[int, int], int]()
            for part in group.parts:
                for i, elements in part.behind.items():
                    if behind.get(path := (part.step, i)) != elements:
                        yield Call(turn[path], -elements * widths(i), 0)
                        behind[path] = elements
                yield Call(part.step, part.begin, part.end)
            at = group.last + 1
        yield from (Call(i, 0, steps[i].units) for i in range(at, end))
