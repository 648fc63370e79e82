"""The C steps of control flow: they run blocks of other steps, over the same arena."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from runtime.backends.steps import Fields, Locate, array_of
from runtime.control import MAX_TRIPS, If, Loop, While
from runtime.graph import Node

if TYPE_CHECKING:
    from runtime.backends.emitter import Emitter


def _if(low: Emitter, node: Node, atom: If) -> None:
    test, *operands = node.inputs
    blocks = []
    for part in (atom.then, atom.orelse):
        block, results = low.inline(part, operands)
        outer, low.steps = low.steps, block
        low.assign(node, results, node.outputs)
        low.steps = outer
        blocks.append(block)

    def fields(at: Locate, keep: list[Any]) -> Fields:
        then, orelse = (low.block(block, at, keep) for block in blocks)
        return {"test": at(test), "then": then, "orelse": orelse}

    low.control(node, "IF", fields, node.inputs, blocks)


def _while(low: Emitter, node: Node, atom: While) -> None:
    """The outputs are the places of what is carried."""
    slots = node.outputs
    low.assign(node, node.inputs, slots)
    cond, (test,) = low.inline(atom.cond, slots)
    body, results = low.inline(atom.body, slots)
    outer, low.steps = low.steps, body
    low.assign(node, results, slots)
    low.steps = outer

    def fields(at: Locate, keep: list[Any]) -> Fields:
        blocks = {"cond": low.block(cond, at, keep), "body": low.block(body, at, keep)}
        return {"test": at(test), **blocks, "most_trips": MAX_TRIPS}

    low.control(node, "WHILE", fields, [test], [cond, body])


def _loop(low: Emitter, node: Node, atom: Loop) -> None:
    """The outputs are the places of what is carried, and of what is stacked."""
    slots, fixed = node.outputs[: atom.carried], len(node.inputs) - atom.fixed
    low.assign(node, node.inputs[: atom.carried], slots)
    wholes, same = node.inputs[atom.carried : fixed], node.inputs[fixed:]
    parts = [low.like(atom.body.values[i]) for i in atom.body.inputs[atom.carried : fixed]]
    body, results = low.inline(atom.body, [*slots, *parts, *same])
    outer, low.steps = low.steps, body
    results = low.assign(node, results, slots)[atom.carried :]
    low.steps = outer
    stacked = node.outputs[atom.carried :]

    def fields(at: Locate, keep: list[Any]) -> Fields:
        cut, kept = (
            [
                {"whole": at(a), "part": at(b), "bytes": low.values[b].nbytes}
                for a, b in zip(*pair, strict=True)
            ]
            for pair in ((wholes, parts), (stacked, results))
        )
        slices = {"slices": array_of("ck_slice", cut, keep), "stacked": array_of("ck_slice", kept, keep)}
        sizes = {"trips": atom.trips, "reverse": atom.reverse, "n_slices": len(cut), "n_stacked": len(kept)}
        return {"body": low.block(body, at, keep), **sizes, **slices}

    low.control(node, "LOOP", fields, [*wholes, *same, *parts, *results], [body])


RULES: dict[type[Any], Callable[[Emitter, Node, Any], None]] = {If: _if, While: _while, Loop: _loop}
