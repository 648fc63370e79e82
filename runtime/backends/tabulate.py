"""A function of one byte is a table of 256: chains of element-wise atoms between bytes become one LOOKUP.

What the atoms compute is asked of the reference, once for every byte that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.atoms import Gather, Map, View
from runtime.backends.reference import run_atom
from runtime.errors import RunError
from runtime.fused import Lookup
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.strides import is_dense

BYTES = (DType.I8, DType.U8)
LEAST = 16
"""Elements for which a table is worth being made."""
EVERY = np.arange(256, dtype=np.uint8)
LINE, POINT = View(0, (1,)), View(0, (0,))


@dataclass(frozen=True, slots=True)
class Function:
    """What a value has at each place, by the bits of what `source` has `offset` places further on."""

    source: int
    offset: int
    outputs: Array


def tabulate(graph: Graph) -> Graph:
    """The same function with LOOKUPs; what they leave unread stays."""
    tables = _Tables(graph)
    return graph.with_nodes(tuple([tables.looked_up(node) for node in graph.nodes]))


class _Tables:
    def __init__(self, graph: Graph) -> None:
        self.values = graph.values
        self.functions: dict[int, Function] = {}
        self.known: dict[object, Array | None] = {}
        """What was asked before, by what it was asked of: models repeat themselves."""

    def looked_up(self, node: Node) -> Node:
        found = self.function(node)
        if found is None:
            return node
        (out,) = node.outputs
        self.functions[out] = found
        if self.values[out].dtype not in BYTES:
            return node
        lookup = Lookup(found.outputs, found.offset)
        return replace(node, op=Lookup.NAME, inputs=(found.source,), attrs=lookup)

    def function(self, node: Node) -> Function | None:
        """What the node computes, where that is a function of one byte, place by place."""
        if not isinstance(node.attrs, Map | Gather) or self.values[node.outputs[0]].elements < LEAST:
            return None
        match node.attrs:
            case Map() as atom if is_dense(atom.output, atom.sizes):
                found = [self.operand(i, view, atom) for i, view in zip(node.inputs, atom.views, strict=True)]
                views = tuple(LINE if isinstance(x, Function) else POINT for x in found)
                attrs: Map | Gather = replace(atom, sizes=EVERY.shape, views=views, output=LINE)
            case Gather(width=1):
                found = [self.values[node.inputs[0]].data, self.of(node.inputs[1])]
                attrs = replace(node.attrs, count=EVERY.size)
            case _:
                return None
        sources = {(x.source, x.offset) for x in found if isinstance(x, Function)}
        if len(sources) != 1 or any(x is None for x in found):
            return None
        outputs = self.evaluated(attrs, found, self.values[node.outputs[0]].dtype)
        return None if outputs is None else Function(*sources.pop(), outputs)

    def evaluated(
        self, attrs: Map | Gather, operands: Sequence[Function | Array | None], dtype: DType
    ) -> Array | None:
        arrays = [x.outputs if isinstance(x, Function) else x for x in operands if x is not None]
        question = attrs, dtype, tuple([(array.dtype, array.tobytes()) for array in arrays])
        if question not in self.known:
            self.known[question] = asked(attrs, arrays, dtype)
        return self.known[question]

    def operand(self, i: int, view: View, atom: Map) -> Function | Array | None:
        """A function of a byte, or one number for every place."""
        data = self.values[i].data
        if data is not None and not any(view.strides):
            return data.reshape(-1)[view.offset : view.offset + 1]
        if data is not None or not is_dense(replace(view, offset=0), atom.sizes):
            return None
        return self.of(i, view.offset)

    def of(self, i: int, offset: int = 0) -> Function | None:
        value, known = self.values[i], self.functions.get(i)
        if known is None and value.dtype in BYTES and value.data is None:
            known = Function(i, 0, EVERY.view(value.dtype.numpy))
        return None if known is None else replace(known, offset=known.offset + offset)


def asked(attrs: Map | Gather, arrays: Sequence[Array], dtype: DType) -> Array | None:
    try:
        return run_atom(attrs, arrays, [Value("", EVERY.shape, dtype)])[0]
    except RunError:  # an index outside its rows, which is for the run to say
        return None
