"""From a spec to a running task: the only place that knows every kind of source, stage and sink."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Reason
from edge_agent.clock import Clock
from edge_agent.evidence import Ledger, StartError
from edge_agent.inbox import Inbox, Outlet
from edge_agent.model_step import ModelStage, OpenModel
from edge_agent.pipeline import Pipeline, Plan, Stage
from edge_agent.script_host import ScriptStage
from edge_agent.sinks import open_sink
from edge_agent.sinks.base import Sink
from edge_agent.sinks.stage import RECENT, Recent, SinkStage
from edge_agent.sources import PULLED, open_source
from edge_agent.sources.base import Source
from edge_agent.spec.model import MqttSource, MqttTrigger, Spec
from edge_agent.streams import StreamStage
from edge_agent.task import Task
from edge_agent.triggers import TriggerStage

TRIGGER, MODEL, SCRIPT = "trigger", "model", "script"
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

    def fill(self, text: str, task: str = "") -> str:
        """`{board}`, `{task}` and `{state}` in a spec's text."""
        for name, value in (("board", self.board), ("task", task), ("state", str(self.state))):
            text = text.replace(f"{{{name}}}", value)
        return text


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
            outlet = Outlet(name, inbox, ledger, context.clock, section.time, section.buffer, overflow)
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
    wires = _Wires(spec)
    work = tuple(name for name in (MODEL, SCRIPT) if name in stages)
    plan = Plan(stages, wires.readers(), work, wires.outputs(), spec.run, spec.limits)
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
    """Streams, each after the stream it reads. Raises ValueError for a circle."""
    done: list[str] = []
    for name in spec.streams:
        chain: list[str] = []
        while name in spec.streams and name not in done:
            if name in chain:
                raise ValueError(f"streams read each other in a circle: {' -> '.join([*chain, name])}")
            chain.append(name)
            name = spec.streams[name].from_
        done += reversed(chain)
    return done


class _Wires:
    """Who reads whom: `from` and `input` where they are given, the stage just before where not."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec

    def readers(self) -> dict[str, list[str]]:
        """Source or stage -> its readers: streams, then triggers, then work, then sinks."""
        spec, readers = self._spec, dict[str, list[str]]()

        def connect(origin: str | None, reader: str) -> None:
            if origin is not None and reader not in readers.setdefault(origin, []):
                readers[origin].append(reader)

        for name in _in_order(spec):
            connect(spec.streams[name].from_, name)
        if spec.trigger:
            work = spec.model or spec.script
            windows = [trigger.stream for trigger in spec.trigger if trigger.on == "window"]
            for origin in (*spec.sources, *_hidden_sources(spec), *windows, work.input if work else None):
                connect(origin, TRIGGER)
        if spec.model:
            connect(self._model_input(), MODEL)
        if spec.script:
            connect(self._script_input(), SCRIPT)
        for name in spec.sinks:
            connect(self._sink_input(name), f"sinks.{name}")
        return readers

    def outputs(self) -> frozenset[str]:
        return frozenset(filter(None, map(self._sink_input, self._spec.sinks)))

    def _model_input(self) -> str | None:
        assert self._spec.model
        return TRIGGER if self._spec.trigger else self._spec.model.input or self._last()

    def _script_input(self) -> str | None:
        assert self._spec.script
        if self._spec.model is None and self._spec.trigger:
            return TRIGGER
        return self._spec.script.input or (MODEL if self._spec.model else self._last())

    def _sink_input(self, name: str) -> str | None:
        spec = self._spec
        for stage, there in ((SCRIPT, spec.script), (MODEL, spec.model), (TRIGGER, spec.trigger)):
            if there:
                return spec.sinks[name].from_ or stage
        return spec.sinks[name].from_ or self._last()

    def _last(self) -> str | None:
        """The last stream, or without streams the last source."""
        return next(reversed(self._spec.streams or self._spec.sources), None)
