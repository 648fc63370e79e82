"""What is wrong with a file, where, and what to do: the error form of every checker, and the table of codes.

Finding problems is left to the checkers; this file only says them. A code is never reused for something else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CODES: dict[str, str] = {
    # text
    "E001": "The file is not TOML 1.0.",
    "E002": "The file is too large or nested too deeply to be a spec.",
    "E003": "A `${NAME}` is malformed or not set in the environment.",
    "E004": "A `@{store:name}` is malformed, unknown, or stands where secrets are not read.",
    # keys and types
    "E030": "A required key is missing.",
    "E031": "A key is not one of this section's.",
    "E032": "A value has the wrong type.",
    "E033": "A value is not one of those allowed.",
    "E034": "A `type`, `on` or `op` is not one that exists.",
    "E035": "A duration or size lacks its unit or has an unknown one.",
    "E036": "A path is not a plain path inside the spec's folder.",
    "E037": "A name has characters that names cannot have.",
    "E038": "The schema number is not one that this agent reads.",
    # references
    "E040": "A name refers to nothing in this file.",
    "E041": "Streams read from each other in a circle.",
    "E042": "Nothing would ever start this task.",
    "E043": "Two keys do not go together, or one needs another.",
    "E044": "Two things have the same name.",
    "E045": "Where items come from is not said and not obvious.",
    # expressions
    "E050": "An expression does not parse.",
    "E051": "An expression uses Python that is not in the subset.",
    "E052": "An expression or list names a column that is not there.",
    "E053": "An expression calls an unknown function, or a function wrongly.",
    "E054": "An expression is too long, too deep, or has a number that is too large.",
    "E055": "An aggregate is not one call of a known kind.",
    # files
    "E060": "A file does not exist or cannot be read.",
    "E061": "A file lies outside the spec's folder.",
    "E062": "A file's bytes do not have the expected digest.",
    "E063": "A script does not parse.",
    "E064": "A script lacks its entry function.",
    "E065": "A model cannot be opened.",
    "E066": "A replay file's records cannot be read.",
}
"""Every code, in one sentence."""

MAX_WIDTH = 160
"""Columns of a source line that are shown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. Line and column count from 1, in characters; line 0 means the file as a whole."""

    file: str
    line: int
    column: int
    length: int
    code: str
    message: str
    hint: str = ""
    notes: tuple[str, ...] = ()


class SpecError(Exception):
    """All problems of one phase of checking, and the text they are in; `str` renders them."""

    def __init__(self, problems: Sequence[Problem], text: str) -> None:
        super().__init__(problems, text)
        self.problems = tuple(problems)
        self.text = text

    def __str__(self) -> str:
        return render(self.problems, self.text)


def render(problems: Iterable[Problem], text: str) -> str:
    """The problems in the form people read, one after the other, each ending without a newline."""
    lines = text.split("\n")
    return "\n".join(_render(problem, lines) for problem in problems)


def _render(problem: Problem, lines: Sequence[str]) -> str:
    where = f"{problem.file}:{problem.line}:{problem.column}" if problem.line else problem.file
    out = [f"{where}: error[{problem.code}] {problem.message}"]
    if 0 < problem.line <= len(lines):
        line, start = _cut(lines[problem.line - 1].rstrip("\r"), problem.column - 1, problem.length)
        carets = "^" * max(1, min(problem.length, MAX_WIDTH, len(line) - start))
        out.append(f"{problem.line:5} | {line}")
        out.append(f"      | {' ' * start}{carets} {problem.hint}")
    elif problem.hint:
        out.append(f"   {problem.hint}")
    out += [f"   {note}" for note in problem.notes]
    return "\n".join(printable(part).rstrip() for part in out)


def _cut(line: str, start: int, length: int) -> tuple[str, int]:
    """A part of the line that is narrow enough and shows the place, and where the place is in it."""
    if len(line) <= MAX_WIDTH:
        return line, start
    first = max(0, min(start - 20, len(line) - MAX_WIDTH))
    if start + length < MAX_WIDTH:
        first = 0
    lead = "…" if first else ""
    return lead + line[first : first + MAX_WIDTH] + (
        "…" if first + MAX_WIDTH < len(line) else ""
    ), start - first + len(lead)


def printable(text: str) -> str:
    """The text with what a terminal would obey or hide replaced, one for one; a tab becomes a space."""
    return "".join(c if c.isprintable() else " " if c == "\t" else "\ufffd" for c in text)


def near(word: str, words: Iterable[str]) -> str:
    """A hint that names the closest of the words, or nothing."""
    close = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else ""
