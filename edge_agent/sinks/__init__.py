"""Where results go: one small module per kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_agent.evidence import Ledger
from edge_agent.sinks.base import Sink
from edge_agent.sinks.file import FileSink
from edge_agent.spec import model as spec

if TYPE_CHECKING:
    from edge_agent.topology import Context

_SINKS: dict[type, Callable[[Any, spec.Spec, Context, Ledger], Sink]] = {
    spec.FileSink: lambda section, _spec, context, _ledger: FileSink(section, context.task_state),
}


def open_sink(name: str, section: spec.Sink, task: spec.Spec, context: Context, ledger: Ledger) -> Sink:
    """Made, not yet opened. Raises ValueError when it cannot work here."""
    return _SINKS[type(section)](section, task, context, ledger)
