"""The slow reference of graphs whose values are written in parts: every element, by whom and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from runtime.atoms import Gemm, Map, Raster
from runtime.backends.reference import addresses, run_atom
from runtime.graph import Array, Graph, Node
from runtime.memory import Block, lower_bound


def in_place(graph: Graph, feed: Sequence[Array]) -> list[Array]:
    """The outputs of a graph of atoms; no element is read before it is written, nor written twice."""
    memory = [np.zeros(value.elements, value.dtype.numpy) for value in graph.values]
    written = [np.zeros(value.elements, bool) for value in graph.values]
    for i, data in (*graph.constants(), *zip(graph.inputs, feed, strict=True)):
        memory[i][:], written[i][:] = data.reshape(-1), True
    parts = graph.in_parts()
    for node in graph.nodes:
        for i, at in reads(node):
            assert written[i][at].all()
        inputs = [memory[i].reshape(graph.values[i].shape) for i in node.inputs]
        results = run_atom(node.attrs, inputs, [graph.values[i] for i in node.outputs])
        for i, result in zip(node.outputs, results, strict=True):
            at = writes(node) if i in parts else np.arange(result.size)
            assert not written[i][at].any()
            memory[i][at], written[i][at] = result.reshape(-1)[at], True
    assert all(written[i].all() for i in graph.outputs)
    return [memory[i].reshape(graph.values[i].shape) for i in graph.outputs]


def reads(node: Node) -> Iterator[tuple[int, Array]]:
    """(value, addresses)."""
    match node.attrs:
        case Raster(regions):
            for r in regions:
                yield node.inputs[r.input], addresses(r.source, r.sizes)
        case Map(sizes, views):
            for i, view in zip(node.inputs, views, strict=True):
                yield i, addresses(view, sizes)
        case Gemm(batch, m, n, k, a, b):
            yield node.inputs[0], addresses(a, (batch, m, k))
            yield node.inputs[1], addresses(b, (batch, k, n))
        case _:
            yield from ((i, np.s_[:]) for i in node.inputs)


def writes(node: Node) -> Array:
    """The addresses that an atom writes of a value of which others write the rest; each once."""
    match node.attrs:
        case Raster(regions, None):
            at = np.concatenate([addresses(r.destination, r.sizes).reshape(-1) for r in regions])
        case Map():
            at = addresses(node.attrs.output, node.attrs.sizes).reshape(-1)
        case Gemm(batch, m, n):
            at = addresses(node.attrs.c, (batch, m, n)).reshape(-1)
        case _:
            raise AssertionError(f"{node.op} writes whole values")
    assert len(np.unique(at)) == len(at)
    return at


def alive(graph: Graph) -> int:
    """The most bytes of values that are alive at one node."""
    spans = dict.fromkeys(graph.starts, (0, 0))
    for at, node in enumerate(graph.nodes):
        for i in (*node.inputs, *node.outputs):
            spans[i] = spans.get(i, (at, at))[0], at
    for i in graph.ends:
        spans[i] = spans.get(i, (0, 0))[0], len(graph.nodes)
    return lower_bound(Block(graph.values[i].nbytes, *span) for i, span in spans.items())
