"""SVDF, a dense layer of rank-1 filters in time; the last output is the next content of its variable tensor.

Source: TFLite `internal/reference/svdf.h`. Floats, floats with weights of 8 bits, or int8 throughout with a
memory of int16.
"""

from __future__ import annotations

from runtime.atoms import Gemm, Map, Reduce, Region, View
from runtime.decompose.hybrid import signed
from runtime.decompose.rule import BYTES, Lowering, Program, call, const, load
from runtime.decompose.steps import activation, times
from runtime.graph import DType
from runtime.primitives import Compute
from runtime.quantized import float32_product
from runtime.strides import dense

INTEGERS = (DType.I8, DType.I8, DType.I16, DType.I32, DType.I16, DType.I8)
"""Input, weights of the features and of time, bias, memory and output."""


def svdf(low: Lowering) -> None:
    """Each filter remembers what it gave last (`memory` steps); a unit sums `rank` filters over that time."""
    data, weights, time, bias, state = (None if value is None else value.dtype for value in low.x.values)
    types = (data, weights, time, bias or INTEGERS[3], state, low.out.dtype)
    if types == INTEGERS:
        return integer(low)
    if {data, bias or data, state, low.out.dtype} != {DType.F32}:
        low.types()
    if weights is not time or weights not in (DType.F32, *BYTES):
        low.types()
    return real(low)


def real(low: Lowering) -> None:
    """Weights of 8 bits multiply levels of the input; those of time are made real."""
    (rows, depth), (filters, _) = low.x.shape(0), low.x.shape(1)
    data, weights, time, *_ = low.node.inputs
    value = low.x.value(2)
    if value.dtype in BYTES:
        (scale, zero), (_, other) = low.quantized(value), low.quantized(low.x.value(1))
        if zero or other:
            raise low.lacking("8-bit weights under float activations must have zero points of 0")
        program = call("mul", signed(value.dtype, load(0)), const(scale))
        time = low.map(program, [time], low.temp(value.shape, DType.F32))
    sums = over_memory(low, times(low, data, (rows, depth, filters), weights), time, DType.F32, "f32")
    program, operands = biased(low, sums)
    low.map(activation(low, program), operands)


def integer(low: Lowering) -> None:
    """The memory takes the features at its scale, the sums over it take the bias and the output's scale.

    TFLite knows the activation RELU only, and computes none: the least byte is its zero.
    """
    if low.x.attr("fused_activation_function") != "RELU":
        raise low.lacking("int8 with another activation than RELU, which TFLite refuses too")
    (rows, depth), (filters, _) = low.x.shape(0), low.x.shape(1)
    data, weights, time, state = (low.quantized(low.x.value(i)) for i in (0, 1, 2, 4))
    output = low.quantized(low.out)
    if weights[1] or time[1] or state[1]:
        raise low.lacking("zero points of weights and memory must be 0")
    views = View(0, (0, depth, 1)), View(0, (0, 1, depth)), View(0, (0, filters, 1))
    products = low.temp((rows, filters), DType.I32)
    low.emit(Gemm(1, rows, filters, depth, *views, None, data[1]), low.node.inputs[:2], products)
    scaled = call("mulq", load(0), args=low.factor(float32_product(data[0], weights[0], over=state[0])))
    latest = low.map(scaled, [products], low.temp((rows, filters), DType.I16), "i32")
    program, operands = biased(low, over_memory(low, latest, low.node.inputs[2], DType.I32, "i32"))
    factor = low.factor(float32_product(state[0], time[0], over=output[0]))
    low.map(call("add", call("mulq", program, args=factor), const(output[1])), operands, compute="i32")


def over_memory(low: Lowering, latest: int, time: int, dtype: DType, compute: Compute) -> int:
    """(rows, units): sums of what the filters remember times the weights of time, all of `dtype`.

    `latest` of (rows, filters) is remembered from here on.
    """
    (rows, _), (filters, memory) = low.x.shape(0), low.x.shape(2)
    following, cells = low.node.outputs[1], filters * memory
    newest = Region(1, View(0, (1,)), View(memory - 1, (memory,)), (rows * filters,))
    kept = Region(0, View(1, (memory, 1)), View(0, (memory, 1)), (rows * filters, memory - 1))
    low.raster([kept, newest] if memory > 1 else [newest], [low.node.inputs[4], latest], following)
    flat, weighted = dense((rows, cells)), low.temp((rows, cells), dtype)
    product = call("mul", load(0), load(1))
    low.emit(Map((rows, cells), (flat, View(0, (0, 1))), flat, product, compute), [following, time], weighted)
    units = low.out.elements
    return low.emit(
        Reduce("sum", units, cells * rows // units, 1), [weighted], low.temp(low.out.shape, dtype)
    )


def biased(low: Lowering, sums: int) -> tuple[Program, list[int]]:
    """The sums plus the bias, where there is one, and what the program reads."""
    if low.x.values[3] is None:
        return load(0), [sums]
    return call("add", load(0), load(1)), [sums, low.node.inputs[3]]


RULES = {"SVDF": svdf}
