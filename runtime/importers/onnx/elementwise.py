"""Element-wise operators of one operand: most are one GRAPH operator, the others a few."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from runtime.graph import DType
from runtime.importers.onnx.translation import Row, Rule, Translation

WIDER = {
    DType.I8: DType.I32,
    DType.U8: DType.I32,
    DType.I16: DType.I32,
    DType.U16: DType.I32,
    DType.U32: DType.I64,
}


def one(op: str) -> Row:
    """Narrow integers are computed in wider ones and keep their low bits: GRAPH has quantised ones."""

    def rule(t: Translation) -> int:
        x = t.input(0)
        if (wider := WIDER.get(t.dtype(x))) is None:
            return t.emit(op, x)
        return t.cast(t.emit(op, t.cast(x, wider)), t.dtype(x))

    return Row(rule)


def relu(t: Translation) -> int:
    x = t.input(0)
    return t.emit("RELU", x) if t.dtype(x) is DType.F32 else t.emit("MAXIMUM", x, t.like(0, x))


def leaky_relu(t: Translation) -> int:
    return t.emit("LEAKY_RELU", t.input(0), alpha=t.attr("alpha"))


def prelu(t: Translation) -> int:
    x = t.input(0)
    if t.broadcast(t.shape(x), t.shape(t.input(1))) != t.shape(x):
        raise t.bad(f"slopes {t.shape(t.input(1))} do not broadcast to {t.shape(x)}")
    return t.emit("PRELU", x, t.input(1))


def _elu(t: Translation, x: int, alpha: float, scale: float = 1.0) -> int:
    """x above 0, alpha * (exp(x / scale) - 1) below."""
    if alpha == scale == 1.0:
        return t.emit("ELU", x)
    below = t.emit("MINIMUM", x, t.like(0, x))
    below = below if scale == 1.0 else t.emit("DIV", below, t.like(scale, x))
    return t.emit("ADD", t.emit("RELU", x), t.emit("MUL", t.emit("ELU", below), t.like(alpha, x)))


def elu(t: Translation) -> int:
    return _elu(t, t.input(0), t.attr("alpha"))


def celu(t: Translation) -> int:
    if (alpha := t.attr("alpha")) == 0:
        raise t.bad("alpha = 0, expected another number")
    return _elu(t, t.input(0), alpha, alpha)


def selu(t: Translation) -> int:
    x = t.input(0)
    return t.emit("MUL", _elu(t, x, t.attr("alpha")), t.like(t.attr("gamma"), x))


def hard_sigmoid(t: Translation) -> int:
    x = t.input(0)
    scaled = t.emit("MUL", x, t.like(t.attr("alpha"), x))
    return t.emit("RELU_0_TO_1", t.emit("ADD", scaled, t.like(t.attr("beta"), x)))


def clip(t: Translation) -> int:
    x = t.input(0)
    bounds = [t.number(i) if t.has(i) and t.value(t.input(i)).data is not None else None for i in (1, 2)]
    if t.dtype(x) is DType.F32 and (op := CLIPS.get(tuple(bounds))) and len(t.inputs) >= 2:
        return t.emit(op, x)
    x = t.emit("MAXIMUM", x, t.input(1)) if t.has(1) else x
    return t.emit("MINIMUM", x, t.input(2)) if t.has(2) else x


CLIPS: dict[tuple[float | None, ...], str] = {
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


def softplus_of(t: Translation, x: int) -> int:
    """max(x, 0) + log(1 + exp(-|x|)): nothing overflows."""
    small = t.emit("EXP", t.emit("NEG", t.emit("ABS", x)))
    return t.emit("ADD", t.emit("RELU", x), t.emit("LOG", t.emit("ADD", small, t.like(1, x))))


def softplus(t: Translation) -> int:
    return softplus_of(t, t.input(0))


def mish(t: Translation) -> int:
    return t.emit("MUL", t.input(0), t.emit("TANH", softplus_of(t, t.input(0))))


def softsign(t: Translation) -> int:
    x = t.input(0)
    return t.emit("DIV", x, t.emit("ADD", t.emit("ABS", x), t.like(1, x)))


def thresholded_relu(t: Translation) -> int:
    x = t.input(0)
    above = t.emit("GREATER", x, t.like(t.attr("alpha"), x), dtype=DType.BOOL)
    return t.emit("SELECT_V2", above, x, t.like(0, x), dtype=t.dtype(x))


def shrink(t: Translation) -> int:
    """x - bias above lambd, x + bias below -lambd, 0 between."""
    x, bias, bound = t.input(0), t.attr("bias"), t.attr("lambd")
    above = t.emit("GREATER", x, t.like(bound, x), dtype=DType.BOOL)
    below = t.emit("LESS", x, t.like(-bound, x), dtype=DType.BOOL)
    high, low = t.emit("SUB", x, t.like(bias, x)), t.emit("ADD", x, t.like(bias, x))
    rest = t.emit("SELECT_V2", above, high, t.like(0, x), dtype=t.dtype(x))
    return t.emit("SELECT_V2", below, low, rest, dtype=t.dtype(x))


def gelu(t: Translation) -> int:
    return t.emit("GELU", t.input(0), approximate=t.choice("approximate", ("none", "tanh")) == "tanh")


def erf(t: Translation) -> int:
    """From gelu(z) = z (1 + erf(z / sqrt 2)) / 2; 0 where that divides by 0."""
    x = t.input(0)
    z = t.emit("MUL", x, t.like(math.sqrt(2), x))
    twice = t.emit("MUL", t.emit("GELU", z, approximate=False), t.like(2, x))
    inside = t.emit("SUB", t.emit("DIV", twice, z), t.like(1, x))
    zero = t.emit("EQUAL", z, t.like(0, x), dtype=DType.BOOL)
    return t.emit("SELECT_V2", zero, t.like(0, x), inside, dtype=t.dtype(x))


def reciprocal(t: Translation) -> int:
    return t.emit("DIV", t.like(1, t.input(0)), t.input(0))


def tan(t: Translation) -> int:
    return t.emit("DIV", t.emit("SIN", t.input(0)), t.emit("COS", t.input(0)))


def arc(of: Callable[[Translation, int], tuple[int, int]]) -> Row:
    """The angle of a point (y, x)."""
    return Row(lambda t: t.emit("ATAN2", *of(t, t.input(0))))


def _beside(t: Translation, x: int) -> int:
    """sqrt(1 - x^2), exact near 1"""
    one = t.like(1, x)
    return t.emit("SQRT", t.emit("MUL", t.emit("SUB", one, x), t.emit("ADD", one, x)))


def asinh(t: Translation) -> int:
    """sign(x) log(|x| + sqrt(x^2 + 1))"""
    x = t.input(0)
    size, one = t.emit("ABS", x), t.like(1, x)
    root = t.emit("SQRT", t.emit("ADD", t.emit("SQUARE", x), one))
    return t.emit("MUL", t.emit("SIGN", x), t.emit("LOG", t.emit("ADD", size, root)))


def acosh(t: Translation) -> int:
    """log(x + sqrt(x - 1) sqrt(x + 1))"""
    x, one = t.input(0), t.like(1, t.input(0))
    roots = t.emit("SQRT", t.emit("SUB", x, one)), t.emit("SQRT", t.emit("ADD", x, one))
    return t.emit("LOG", t.emit("ADD", x, t.emit("MUL", *roots)))


def atanh(t: Translation) -> int:
    """log((1 + x) / (1 - x)) / 2"""
    x, one = t.input(0), t.like(1, t.input(0))
    ratio = t.emit("DIV", t.emit("ADD", one, x), t.emit("SUB", one, x))
    return t.emit("MUL", t.emit("LOG", ratio), t.like(0.5, x))


def sinh_or_cosh(op: str) -> Rule:
    """(exp(x) -+ exp(-x)) / 2"""

    def rule(t: Translation) -> int:
        x = t.input(0)
        both = t.emit(op, t.emit("EXP", x), t.emit("EXP", t.emit("NEG", x)))
        return t.emit("MUL", both, t.like(0.5, x))

    return rule


def is_nan(t: Translation) -> int:
    return t.emit("NOT_EQUAL", t.input(0), t.input(0), dtype=DType.BOOL)


def is_inf(t: Translation) -> int:
    x, infinity = t.input(0), t.like(math.inf, t.input(0))
    match bool(t.attr("detect_negative")), bool(t.attr("detect_positive")):
        case True, True:
            return t.emit("EQUAL", t.emit("ABS", x), infinity, dtype=DType.BOOL)
        case True, False:
            return t.emit("EQUAL", x, t.like(-math.inf, x), dtype=DType.BOOL)
        case False, True:
            return t.emit("EQUAL", x, infinity, dtype=DType.BOOL)
        case _:
            return t.filled(t.shape(x), False, DType.BOOL)


def identity(t: Translation) -> int:
    return t.input(0)


def dropout(t: Translation) -> Sequence[int]:
    """Inference: what comes in goes out. The mask is all ones."""
    if t.has(2) and t.number(2):
        raise t.lacking("training mode; export the model for inference")
    if len(t.step.outputs) < 2:
        return [t.input(0)]
    return [t.input(0), t.filled(t.shape(t.input(0)), True, DType.BOOL)]


TYPES = {
    1: DType.F32, 2: DType.U8, 3: DType.I8, 4: DType.U16, 5: DType.I16, 6: DType.I32, 7: DType.I64,
    9: DType.BOOL, 11: DType.F64, 12: DType.U32, 13: DType.U64,
}  # fmt: skip
"""TensorProto.DataType that CAST takes."""


def cast_to(t: Translation, target: DType) -> int:
    x = t.input(0)
    data = t.value(x).data
    if data is not None and data.dtype == np.float16 and target is DType.F32:
        return t.constant(data.astype(np.float32))
    if target is DType.BOOL and t.dtype(x) is not DType.BOOL:
        return t.emit("NOT_EQUAL", x, t.like(0, x), dtype=DType.BOOL)
    return t.cast(x, target)


def cast(t: Translation) -> int:
    return cast_to(t, TYPES[t.choice("to", list(TYPES))])


def cast_like(t: Translation) -> int:
    return cast_to(t, t.dtype(t.input(1)))


def bitwise_not(t: Translation) -> int:
    x = t.input(0)
    dtype = t.dtype(x).numpy
    if dtype.kind not in "iu":
        raise t.lacking(f"element type {t.dtype(x).value}, expected integers")
    return t.emit("BITWISE_XOR", x, t.constant(-1 if dtype.kind == "i" else np.iinfo(dtype).max, t.dtype(x)))


ROWS: dict[str, Row] = {
    "Relu": Row(relu),
    "Sigmoid": one("LOGISTIC"),
    "Tanh": one("TANH"),
    "Abs": one("ABS"),
    "Neg": one("NEG"),
    "Exp": one("EXP"),
    "Log": one("LOG"),
    "Sqrt": one("SQRT"),
    "Sin": one("SIN"),
    "Cos": one("COS"),
    "Floor": one("FLOOR"),
    "Ceil": one("CEIL"),
    "Round": one("ROUND"),
    "Sign": one("SIGN"),
    "Not": one("LOGICAL_NOT"),
    "HardSwish": one("HARD_SWISH"),
    "Identity": Row(identity),
    "LeakyRelu": Row(leaky_relu, attrs={"alpha": 0.01}),
    "PRelu": Row(prelu, (2, 2)),
    "Elu": Row(elu, attrs={"alpha": 1.0}),
    "Celu": Row(celu, attrs={"alpha": 1.0}),
    "Selu": Row(selu, attrs={"alpha": 1.6732632423543772, "gamma": 1.0507009873554805}),
    "HardSigmoid": Row(hard_sigmoid, attrs={"alpha": 0.2, "beta": 0.5}),
    "Clip": Row(clip, (1, 3)),
    "Softplus": Row(softplus),
    "Softsign": Row(softsign),
    "Mish": Row(mish),
    "ThresholdedRelu": Row(thresholded_relu, attrs={"alpha": 1.0}),
    "Shrink": Row(shrink, attrs={"bias": 0.0, "lambd": 0.5}),
    "Gelu": Row(gelu, attrs={"approximate": "none"}),
    "Erf": Row(erf),
    "Reciprocal": Row(reciprocal),
    "Tan": Row(tan),
    "Sinh": Row(sinh_or_cosh("SUB")),
    "Cosh": Row(sinh_or_cosh("ADD")),
    "Atan": arc(lambda t, x: (x, t.like(1, x))),
    "Asin": arc(lambda t, x: (x, _beside(t, x))),
    "Acos": arc(lambda t, x: (_beside(t, x), x)),
    "Asinh": Row(asinh),
    "Acosh": Row(acosh),
    "Atanh": Row(atanh),
    "IsNaN": Row(is_nan),
    "IsInf": Row(is_inf, attrs={"detect_negative": 1, "detect_positive": 1}),
    "Dropout": Row(dropout, (1, 3), {"seed": 0}, (1, 2)),
    "Cast": Row(cast, attrs={"to": 0, "saturate": 1}),
    "CastLike": Row(cast_like, (2, 2), {"saturate": 1}),
    "com.microsoft.Gelu": Row(lambda t: t.emit("GELU", t.input(0), approximate=False)),
    "BitwiseNot": Row(bitwise_not),
}
