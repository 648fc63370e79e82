"""JSON lines, appended to a file in the task's state folder; at `max` bytes it becomes `<name>.1` and a new
one begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_agent.events import Row
from edge_agent.results import encode
from edge_agent.spec.model import FileSink as Spec

MAX_BUFFER = 4 << 20
"""Bytes waiting at most while the disk refuses them."""


class FileSink:
    def __init__(self, spec: Spec, folder: Path) -> None:
        self._path = folder / spec.path
        self._max = spec.max
        self._buffer = bytearray()

    def open(self) -> None:
        """A line that a power cut tore is ended, so that the next one stands alone."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a+b") as file:
            size = file.tell()
            file.seek(max(0, size - 1))
            if size and file.read() != b"\n":
                file.write(b"\n")

    def write(self, rows: Sequence[Row]) -> None:
        lines = b"".join(encode(row.item) + b"\n" for row in rows)
        if len(self._buffer) + len(lines) > MAX_BUFFER:
            raise BufferError(
                f"{self._path.name}: {MAX_BUFFER} bytes wait to be written; {len(rows)} items given up"
            )
        self._buffer += lines

    def flush(self) -> None:
        if not self._buffer:
            return
        with self._path.open("ab", buffering=0) as file:
            while self._buffer:
                del self._buffer[: file.write(self._buffer)]
            full = file.tell() >= self._max
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))

    def close(self) -> None:
        self.flush()
