"""StableHLO's element-wise operators: one MAP each, on integers as they are stored, which wrap.

TFLite's kernels of them know no scales. Source: StableHLO's specification, and TFLite's
`stablehlo_elementwise.h` and `stablehlo_shift_left.cc`.
"""

from __future__ import annotations

from runtime.decompose.compare import compare, select
from runtime.decompose.elementwise import NARROW
from runtime.decompose.index import compute_type
from runtime.decompose.quantize import cast, low_bits
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.graph import DType

A, B, NONE = load(0), load(1), ()
_BITS = call("bit_and", A, B)
_MAGNITUDE = call("floor_mod", call("abs", A), call("abs", B))
_WHOLE = call("mul", B, call("div", A, B))
PROGRAMS: dict[str, tuple[Program, Program, Program]] = {
    "ADD": (call("add", A, B), call("add", A, B), call("or", A, B)),
    "SUBTRACT": (call("sub", A, B), call("sub", A, B), NONE),
    "MULTIPLY": (call("mul", A, B), call("mul", A, B), call("and", A, B)),
    "MAXIMUM": (call("max", A, B), call("max", A, B), call("or", A, B)),
    "MINIMUM": (call("min", A, B), call("min", A, B), call("and", A, B)),
    "DIVIDE": (call("div", A, B), call("div", A, B), NONE),
    "REMAINDER": (
        call("select", call("lt", A, const(0.0)), call("neg", _MAGNITUDE), _MAGNITUDE),
        call("sub", A, _WHOLE),
        NONE,
    ),
    "POWER": (call("pow", A, B), NONE, NONE),
    "AND": (NONE, _BITS, call("and", A, B)),
    "OR": (NONE, call("xor", call("xor", A, B), _BITS), call("or", A, B)),
    "SHIFT_LEFT": (
        NONE,
        call("select", call("ge", B, const(0)), call("mul", A, call("pow", const(2), B)), const(0)),
        NONE,
    ),
    "ABS": (call("abs", A), call("abs", A), NONE),
    "NEGATE": (call("neg", A), call("neg", A), NONE),
    "COSINE": (call("cos", A), NONE, NONE),
    "EXPONENTIAL": (call("exp", A), NONE, NONE),
    "FLOOR": (call("floor", A), NONE, NONE),
    "LOG": (call("log", A), NONE, NONE),
    "LOGISTIC": (call("logistic", A), NONE, NONE),
    "RSQRT": (call("rsqrt", A), NONE, NONE),
    "TANH": (call("tanh", A), NONE, NONE),
    "CBRT": (
        call(
            "mul",
            call("sub", call("gt", A, const(0.0)), call("lt", A, const(0.0))),
            call("pow", call("abs", A), const(1 / 3)),
        ),
        NONE,
        NONE,
    ),
}
"""On floats, on integers and on booleans, empty where there is none."""


def elementwise(low: Lowering) -> None:
    dtype = low.out.dtype
    if any(low.x.value(i).dtype is not dtype for i in range(len(low.node.inputs))):
        low.types()
    floats, integers, truths = PROGRAMS[low.node.op.removeprefix("STABLEHLO_")]
    if dtype in (DType.F32, DType.F16) and floats:
        low.map(floats, low.node.inputs)
    elif dtype in (DType.I32, DType.I64) and integers:
        low.map(integers, low.node.inputs, compute=compute_type(dtype))
    elif dtype in NARROW and integers:
        low.map(low_bits(integers, dtype), low.node.inputs, compute="i32")
    elif dtype is DType.BOOL and truths:
        low.map(truths, low.node.inputs, compute="i32")
    else:
        low.types()


COMPARISONS = {
    "EQ": "EQUAL",
    "NE": "NOT_EQUAL",
    "GE": "GREATER_EQUAL",
    "GT": "GREATER",
    "LE": "LESS_EQUAL",
    "LT": "LESS",
}


def compared(low: Lowering) -> None:
    kind, signed = low.x.attr("compare_type"), low.x.value(0).dtype not in (DType.U8, DType.BOOL)
    if kind == "FLOAT_TOTAL_ORDER" or (kind == "UNSIGNED" and signed):
        raise low.lacking(f"no rule for the order {kind} of {low.x.value(0).dtype.value}")
    low.by(compare, COMPARISONS[low.x.attr("comparison_direction")], low.node.inputs)


def selected(low: Lowering) -> None:
    low.by(select, "SELECT_V2", low.node.inputs)


def clamp(low: Lowering) -> None:
    """Bounds and what is between them, as they are stored."""
    if {low.x.value(i).dtype for i in range(3)} != {low.out.dtype} or low.out.dtype is DType.BOOL:
        low.types()
    program = call("min", call("max", B, A), load(2))
    low.map(program, low.node.inputs, compute=compute_type(low.out.dtype))


RULES = {
    **dict.fromkeys(map("STABLEHLO_{}".format, PROGRAMS), elementwise),
    "STABLEHLO_COMPARE": compared,
    "STABLEHLO_CONVERT": cast,
    "STABLEHLO_SELECT": selected,
    "STABLEHLO_CLAMP": clamp,
}
