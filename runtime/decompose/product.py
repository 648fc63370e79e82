"""What every product with weights ends in: the types it takes, its bias, rounding and clamp.

Operand 0 is the data, 1 the weights, 2 the bias. The integer arithmetic is that of TFLite's kernels: 8-bit
products add up in s32, 16-bit ones in s64, and one fixed-point multiplier per output channel takes the sums
to the output's scale.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime.atoms import Clamp, Gemm, Requantize
from runtime.decompose.rule import BYTES, Lowering, Program, bounded, call, const, load
from runtime.graph import ABSENT, DType, Shape
from runtime.operators import BIAS_TYPE
from runtime.quantized import float32_product, reduced_multiplier

NARROW_PRODUCTS = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
"""Where TFLite multiplies the scales of input and weights in float32, not in double."""
NARROW_SUMS = frozenset({"FULLY_CONNECTED", "TRANSPOSE_CONV"})
"""Which add 16-bit products up in s32 where there is no bias (TFLite 2.14)."""
TIES_UP = frozenset({"CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"})
"""Whose builtin kernels round halves of s32 sums up under signed types, the reference away from zero."""


LEVELS_TYPES = (DType.I16, DType.I8, DType.I32)
"""Data, weights and output of the products of `runtime.decompose.hybrid`: bare sums."""


def zero_points(low: Lowering) -> tuple[int, int]:
    """Of input and weights; (0, 0) for floats."""
    x, weights = low.x.value(0), low.x.value(1)
    types = (x.dtype, weights.dtype, low.out.dtype)
    if types in ((DType.F32, DType.F32, DType.F32), LEVELS_TYPES):
        return 0, 0
    bare = x.dtype is weights.dtype and x.dtype in BYTES and low.out.dtype is DType.I32
    wide = x.dtype is low.out.dtype is DType.I16 and weights.dtype in (DType.I8, DType.I16)
    if not wide and not bare and not (x.dtype is weights.dtype is low.out.dtype and x.dtype in BYTES):
        low.types()
    weight_zeros = set(low.scales(weights)[1])
    if len(weight_zeros) != 1:
        raise low.lacking("weights with different zero points")
    zeros = low.quantized(x)[1], weight_zeros.pop()
    if wide and (*zeros, low.quantized(low.out)[1]) != (0, 0, 0):
        raise low.x.bad(f"zero points {zeros} of input and weights, expected 0 under 16-bit activations")
    return zeros


def product(low: Lowering, a: int, gemm: Gemm) -> None:
    """The GEMM of a value and the weights, to the output: in one step where an epilogue can do the rest."""
    if low.out.dtype is DType.I32 and gemm.batch == 1:
        low.emit(gemm, [a, low.node.inputs[1]])
    elif gemm.batch > 1 or low.out.dtype is DType.I16:
        finished(low, summed(low, a, gemm), gemm.batch == 1 and ties_up(low))
    else:
        low.emit(replace(gemm, epilogue=epilogue(low)), [a, low.node.inputs[1], *bias(low)])


def summed(low: Lowering, a: int, gemm: Gemm, shape: Shape | None = None) -> int:
    """The bare sums of a GEMM of a value and the weights, by default in the shape of the output."""
    sums = low.temp(low.out.shape if shape is None else shape, sum_type(low))
    last = Clamp() if low.out.dtype is DType.F32 else None
    return low.emit(replace(gemm, epilogue=last), [a, low.node.inputs[1]], sums)


def finished(low: Lowering, sums: int, up: bool = False) -> int:
    """A MAP from sums to the output: bias, rounding and clamp, for each output channel its own.

    Scaled s32 sums are rounded with halves away from zero, or `up`.
    """
    given = bias(low)
    biased = call("add", load(0), load(1)) if given else load(0)
    operands = [sums, *given]
    if low.out.dtype is DType.F32:
        return low.map(bounded(biased, low.float_range()), operands)
    if low.out.dtype is DType.I32:
        return low.map(load(0), [sums], compute="i32")
    wide = sum_type(low) is DType.I64
    scale = _scaled_wide if wide else _scaled_up if up else _scaled
    scaled, numbers = scale(low, biased, len(operands))
    centred = call("add", scaled, const(low.quantized(low.out)[1]))
    program = call("clamp", centred, args=low.stored_range())
    return low.map(program, operands + numbers, compute="i64" if wide or up else "i32")


def _scaled(low: Lowering, sums: Program, at: int) -> tuple[Program, list[int]]:
    """s32 sums times the multipliers, which become operands from `at` on."""
    numbers = [low.constant(np.array(column, np.int32)) for column in multipliers(low)]
    return call("mulq_by", sums, load(at), load(at + 1)), numbers


def _scaled_up(low: Lowering, sums: Program, at: int) -> tuple[Program, list[int]]:
    """s32 sums as s64: a product rounded to its high half, then to the output's scale, halves up."""
    pairs = list(zip(*multipliers(low), strict=True))
    rights = [max(-shift, 0) for _, shift in pairs]
    numbers = [
        low.constant(np.array(column, np.int64))
        for column in (
            [multiplier << max(shift, 0) for multiplier, shift in pairs],
            [1 << right >> 1 for right in rights],
            [1 << right for right in rights],
        )
    ]
    high = call("floor_div", call("add", call("mul", sums, load(at)), const(2**30)), const(2**31))
    return call("floor_div", call("add", high, load(at + 1)), load(at + 2)), numbers


def _scaled_wide(low: Lowering, sums: Program, at: int) -> tuple[Program, list[int]]:
    """s64 sums times multipliers of 15 bits, halves up: TFLite's MultiplyByQuantizedMultiplier of an int64.

    TFLite asserts that the scaled sum fits s32; where it does not, this one saturates.
    """
    pairs = [reduced_multiplier(*pair) for pair in zip(*multipliers(low), strict=True)]
    if any(shift < 1 for _, shift in pairs):
        raise low.x.bad("scales are too far apart for 16-bit activations: their ratio is 2^14 or more")
    numbers = [
        low.constant(np.array(column, np.int64))
        for column in ([m for m, _ in pairs], [1 << s >> 1 for _, s in pairs], [1 << s for _, s in pairs])
    ]
    rounded = call("add", call("mul", sums, load(at)), load(at + 1))
    return call("floor_div", rounded, load(at + 2)), numbers


def multipliers(low: Lowering) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(multipliers, shifts) that take sums to the output's scale, one pair or one per output channel.

    Scales are float32. TFLite multiplies input and weight scale in float32 where the weights have one scale
    and the operator is a matrix product or the type is uint8, in double otherwise.
    """
    (scale, _), (weights, _), (out, _) = (
        low.quantized(low.x.value(0)), low.scales(low.x.value(1)), low.quantized(low.out),
    )  # fmt: skip
    narrow = len(weights) == 1 and (low.node.op in NARROW_PRODUCTS or low.out.dtype is DType.U8)
    products = [float32_product(scale, w) if narrow else scale * w for w in weights]
    pairs = [low.factor(product / out) for product in products]
    return tuple(m for m, _ in pairs), tuple(s for _, s in pairs)


def epilogue(low: Lowering) -> Clamp | Requantize:
    if low.out.dtype is DType.F32:
        return Clamp(*low.float_range())
    zero_point, ties = low.quantized(low.out)[1], "up" if ties_up(low) else "away"
    return Requantize(*multipliers(low), zero_point, *low.stored_range(), ties)  # type: ignore[arg-type]


def ties_up(low: Lowering) -> bool:
    return low.kernels == "builtin" and low.out.dtype is not DType.U8 and low.node.op in TIES_UP


def sum_type(low: Lowering) -> DType:
    """Of sums; under 16-bit activations that of the bias, and some operators have s32 without one."""
    if low.out.dtype is not DType.I16:
        return DType.F32 if low.out.dtype is DType.F32 else DType.I32
    given = low.x.values[2] if len(low.x.values) > 2 else None
    if given is not None:
        return DType.I32 if given.dtype is DType.I32 else DType.I64
    narrow = low.node.op in NARROW_SUMS or low.node.attrs.get(BIAS_TYPE) == "INT32"
    return DType.I32 if narrow else DType.I64


def bias(low: Lowering) -> list[int]:
    """The bias operand, where there is one, of the type that the sums have."""
    if len(low.node.inputs) < 3 or low.node.inputs[2] == ABSENT:
        return []
    if low.x.value(2).dtype is not sum_type(low):
        low.types()
    return [low.node.inputs[2]]
