"""From a spec to a running task: the only place that knows every kind of source, stage and sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Reason
from edge_agent.clock import Clock
from edge_agent.evidence import Ledger, StartError
from edge_agent.inbox import AHEAD, Inbox, Outlet
from edge_agent.model_step import ModelStage, OpenModel
from edge_agent.pipeline import Pipeline, Plan, Stage
from edge_agent.script_host import ScriptStage
from edge_agent.sinks import open_sink
from edge_agent.sinks.base import Sink
from edge_agent.sinks.stage import RECENT, Recent, SinkStage
from edge_agent.sources import PULLED, open_source
from edge_agent.sources.base import Source
from edge_agent.spec.model import FolderSource, MqttSource, MqttTrigger, Spec, WindowTrigger
from edge_agent.spec.references import MODEL, SCRIPT, TRIGGER, origin_of
from edge_agent.spec.secrets import Stores, reveal
from edge_agent.streams import StreamStage
from edge_agent.task import Task
from edge_agent.triggers import TriggerStage

Dry = Callable[[str], Sink]
"""Sink's name -> what stands in for it."""


@dataclass(frozen=True, slots=True)
class Context:
    """The board around a task. `state` is the agent's folder, `task_state` the task's own; both exist. With
    `dry`, every sink is what it gives, and nothing leaves the task."""

    board: str
    state: Path
    task_state: Path
    link: Link | None
    clock: Clock
    open_model: OpenModel
    dry: Dry | None = None
    secrets: Stores = field(default_factory=dict)

    def fill(self, text: str, task: str = "") -> str:
        """`{board}`, `{task}`, `{state}` and `@{store:name}` in a spec's text. Raises SecretError."""
        for name, value in (("board", self.board), ("task", task), ("state", str(self.state))):
            text = text.replace(f"{{{name}}}", value)
        return reveal(text, self.secrets)


class Parts(NamedTuple):
    """A task without its sources and its thread."""

    pipeline: Pipeline
    sinks: dict[str, Sink]
    recent: Recent
    kill: Callable[[], None]


def build(spec: Spec, directory: Path, context: Context) -> Task:
    """The task of `spec`, whose files are in `directory`; not yet started. Raises StartError."""
    ledger = Ledger(context.clock.now())
    parts = assemble(spec, directory, context, ledger)
    inbox = Inbox(ledger)
    sources: dict[str, tuple[Source, Outlet]] = {}
    try:
        for name, section in (spec.sources | _hidden_sources(spec)).items():
            overflow = "block" if isinstance(section, PULLED) else section.overflow
            limit = AHEAD if isinstance(section, FolderSource) else section.buffer
            outlet = Outlet(name, inbox, ledger, context.clock, section.time, limit, overflow)
            sources[name] = open_source(name, section, directory, context), outlet
    except (ValueError, OSError) as error:
        parts.pipeline.close()
        raise StartError(Reason.START_FAILED, f"source {name}: {error}") from error
    return Task(
        spec.task.name,
        parts.pipeline,
        sources,
        parts.sinks,
        inbox,
        ledger,
        parts.recent,
        context.clock,
        parts.kill,
    )


def assemble(spec: Spec, directory: Path, context: Context, ledger: Ledger) -> Parts:
    """The stages of `spec`, connected; sinks are made but not opened. Raises StartError."""
    recent: Recent = deque(maxlen=RECENT)
    sinks: dict[str, Sink] = {}
    stages: dict[str, Stage] = {}
    kill: Callable[[], None] = _nothing
    try:
        for name in _in_order(spec):
            stages[name] = StreamStage(spec.streams[name])
        if spec.trigger:
            stages[TRIGGER] = _triggers(spec, context)
        for name, section in spec.sinks.items():
            sinks[name] = (
                context.dry(name)
                if context.dry
                else open_sink(name, section, spec.task.name, context, ledger)
            )
            stages[f"sinks.{name}"] = SinkStage(name, section, sinks[name], recent)
        if spec.model:
            stages[MODEL] = ModelStage(spec.model, directory, context.open_model)
        if spec.script:
            stages[SCRIPT] = script = ScriptStage(spec.script, spec.limits, directory, spec.task.name)
            kill = script.host.kill
    except (ValueError, OSError) as error:
        raise StartError(Reason.BAD_SPEC, str(error)) from error
    outputs = frozenset(filter(None, (origin_of(spec, name) for name in spec.sinks)))
    plan = Plan(stages, _readers(spec), _work(spec), outputs, spec.run, spec.limits)
    return Parts(Pipeline(plan, context.clock, ledger), sinks, recent, kill)


def _nothing() -> None:
    pass


def _hidden_sources(spec: Spec) -> dict[str, MqttSource]:
    """A trigger of kind mqtt listens through a source of its own."""
    return {
        f"trigger.{trigger.id}": MqttSource(type="mqtt", topic=trigger.topic)
        for trigger in spec.trigger
        if isinstance(trigger, MqttTrigger)
    }


def _triggers(spec: Spec, context: Context) -> TriggerStage:
    work = spec.model or spec.script
    return TriggerStage(
        spec.trigger,
        events={name: source.emits or name for name, source in spec.sources.items()},
        mqtt={name: name.removeprefix("trigger.") for name in _hidden_sources(spec)},
        input=work.input if work else None,
        now=context.clock.now(),
    )


def _in_order(spec: Spec) -> list[str]:
    """Streams, each after the one it reads."""
    done: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in spec.streams and name not in done:
            visit(spec.streams[name].from_)
            done[name] = None

    for name in spec.streams:
        visit(name)
    return list(done)


def _readers(spec: Spec) -> dict[str, list[str]]:
    """Source or stage -> who reads it: streams, then triggers, then work, then sinks."""
    pairs: list[tuple[str | None, str]] = [(spec.streams[name].from_, name) for name in _in_order(spec)]
    if spec.trigger:
        work = spec.model or spec.script
        windows = [trigger.stream for trigger in spec.trigger if isinstance(trigger, WindowTrigger)]
        heard = (*spec.sources, *_hidden_sources(spec), *windows, work.input if work else None)
        pairs += [(origin, TRIGGER) for origin in dict.fromkeys(heard)]
    pairs += [(origin_of(spec, name), name) for name in _work(spec)]
    pairs += [(origin_of(spec, name), f"sinks.{name}") for name in spec.sinks]
    readers: dict[str, list[str]] = {}
    for origin, reader in pairs:
        if origin is not None:
            readers.setdefault(origin, []).append(reader)
    return readers


def _work(spec: Spec) -> tuple[str, ...]:
    return tuple(name for name, there in ((MODEL, spec.model), (SCRIPT, spec.script)) if there)
