"""Superinstructions: what MAP programs do often, done by one primitive, which keeps in registers what the
others would write to their stack (Proebsting, "Optimizing an ANSI C interpreter with superoperators", 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime.atoms import Instruction, Map
from runtime.decompose.rule import Program, call, const, load
from runtime.graph import Graph
from runtime.primitives import FLOAT, PRIMITIVES

_SIXTH = call("clamp", call("add", load(0), const(3.0)), args=(0.0, 6.0))
PATTERNS: Sequence[tuple[str, Program]] = (
    ("silu", call("mul", load(0), call("logistic", load(0)))),
    ("silu", call("mul", call("logistic", load(0)), load(0))),
    ("hard_swish", call("div", call("mul", load(0), _SIXTH), const(6.0))),
    ("hard_swish", call("mul", load(0), call("mul", _SIXTH, const(1 / 6)))),
)
"""Primitive -> the instructions that it stands for; load(0) is any operand, the same everywhere."""


def shorten(graph: Graph) -> Graph:
    """The same function, up to the rounding of what is in between, with shorter MAP programs on floats."""
    nodes = []
    for node in graph.nodes:
        if isinstance(node.attrs, Map) and node.attrs.compute in FLOAT:
            node = replace(node, attrs=replace(node.attrs, program=shortened(node.attrs.program)))
        nodes.append(node)
    return graph.with_nodes(tuple(nodes))


def shortened(program: Sequence[Instruction]) -> Program:
    out: Program = ()
    for step in program:
        out = (*out, step)
        for name, pattern in PATTERNS:
            if (found := _match(pattern, out)) is not None:
                begin, operand = found
                out = (*out[:begin], *operand, Instruction(name))
    return out


def _match(pattern: Program, program: Program) -> tuple[int, Program] | None:
    """(begin, operand) of the pattern at the end of a program."""
    end, operand = len(program), Program()
    for step in reversed(pattern):
        if step.name != "load":
            if not end or program[end - 1] != step:
                return None
            end -= 1
            continue
        begin = _begin(program, end)
        if operand and program[begin:end] != operand:
            return None
        operand, end = program[begin:end], begin
    return end, operand


def _begin(program: Program, end: int) -> int:
    """Where the instructions begin that push what is on top of the stack before `end`."""
    needed = 1
    while needed and end:
        end -= 1
        name = program[end].name
        needed += (0 if name in ("load", "const") else PRIMITIVES[name].arity) - 1
    return end
