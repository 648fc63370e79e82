"""From a spec file to what a release consists of: its manifest and the bytes of every file the spec names.

Reads the TOML only as far as needed to find those files; whether the spec is right is the agent's
checker's to say. The same files and the same `created` give the same manifest, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli
from pydantic import ValidationError

from cloud_broker.wire import digest
from cloud_broker.wire.messages import FileEntry, Manifest

FILES: tuple[tuple[str, ...], ...] = (
    ("task", "resources", "*"),
    ("model", "file"),
    ("model", "post", "*", "file"),
    ("script", "file"),
    ("test", "*", "replay"),
    ("sources", "*", "path"),
)
"""Where a spec names files of its bundle; `*` is every row or key. A folder source is the board's own."""
MAX_SPEC = 256 * 1024


class BundleError(ValueError):
    """A spec that cannot become a bundle: where, what, and what to do."""


def build(spec_path: Path, created: float) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest and {path in the bundle: bytes}. Raises BundleError."""
    spec = _read_spec(spec_path)
    folder = spec_path.parent.resolve()
    paths = sorted({spec_path.name, *_named(spec)})
    files = {path: _read(folder, path, spec_path) for path in paths}
    task = _table(spec, "task")
    needs = _table(task, "needs")
    try:
        manifest = Manifest(
            task=task.get("name", ""),
            version=task.get("version", "1.0.0"),
            spec=spec_path.name,
            files=tuple(
                FileEntry(path=path, digest=digest.of_bytes(data), size=len(data))
                for path, data in files.items()
            ),
            created=created,
            needs_agent=needs.get("agent", ""),
            needs_arch=needs.get("arch", ()),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(f"{spec_path}: [task] {where} = {first['input']!r}: {first['msg']}") from None
    return manifest, files


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; expected a task spec (TOML)") from None
    if len(data) > MAX_SPEC:
        raise BundleError(f"{path}: {len(data)} bytes, a spec has at most {MAX_SPEC}")
    try:
        return tomli.loads(data.decode())
    except (ValueError, RecursionError) as error:  # also numbers too long and tables too deep
        raise BundleError(f"{path}: not TOML: {error}; `walle check` shows the place") from None


def _named(spec: dict[str, Any]) -> Iterator[str]:
    for keys in FILES:
        for parent, value in _walk(spec, keys):
            if isinstance(value, str) and parent.get("type", "file") == "file":
                yield value


def _walk(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every (table, value) that `keys` leads to; `table` is the innermost one on the way."""
    key, rest = keys[0], keys[1:]
    if key == "*":
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    else:
        children = [value[key]] if isinstance(value, dict) and key in value else []
    for child in children:
        if rest:
            yield from _walk(child, rest)
        else:
            yield value if isinstance(value, dict) else {}, child


def _read(folder: Path, path: str, spec_path: Path) -> bytes:
    if "\0" in path:
        raise BundleError(f"{spec_path}: {path!r} cannot be a file's name; expected a plain relative path")
    place = (folder / path).resolve()
    if not place.is_relative_to(folder):
        raise BundleError(
            f"{spec_path}: {path!r} leads outside the spec's folder; copy the file beside the spec"
        )
    if not place.is_file():
        raise BundleError(f"{spec_path}: names {path!r}, but there is no file {place}")
    try:
        return place.read_bytes()
    except OSError as error:
        raise BundleError(f"{spec_path}: names {path!r}, which cannot be read: {error.strerror}") from None


def _table(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key, {})
    return value if isinstance(value, dict) else {}
