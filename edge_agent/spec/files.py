"""The second step of checking a spec: the files it names, beside it on disk. `check` does both steps for one
file.

Nothing is run: scripts are only compiled, and models opened by whoever passes `open_model`.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.spec.load import MAX_CHARACTERS, load, located
from edge_agent.spec.model import FileSource, Spec
from edge_agent.spec.problems import Problem, SpecError, near, render
from edge_agent.spec.schema import Finding, label
from edge_agent.spec.secrets import Stores
from edge_agent.spec.spans import Path as KeyPath
from edge_agent.spec.spans import Spans, scan

OpenModel = Callable[[bytes], object]
"""Raises for bytes that are no model it can run; the error's text is shown."""
MAX_FILE = 1 << 28
MAX_SPEC = 8 * MAX_CHARACTERS
"""Bytes of a spec file that are read: more than any spec that loads."""


@dataclass(frozen=True, slots=True)
class Report:
    """`spec` is None when the text itself has problems; with problems of files alone it is there."""

    spec: Spec | None
    problems: tuple[Problem, ...]
    text: str

    @property
    def ok(self) -> bool:
        return not self.problems

    def __str__(self) -> str:
        return render(self.problems, self.text)


def check(
    path: Path,
    *,
    name: str | None = None,
    open_model: OpenModel | None = None,
    env: Mapping[str, str] | None = None,
    secrets: Stores | None = None,
) -> Report:
    """Everything wrong with the spec file at `path`, called `name` in messages (by default the path). Never
    raises for bad input."""
    name = str(path) if name is None else name
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SPEC).decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        return Report(None, (Problem(name, 0, 0, 0, "E060", f"cannot read it: {error.strerror}"),), "")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} is not UTF-8; save the file as UTF-8"
        return Report(None, (Problem(name, 0, 0, 0, "E001", message),), "")
    try:
        spec = load(text, name, env=env, secrets=secrets)
    except SpecError as error:
        return Report(None, error.problems, text)
    return Report(
        spec, tuple(check_files(spec, path.parent, text=text, name=name, open_model=open_model)), text
    )


def check_files(
    spec: Spec, directory: Path, *, text: str = "", name: str = "spec", open_model: OpenModel | None = None
) -> list[Problem]:
    """Problems of the files that `spec` names inside `directory`; `text` is the spec's own, to point into."""
    files = _Files(directory, scan(text), open_model)
    if spec.model:
        files.model(spec)
    if spec.script:
        files.script(spec.script.file, spec.script.entry)
    for i, resource in enumerate(spec.task.resources):
        files.read(("task", "resources", i), resource)
    for key, source in spec.sources.items():
        if isinstance(source, FileSource):
            files.records(("sources", key, "path"), source.path, source.format)
    for i, test in enumerate(spec.test):
        section = spec.sources.get(test.source or next(iter(spec.sources), ""))
        by_name = "csv" if test.replay.endswith(".csv") else "jsonl"
        format = section.format if isinstance(section, FileSource) else by_name
        files.records(("test", i, "replay"), test.replay, format)
    return located(files.findings, name, files.spans)


class _Files:
    def __init__(self, directory: Path, spans: Spans, open_model: OpenModel | None) -> None:
        self.directory, self.spans, self.open_model = directory, spans, open_model
        self.findings: list[Finding] = []

    def add(self, path: KeyPath, code: str, message: str, hint: str = "", *notes: str) -> None:
        self.findings.append(Finding(self.spans.value(path), code, f"{label(path)}: {message}", hint, notes))

    def read(self, path: KeyPath, file: str) -> bytes | None:
        """The bytes of a file of the bundle; None after saying why not."""
        target = self.directory / file
        try:
            if not target.resolve().is_relative_to(self.directory.resolve()):
                self.add(
                    path, "E061", f"{file} leads out of the spec's folder", "copy the file beside the spec"
                )
                return None
            if target.is_file() and target.stat().st_size > MAX_FILE:
                self.add(path, "E060", f"{file} has more than {MAX_FILE} bytes")
                return None
            return target.read_bytes()
        except FileNotFoundError:
            hint = near(target.name, self.beside(target)) or "copy the file beside the spec"
            self.add(path, "E060", f"there is no file {file}", hint)
        except (OSError, ValueError, RuntimeError) as error:
            self.add(path, "E060", f"cannot read {file}: {getattr(error, 'strerror', None) or error}")
        return None

    def beside(self, target: Path) -> list[str]:
        try:
            return [entry.name for entry in target.parent.iterdir() if entry.suffix == target.suffix]
        except OSError:
            return []

    def model(self, spec: Spec) -> None:
        model = spec.model
        data = self.read(("model", "file"), model.file) if model else None
        if model is None or data is None:
            return
        got = hashlib.sha256(data).hexdigest()
        if model.sha256 is not None and got != model.sha256:
            notes = (f"expected {model.sha256}", f"got      {got}")
            hint = "take the model of that digest, or write the digest of this one"
            self.add(("model", "sha256"), "E062", f"{model.file} has other bytes", hint, *notes)
        elif self.open_model is not None:
            try:
                self.open_model(data)
            except Exception as error:  # whatever a model does to its reader, this file is what is wrong
                self.add(("model", "file"), "E065", f"{model.file} cannot be opened: {error}")

    def script(self, file: str, entry: str) -> None:
        data = self.read(("script", "file"), file)
        if data is None:
            return
        try:
            tree = ast.parse(data, file)
        except SyntaxError as error:
            where = f"{file}:{error.lineno or 1}:{error.offset or 1}"
            line = (error.text or "").strip()
            self.add(
                ("script", "file"), "E063", f"{where}: {error.msg}", "", *([f"in: {line}"] if line else ())
            )
            return
        except (ValueError, MemoryError, RecursionError) as error:
            self.add(("script", "file"), "E063", f"{file}: {error}")
            return
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        function = next((node for node in functions if node.name == entry), None)
        named: KeyPath = ("script", "entry")
        path = named if named in self.spans.values else ("script", "file")
        if function is None:
            names = [node.name for node in functions]
            hint = near(entry, names) or f"functions there: {', '.join(names) or 'none'}"
            self.add(path, "E064", f"{file} has no function `{entry}`", hint)
        elif not _takes_two(function.args):
            message = f"{file}:{function.lineno}: `{entry}` must take two arguments"
            self.add(path, "E064", message, f"def {entry}(item, state):")

    def records(self, path: KeyPath, file: str, format: str) -> None:
        data = self.read(path, file)
        if data is not None and (wrong := _bad_record(data, format)):
            self.add(path, "E066", f"{file}{wrong}", f"expected {_FORMATS[format]}")


_FORMATS = {"jsonl": "one JSON object per line", "csv": "a line of column names, then rows"}


def _bad_record(data: bytes, format: str) -> str:
    """Where and what the first bad record is, or nothing."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return f": byte {error.start} is not UTF-8"
    if format == "csv":
        try:
            return (
                ""
                if next(csv.reader(_without_comments(text)), None)
                else ": there is no line of column names"
            )
        except csv.Error as error:
            return f":1: {error}"
    for number, line in enumerate(text.split("\n"), 1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f":{number}: not a JSON object"
        except (ValueError, RecursionError) as error:
            return f":{number}: {error}"
    return ""


def _without_comments(text: str) -> Iterator[str]:
    return (line for line in io.StringIO(text) if not line.startswith("#"))


def _takes_two(arguments: ast.arguments) -> bool:
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    return (
        required <= 2
        and (len(positional) >= 2 or arguments.vararg is not None)
        and not (len(arguments.kwonlyargs) - sum(default is not None for default in arguments.kw_defaults))
    )
