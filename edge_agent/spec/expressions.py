"""Expressions of specs: a checked subset of Python, compiled once into closures over columns; no eval.

Values are columns (arrays of n rows) or single values. Arithmetic is in doubles and never raises: x / 0 is
inf or nan. `and`, `or` and `a if c else b` look only at the rows they need, as Python does, so that
`x is not None and x > 5` is safe; unlike Python's, `and` and `or` give True or False. The definition is
Python itself: see the property test against `eval` in tests/edge_agent/test_spec_expressions.py.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from edge_agent.spec.problems import near

MAX_LENGTH = 500
MAX_DEPTH = 100

Array = NDArray[Any]
"""One value per row [n], or a single value []: bool, int64, float64, or object for text and all else."""
Get = Callable[[str], Array]
Evaluate = Callable[[Get], Array]


class ExpressionError(ValueError):
    """What is wrong with an expression, and where in its text."""

    def __init__(self, code: str, message: str, offset: int = 0, length: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.offset, self.length, self.hint = code, offset, length, hint


@dataclass(frozen=True, slots=True)
class Expression:
    text: str
    names: frozenset[str]
    """The columns it reads."""
    run: Evaluate

    def evaluate(self, columns: Mapping[str, Any]) -> Any:
        """An array [n], or a plain value when it is the same for all rows. Raises KeyError for a missing
        column, TypeError for a value of the wrong type, ValueError for a text that is no number."""
        with np.errstate(all="ignore"):
            result = self.run(lambda name: _array(columns[name]))
        return result if result.ndim else result.item()


Kind = Literal["count", "sum", "mean", "min", "max", "first", "last", "std"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Aggregate:
    kind: Kind
    expression: Expression | None
    """None for count() alone."""

    @property
    def names(self) -> frozenset[str]:
        return self.expression.names if self.expression else frozenset()


def compile_expression(text: str, names: Collection[str] | None = None) -> Expression:
    """`names`: the columns in sight, None when they are only known at run time. Raises ExpressionError."""
    source = _Source(text)
    return _Compiler(source, names).expression(source.tree)


def compile_aggregate(text: str, names: Collection[str] | None = None) -> Aggregate:
    """One aggregate over an expression, such as "mean(x * 2)". Raises ExpressionError."""
    source = _Source(text)
    call = source.tree
    kinds = "count() " + " ".join(f"{kind}(x)" for kind in KINDS[1:])
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        source.fail("E055", call, "an aggregate is one call over the window's events", f"one of {kinds}")
    kind = next((kind for kind in KINDS if kind == call.func.id), None)
    if kind is None:
        hint = near(call.func.id, KINDS) or f"one of {kinds}"
        source.fail("E055", call.func, f"unknown aggregate `{call.func.id}`", hint)
    expected = 0 if kind == "count" else 1
    if len(call.args) != expected or call.keywords:
        wanted = f"{kind}()" if kind == "count" else f"{kind}(x)"
        source.fail(
            "E055", call, f"{kind} takes {expected} argument{'s' * (expected != 1)}", f"write {wanted}"
        )
    return Aggregate(kind, _Compiler(source, names).expression(call.args[0]) if expected else None)


# --- text to tree -------------------------------------------------------------------------------------------

_SLIPS = (
    (re.compile(r"&&?"), "write `and`"),
    (re.compile(r"\|\|?"), "write `or`"),
    (re.compile(r"!(?!=)"), "write `not`"),
    (re.compile(r"(?<![=<>!])=(?!=)"), "write `==` to compare"),
)


class _Source:
    """The text, its tree, and where a node stands in the text."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise ExpressionError("E054", f"{len(text)} characters, expected at most {MAX_LENGTH}")
        self.lead = len(text) - len(text.lstrip())
        self.code = text.strip().replace("\n", " ")
        self.text = text
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.tree: ast.expr = ast.parse(self.code, mode="eval").body
        except SyntaxError as error:
            raise self._syntax_error(error) from None
        except (ValueError, MemoryError, RecursionError):
            raise ExpressionError("E050", "not an expression", self.lead, len(self.code)) from None

    def _syntax_error(self, error: SyntaxError) -> ExpressionError:
        for slip, hint in _SLIPS:
            if match := slip.search(self.code):
                start, end = match.span()
                return ExpressionError("E050", "not an expression", self.lead + start, end - start, hint)
        start = min(max((error.offset or 1) - 1, 0), max(len(self.code) - 1, 0))
        return ExpressionError("E050", "not an expression", self.lead + start)

    def fail(self, code: str, node: ast.AST, message: str, hint: str = "") -> NoReturn:
        raw = self.code.encode()
        first, last = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", len(raw))
        start, length = len(raw[:first].decode()), len(raw[first:last].decode())
        raise ExpressionError(code, message, self.lead + start, length, hint)


# --- tree to closures ---------------------------------------------------------------------------------------

_NOT_ALLOWED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("an attribute", "columns are plain names; functions are called as lower(x)"),
    ast.Subscript: ("indexing", "map the element to a column of its own in a script"),
    ast.Lambda: ("a lambda", ""),
    ast.NamedExpr: ("an assignment", "write `==` to compare"),
    ast.JoinedStr: ("an f-string", ""),
    ast.BinOp: ("this operator", "arithmetic has + - * / // % **"),
    ast.UnaryOp: ("this operator", "write `not x` or `-x`"),
    ast.Compare: ("this comparison", "compare with == != < <= > >=, `in (…, …)`, `is None`"),
    ast.Tuple: ("a tuple", "tuples stand only after `in`"),
    ast.List: ("a list", "lists stand only after `in`"),
}


class _Compiler:
    def __init__(self, source: _Source, names: Collection[str] | None) -> None:
        self.source, self.names = source, names
        self.used: set[str] = set()
        self.depth = 0

    def expression(self, tree: ast.expr) -> Expression:
        run = self.node(tree)
        return Expression(self.source.text, frozenset(self.used), run)

    def node(self, node: ast.expr) -> Evaluate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.source.fail("E054", node, f"nested more than {MAX_DEPTH} deep")
        row = _NODES.get(type(node))
        run = row(self, node) if row else self.refuse(node)
        self.depth -= 1
        return run

    def refuse(self, node: ast.expr) -> NoReturn:
        what, hint = _NOT_ALLOWED.get(type(node), ("this construct", ""))
        self.source.fail("E051", node, f"{what} is not part of expressions", hint)

    def constant(self, node: ast.Constant) -> Evaluate:
        value = node.value
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.source.fail("E054", node, "the number does not fit in 64 bits")
        if value is not None and not isinstance(value, bool | int | float | str):
            self.refuse(node)
        array = _array(value)
        return lambda _: array

    def name(self, node: ast.Name) -> Evaluate:
        name = node.id
        if self.names is not None and name not in self.names:
            have = ", ".join(sorted(self.names)) or "none"
            hint = near(name, self.names) or f"columns here: {have}"
            self.source.fail("E052", node, f"unknown name `{name}`", hint)
        self.used.add(name)
        return lambda get: get(name)

    def binary(self, node: ast.BinOp) -> Evaluate:
        run = _ARITHMETIC.get(type(node.op))
        if run is None:
            self.refuse(node)
        left, right = self.node(node.left), self.node(node.right)
        return lambda get: np.asarray(run(left(get), right(get)))

    def unary(self, node: ast.UnaryOp) -> Evaluate:
        run = _UNARY.get(type(node.op))
        if run is None:
            self.refuse(node)
        operand = self.node(node.operand)
        return lambda get: np.asarray(run(operand(get)))

    def boolean(self, node: ast.BoolOp) -> Evaluate:
        needed = isinstance(node.op, ast.And)
        parts = [_truthful(self.node(value)) for value in node.values]
        end = np.asarray(not needed)

        def run(get: Get) -> Array:
            result = parts[0](get)
            for part in parts[1:]:
                result = _choose(result == needed, part, lambda _: end, get)
            return result

        return run

    def compare(self, node: ast.Compare) -> Evaluate:
        operands = [node.left, *node.comparators]
        pairs = [
            self.pair(op, left, right)
            for left, op, right in zip(operands, node.ops, operands[1:], strict=False)
        ]

        def run(get: Get) -> Array:
            result = pairs[0](get)
            for pair in pairs[1:]:
                result = _choose(result, pair, lambda _: np.asarray(False), get)
            return result

        return run

    def pair(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Evaluate:
        a = self.node(left)
        negate = isinstance(op, ast.NotIn | ast.IsNot)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set):
                hint = "write contains(text, part) to look into a text"
                self.source.fail("E051", right, "`in` needs a tuple of values here", hint)
            values = [self.node(value) for value in right.elts]
            return lambda get: _is_in(a(get), [value(get) for value in values], negate)
        b = self.node(right)
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                self.source.fail("E051", right, "`is` compares only with None", "write `==`")
            return lambda get: _is_in(a(get), [b(get)], negate)
        run = _COMPARE[type(op)]
        return lambda get: _compare(run, a(get), b(get))

    def conditional(self, node: ast.IfExp) -> Evaluate:
        test, then, other = self.node(node.test), self.node(node.body), self.node(node.orelse)

        return lambda get: _choose(_truth(test(get)), then, other, get)

    def call(self, node: ast.Call) -> Evaluate:
        if not isinstance(node.func, ast.Name) or node.keywords:
            self.source.fail(
                "E051", node, "functions are called by name, with values only", "such as max(a, b)"
            )
        name = node.func.id
        function = FUNCTIONS.get(name)
        if function is None:
            hint = near(name, FUNCTIONS) or f"functions: {', '.join(FUNCTIONS)}"
            self.source.fail("E053", node.func, f"unknown function `{name}`", hint)
        least, most = function.arguments
        if not least <= len(node.args) <= most:
            expected = str(least) if least == most else f"{least} to {most}"
            message = f"{name} takes {expected} argument{'s' * (expected != '1')}, got {len(node.args)}"
            self.source.fail("E053", node, message)
        arguments = [self.node(argument) for argument in node.args]
        run = function.run
        return lambda get: np.asarray(run(*(argument(get) for argument in arguments)))


_NODES: dict[type[ast.AST], Callable[[_Compiler, Any], Evaluate]] = {
    ast.Constant: _Compiler.constant,
    ast.Name: _Compiler.name,
    ast.BinOp: _Compiler.binary,
    ast.UnaryOp: _Compiler.unary,
    ast.BoolOp: _Compiler.boolean,
    ast.Compare: _Compiler.compare,
    ast.IfExp: _Compiler.conditional,
    ast.Call: _Compiler.call,
}


# --- values -------------------------------------------------------------------------------------------------


def _array(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value.astype(np.object_) if value.dtype.kind == "U" else value
    if isinstance(value, bool | int | float | np.generic) and not isinstance(value, np.str_):
        return np.asarray(value)
    array = np.empty((), np.object_)
    array[()] = value
    return array


def _number(x: Array) -> NDArray[np.float64]:
    if x.dtype == np.object_:
        for value in x.flat:
            if not isinstance(value, int | float | np.number):
                raise TypeError(f"expected a number, got {value!r}")
    return x.astype(np.float64)


def _truth(x: Array) -> Array:
    return x.astype(np.bool_)


def _truthful(run: Evaluate) -> Evaluate:
    return lambda get: _truth(run(get))


def _rows(get: Get, mask: Array) -> Get:
    """Columns reduced to the rows of the mask; single values stay."""

    def reduced(name: str) -> Array:
        column = get(name)
        return column[mask] if column.ndim and mask.ndim else column

    return reduced


def _choose(mask: Array, then: Evaluate, other: Evaluate, get: Get) -> Array:
    """`then` where the mask holds and `other` elsewhere, each computed from its own rows alone, if there are
    any: the type of the result is that of both, so it does not depend on which rows came together."""
    if not mask.ndim:
        return then(get) if mask else other(get)
    a, b = then(_rows(get, mask)), other(_rows(get, ~mask))
    mixed = np.object_ in (a.dtype, b.dtype)
    result = np.empty(mask.shape, np.object_ if mixed else np.result_type(a, b))
    result[mask], result[~mask] = a, b
    return result


def _compare(run: Callable[[Any, Any], Any], a: Array, b: Array) -> Array:
    if np.object_ in (a.dtype, b.dtype):  # element by element, as Python compares
        a, b = a.astype(np.object_), b.astype(np.object_)
    return np.asarray(run(a, b), np.bool_)


def _is_in(x: Array, values: list[Array], negate: bool) -> Array:
    found = np.zeros((), np.bool_)
    for value in values:
        found = found | _compare(operator.eq, x, value)
    return ~found if negate else found


def _of_numbers(run: np.ufunc) -> Callable[[Array, Array], Any]:
    return lambda a, b: run(_number(a), _number(b))


def _add(a: Array, b: Array) -> Array:
    """Numbers are added, texts are joined."""
    if a.dtype == b.dtype == np.object_ and all(isinstance(value, str) for x in (a, b) for value in x.flat):
        return _each(operator.add, object, a, b)
    return np.asarray(np.add(_number(a), _number(b)))


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: _of_numbers(np.subtract),
    ast.Mult: _of_numbers(np.multiply),
    ast.Div: _of_numbers(np.divide),
    ast.FloorDiv: _of_numbers(np.floor_divide),
    ast.Mod: _of_numbers(np.remainder),
    ast.Pow: _of_numbers(np.power),
}
_UNARY: dict[type[ast.unaryop], Callable[[Array], Any]] = {
    ast.USub: lambda x: -_number(x),
    ast.UAdd: _number,
    ast.Not: lambda x: ~_truth(x),
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


# --- functions ----------------------------------------------------------------------------------------------


class Function(NamedTuple):
    arguments: tuple[int, int]
    """Fewest and most."""
    run: Callable[..., Any]


def _numeric(run: Callable[..., Any], least: int = 1, most: int = 1) -> Function:
    return Function((least, most), lambda *values: run(*map(_number, values)))


def _folded(run: np.ufunc) -> Function:
    return Function((2, 8), lambda *values: _fold(run, [_number(value) for value in values]))


def _fold(run: np.ufunc, values: list[Array]) -> Array:
    result = values[0]
    for value in values[1:]:
        result = run(result, value)
    return np.asarray(result)


def _textual(run: Callable[..., Any], kind: type, texts: int = 1) -> Function:
    """`texts` arguments, each a text, element by element."""

    def one(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, str):
                raise TypeError(f"expected a text, got {value!r}")
        return run(*values)

    return Function((texts, texts), lambda *values: _each(one, kind, *values))


def _each(run: Callable[..., Any], kind: type, *values: Array) -> Array:
    """`run` over plain Python values, element by element."""
    columns = (value.astype(np.object_) for value in values)
    result = np.frompyfunc(run, len(values), 1)(*columns)
    return np.asarray(result, kind) if kind is not object else _array(result)


def _round(x: Array, digits: Array | None = None) -> Array:
    if digits is None:
        return np.asarray(np.round(_number(x)))
    return _each(lambda value, places: np.round(value, int(places)), np.float64, _number(x), _number(digits))


def _log(x: Array, base: Array | None = None) -> Array:
    logarithm = np.log(_number(x))
    return np.asarray(logarithm if base is None else logarithm / np.log(_number(base)))


def _int(x: Array) -> Array:
    if x.dtype != np.object_ and np.isfinite(x).all() and (abs(x) < 2.0**63).all():
        return np.asarray(np.trunc(x).astype(np.int64))
    return _each(int, np.int64, x)


FUNCTIONS: dict[str, Function] = {
    "abs": _numeric(np.abs),
    "min": _folded(np.minimum),
    "max": _folded(np.maximum),
    "hypot": _folded(np.hypot),
    "clamp": _numeric(lambda x, low, high: np.minimum(np.maximum(x, low), high), 3, 3),
    "round": Function((1, 2), _round),
    "floor": _numeric(np.floor),
    "ceil": _numeric(np.ceil),
    "trunc": _numeric(np.trunc),
    "sign": _numeric(np.sign),
    "sqrt": _numeric(np.sqrt),
    "exp": _numeric(np.exp),
    "log": Function((1, 2), _log),
    "log2": _numeric(np.log2),
    "log10": _numeric(np.log10),
    "sin": _numeric(np.sin),
    "cos": _numeric(np.cos),
    "tan": _numeric(np.tan),
    "atan2": _numeric(np.arctan2, 2, 2),
    "isnan": _numeric(np.isnan),
    "int": Function((1, 1), _int),
    "float": Function((1, 1), lambda x: _each(float, np.float64, x)),
    "bool": Function((1, 1), _truth),
    "str": Function((1, 1), lambda x: _each(str, object, x)),
    "len": Function((1, 1), lambda x: _each(len, np.int64, x)),
    "lower": _textual(str.lower, object),
    "upper": _textual(str.upper, object),
    "strip": _textual(str.strip, object),
    "startswith": _textual(str.startswith, np.bool_, 2),
    "endswith": _textual(str.endswith, np.bool_, 2),
    "contains": _textual(operator.contains, np.bool_, 2),
}
"""Angles are in radians. contains(text, part); clamp(x, low, high); log(x, base), natural without a base."""
