"""Expressions against Python itself, value by value; over columns against row by row; errors as a table."""

from __future__ import annotations

import ast
import contextlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.spec.expressions import (
    FUNCTIONS,
    KINDS,
    MAX_LENGTH,
    ExpressionError,
    compile_aggregate,
    compile_expression,
)


def value(text: str, **columns: Any) -> Any:
    return compile_expression(text, columns).evaluate(columns)


def objects(*items: Any) -> np.ndarray[Any, Any]:
    column = np.empty(len(items), object)
    column[:] = items
    return column


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7), ("7 // 2", 3), ("-7 % 3", 2),
        ("2 ** 10", 1024), ("1 / 4", 0.25), ("- - 1", 1),
        ("1 < 2 < 3", True), ("1 < 3 < 2", False), ("3 in (1, 2)", False), ("3 not in [1, 2]", True),
        ("'a' in {'a', 'b'}", True), ("None is None", True), ("1 is not None", True), ("1 == 'a'", False),
        ("'b' > 'a'", True), ("not 0", True), ("1 and ''", False), ("0 or 'x'", True), ("5 if 0 else 6", 6),
        ("'a' + 'b'", "ab"), ("True", True), ("None", None), ("'x'", "x"), (" 1\n+ 1 ", 2),
        ("abs(-3)", 3), ("min(3, 1, 2)", 1), ("max(3, 1)", 3), ("hypot(3, 4)", 5),
        ("hypot(2, 3, 6)", 7),
        ("clamp(9, 0, 5)", 5), ("round(2.5)", 2), ("round(2.567, 1)", 2.6),
        ("round(123, -1)", 120.0),
        ("floor(-1.5)", -2), ("ceil(1.2)", 2),
        ("trunc(-1.7)", -1), ("sign(-4)", -1), ("sqrt(9)", 3), ("exp(0)", 1), ("log(8, 2)", 3), ("log(1)", 0),
        ("log2(8)", 3), ("log10(100)", 2), ("sin(0)", 0), ("cos(0)", 1), ("tan(0)", 0), ("atan2(0, 1)", 0),
        ("isnan(0 / 0)", True), ("int(3.7)", 3), ("int('12')", 12), ("float('1.5')", 1.5),
        ("bool('')", False),
        ("str(3)", "3"), ("str(0.5)", "0.5"), ("len('abc')", 3), ("lower('AB')", "ab"), ("upper('ab')", "AB"),
        ("strip(' a ')", "a"), ("startswith('abc', 'ab')", True), ("endswith('abc', 'ab')", False),
        ("contains('abc', 'b')", True),
    ],
)  # fmt: skip
def test_values(text: str, expected: Any) -> None:
    result = value(text)
    assert result == (pytest.approx(expected) if isinstance(expected, float) else expected)
    assert not isinstance(result, np.generic)


def test_every_function_has_a_row_above() -> None:
    rows = test_values.pytestmark[0].args[1]
    called = {node.func.id for text, _ in rows for node in ast.walk(ast.parse(f"({text})"))
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    assert called == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("a + b", {"a": np.array([1, 2]), "b": 10}, [11.0, 12.0]),
        ("a > 1 and b < 5", {"a": np.array([1, 2, 3]), "b": np.array([0, 9, 1])}, [False, False, True]),
        ("x is not None and x > 5", {"x": objects(None, 3, 7)}, [False, False, True]),
        ("x is None or x > 5", {"x": objects(None, 3, 7)}, [True, False, True]),
        ("0 if x is None else x", {"x": objects(None, 3)}, [0, 3]),
        ("'hi' if a > 1 else a", {"a": np.array([1, 2])}, [1, "hi"]),
        ("s in ('a', 'b') and len(s) == 1", {"s": objects("a", "c", "b")}, [True, False, True]),
        ("s == 'a'", {"s": np.array(["a", "b"])}, [True, False]),
        ("0 < a < 3 < b", {"a": np.array([1, 2, 5]), "b": np.array([4, 1, 9])}, [True, False, False]),
        ("flag", {"flag": np.array([True, False])}, [True, False]),
        ("1 / a", {"a": np.array([0, 2])}, [math.inf, 0.5]),
        ("a > 1", {"a": np.empty(0)}, []),
        ("(a if a > 1 else -a) if a != 0 else 9", {"a": np.array([0, 1, 2])}, [9.0, -1.0, 2.0]),
        ("int(a)", {"a": np.array([1.9, -1.9])}, [1, -1]),
        ("round(a, b)", {"a": np.array([1.26, 1.26]), "b": np.array([0, 1])}, [1.0, 1.3]),
        ("str(a) + '!'", {"a": np.array([1, 2])}, ["1!", "2!"]),
    ],
)  # fmt: skip
def test_columns(text: str, columns: dict[str, Any], expected: list[Any]) -> None:
    assert np.asarray(value(text, **columns)).tolist() == expected


@pytest.mark.parametrize(
    ("text", "columns", "error"),
    [
        ("a + 1", {"a": "x"}, TypeError),
        ("a > 1", {"a": objects("x", "y")}, TypeError),
        ("lower(a)", {"a": np.array([1])}, TypeError),
        ("int(a)", {"a": math.nan}, ValueError),
        ("float(a)", {"a": "abc"}, ValueError),
    ],
)
def test_values_of_the_wrong_type_are_said_at_run_time(
    text: str, columns: dict[str, Any], error: type
) -> None:
    with pytest.raises(error):
        value(text, **columns)


def test_a_missing_column_is_a_key_error() -> None:
    expression = compile_expression("a + b")
    assert expression.names == {"a", "b"}
    with pytest.raises(KeyError, match="b"):
        expression.evaluate({"a": 1})


@pytest.mark.parametrize(
    ("text", "code", "at", "message", "hint"),
    [
        ("a && b", "E050", "&&", "not an expression", "write `and`"),
        ("a || b", "E050", "||", "not an expression", "write `or`"),
        ("a = 3", "E050", "=", "not an expression", "write `==` to compare"),
        ("!a", "E050", "!", "not an expression", "write `not`"),
        ("", "E050", "", "not an expression", ""),
        ("a.real", "E051", "a.real", "an attribute is not part of expressions", "plain names"),
        ("a[0]", "E051", "a[0]", "indexing is not part of expressions", "script"),
        ("lambda: 1", "E051", "lambda: 1", "a lambda is not part", ""),
        ("[x for x in a]", "E051", "[x for x in a]", "this construct is not part", ""),
        ("f'{a}'", "E051", "f'{a}'", "an f-string is not part", ""),
        ("a & b", "E051", "a & b", "this operator is not part", "+ - * /"),
        ("b'x'", "E051", "b'x'", "this construct is not part", ""),
        ("1j", "E051", "1j", "this construct is not part", ""),
        ("(1, 2)", "E051", "(1, 2)", "a tuple is not part", "after `in`"),
        ("'x' in a", "E051", "a", "`in` needs a tuple", "contains(text, part)"),
        ("a is 3", "E051", "3", "`is` compares only with None", "=="),
        ("a.f(1)", "E051", "a.f(1)", "functions are called by name", "max(a, b)"),
        ("abs(x=a)", "E051", "abs(x=a)", "functions are called by name", ""),
        ("abs(*a)", "E051", "*a", "this construct is not part", ""),
        ("valeu > 3", "E052", "valeu", "unknown name `valeu`", "did you mean `value`?"),
        ("'é' == q", "E052", "q", "unknown name `q`", "columns here: a, b, value"),
        ("__import__('os')", "E053", "__import__", "unknown function `__import__`", "functions: abs"),
        ("sqr(a)", "E053", "sqr", "unknown function `sqr`", "did you mean `sqrt`?"),
        ("abs(a, b)", "E053", "abs(a, b)", "abs takes 1 argument, got 2", ""),
        ("clamp(a)", "E053", "clamp(a)", "clamp takes 3 arguments, got 1", ""),
        ("a ** 99999999999999999999", "E054", "9" * 20, "does not fit in 64 bits", ""),
        ("-" * 200 + "a", "E054", None, "nested more than 100 deep", ""),
        ("(" * 300 + "a" + ")" * 300, "E054", None, "601 characters, expected at most 500", ""),
        ("1" * 450, "E054", "1" * 450, "does not fit", ""),
        ("a\0b", "E050", None, "not an expression", ""),
    ],
)  # fmt: skip
def test_errors(text: str, code: str, at: str | None, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, {"a", "b", "value"})
    error = caught.value
    assert (error.code, message in str(error), hint in error.hint) == (code, True, True), (
        str(error),
        error.hint,
    )
    if at is not None:
        assert text[error.offset : error.offset + error.length] == at


@pytest.mark.parametrize("kind", KINDS)
def test_aggregates(kind: str) -> None:
    text = "count()" if kind == "count" else f"{kind}(a * 2)"
    aggregate = compile_aggregate(text, {"a"})
    assert aggregate.kind == kind
    assert (aggregate.expression is None) == (kind == "count")
    if aggregate.expression is not None:
        assert aggregate.names == {"a"}
        assert aggregate.expression.evaluate({"a": np.array([1, 2])}).tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("text", "code", "at", "hint"),
    [
        ("a", "E055", "a", "one of count() sum(x) mean(x)"),
        ("max(a) - min(a)", "E055", "max(a) - min(a)", "one of"),
        ("men(a)", "E055", "men", "did you mean `mean`?"),
        ("count(a)", "E055", "count(a)", "write count()"),
        ("mean()", "E055", "mean()", "write mean(x)"),
        ("mean(a, 2)", "E055", "mean(a, 2)", "write mean(x)"),
        ("mean(z)", "E052", "z", "columns here: a"),
        ("mean(mean(a))", "E053", "mean", "functions:"),
    ],
)
def test_aggregate_errors(text: str, code: str, at: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_aggregate(text, {"a"})
    error = caught.value
    assert error.code == code and hint in error.hint
    assert text[error.offset : error.offset + error.length] == at


# --- against Python ---

NAMES = {"a": [0.0, 1.0, -2.5, 3.0], "b": [1.0, 2.0, 0.5, -1.0], "i": [1, 2, 3, 4]}
atoms = st.sampled_from(["a", "b", "i", "1", "2.5", "0", "True"])
PYTHON: dict[str, Any] = {
    "abs": abs,
    "min": min,
    "max": max,
    "float": float,
    "sign": lambda x: (x > 0) - (x < 0),
}


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "<=", "==", "!=", ">", ">="]), inner)
    return st.one_of(
        binary.map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} < {p[1]} <= {p[2]})"),
        two.map(lambda p: f"bool({p[0]} and {p[1]})"),
        two.map(lambda p: f"bool({p[0]} or {p[1]})"),
        two.map(lambda p: f"({p[0]} in ({p[1]}, 1))"),
        two.map(lambda p: f"max({p[0]}, {p[1]})"),
        inner.map(lambda x: f"abs({x})"),
        inner.map(lambda x: f"(-{x})"),
        inner.map(lambda x: f"(not {x})"),
    )


expressions = st.recursive(atoms, combine, max_leaves=12).filter(lambda text: len(text) <= MAX_LENGTH)


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_one_row_is_what_python_says_and_columns_are_their_rows(text: str) -> None:
    expression = compile_expression(text, NAMES)
    rows = [dict(zip(NAMES, row, strict=True)) for row in zip(*NAMES.values(), strict=True)]
    expected = [eval(text, {"__builtins__": {}, "bool": bool, **PYTHON}, row) for row in rows]
    singles = [expression.evaluate(row) for row in rows]
    assert [float(single) for single in singles] == pytest.approx([float(x) for x in expected])
    columns = expression.evaluate({name: np.array(column) for name, column in NAMES.items()})
    assert np.broadcast_to(columns, 4).astype(float).tolist() == pytest.approx([float(x) for x in expected])


@pytest.mark.parametrize("cut", range(5))
@pytest.mark.parametrize(
    "text",
    [
        "1 if a > 0 else 2.5", "i if a > 0 else 0.5", "0 if a > 5 else b", "2 ** 3 if a else i",
        "1 if a > 0 else 'x'", "(1 if a > 0 else 2.5) if b > 0 else True", "a > 0 and b",
        "round(a, i)", "int(a) if a > 0 else a", "None if a > 0 else i",
    ],
)  # fmt: skip
def test_a_rows_value_and_type_do_not_depend_on_the_rows_beside_it(text: str, cut: int) -> None:
    expression = compile_expression(text, NAMES)

    def over(rows: slice) -> list[str]:
        columns = {name: np.array(column)[rows] for name, column in NAMES.items()}
        values = np.atleast_1d(expression.evaluate(columns))
        return [repr(value) for value in values.tolist()]

    assert [*over(slice(cut)), *over(slice(cut, None))] == over(slice(None))


# --- any text at all ---


def seeds() -> list[bytes]:
    return [row[0].encode() for row in test_values.pytestmark[0].args[1]]


def fuzz(data: bytes) -> None:
    """Any text compiles or is refused at a place inside it; what compiles evaluates or says why not."""
    text = data.decode("utf-8", "replace")
    refused = None
    try:
        expression = compile_expression(text)
    except ExpressionError as error:
        refused = error
    if refused is not None:
        assert 0 <= refused.offset <= len(text) and refused.length >= 0
        return
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        expression.evaluate(dict.fromkeys(expression.names, np.array([0, 1, 2])))


@settings(max_examples=200, deadline=None)
@given(st.text("ab1.+-*/%<>=!() ,'\"andornotif[]{}:\\\n") | st.text())
def test_any_text(text: str) -> None:
    fuzz(text.encode("utf-8", "replace"))  # asserts
