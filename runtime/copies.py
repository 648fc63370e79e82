"""The copies of a model: what its RASTERs write in one run, how much of it each pass does away with and how,
and what stays where.

A pass is told by what it leaves: the copies of the graphs before and after it are compared value by value, so
that the parts of an account add up to the difference, whatever the passes do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from runtime.atoms import Raster
from runtime.backends.fuse import live
from runtime.control import subgraphs
from runtime.graph import Graph

CAUSES = {
    "fold": "folded into constants",
    "once": "copied now, not computed again",
    "normalise": "overwritten or filled for nothing",
    "alias": "one value with what they copied",
    "alias again": "one value with what they copied",
    "share": "computed once",
    "fuse": "read by a kernel through its table",
    "place": "written in place",
}
"""How a pass does away with copies, or why it makes some; of those that `compose` reads through, their
readers tell.
"""
Path = tuple[str, ...]
"""Of a value: through which nodes and which of their graphs, and its number there."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A value that is written by RASTERs, all of it or parts: the bytes that they write, the operator of the
    model that each of them came from, and the nodes that read it.
    """

    nbytes: int = 0
    sources: tuple[str, ...] = ()
    readers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """RASTERs, and bytes that all RASTERs write, which are no more for this cause."""

    cause: str
    nodes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Account:
    """`nodes` and `nbytes` of the decomposition are those of all that is `removed` and all that is `kept`,
    both with the most bytes first.
    """

    nodes: int
    nbytes: int
    removed: tuple[Removed, ...]
    kept: tuple[Copied, ...]


def account(stages: Sequence[tuple[str, Graph]]) -> Account:
    """From (pass, graph after it), the decomposition first."""
    graphs = [copied(graph) for _, graph in stages]
    nodes, nbytes = Counter[str](), Counter[str]()
    for (name, _), (old, new) in zip(stages[1:], pairwise(graphs), strict=True):
        if name == "prune":  # drops only what nobody reads, and numbers the rest anew
            continue
        for path in old.keys() | new.keys():
            before, after = old.get(path, Copied()), new.get(path, Copied())
            cause = _composed(before, after) if name == "compose" else CAUSES[name]
            nodes[cause] += len(before.sources) - len(after.sources)
            nbytes[cause] += before.nbytes - after.nbytes
    removed = (Removed(cause, nodes[cause], nbytes[cause]) for cause in nodes)
    return Account(
        sum(len(found.sources) for found in graphs[0].values()),
        total(graphs[0]),
        tuple(sorted((row for row in removed if row.nodes or row.nbytes), key=lambda row: -row.nbytes)),
        tuple(sorted(graphs[-1].values(), key=lambda row: -row.nbytes)),
    )


def _composed(before: Copied, after: Copied) -> str:
    """A RASTER that is still there has itself read through others, or writes what one would have filled."""
    return f"composed into {'RASTER' if after.nbytes else ' and '.join(before.readers)}"


def total(found: dict[Path, Copied]) -> int:
    """Bytes."""
    return sum(row.nbytes for row in found.values())


def copied(graph: Graph, way: Path = ()) -> dict[Path, Copied]:
    """Every value that RASTERs write and somebody reads, those of sub-graphs counted once."""
    nodes, found = live(list(graph.nodes), graph.ends), dict[Path, Copied]()
    readers: dict[int, set[str]] = {i: {"the caller"} for i in graph.ends}
    for node in nodes:
        for i in node.inputs:
            readers.setdefault(i, set()).add(node.op)
    for node in nodes:
        for name, part in subgraphs(node.attrs).items():
            found |= copied(part, (*way, f"{node.outputs}", name))
        if isinstance(node.attrs, Raster):
            out = graph.values[node.outputs[0]]
            path = *way, f"{node.outputs}"
            before = found.get(path, Copied())
            nbytes = before.nbytes + moved(node.attrs, out.elements) * out.dtype.size
            kinds = tuple(sorted(readers[node.outputs[0]]))
            found[path] = Copied(nbytes, (*before.sources, node.source), kinds)
    return found


def moved(raster: Raster, elements: int) -> int:
    """Elements that it writes in an output of so many, those filled first and then copied over twice."""
    filled = raster.fill is not None or raster.mode == "add"
    return sum(math.prod(region.sizes) for region in raster.regions) + (elements if filled else 0)
