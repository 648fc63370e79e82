"""Matrix products. A constant right-hand matrix makes FULLY_CONNECTED, whose weights are packed once."""

from __future__ import annotations

from runtime.graph import DType
from runtime.importers.onnx.translation import Row, Translation


def matmul(t: Translation) -> int:
    """As NumPy: leading axes are batches that broadcast, one axis alone is a row or a column."""
    a, b = t.input(0), t.input(1)
    _floats(t, a, b)
    return product(t, a, b)


def _floats(t: Translation, *operands: int) -> None:
    if any(t.dtype(index) is not DType.F32 for index in operands):
        raise t.lacking(f"element types {[t.dtype(i).value for i in operands]}, expected f32")


def product(t: Translation, a: int, b: int) -> int:
    left, right = t.shape(a), t.shape(b)
    if not left or not right:
        raise t.bad(f"shapes {left} and {right}, expected rank 1 or more")
    if len(left) == 1:
        rows = product(t, t.reshape(a, (1, *left)), b)
        return t.reshape(rows, (*t.shape(rows)[:-2], *t.shape(rows)[-1:]) if len(right) > 1 else ())
    if len(right) == 1:
        columns = product(t, a, t.reshape(b, (*right, 1)))
        return t.reshape(columns, t.shape(columns)[:-1])
    if left[-1] != right[-2]:
        raise t.bad(f"inner sizes {left[-1]} and {right[-2]} differ")
    if t.value(b).data is not None and len(right) == 2:
        return dense(t, a, t.transpose(b, (1, 0)), None)
    batch = t.broadcast(left[:-2], right[:-2])
    a = a if len(left) == 2 else t.repeated(a, (*batch, *left[-2:]))
    b = b if len(right) == 2 else t.repeated(b, (*batch, *right[-2:]))
    return t.emit("BATCH_MATMUL", a, b)


def dense(t: Translation, a: int, weights: int, bias: int | None) -> int:
    """Rows of `a` by constant weights (units, depth)."""
    operands = [] if bias is None else [bias]
    return t.emit("FULLY_CONNECTED", a, weights, *operands, keep_num_dims=True)


def gemm(t: Translation) -> int:
    """alpha * A * B + beta * C, A and B transposed where asked for."""
    a, b = t.input(0), t.input(1)
    _floats(t, a, b)
    if len(t.shape(a)) != 2 or len(t.shape(b)) != 2:
        raise t.bad(f"shapes {t.shape(a)} and {t.shape(b)}, expected two matrices")
    a = t.transpose(a, (1, 0)) if t.attr("transA") else a
    b = b if t.attr("transB") else t.transpose(b, (1, 0))
    if t.shape(a)[1] != t.shape(b)[1]:
        raise t.bad(f"inner sizes {t.shape(a)[1]} and {t.shape(b)[1]} differ")
    shape = t.shape(a)[0], t.shape(b)[0]
    c = t.input(2) if t.has(2) and t.attr("beta") != 0 else None
    if c is not None and t.attr("beta") != 1:
        c = t.emit("MUL", c, t.like(t.attr("beta"), c))
    constant = t.value(b).data is not None
    if constant and t.attr("alpha") != 1:
        b = t.emit("MUL", b, t.like(t.attr("alpha"), b))
    fits = c is not None and constant and t.value(c).data is not None and t.value(c).elements == shape[1]
    if fits and c is not None and t.shape(c) in (shape[1:], (1, shape[1])):
        return dense(t, a, b, t.reshape(c, shape[1:]))
    out = dense(t, a, b, None) if constant else t.emit("BATCH_MATMUL", a, b, adj_y=True)
    if not constant and t.attr("alpha") != 1:
        out = t.emit("MUL", out, t.like(t.attr("alpha"), out))
    if c is None:
        return out
    if t.broadcast(t.shape(c), shape) != shape:
        raise t.bad(f"C has shape {t.shape(c)}, expected one that broadcasts to {shape}")
    return t.emit("ADD", out, c)


def fused_matmul(t: Translation) -> int:
    """alpha * A * B, the last two axes of each transposed where asked for."""
    operands = [t.input(0), t.input(1)]
    _floats(t, *operands)
    for i, name in enumerate(("transA", "transB")):
        t.choice(f"transBatch{name[-1]}", (0,))
        rank = len(t.shape(operands[i]))
        if t.attr(name) and rank > 1:
            operands[i] = t.transpose(operands[i], (*range(rank - 2), rank - 1, rank - 2))
    made = product(t, *operands)
    return made if t.attr("alpha") == 1 else t.emit("MUL", made, t.like(t.attr("alpha"), made))


ROWS: dict[str, Row] = {
    "MatMul": Row(matmul, (2, 2)),
    "com.microsoft.FusedMatMul": Row(
        fused_matmul,
        (2, 2),
        {"alpha": 1.0, "transA": 0, "transB": 0, "transBatchA": 0, "transBatchB": 0},
    ),
    "Gemm": Row(gemm, (2, 3), {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}),
}
