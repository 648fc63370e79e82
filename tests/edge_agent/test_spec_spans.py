"""Spans against tomli: every path it yields has a span whose text is that key and that value."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.spec.spans import Span, Spans, scan

TOUR = '''\
schema = 1 # a comment with "quotes" and [brackets]
"quo.ted" = 'a # b'
"esc\\u0061ped" = 1979-05-27 07:32:00Z
dotted . key."x" = +1_000.5e-3
[ task ]  # header
name = """
first "" line \\
   continued""""
[[trigger]]
on = "x"
[[ trigger ]]
list = [ [1, 2,], # comment ]
  { a = 1, b.c = [ 3 ] },
  """]""",
]
[trigger.sub.deep]
z = \'\'\'
it's''\'\'\'
[[trigger.rows]]
n = inf
[[trigger.rows]]
n = []
empty = {}
'''


def text_of(spans: Spans, span: Span) -> str:
    return spans.text[span.start : span.end]


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([(path, value)] if path else []) + [row for k, v in inner for row in paths(v, (*path, k))]


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b) or a == b


def check(text: str) -> int:
    """Compares every span of a document with tomli; the number of paths."""
    spans = scan(text)
    found = paths(tomli.loads(text))
    for path, value in found:
        span = spans.values[path]
        shown, key = text_of(spans, span), key_text(spans, path)
        if isinstance(path[-1], str):
            assert tomli.loads(f"{key} = 1") == {path[-1]: 1}
        tables = isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict))
        if not (tables and (shown == key or is_header(text, span))):
            assert same(tomli.loads(f"v = {shown}")["v"], value)
        before = text[: span.start]
        assert (span.line, span.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    return len(found)


def is_header(text: str, span: Span) -> bool:
    """It begins its line with a bracket and holds the whole statement."""
    start, end = text.rfind("\n", 0, span.start) + 1, text.find("\n", span.end)
    rest = text[span.end : end if end >= 0 else len(text)].strip()
    return text[start : span.start].strip() == "" and text[span.start] == "[" and rest[:1] in ("", "#")


def key_text(spans: Spans, path: tuple[str | int, ...]) -> str:
    return text_of(spans, spans.keys[path]) if path in spans.keys else ""


def test_a_document_with_everything() -> None:
    assert check(TOUR) == 31


@pytest.mark.parametrize(
    ("path", "line", "column", "text"),
    [
        (("schema",), 1, 10, "1"),
        (("quo.ted",), 2, 13, "'a # b'"),
        (("escaped",), 3, 18, "1979-05-27 07:32:00Z"),
        (("dotted", "key", "x"), 4, 20, "+1_000.5e-3"),
        (("task",), 5, 1, "[ task ]"),
        (("trigger", 1), 11, 1, "[[ trigger ]]"),
        (("trigger", 1, "list", 1, "b", "c", 0), 13, 20, "3"),
        (("trigger", 1, "list", 2), 14, 3, '"""]"""'),
        (("trigger", 1, "sub", "deep"), 16, 1, "[trigger.sub.deep]"),
        (("trigger", 1, "rows", 1, "empty"), 23, 9, "{}"),
    ],
)
def test_places(path: tuple[str | int, ...], line: int, column: int, text: str) -> None:
    spans = scan(TOUR)
    span = spans.values[path]
    assert (span.line, span.column, text_of(spans, span)) == (line, column, text)


def test_the_nearest_thing_around_what_is_not_there() -> None:
    spans = scan("[task]\nname = 'x'\n")
    assert text_of(spans, spans.value(("task", "version"))) == "[task]"
    assert spans.value(("sources", "t"))[2:] == (1, 1)
    assert scan("").value(("a",)) == Span(0, 0, 1, 1)


@pytest.mark.parametrize(
    ("literal", "offset", "length", "line", "column", "text"),
    [
        ('"c > d"', 4, 1, 1, 10, "d"),
        (r'"\u0063 > d"', 0, 1, 1, 6, r"\u0063"),
        (r'"a\tb\\c"', 3, 1, 1, 10, r"\\"),
        ("'a\\b'", 1, 1, 1, 7, "\\"),
        ('"""\na\nbc"""', 2, 2, 3, 1, "bc"),
        ('"""a\\\n   bc"""', 1, 1, 2, 4, "b"),
        ('"ab"', 2, 1, 1, 8, '"'),
        ('""', 0, 1, 1, 6, '"'),
    ],
)
def test_inside_a_string(literal: str, offset: int, length: int, line: int, column: int, text: str) -> None:
    spans = scan(f"k = {literal}\n")
    tomli.loads(spans.text)
    span = spans.inside(spans.values[("k",)], offset, length)
    assert (span.line, span.column, text_of(spans, span)) == (line, column, text)


# --- generated documents

blank = st.sampled_from(["", " ", "\t ", "  "])
comment = st.sampled_from(["", " # c", "#\"]}'", "\t# [x] = {"])
bare = st.text("abcXYZ019_-", min_size=1, max_size=4)
words = st.text("ab \"'\\\n#]},=é😀", max_size=6)


def quoted(text: str) -> str:
    for character, escape in (("\\", r"\\"), ('"', r"\""), ("\n", r"\n"), ("é", r"\u00e9")):
        text = text.replace(character, escape)
    return f'"{text}"'


def literal(text: str) -> str:
    return quoted(text) if set(text) & set("'\n") else f"'{text}'"


def multiline(text: str) -> str:
    return '"""\n' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '\\\n  """'


keys = st.one_of(bare, words.map(quoted), words.map(literal))
scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.floats(allow_nan=False).map(lambda x: repr(x) if math.isfinite(x) else str(x)),
    st.sampled_from(["true", "false", "nan", "-inf", "0xf", "1_000", "1979-05-27", "07:32:00.5"]),
    words.map(quoted), words.map(literal), words.map(multiline),
)  # fmt: skip


@st.composite
def array(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    ends = st.sampled_from(["", "\n", " # c ]\n", "\n\n  "])
    items = [f"{draw(ends)}{item}{draw(ends)}" for item in draw(st.lists(values, max_size=3))]
    return f"[{','.join(items)}{draw(st.sampled_from(['', ','])) if items else ''}{draw(ends)}]"


@st.composite
def inline(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    items = draw(st.lists(values, max_size=3))
    pairs = [f"{draw(blank)}{draw(keys)}{draw(blank)}={draw(blank)}{item}" for item in items]
    return f"{{{','.join(pairs)}{draw(blank)}}}"


values = st.recursive(scalars, lambda inner: array(inner) | inline(inner), max_leaves=8)


@st.composite
def line(draw: st.DrawFn) -> str:
    name = draw(blank).join(f".{part}" for part in draw(st.lists(keys, min_size=1, max_size=3)))[1:]
    kind = draw(st.sampled_from(["pair", "pair", "pair", "table", "array", "nothing"]))
    body = {
        "pair": f"{name}{draw(blank)}={draw(blank)}{draw(values)}",
        "table": f"[{draw(blank)}{name}{draw(blank)}]",
        "array": f"[[{draw(blank)}{name}{draw(blank)}]]",
        "nothing": "",
    }[kind]
    return draw(blank) + body + draw(comment)


@settings(max_examples=150, deadline=None)
@given(st.lists(line(), max_size=8))
def test_every_path_that_tomli_yields(lines: list[str]) -> None:
    document: list[str] = []
    for one in lines:  # leave out what would not be TOML: keys given twice, mostly
        try:
            tomli.loads("\n".join([*document, one]))
        except tomli.TOMLDecodeError:
            continue
        document.append(one)
    text = "\n".join(document)
    assert check(text) == len(paths(tomli.loads(text)))


# --- any text at all


def seeds() -> list[bytes]:
    folder = Path(__file__).parents[2] / "specs" / "tasks"
    return [TOUR.encode(), *(path.read_bytes() for path in sorted(folder.glob("*/*.toml")))]


def fuzz(data: bytes) -> None:
    """Text that tomli takes gets exact spans; any other ends without an error."""
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    try:
        tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError):
        scan(text)
    else:
        check(text)


@settings(max_examples=150, deadline=None)
@given(st.text("[]{}=,.\"'\\#\n ab1") | st.text())
def test_text_that_is_not_toml_ends_too(text: str) -> None:
    assert scan(text).text == text


@pytest.mark.parametrize("deep", ["[" * 5000, "a = " + "[" * 5000 + "]" * 5000, "a = " + "{b = " * 5000])
def test_depth_is_bounded(deep: str) -> None:
    assert max(map(len, scan(deep).values), default=0) <= 102
