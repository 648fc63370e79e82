"""Where results go: one small module per kind, and the table of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edge_agent.evidence import Ledger
from edge_agent.sinks.base import Sink
from edge_agent.sinks.file import FileSink
from edge_agent.sinks.http import HttpSink
from edge_agent.sinks.mqtt import MqttSink
from edge_agent.sinks.sqlite import SqliteSink
from edge_agent.spec import model as spec

if TYPE_CHECKING:
    from edge_agent.topology import Context


def open_sink(name: str, section: spec.Sink, task: str, context: Context, ledger: Ledger) -> Sink:
    """Made, not yet opened. Raises ValueError when it cannot work here."""
    return _SINKS[type(section)](name, section, task, context, ledger)


def _mqtt(_name: str, section: spec.MqttSink, task: str, context: Context, _ledger: Ledger) -> Sink:
    if context.link is None:
        raise ValueError("kind mqtt needs a broker; give the agent its address")
    return MqttSink(section, context.fill(section.topic, task), context.link)


def _sqlite(_name: str, section: spec.SqliteSink, _task: str, context: Context, _ledger: Ledger) -> Sink:
    return SqliteSink(section, context.task_state)


def _file(_name: str, section: spec.FileSink, _task: str, context: Context, _ledger: Ledger) -> Sink:
    return FileSink(section, context.task_state)


def _http(name: str, section: spec.HttpSink, task: str, context: Context, ledger: Ledger) -> Sink:
    return HttpSink(name, section, context.fill(section.url, task), ledger, context.clock)


_SINKS: dict[type, Callable[[str, Any, str, Context, Ledger], Sink]] = {
    spec.MqttSink: _mqtt,
    spec.SqliteSink: _sqlite,
    spec.FileSink: _file,
    spec.HttpSink: _http,
}
