"""Where events come from: one small module per kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.sources.base import Source
from edge_agent.sources.file import FileSource
from edge_agent.spec import model as spec

if TYPE_CHECKING:
    from edge_agent.topology import Context

PULLED = (spec.FileSource, spec.FolderSource)
"""Sources that can wait: they stop reading while the task is behind, so they lose nothing."""

_SOURCES: dict[type, Callable[[str, Any, Path, Context], Source]] = {
    spec.FileSource: lambda _name, section, directory, _context: FileSource(section, directory),
}


def open_source(name: str, section: spec.Source, directory: Path, context: Context) -> Source:
    """Raises ValueError or OSError when it cannot work here."""
    return _SOURCES[type(section)](name, section, directory, context)
