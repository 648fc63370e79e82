"""Reductions over axes, arg-extremes, top-k and running sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runtime.graph import DType
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Row, Translation

Step = Callable[[Translation, int], int]


def _axes(t: Translation) -> tuple[int, ...]:
    """From the attribute (before opset 18, ReduceSum 13) or from input 1; all of them where there is none."""
    rank = len(t.shape(t.input(0)))
    given = t.integers(1) if t.has(1) else t.attr("axes") or ()
    if not given and t.attr("noop_with_empty_axes"):
        return ()
    return t.axes(given or range(rank), rank)


def over(t: Translation, op: str, x: int, axes: Sequence[int], keep: bool) -> int:
    return t.emit(op, x, t.sizes(axes), keep_dims=keep)


def reduction(op: str, before: Step | None = None, after: Step | None = None) -> Row:
    """A GRAPH reduction with an element-wise step on either side."""

    def rule(t: Translation) -> int:
        x, axes, keep = t.input(0), _axes(t), bool(t.attr("keepdims"))
        x = before(t, x) if before else x
        x = over(t, op, x, axes, keep) if axes else x
        return after(t, x) if after else x

    return Row(rule, (1, 2), {"axes": Kind.INTS, "keepdims": 1, "noop_with_empty_axes": 0})


def log_sum_exp(t: Translation) -> int:
    """log(sum(exp(x - m))) + m under the largest m, so that nothing overflows."""
    x, axes, keep = t.input(0), _axes(t), bool(t.attr("keepdims"))
    if not axes:
        return x
    most = over(t, "REDUCE_MAX", x, axes, True)
    total = t.emit("LOG", over(t, "SUM", t.emit("EXP", t.emit("SUB", x, most)), axes, keep))
    return t.emit("ADD", total, t.reshape(most, t.shape(total)))


def arg_extreme(op: str) -> Row:
    def rule(t: Translation) -> int:
        x = t.input(0)
        shape = t.shape(x)
        axis = t.axis(t.attr("axis"), len(shape))
        last = t.attr("select_last_index")
        found = t.emit(
            op, t.emit("REVERSE_V2", x, t.sizes([axis])) if last else x, t.sizes([axis]), dtype=DType.I64
        )
        if last:
            found = t.emit("SUB", t.like(shape[axis] - 1, found), found)
        kept = (1,) if t.attr("keepdims") else ()
        return t.reshape(found, (*shape[:axis], *kept, *shape[axis + 1 :]))

    return Row(rule, attrs={"axis": 0, "keepdims": 1, "select_last_index": 0})


def moved_last(t: Translation, x: int, axis: int) -> tuple[int, tuple[int, ...]]:
    """The value with an axis last, and the order that takes it back."""
    rank = len(t.shape(x))
    order = (*range(axis), *range(axis + 1, rank), axis)
    back = (*range(axis), rank - 1, *range(axis, rank - 1))
    return t.transpose(x, order), back


def top_k(t: Translation) -> list[int]:
    """Sorted, whether that is asked for or not."""
    x, k = t.input(0), t.integer(1)
    axis = t.axis(t.attr("axis"), len(t.shape(x)))
    if not 1 <= k <= t.shape(x)[axis]:
        raise t.bad(f"k = {k}, expected 1..{t.shape(x)[axis]}")
    rows, back = moved_last(t, x, axis)
    rows = rows if t.attr("largest") else t.emit("NEG", rows)
    count = t.constant(k, DType.I32)
    found, where = t.emit_all("TOPK_V2", [rows, count], [t.dtype(rows), DType.I32])
    found = found if t.attr("largest") else t.emit("NEG", found)
    return [t.transpose(found, back), t.cast(t.transpose(where, back), DType.I64)]


def cum_sum(t: Translation) -> int:
    axis = t.sizes([t.axis(t.integer(1), len(t.shape(t.input(0))))])
    flags: dict[str, Any] = {"exclusive": bool(t.attr("exclusive")), "reverse": bool(t.attr("reverse"))}
    return t.emit("CUMSUM", t.input(0), t.reshape(axis, ()), **flags)


def on_last_axis(op: str, **attrs: Any) -> Row:
    """An operator of TFLite's last axis, on any axis."""

    def rule(t: Translation) -> int:
        x = t.input(0)
        rows, back = moved_last(t, x, t.axis(t.attr("axis"), len(t.shape(x))))
        return t.transpose(t.emit(op, rows, **attrs), back)

    return Row(rule, attrs={"axis": -1})


def unary(op: str) -> Step:
    return lambda t, x: t.emit(op, x)


SOFTMAX = on_last_axis("SOFTMAX", beta=1.0)
ROWS: dict[str, Row] = {
    "ReduceSum": reduction("SUM"),
    "ReduceMean": reduction("MEAN"),
    "ReduceMax": reduction("REDUCE_MAX"),
    "ReduceMin": reduction("REDUCE_MIN"),
    "ReduceProd": reduction("REDUCE_PROD"),
    "ReduceL1": reduction("SUM", unary("ABS")),
    "ReduceL2": reduction("SUM", unary("SQUARE"), unary("SQRT")),
    "ReduceSumSquare": reduction("SUM", unary("SQUARE")),
    "ReduceLogSum": reduction("SUM", None, unary("LOG")),
    "ReduceLogSumExp": Row(
        log_sum_exp, (1, 2), {"axes": Kind.INTS, "keepdims": 1, "noop_with_empty_axes": 0}
    ),
    "ArgMax": arg_extreme("ARG_MAX"),
    "ArgMin": arg_extreme("ARG_MIN"),
    "TopK": Row(top_k, (2, 2), {"axis": -1, "largest": 1, "sorted": 1}, (1, 2)),
    "CumSum": Row(cum_sum, (2, 2), {"exclusive": 0, "reverse": 0}),
    "Softmax": SOFTMAX,
    "LogSoftmax": on_last_axis("LOG_SOFTMAX"),
}
