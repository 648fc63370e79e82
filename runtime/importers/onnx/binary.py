"""Element-wise operators of two operands or more."""

from __future__ import annotations

from runtime.graph import DType
from runtime.importers.onnx.translation import ANY, Row, Translation


def two(op: str, dtype: DType | None = None) -> Row:
    return Row(lambda t: t.emit(op, t.input(0), t.input(1), dtype=dtype), (2, 2))


def power(t: Translation) -> int:
    """The exponent takes the type of the base; common whole exponents are products."""
    x, exponent = t.input(0), t.value(t.input(1))
    if exponent.data is not None and exponent.elements == 1 and exponent.data.reshape(-1)[0] == 2:
        return t.reshape(t.emit("SQUARE", x), t.broadcast(t.shape(x), exponent.shape))
    return t.emit("POW", x, t.cast(t.input(1), t.dtype(x)))


def modulo(t: Translation) -> int:
    """The sign of the divisor; with fmod = 1 the sign of the dividend, as in C."""
    a, b = t.input(0), t.input(1)
    if not t.attr("fmod"):
        return t.emit("FLOOR_MOD", a, b)
    rest = t.emit("FLOOR_MOD", t.emit("ABS", a), t.emit("ABS", b))
    negative = t.emit("LESS", a, t.like(0, a), dtype=DType.BOOL)
    return t.emit("SELECT_V2", negative, t.emit("NEG", rest), rest, dtype=t.dtype(a))


def exclusive_or(t: Translation) -> int:
    return t.emit("NOT_EQUAL", t.input(0), t.input(1), dtype=DType.BOOL)


def bits(op: str) -> Row:
    """STABLEHLO's operators broadcast nothing themselves."""

    def rule(t: Translation) -> int:
        shape = t.broadcast(t.shape(t.input(0)), t.shape(t.input(1)))
        return t.emit(op, t.repeated(t.input(0), shape), t.repeated(t.input(1), shape))

    return Row(rule, (2, 2))


def bit_shift(t: Translation) -> int:
    left = t.choice("direction", ("LEFT", "RIGHT")) == "LEFT"
    if t.dtype(t.input(0)) is not DType.U8:
        raise t.lacking(f"element type {t.dtype(t.input(0)).value}, expected u8")
    made = bits("STABLEHLO_SHIFT_LEFT" if left else "RIGHT_SHIFT").rule(t)
    assert isinstance(made, int)
    return made


def where(t: Translation) -> int:
    return t.emit("SELECT_V2", t.input(0), t.input(1), t.input(2), dtype=t.dtype(t.input(1)))


def many(op: str) -> Row:
    """The operator between all operands, from left to right."""

    def rule(t: Translation) -> int:
        return t.folded(op, [t.input(i) for i in range(len(t.inputs))])

    return Row(rule, ANY)


def mean(t: Translation) -> int:
    total = many("ADD").rule(t)
    assert isinstance(total, int)
    return t.emit("DIV", total, t.like(len(t.inputs), total))


ROWS: dict[str, Row] = {
    "Add": two("ADD"),
    "Sub": two("SUB"),
    "Mul": two("MUL"),
    "Div": two("DIV"),
    "Pow": Row(power, (2, 2)),
    "Mod": Row(modulo, (2, 2), {"fmod": 0}),
    "And": two("LOGICAL_AND", DType.BOOL),
    "Or": two("LOGICAL_OR", DType.BOOL),
    "Xor": Row(exclusive_or, (2, 2)),
    "Equal": two("EQUAL", DType.BOOL),
    "Less": two("LESS", DType.BOOL),
    "LessOrEqual": two("LESS_EQUAL", DType.BOOL),
    "Greater": two("GREATER", DType.BOOL),
    "GreaterOrEqual": two("GREATER_EQUAL", DType.BOOL),
    "BitwiseAnd": bits("STABLEHLO_AND"),
    "BitwiseOr": bits("STABLEHLO_OR"),
    "BitwiseXor": two("BITWISE_XOR"),
    "BitShift": Row(bit_shift, (2, 2), {"direction": ""}),
    "Where": Row(where, (3, 3)),
    "Min": many("MINIMUM"),
    "Max": many("MAXIMUM"),
    "Sum": many("ADD"),
    "Mean": Row(mean, ANY),
}
