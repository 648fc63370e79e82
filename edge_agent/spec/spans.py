"""Where every key and value of a TOML document stands: path -> span, found by one pass over tokens.

Runs after tomli accepted the text, so it need not judge it; what the values are is tomli's to say. On text
that is not TOML it still ends without an error, with spans that mean nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple

import tomli

Path = tuple[str | int, ...]
"""("streams", "level", "window", "size"); an element of an array is its index: ("trigger", 0, "on")."""

MAX_DEPTH = 100
"""Values nested deeper than this have no spans of their own."""


class Span(NamedTuple):
    """text[start:end]; line and column count from 1, in characters."""

    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Spans:
    text: str
    keys: dict[Path, Span] = field(default_factory=dict)
    values: dict[Path, Span] = field(default_factory=dict)
    """A table's value is its header `[a.b]` or `{...}`; of a table made by dotted keys alone, the key."""

    def value(self, path: Path) -> Span:
        """The span of the value at the path, or of the nearest thing around it."""
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path) or Span(0, len(self.text.split("\n", 1)[0]), 1, 1)

    def key(self, path: Path) -> Span:
        return self.keys.get(path) or self.value(path)

    def length(self, span: Span) -> int:
        """Characters of the span on its first line."""
        return len(self.text[span.start : span.end].split("\n", 1)[0])

    def inside(self, span: Span, offset: int, length: int) -> Span:
        """The part of a string's span that says characters [offset, offset + length) of the string's
        value."""
        starts = [unit.start() + span.start for unit in _units(self.text[span.start : span.end])]
        if not starts:
            return span
        first = starts[min(offset, len(starts) - 1)]
        last = min(offset + length, len(starts) - 1)
        line = self.text.count("\n", span.start, first) + span.line
        column = first - (self.text.rfind("\n", 0, first) + 1) + 1
        return Span(first, max(starts[last], first + 1), line, column)


def scan(text: str) -> Spans:
    """All spans of a TOML 1.0 document whose lines end in "\\n"."""
    return _Scanner(text).document()


_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r]+)
    | (?P<comment>\#[^\n]*)
    | (?P<string>\"\"\"(?:\\.|[^\\])*?\"\"\"\"{0,2} | '''.*?''''{0,2} | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<mark>[][{}=,.\n])
    | (?P<bare>[^][{}=,.\n \t\r\#"']+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_UNIT = re.compile(r"\\u.{4}|\\U.{8}|\\x.{2}|(?P<nothing>\\[ \t]*\n\s*)|\\.|.", re.DOTALL)


def _units(literal: str) -> list[re.Match[str]]:
    """The pieces of a string literal that stand for one character each, and the closing quotes."""
    quotes = 3 if literal[:3] in ('"' * 3, "'" * 3) else 1
    first = quotes + (quotes == 3 and literal[3:4] == "\n")
    if literal[:1] == '"':
        return [
            unit for unit in _UNIT.finditer(literal, first, len(literal) - quotes + 1) if not unit["nothing"]
        ]
    return list(re.compile(".", re.DOTALL).finditer(literal, first, len(literal) - quotes + 1))


class _Token(NamedTuple):
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


_END = _Token("end", "", 0)


class _Scanner:
    """`here` is the token under the eye; spaces and comments are never tokens."""

    def __init__(self, text: str) -> None:
        self.spans = Spans(text)
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.tokens = [
            _Token(match.lastgroup or "", match[0], match.start())
            for match in _TOKEN.finditer(text)
            if match.lastgroup not in ("space", "comment")
        ]
        self.at = 0
        self.arrays: dict[Path, int] = {}
        """Arrays of tables, by path: how many elements so far."""

    @property
    def here(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _END

    def step(self) -> _Token:
        token = self.here
        self.at += 1
        return token

    def skip_lines(self) -> None:
        while self.here.text == "\n":
            self.at += 1

    def span(self, first: _Token, last: _Token) -> Span:
        line = bisect_right(self.lines, first.start)
        return Span(first.start, last.end, line, first.start - self.lines[line - 1] + 1)

    # --- statements -----------------------------------------------------------------------------------------

    def document(self) -> Spans:
        table: Path = ()
        while self.here is not _END:
            if self.here.text == "[":
                table = self.header()
            elif self.here.text == "\n":
                self.at += 1
            else:
                self.pair(table, MAX_DEPTH)
        return self.spans

    def header(self) -> Path:
        first = self.step()
        many = self.here.text == "[" and self.here.start == first.end
        self.at += many
        path: Path = ()
        for name, token in self.key():
            path = (*self.newest(path), name)
            self.spans.keys.setdefault(path, self.span(token, token))
            self.spans.values.setdefault(path, self.spans.keys[path])
        last = first
        while self.here is not _END and self.here.text != "\n":
            last = self.step()
        if many:
            self.spans.keys.setdefault(path, self.span(first, last))
            self.arrays[path] = self.arrays.get(path, 0) + 1
            if self.arrays[path] == 1:
                self.spans.values[path] = self.span(first, last)
            path = self.newest(path)
        self.spans.values[path] = self.span(first, last)
        return path

    def newest(self, path: Path) -> Path:
        """The path, or of an array of tables, its newest element."""
        return (*path, self.arrays[path] - 1) if path in self.arrays else path

    def key(self) -> list[tuple[str, _Token]]:
        """The parts of a dotted key, up to but not including what follows them."""
        parts = []
        while self.here.kind in ("bare", "string"):
            token = self.step()
            parts.append((_name(token), token))
            if self.here.text != ".":
                break
            self.at += 1
        return parts

    def pair(self, table: Path, depth: int) -> None:
        parts = self.key()
        path = table
        for name, token in parts:
            path = (*path, name)
            self.spans.keys.setdefault(path, self.span(token, token))
            self.spans.values.setdefault(path, self.spans.keys[path])
        if not parts or self.here.text != "=":
            self.at += 1  # not TOML: go on with the next token
            return
        self.at += 1
        self.value(path, depth)

    # --- values ---------------------------------------------------------------------------------------------

    def value(self, path: Path, depth: int) -> None:
        first = self.here
        if first.text == "[" and depth:
            self.array(path, depth - 1)
        elif first.text == "{" and depth:
            self.inline(path, depth - 1)
        elif first.text in ("[", "{"):
            self.skip_nested()
        else:
            while self.here.text not in (",", "]", "}", "\n") and self.here is not _END:
                self.at += 1
        if self.at and first is not _END:
            self.spans.values[path] = self.span(first, self.tokens[min(self.at, len(self.tokens)) - 1])

    def array(self, path: Path, depth: int) -> None:
        self.at += 1
        index = 0
        self.skip_lines()
        while self.here.text != "]" and self.here is not _END:
            before = self.at
            self.value((*path, index), depth)
            index += 1
            self.next_item(before)
        self.at += 1

    def inline(self, path: Path, depth: int) -> None:
        self.at += 1
        self.skip_lines()
        while self.here.text != "}" and self.here is not _END:
            before = self.at
            self.pair(path, depth)
            self.next_item(before)
        self.at += 1

    def next_item(self, before: int) -> None:
        """Past the comma and line ends to the next element; always on, even where there is nothing."""
        self.skip_lines()
        self.at += self.here.text == "," or self.at == before
        self.skip_lines()

    def skip_nested(self) -> None:
        open_brackets = 0
        while self.here is not _END:
            text = self.step().text
            open_brackets += (text in ("[", "{")) - (text in ("]", "}"))
            if not open_brackets:
                break


def _name(token: _Token) -> str:
    if token.kind != "string":
        return token.text
    try:
        return str(tomli.loads(f"k = {token.text}")["k"])
    except tomli.TOMLDecodeError:
        return token.text
