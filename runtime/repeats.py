"""What a MAP computes over and over, because nothing that it reads changes along a dimension, it computes
once; a RASTER copies it, or whoever reads it reads it where it stands.
"""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.atoms import Map, Raster, Region, View
from runtime.graph import Graph, Node, Value
from runtime.strides import dense

LEAST = 256
"""Elements of a MAP that is worth another step."""
MOST = 1 << 16
"""Elements of a constant that is searched for another number than its first."""


def once(graph: Graph) -> Graph:
    """The same function with MAPs that compute nothing twice along a dimension."""
    values, nodes = list(graph.values), list[Node]()
    for node in graph.nodes:
        if isinstance(node.attrs, Map) and math.prod(node.attrs.sizes) >= LEAST:
            nodes += _once(node, node.attrs, values)
        else:
            nodes.append(node)
    return replace(graph, values=tuple(values), nodes=tuple(nodes))


def _once(node: Node, atom: Map, values: list[Value]) -> list[Node]:
    out = values[node.outputs[0]]
    read = [_changes(values[i], view) for i, view in zip(node.inputs, atom.views, strict=True)]
    kept = [d for d in range(len(atom.sizes)) if any(view.strides[d] for view in read)]
    sizes = tuple([atom.sizes[d] for d in kept])
    if math.prod(sizes) == math.prod(atom.sizes) or math.prod(atom.sizes) != out.elements:
        return [node]
    views = tuple([View(view.offset, tuple([view.strides[d] for d in kept])) for view in read])
    values.append(Value(f"{out.name} once", sizes, out.dtype))
    line, made = dense(sizes), len(values) - 1
    steps = dict(zip(kept, line.strides, strict=True))
    copied = View(0, tuple([steps.get(d, 0) for d in range(len(atom.sizes))]))
    copy = Raster((Region(0, copied, atom.output, atom.sizes),))
    small = replace(atom, sizes=sizes, views=views, output=line)
    return [
        replace(node, outputs=(made,), attrs=small),
        Node("RASTER", (made,), node.outputs, copy, node.source),
    ]


def _changes(value: Value, view: View) -> View:
    """The view without strides, where all that it can read is the same number, bit by bit."""
    if value.data is None or not 0 < value.elements <= MOST:
        return view
    flat = value.data.reshape(-1)
    same = flat.tobytes() == flat[:1].tobytes() * flat.size
    return View(view.offset, (0,) * len(view.strides)) if same else view
