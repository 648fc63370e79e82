"""The MAP that has a kernel of its own: the sum of two rescaled bytes, TFLite's ADD and SUB."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.atoms import Map
from runtime.backends.steps import Fields
from runtime.graph import DType, Node, Value
from runtime.strides import is_dense

TERM = ("load", "const", "sub", "const", "shift_left", "mulq")
SUMS = {
    sign: (*TERM, *TERM, name, "mulq", "const", "add", "clamp") for name, sign in (("add", 1), ("sub", -1))
}
"""Sign of the second term -> the program's instructions."""
MOST_LEFT, MOST_ZERO = 20, 255
"""With which no term leaves 32 bits."""


def rescaled_sum(node: Node, atom: Map, values: Sequence[Value]) -> tuple[list[int], Fields] | None:
    """(its two inputs, the numbers of a `ck_add`) where that is the same as the MAP."""
    names = tuple([step.name for step in atom.program])
    sign = next((sign for sign, program in SUMS.items() if names == program), None)
    if sign is None or not all(is_dense(view, atom.sizes) for view in (*atom.views, atom.output)):
        return None
    args = [tuple(map(int, step.args)) for step in atom.program]
    (a, (a_zero,), _, (left,), _, (a_multiplier, a_shift)), b_terms = args[:6], args[6:12]
    b, (b_zero,), _, (b_left,), _, (b_multiplier, b_shift) = b_terms
    inputs = [node.inputs[a[0]], node.inputs[b[0]]]
    types = {values[i].dtype for i in (*inputs, *node.outputs)}
    fits = 0 <= left == b_left <= MOST_LEFT and max(abs(a_zero), abs(b_zero)) <= MOST_ZERO
    if not fits or types not in ({DType.I8}, {DType.U8}):
        return None
    (multiplier, shift), (zero,), _, (low, high) = args[13:]
    return inputs, {
        **{"left": left, "sign": sign, "multiplier": multiplier, "shift": shift},
        **{"a_zero": a_zero, "a_multiplier": a_multiplier, "a_shift": a_shift},
        **{"b_zero": b_zero, "b_multiplier": b_multiplier, "b_shift": b_shift},
        **{"zero": zero, "low": low, "high": high},
    }
