"""Where events come from: one small module per kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_agent.sources.base import Source
from edge_agent.sources.file import FileSource
from edge_agent.sources.folder import FolderSource
from edge_agent.sources.host_metrics import HostMetricsSource
from edge_agent.sources.mqtt import MqttSource
from edge_agent.spec import model as spec

if TYPE_CHECKING:
    from edge_agent.topology import Context

PULLED = (spec.FileSource, spec.FolderSource)
"""Sources that can wait: they stop reading while the task is behind, so they lose nothing."""


def open_source(name: str, section: spec.Source, directory: Path, context: Context) -> Source:
    """Raises ValueError when it cannot work here."""
    return _SOURCES[type(section)](name, section, directory, context)


def _mqtt(_name: str, section: spec.MqttSource, _directory: Path, context: Context) -> Source:
    if context.link is None:
        raise ValueError("kind mqtt needs a broker; give the agent its address")
    return MqttSource(context.fill(section.topic), context.link)


def _file(_name: str, section: spec.FileSource, directory: Path, _context: Context) -> Source:
    return FileSource(section, directory)


def _host_metrics(_name: str, section: spec.HostMetricsSource, _directory: Path, _context: Context) -> Source:
    return HostMetricsSource(section.every)


def _folder(name: str, section: spec.FolderSource, directory: Path, context: Context) -> Source:
    folder = directory / context.fill(section.path)  # an absolute path stays itself
    return FolderSource(folder, section.pattern, context.task_state / f"{name}.seen")


_SOURCES: dict[type, Callable[[str, Any, Path, Context], Source]] = {
    spec.MqttSource: _mqtt,
    spec.FileSource: _file,
    spec.HostMetricsSource: _host_metrics,
    spec.FolderSource: _folder,
}
