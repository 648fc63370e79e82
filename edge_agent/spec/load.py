"""From a task's text to a checked `Spec`: syntax, then schema, then references, then expressions.

Every phase reports all its problems at once and a later phase runs only when the earlier found none. What
lies in other files (models, scripts, recordings) is `files`' to check.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import tomli

from edge_agent.spec import references
from edge_agent.spec.model import Spec
from edge_agent.spec.problems import Problem, SpecError
from edge_agent.spec.schema import Document, Finding, validate
from edge_agent.spec.secrets import Stores
from edge_agent.spec.secrets import problems as secret_problems
from edge_agent.spec.spans import Path, Spans, scan

MAX_CHARACTERS = 256 * 1024
MAX_DEPTH = 32
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}|\$\{")


def load(
    text: str, name: str, *, env: Mapping[str, str] | None = None, secrets: Stores | None = None
) -> Spec:
    """The spec in `text`; `name` is the file's name in errors. `${NAME}` comes from `env`, by default this
    process's. With `secrets`, every `@{store:name}` must be there; their values are never looked at. Raises
    SpecError."""
    text = text.replace("\r\n", "\n")
    document, spans = _parse(text, name)
    done = _Strings(spans, os.environ if env is None else env, secrets)
    document = done.walk(document, ())
    _stop(done.findings, name, spans)
    spec = validate(document, spans)
    if not isinstance(spec, Spec):
        _stop(spec, name, spans)
        raise AssertionError("a spec that does not validate has findings")
    _stop(references.check_references(spec, spans), name, spans)
    _stop(references.check_expressions(spec, spans, done.changed), name, spans)
    return spec


def _stop(findings: list[Finding], name: str, spans: Spans) -> None:
    """Raise what was found, ordered by place."""
    if findings:
        raise SpecError(located(findings, name, spans), spans.text)


def located(findings: list[Finding], name: str, spans: Spans) -> list[Problem]:
    """Findings as problems, ordered by place."""
    return [
        Problem(
            name, f.span.line, f.span.column, max(1, spans.length(f.span)), f.code, f.message, f.hint, f.notes
        )
        for f in sorted(findings, key=lambda finding: finding.span.start)
    ]


# --- syntax -------------------------------------------------------------------------------------------------


def _parse(text: str, name: str) -> tuple[Document, Spans]:
    if len(text) > MAX_CHARACTERS:
        message = f"{len(text)} characters; a spec has at most {MAX_CHARACTERS}"
        raise SpecError([Problem(name, 0, 0, 0, "E002", message)], text)
    try:
        document = tomli.loads(text)
        if _depth(document) > MAX_DEPTH:
            raise RecursionError
    except RecursionError:
        message = f"nested more than {MAX_DEPTH} deep"
        raise SpecError([Problem(name, 0, 0, 0, "E002", message)], text) from None
    except tomli.TOMLDecodeError as error:
        message = error.msg
        hint = _syntax_hint(text, error)
        problem = Problem(name, error.lineno, error.colno, 1, "E001", message[:1].lower() + message[1:], hint)
        raise SpecError([problem], text) from None
    except ValueError:  # Python reads no longer ones
        message = f"a whole number has more than {sys.get_int_max_str_digits()} digits"
        raise SpecError([Problem(name, 0, 0, 0, "E002", message)], text) from None
    return document, scan(text)


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


_SLIPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^\s*[\w.-]+\s*:(?:\s|$)"), "TOML writes key = value"),
    (re.compile(r"=\s*(?:#|$)"), "a value is missing after ="),
    (re.compile(r"=\s*(?:True|False)\b"), "booleans are true and false"),
    (
        re.compile(r"=\s*\d[\d.]*\s?(?:us|ms|[smhd]|[KMG]i?B|B|%)(?!\w)"),
        'quantities need quotes, such as "10s"',
    ),
    (re.compile(r"^\s*[\w.-]+\s*=\s*[A-Za-z_/.]"), "text needs quotes"),
)
"""By the line."""
_CAUSES = {
    "Cannot overwrite a value": "this key was given before",
    "Illegal character '\\n'": "a text ends with its quote on the same line",
}
"""By what tomli says."""


def _syntax_hint(text: str, error: tomli.TOMLDecodeError) -> str:
    lines = text.split("\n")
    source = lines[error.lineno - 1] if 0 < error.lineno <= len(lines) else ""
    by_line = next((hint for slip, hint in _SLIPS if slip.search(source)), "")
    return _CAUSES.get(error.msg, by_line)


# --- strings ------------------------------------------------------------------------------------------------


class _Strings:
    """Fills `${NAME}` into string values, after parsing, so that no value can change the document's
    structure; checks that secrets stand where they are read. Arrays become tuples on the way."""

    def __init__(self, spans: Spans, env: Mapping[str, str], stores: Stores | None) -> None:
        self.spans, self.env, self.stores = spans, env, stores
        self.findings: list[Finding] = []
        self.changed: set[Path] = set()
        """Strings that are not what the text says."""

    def walk(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            return {key: self.walk(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return tuple(self.walk(inner, (*path, i)) for i, inner in enumerate(value))
        if not isinstance(value, str):
            return value
        for message, hint in secret_problems(value, path, self.stores):
            self.findings.append(Finding(self.spans.value(path), "E004", message, hint))
        filled = _VARIABLE.sub(lambda match: self.variable(match, path), value)
        if filled != value:
            self.changed.add(path)
        return filled

    def variable(self, match: re.Match[str], path: Path) -> str:
        name, kind, text = match["name"], match["kind"], match["text"]
        span = self.spans.value(path)
        here = self.spans.inside(span, match.start(), match.end() - match.start())
        if name is None:
            hint = "write ${NAME}, ${NAME:-default} or ${NAME:?what to do when it is not set}"
            self.findings.append(Finding(here, "E003", "`${` without a name and `}`", hint))
            return ""
        value = self.env.get(name, "")
        if value or (kind is None and name in self.env):
            return value
        if kind == "-":
            return str(text)
        hint = text or f"set {name}, or write ${{{name}:-default}}"
        self.findings.append(Finding(here, "E003", f"{name} is not set in the environment", hint))
        return ""
