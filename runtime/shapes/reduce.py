"""Shapes of reductions over axes."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule


def _reduce(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes, keep = x.axes(1, len(shape)), x.attr("keep_dims")
    return [tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)]


def _arg(x: Operands) -> list[Shape]:
    shape = x.shape(0)
    axes = x.axes(1, len(shape))
    if len(axes) != 1:
        raise x.bad(f"{len(axes)} axes, expected 1")
    return [shape[: axes[0]] + shape[axes[0] + 1 :]]


RULES: dict[str, Rule] = {**dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX"), _reduce), "ARG_MAX": _arg}
