"""Shapes of reductions over axes."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def _reduce(x: Operands) -> list[Shape]:
    shape = x.listed(0) if x.node.op in OF_NOTHING else x.shape(0)
    axes, keep = x.axes(1, len(shape)), x.attr("keep_dims")
    return [tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)]


def _arg(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes = x.axes(1, len(shape))
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    return [shape[: axes[0]] + shape[axes[0] + 1 :]]


OF_NOTHING = frozenset({"SUM", "REDUCE_PROD"})
"""What has a value for an empty list."""
REDUCTIONS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")
RULES: dict[str, Rule] = {**dict.fromkeys(REDUCTIONS, _reduce), **dict.fromkeys(("ARG_MAX", "ARG_MIN"), _arg)}
