"""What each pass makes of a model: which operators it changed into what, every node if asked for, and what
becomes of the copies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from runtime.atoms import Gather, Gemm, Map, Raster, Reduce
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.control import everywhere, subgraphs
from runtime.copies import Account, account, copied, total
from runtime.decompose import decompose
from runtime.graph import ABSENT, Graph, Node
from runtime.infer import infer
from runtime.simplify import PASSES

MAX_REGIONS = 4
"""Regions of a RASTER that are spelled out."""
MAX_NUMBERS = 6
"""Operators that a change names one by one."""
MAX_KEPT = 8
"""Copies that stay and are named one by one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """The graph after a pass."""

    name: str
    graph: Graph

    @property
    def nodes(self) -> list[Node]:
        """Those of the graph and of the graphs inside it."""
        return list(_walk(self.graph))

    @property
    def copied(self) -> int:
        """Bytes that its RASTERs write in one run, a sub-graph counted once."""
        return total(copied(self.graph))

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """What each operator of the model is by now: its source -> the nodes that came from it."""
        found: dict[str, tuple[str, ...]] = {}
        for node in self.nodes:
            found[node.source] = (*found.get(node.source, ()), node.op)
        return found


STEPS: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("infer", infer),
    ("decompose", lambda graph: decompose(graph, "builtin")),
    *((name, partial(everywhere, change=rewrite)) for name, rewrite in PASSES),
    ("fuse", fuse),
    ("place", place),
)


def passes(graph: Graph) -> list[Stage]:
    """The imported graph, and the graph after each pass, for the cpu backend."""
    stages = [Stage("import", graph)]
    for name, step in STEPS:
        stages.append(Stage(name, step(stages[-1].graph)))
    return stages


def explain(stages: Sequence[Stage], nodes: bool = False) -> str:
    """For each pass its nodes by kind and what it changed, or with `nodes` the listing of the graph after it;
    at last what has become of the copies.
    """
    sections, before = list[str](), dict[str, tuple[str, ...]]()
    for stage in stages:
        counts = Counter(node.op for node in stage.nodes)
        told = ", ".join(f"{count} {op}" for op, count in counts.most_common())
        moved = f"; copies {stage.copied} bytes" if stage.name not in ("import", "infer") else ""
        title = f"== {stage.name}: {counts.total()} nodes ({told}){moved}\n"
        changed = changes(before, stage.kinds) if before else ""
        sections.append(title + (listing(stage.graph) if nodes else changed))
        before = stage.kinds
    return "\n".join([*sections, copy_lines(copies_of(stages), nodes)])


def copies_of(stages: Sequence[Stage]) -> Account:
    """The account of the copies, from the decomposition to the last stage."""
    first = [stage.name for stage in stages].index("decompose")
    return account([(stage.name, stage.graph) for stage in stages[first:]])


def copy_lines(found: Account, every: bool = False) -> str:
    """The copies that the passes did away with, by cause, and the largest of those that stay."""
    kept = sum(row.nbytes for row in found.kept)
    text = f"== copies: {found.nbytes} bytes decomposed, {kept} bytes in the end\n"
    for row in found.removed:
        text += f"  {row.nbytes:12} bytes of {row.nodes:4} RASTER: {row.cause}\n"
    shown = found.kept if every else found.kept[:MAX_KEPT]
    for left in shown:
        sources, readers = (" and ".join(dict.fromkeys(names)) for names in (left.sources, left.readers))
        text += f"  {left.nbytes:12} bytes stay: {sources}, for {readers}\n"
    more = found.kept[len(shown) :]
    return text + (f"  {sum(row.nbytes for row in more):12} bytes stay in {len(more)} more\n" if more else "")


def changes(before: Mapping[str, tuple[str, ...]], after: Mapping[str, tuple[str, ...]]) -> str:
    """A line for each kind of operator and each way in which such operators changed."""
    ways: dict[tuple[str, str, str], list[str]] = {}
    for source in dict.fromkeys([*before, *after]):
        old, new = before.get(source, ()), after.get(source, ())
        if old != new:
            kind, _, number = source.partition("#")
            ways.setdefault((kind, _short(old), _short(new)), []).append(f"#{number}")
    lines = [
        f"  {len(numbers):4} x {kind}: {old} -> {new}  ({' '.join(numbers[:MAX_NUMBERS])}"
        f"{' ...' if len(numbers) > MAX_NUMBERS else ''})\n"
        for (kind, old, new), numbers in ways.items()
    ]
    return "".join(lines) or "  nothing changed\n"


def _short(ops: tuple[str, ...]) -> str:
    """Their names, those that repeat with a count."""
    runs: list[tuple[str, int]] = []
    for op in ops:
        if runs and runs[-1][0] == op:
            runs[-1] = op, runs[-1][1] + 1
        else:
            runs.append((op, 1))
    return " ".join(op if count == 1 else f"{count} {op}" for op, count in runs) or "nothing"


def _walk(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for part in subgraphs(node.attrs).values():
            yield from _walk(part)


# ---------------------------------------------------------------- every node


def listing(graph: Graph, indent: str = "") -> str:
    """One line per node: outputs = OP(inputs) attributes, and the operator of the model that it came from;
    below a node with graphs inside, those.
    """
    text = ""
    for node in graph.nodes:
        text += f"{indent}{_line(graph, node)}\n"
        for name, part in subgraphs(node.attrs).items():
            text += f"{indent}  {name}:\n{listing(part, indent + '    ')}"
    return text


def _line(graph: Graph, node: Node) -> str:
    outputs = ", ".join(_operand(graph, i) for i in node.outputs)
    inputs = ", ".join(_operand(graph, i) for i in node.inputs)
    return f"{outputs} = {node.op}({inputs}) {attributes(node)}  # {node.source}"


def _operand(graph: Graph, index: int) -> str:
    """%3:f32[1,8]; a constant has a c instead of the %."""
    if index == ABSENT:
        return "-"
    value = graph.values[index]
    mark = "%" if value.data is None else "c"
    return f"{mark}{index}:{value.dtype.value}[{','.join(map(str, value.shape))}]"


def attributes(node: Node) -> str:
    attrs = node.attrs
    if isinstance(attrs, Mapping):
        return " ".join(f"{name}={value}" for name, value in attrs.items())
    if subgraphs(attrs):
        return ""
    if isinstance(attrs, Map):
        steps = (" ".join([step.name, *map(str, step.args)]) for step in attrs.program)
        return f"{attrs.compute} {list(attrs.sizes)}: {'; '.join(steps)}"
    if isinstance(attrs, Raster):
        shown = [f"{r.source} -> {r.destination} x {list(r.sizes)}" for r in attrs.regions[:MAX_REGIONS]]
        more = len(attrs.regions) - len(shown)
        return f"{attrs.mode} fill={attrs.fill}: {'; '.join(shown)}{f'; and {more} more' if more else ''}"
    if isinstance(attrs, Gemm):
        return f"batch={attrs.batch} m={attrs.m} n={attrs.n} k={attrs.k} {type(attrs.epilogue).__name__}"
    if isinstance(attrs, Reduce):
        return f"{attrs.op} of {[attrs.outer, attrs.axis, attrs.inner]}"
    if isinstance(attrs, Gather):
        return f"{attrs.count} of {attrs.rows} rows of {attrs.width}"
    return type(attrs).__name__
