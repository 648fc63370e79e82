"""Recurrent layers: the last outputs are the next content of their variable tensors."""

from __future__ import annotations

from runtime.atoms import Clamp, Gemm, Map, Reduce, Region, View
from runtime.decompose.rule import Lowering, bounded, call, load
from runtime.graph import DType
from runtime.strides import dense


def svdf(low: Lowering) -> None:
    """Each filter remembers what it gave last (`memory` steps); a unit sums `rank` filters over that time."""
    if any(value is not None and value.dtype is not DType.F32 for value in (*low.x.values, low.out)):
        low.types()
    (batch, depth), (filters, memory) = low.x.shape(0), low.x.shape(2)
    data, weights, time, bias, state = low.node.inputs
    output, following = low.node.outputs
    views = View(0, (0, depth, 1)), View(0, (0, 1, depth)), View(0, (0, filters, 1))
    latest = low.temp((batch, filters), DType.F32)
    low.emit(Gemm(1, batch, filters, depth, *views, Clamp()), [data, weights], latest)
    rows, cells = batch * filters, filters * memory
    newest = Region(1, View(0, (1,)), View(memory - 1, (memory,)), (rows,))
    kept = Region(0, View(1, (memory, 1)), View(0, (memory, 1)), (rows, memory - 1))
    low.raster([kept, newest] if memory > 1 else [newest], [state, latest], following)
    flat = dense((batch, cells))
    weighted = low.temp((batch, cells), DType.F32)
    multiply = Map((batch, cells), (flat, View(0, (0, 1))), flat, call("mul", load(0), load(1)))
    low.emit(multiply, [following, time], weighted)
    sums = low.temp(low.out.shape, DType.F32)
    low.emit(Reduce("sum", low.out.elements, cells * batch // low.out.elements, 1), [weighted], sums)
    given = [bias] if low.x.values[3] is not None else []
    biased = call("add", load(0), load(1)) if given else load(0)
    tanh = low.x.attr("fused_activation_function") == "TANH"
    program = call("tanh", biased) if tanh else bounded(biased, low.float_range())
    low.map(program, [sums, *given], output)


RULES = {"SVDF": svdf}
