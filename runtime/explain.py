"""What each pass made of a model, as text: a line per node with its operands, shapes and attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from runtime.atoms import Gather, Gemm, Map, Raster, Reduce
from runtime.decompose import decompose
from runtime.graph import ABSENT, Graph, Node
from runtime.infer import infer
from runtime.simplify import alias, compose, fold, prune

MAX_REGIONS = 4
"""Regions of a RASTER that are spelled out."""


def explain(graph: Graph) -> str:
    """The listing of an imported graph after each pass, with how many nodes of each kind there are."""
    sections = []
    for title, stage in passes(graph):
        counts = ", ".join(f"{count} {op}" for op, count in Counter(n.op for n in stage.nodes).most_common())
        sections.append(f"== {title}: {len(stage.nodes)} nodes ({counts})\n{listing(stage)}")
    return "\n".join(sections)


STEPS: tuple[tuple[str, Callable[[Graph], Graph]], ...] = (
    ("infer", infer),
    ("decompose", lambda graph: decompose(graph, "builtin")),
    ("fold", fold),
    ("alias", alias),
    ("compose", compose),
    ("prune", prune),
)


def passes(graph: Graph) -> Iterator[tuple[str, Graph]]:
    """(name of the pass, the graph after it), from the imported graph on."""
    yield "import", graph
    for name, step in STEPS:
        graph = step(graph)
        yield name, graph


def listing(graph: Graph) -> str:
    """One line per node: outputs = OP(inputs) attributes, and the operator of the model that it came from."""
    return "".join(f"{_line(graph, node)}\n" for node in graph.nodes)


def _line(graph: Graph, node: Node) -> str:
    outputs = ", ".join(_operand(graph, i) for i in node.outputs)
    inputs = ", ".join(_operand(graph, i) for i in node.inputs)
    return f"{outputs} = {node.op}({inputs}) {_attributes(node)}  # {node.source}"


def _operand(graph: Graph, index: int) -> str:
    """%3:f32[1,8]; a constant has a c instead of the %."""
    if index == ABSENT:
        return "-"
    value = graph.values[index]
    mark = "%" if value.data is None else "c"
    return f"{mark}{index}:{value.dtype.value}[{','.join(map(str, value.shape))}]"


def _attributes(node: Node) -> str:
    attrs = node.attrs
    if isinstance(attrs, Mapping):
        return " ".join(f"{name}={value}" for name, value in attrs.items())
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
    return repr(attrs)
