"""Normalisations: mean and variance over some axes, or those of training, then a scale and a bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

from runtime.graph import DType
from runtime.importers.onnx.pool import MAX_TAPS
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.reduce import over
from runtime.importers.onnx.translation import Row, Translation


def normalised(t: Translation, x: int, axes: Sequence[int], epsilon: float) -> tuple[int, int, int]:
    """((x - mean) / sqrt(variance + epsilon), mean, 1 / sqrt(variance + epsilon))"""
    mean = over(t, "MEAN", x, axes, True)
    centred = t.emit("SUB", x, mean)
    variance = over(t, "MEAN", t.emit("SQUARE", centred), axes, True)
    inverse = t.emit("RSQRT", t.emit("ADD", variance, t.like(epsilon, x)))
    return t.emit("MUL", centred, inverse), mean, inverse


def per_channel(t: Translation, i: int, x: int) -> int:
    """Operand `i`, one number per channel, of a shape that broadcasts along axis 1 of x."""
    shape = t.shape(x)
    if len(shape) < 2 or t.shape(t.input(i)) != shape[1:2]:
        raise t.bad(f"input {i} has shape {t.shape(t.input(i))}, expected one number per channel of {shape}")
    return t.reshape(t.input(i), (shape[1], *(1,) * (len(shape) - 2)))


def batch_normalization(t: Translation) -> int:
    """x * a + b: what does not depend on x is worked out from the weights."""
    if t.attr("training_mode"):
        raise t.lacking("training mode; export the model for inference")
    x = t.input(0)
    scale, bias, mean, variance = (per_channel(t, i, x) for i in range(1, 5))
    inverse = t.emit("RSQRT", t.emit("ADD", variance, t.like(t.attr("epsilon"), variance)))
    factor = t.emit("MUL", scale, inverse)
    return t.emit("ADD", t.emit("MUL", x, factor), t.emit("SUB", bias, t.emit("MUL", mean, factor)))


def layer_normalization(t: Translation) -> list[int]:
    x = t.input(0)
    rank = len(t.shape(x))
    first = t.axis(t.attr("axis"), rank)
    out, mean, inverse = normalised(t, x, range(first, rank), t.attr("epsilon"))
    out = t.emit("MUL", out, _fitting(t, 1, x))
    out = t.emit("ADD", out, _fitting(t, 2, x)) if t.has(2) else out
    return [out, mean, inverse]


def _fitting(t: Translation, i: int, x: int) -> int:
    """Operand `i`, if it broadcasts to the shape of x."""
    shape, own = t.shape(x), t.shape(t.input(i))
    tail = shape[len(shape) - len(own) :]
    if len(own) > len(shape) or any(n not in (1, m) for n, m in zip(own, tail, strict=True)):
        raise t.bad(f"input {i} has shape {own}, expected one that broadcasts to {shape}")
    return t.input(i)


def instance_normalization(t: Translation) -> int:
    x = t.input(0)
    scale, bias = per_channel(t, 1, x), per_channel(t, 2, x)
    out, _, _ = normalised(t, x, range(2, len(t.shape(x))), t.attr("epsilon"))
    return t.emit("ADD", t.emit("MUL", out, scale), bias)


def group_normalization(t: Translation) -> int:
    """Scale and bias per group before opset 21, per channel since."""
    x, groups = t.input(0), t.attr("num_groups")
    shape = t.shape(x)
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise t.bad(f"{shape} does not split into {groups} groups of channels")
    count = groups if t.opset < 21 else shape[1]
    if any(t.shape(t.input(i)) != (count,) for i in (1, 2)):
        raise t.bad(f"scale and bias {[t.shape(t.input(i)) for i in (1, 2)]}, expected ({count},)")
    split = groups, shape[1] // groups, math.prod(shape[2:])
    out, _, _ = normalised(t, t.reshape(x, (shape[0], *split)), (2, 3), t.attr("epsilon"))
    each = (groups, count // groups, 1)
    scale, bias = (t.reshape(t.input(i), each) for i in (1, 2))
    return t.reshape(t.emit("ADD", t.emit("MUL", out, scale), bias), shape)


def mean_variance_normalization(t: Translation) -> int:
    """(x - mean) / (deviation + 1e-9)"""
    x = t.input(0)
    rank = len(t.shape(x))
    axes = t.axes((0, 2, 3) if t.attr("axes") is None else t.attr("axes"), rank)
    centred = t.emit("SUB", x, over(t, "MEAN", x, axes, True))
    variance = over(t, "MEAN", t.emit("SQUARE", centred), axes, True)
    return t.emit("DIV", centred, t.emit("ADD", t.emit("SQRT", variance), t.like(1e-9, x)))


def lp_normalization(t: Translation) -> int:
    """Over the sum of magnitudes, or the square root of the sum of squares, along one axis."""
    x, order = t.input(0), t.choice("p", (1, 2))
    axes = [t.axis(t.attr("axis"), len(t.shape(x)))]
    length = over(t, "SUM", t.emit("ABS", x) if order == 1 else t.emit("SQUARE", x), axes, True)
    return t.emit("DIV", x, length if order == 1 else t.emit("SQRT", length))


def local_response(t: Translation) -> int:
    """x / (bias + alpha / size * sum of squares of `size` channels around)^beta"""
    x, size = t.input(0), t.attr("size")
    if not 1 <= size <= MAX_TAPS or len(t.shape(x)) < 3:
        raise t.bad(f"size {size} and input {t.shape(x)}, expected 1..{MAX_TAPS} and rank 3 or more")
    pads = [(0, 0)] * len(t.shape(x))
    pads[1] = ((size - 1) // 2, size // 2)
    wide = t.pad(t.emit("SQUARE", x), pads)
    taps = [t.along(wide, 1, tap, t.shape(x)[1]) for tap in range(size)]
    total = t.folded("ADD", taps)
    base = t.emit("ADD", t.emit("MUL", total, t.like(t.attr("alpha") / size, x)), t.like(t.attr("bias"), x))
    return t.emit("DIV", x, t.emit("POW", base, t.like(t.attr("beta"), x)))


def floats(rule: Row) -> Row:
    """The same row, for f32 alone."""

    def checked(t: Translation) -> int | Sequence[int]:
        if any(t.has(i) and t.dtype(t.input(i)) is not DType.F32 for i in range(len(t.inputs))):
            raise t.lacking(f"element type {t.dtype(t.input(0)).value}, expected f32")
        return rule.rule(t)

    return Row(checked, rule.inputs, rule.attrs, rule.outputs)


ROWS: dict[str, Row] = {
    name: floats(row)
    for name, row in {
        "BatchNormalization": Row(
            batch_normalization, (5, 5), {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0}
        ),
        "LayerNormalization": Row(
            layer_normalization, (2, 3), {"axis": -1, "epsilon": 1e-5, "stash_type": 1}, (1, 3)
        ),
        "InstanceNormalization": Row(instance_normalization, (3, 3), {"epsilon": 1e-5}),
        "GroupNormalization": Row(
            group_normalization, (3, 3), {"epsilon": 1e-5, "num_groups": 0, "stash_type": 1}
        ),
        "MeanVarianceNormalization": Row(mean_variance_normalization, attrs={"axes": Kind.INTS}),
        "LpNormalization": Row(lp_normalization, attrs={"axis": -1, "p": 2}),
        "LRN": Row(local_response, attrs={"alpha": 1e-4, "beta": 0.75, "bias": 1.0, "size": 0}),
    }.items()
}
