"""Records of a JSON lines or CSV file, in order, each once. Also how replays and `[[test]]`s read theirs."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from edge_agent.clock import Clock
from edge_agent.events import ItemError
from edge_agent.inbox import Outlet
from edge_agent.sources.base import SourceBase
from edge_agent.spec.model import FileSource as Spec
from edge_agent.spec.model import Item

Format = Literal["jsonl", "csv"]
MAX_LINE = 1 << 20


class FileSource(SourceBase):
    """`rate` records per second, or as fast as the task takes them."""

    def __init__(self, spec: Spec, directory: Path) -> None:
        self._path = directory / spec.path
        self._format: Format = spec.format
        self._pause = 1.0 / spec.rate if spec.rate else 0.0

    def run(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:
        for item in records(self._path, self._format, outlet.error):
            if stop.is_set() or (self._pause and clock.wait(stop, self._pause)):
                return
            outlet.item(item)


def records(path: Path, format: Format, on_error: Callable[[str], None]) -> Iterator[Item]:
    """The file's records; a bad one is reported with its line and left out. Raises OSError when it cannot be
    read."""
    read = {"jsonl": _jsonl, "csv": _csv}[format]
    return read(path, on_error)


def _jsonl(path: Path, on_error: Callable[[str], None]) -> Iterator[Item]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.endswith(b"\n") and len(line) == MAX_LINE:
                on_error(
                    f"{path.name}:{number}: longer than {MAX_LINE} bytes; the rest of the file is not read"
                )
                return
            if line.strip():
                try:
                    yield json_object(line)
                except ItemError as error:
                    on_error(f"{path.name}:{number}: {error}")


def json_object(payload: bytes) -> Item:
    """The JSON object in `payload`. Raises ItemError."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ItemError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ItemError(f"expected a JSON object, got {type(value).__name__}")
    return value


def _csv(path: Path, on_error: Callable[[str], None]) -> Iterator[Item]:
    """Numbers where a field is one, text otherwise; lines that begin with # are comments."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.reader(line for line in file if not line.startswith("#"))
        names = next(reader, [])
        try:
            for fields in reader:
                if len(fields) == len(names):
                    yield {name: number(field) for name, field in zip(names, fields, strict=True)}
                elif fields:
                    on_error(f"{path.name}: expected {len(names)} fields, got {len(fields)}: {fields[:5]}")
        except csv.Error as error:
            on_error(f"{path.name}: {error}; the rest of the file is not read")


def number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
