"""The passes of a model as one picture (SVG): a row for each of its operators, a column for each pass.

Every node that an operator is made of is a chip in the column of the pass; where a pass does away with a
copy, its chip is gone. Lines on the left say which operator reads from which; below is the account of the
copies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from runtime.explain import Stage, attributes, copies_of, copy_lines
from runtime.graph import Graph, Node

COLOURS = {
    "RASTER": "#f2b84b",
    "GEMM": "#5b8ff9",
    "INDIRECT_GEMM": "#3a6fd8",
    "INDIRECT_REDUCE": "#c24d31",
    "DEPTHWISE": "#6f6bd9",
    "LOOKUP": "#8fbf5a",
    "MAP": "#57b894",
    "REDUCE": "#e8684a",
    "GATHER": "#9270ca",
    "SCATTER": "#b56bb5",
    "SORT": "#6dc8ec",
    "RNG": "#ff9d4d",
    "IF": "#8d99ae",
    "WHILE": "#8d99ae",
    "LOOP": "#8d99ae",
}
OTHER = "#adb5bd"
ROW, CHIP, LINE, GAP, LINES = 34, 20, 16, 6, 110
"""Pixels: the heights of a row, a chip and a line of text, the space between things, the width of the
lines on the left.
"""
BOX, COLUMN = 330, 330
"""Widths of an operator's box, and of the widest column, after which chips go on below."""
START, HEAD = float(LINES + BOX + 3 * GAP), 74
"""Where the first column begins, and the first row."""
LETTER = 7.4
"""Pixels per character of a chip."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #212529 } .small { font-size: 10.5px; fill: #6c757d }
.head { font-weight: 600 } .chip text { fill: #fff; font-size: 11px; text-anchor: middle }
.box { fill: #fff; stroke: #ced4da }
.flow { fill: none; stroke: #868e96; stroke-width: 1.2 } .page { fill: #f8f9fa } .band { fill: #eef1f4 }
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A pass; `rows` are the nodes of each operator after it."""

    stage: Stage
    rows: dict[str, list[Node]]

    @property
    def width(self) -> float:
        widest = max(
            (sum(_chip_width(node) + GAP for node in nodes) for nodes in self.rows.values()), default=0
        )
        return max(120, min(widest, COLUMN)) + GAP


def picture(title: str, stages: Sequence[Stage]) -> str:
    """An SVG document. The first stage gives the rows; passes that change nothing get no column."""
    model, columns = stages[0], _columns(stages)
    sources = list(dict.fromkeys([*model.kinds, *(source for column in columns for source in column.rows)]))
    heights = [max([ROW, *(_height(column, source) for column in columns)]) for source in sources]
    tops = [*itertools.accumulate(heights, initial=HEAD)]
    place: dict[str, float] = dict(zip(sources, tops, strict=False))
    told = copy_lines(copies_of(stages)).splitlines()
    width = START + sum(column.width + 2 * GAP for column in columns)
    height = tops[-1] + (len(told) + 1) * LINE
    body = [_band(width, tops[i], heights[i]) for i in range(1, len(sources), 2)]
    body += _headings(title, stages, columns)
    body += [line for source in sources for line in _operator(model, source, place[source])]
    body += _flows(model.graph, place)
    left = START
    for column in columns:
        body += [line for source, nodes in column.rows.items() for line in _chips(nodes, left, place[source])]
        left += column.width + 2 * GAP
    body += [
        _text(LINES, tops[-1] + (i + 1) * LINE, line.strip("= "), "small") for i, line in enumerate(told)
    ]
    size = f'width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', f"<style>{STYLE}</style>"
    return "\n".join([*head, '<rect class="page" width="100%" height="100%"/>', *body, "</svg>", ""])


def _columns(stages: Sequence[Stage]) -> list[Column]:
    columns, kinds = list[Column](), stages[0].kinds
    for stage in stages[1:]:
        if stage.kinds != kinds:
            kinds = stage.kinds
            columns.append(Column(stage, _by_source(stage)))
    return columns


def _band(width: float, top: float, height: int) -> str:
    return f'<rect class="band" x="0" y="{top}" width="{width:.0f}" height="{height}"/>'


def _by_source(stage: Stage) -> dict[str, list[Node]]:
    rows: dict[str, list[Node]] = {}
    for node in stage.nodes:
        rows.setdefault(node.source, []).append(node)
    return rows


def _chip_width(node: Node) -> float:
    return len(node.op) * LETTER + 14


def _laid(nodes: Sequence[Node]) -> Iterator[tuple[Node, float, int]]:
    """(node, offset from the left, line) of every chip of a cell."""
    x, line = 0.0, 0
    for node in nodes:
        width = _chip_width(node)
        if x and x + width > COLUMN:
            x, line = 0.0, line + 1
        yield node, x, line
        x += width + GAP


def _height(column: Column, source: str) -> int:
    lines = max((line for _, _, line in _laid(column.rows.get(source, ()))), default=0)
    return ROW + lines * (CHIP + GAP)


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _headings(title: str, stages: Sequence[Stage], columns: Sequence[Column]) -> Iterator[str]:
    model, last = stages[0], stages[-1]
    yield _text(LINES, 24, title, "head")
    yield _text(LINES, 48, "operator of the model", "head")
    yield _text(LINES, 64, f"{len(model.nodes)} operators, {len(last.nodes)} steps in the end", "small")
    left = START
    for column in columns:
        nodes, copied = len(column.stage.nodes), column.stage.copied
        yield _text(left, 48, column.stage.name, "head")
        yield _text(left, 64, f"{nodes} nodes, copies {_bytes(copied)}", "small")
        left += column.width + 2 * GAP


def _bytes(count: int) -> str:
    return f"{count} B" if count < 1024 else f"{count / 2**10:,.1f} KiB"


def _operator(model: Stage, source: str, top: float) -> Iterator[str]:
    yield f'<rect class="box" x="{LINES}" y="{top + 3}" width="{BOX}" height="{ROW - 6}" rx="5"/>'
    yield _text(LINES + 8, top + 21, source)
    for node in model.graph.nodes:
        if node.source == source and node.outputs:
            value = model.graph.values[node.outputs[0]]
            shape = f"{value.dtype.value} {'x'.join(map(str, value.shape))}"
            yield (
                f'<text class="small" x="{LINES + BOX - 8}" y="{top + 21}" text-anchor="end">{shape}</text>'
            )


def _flows(graph: Graph, place: dict[str, float]) -> Iterator[str]:
    """A short line to the next row, an arc to one further below."""
    made = {i: node.source for node in graph.nodes for i in node.outputs}
    for node in graph.nodes:
        for source in dict.fromkeys(made[i] for i in node.inputs if i in made):
            start, end = place[source] + ROW - 3, place[node.source] + 3
            if end - start < ROW:
                yield f'<path class="flow" d="M{LINES + 20} {start}V{end}"/>'
            else:
                bulge = LINES - min(LINES - 8, 14 + (end - start) / 12)
                middle = place[source] + ROW / 2, place[node.source] + ROW / 2
                yield (
                    f'<path class="flow" d="M{LINES} {middle[0]}C{bulge:.0f} {middle[0]} '
                    f'{bulge:.0f} {middle[1]} {LINES} {middle[1]}"/>'
                )


def _chips(nodes: Sequence[Node], left: float, top: float) -> Iterator[str]:
    for node, offset, line in _laid(nodes):
        x, y, width = left + offset, top + (ROW - CHIP) / 2 + line * (CHIP + GAP), _chip_width(node)
        colour = COLOURS.get(node.op, OTHER)
        yield (
            f'<g class="chip"><title>{escape(f"{node.op} {attributes(node)}")}</title>'
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{CHIP}" rx="10" fill="{colour}"/>'
            f'<text x="{x + width / 2:.1f}" y="{y + 14:.1f}">{escape(node.op)}</text></g>'
        )
