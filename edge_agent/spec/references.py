"""The last two phases of loading: do names refer to something, and do expressions fit the columns in sight.

Where items come from when `from` or `input` is left out is the stage just before: script, model, trigger,
the last stream, the source. Running tasks are wired by the same rule in `edge_agent.topology`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edge_agent.spec.expressions import ExpressionError, compile_aggregate, compile_expression
from edge_agent.spec.model import (
    ArgmaxStep,
    ColumnsStep,
    ErrorStep,
    EventTrigger,
    FolderSource,
    HostMetricsSource,
    Post,
    Spec,
    Test,
    Trigger,
    WindowTrigger,
)
from edge_agent.spec.problems import near
from edge_agent.spec.schema import Finding, label
from edge_agent.spec.spans import Path, Spans

TRIGGER, MODEL, SCRIPT = "trigger", "model", "script"
STAGES = (TRIGGER, MODEL, SCRIPT)
Columns = frozenset[str] | None
"""The columns that an item has; None when only the data will tell."""

SOURCE_COLUMNS: dict[type[Any], frozenset[str]] = {
    HostMetricsSource: frozenset({"cpu", "mem", "disk_mb", "net_mb", "load1", "temp", "procs"}),
    FolderSource: frozenset({"path", "name", "image"}),
}
WINDOW_COLUMNS = frozenset({"start", "end", "key", "revision", "n"})


def check_references(spec: Spec, spans: Spans) -> list[Finding]:
    """Names that refer to nothing, circles, keys that need each other, and items from nowhere in
    particular."""
    check = _References(spec, spans)
    for part in (check.names, check.streams, check.triggers, check.stages, check.sinks, check.tests):
        part()
    return check.findings


def check_expressions(spec: Spec, spans: Spans, changed: set[Path]) -> list[Finding]:
    """Everything wrong with expressions and lists of columns. `changed`: strings that are not what the text
    says."""
    check = _Expressions(spec, spans, changed)
    for part in (check.streams, check.triggers, check.model, check.sinks, check.tests):
        part()
    return check.findings


def origin_of(spec: Spec, stage: str) -> str | None:
    """Where the items of "model", "script" or a sink's name come from; None when that is not said and not
    obvious."""
    if stage == MODEL and spec.model:
        return TRIGGER if spec.trigger else spec.model.input or _last(spec)
    if stage == SCRIPT and spec.script:
        if spec.trigger and not spec.model:
            return TRIGGER
        return spec.script.input or (MODEL if spec.model else _last(spec))
    there = ((SCRIPT, spec.script), (MODEL, spec.model), (TRIGGER, spec.trigger))
    before = next((name for name, section in there if section), None)
    return spec.sinks[stage].from_ or before or _last(spec)


def _last(spec: Spec) -> str | None:
    """The last stream if it is the only one that no other reads, without streams the only source."""
    read = {stream.from_ for stream in spec.streams.values()}
    ends = [name for name in spec.streams or spec.sources if name not in read or not spec.streams]
    everything = list(spec.streams or spec.sources)
    return ends[0] if len(ends) == 1 and ends[0] == everything[-1] else None


class _References:
    def __init__(self, spec: Spec, spans: Spans) -> None:
        self.spec, self.spans = spec, spans
        self.findings: list[Finding] = []
        self.flows = [*spec.sources, *spec.streams]

    def add(self, path: Path, code: str, message: str, hint: str = "", *, key: bool = False) -> None:
        span = self.spans.key(path) if key else self.spans.value(path)
        self.findings.append(Finding(span, code, message, hint))

    def refer(self, path: Path, name: str | None, known: list[str], what: str) -> None:
        if name is not None and name not in known:
            hint = near(name, known) or f"{what}: {', '.join(known) or 'none'}"
            self.add(path, "E040", f"{label(path)}: there is no `{name}`", hint)

    def names(self) -> None:
        spec = self.spec
        for name in spec.streams:
            if name in spec.sources:
                self.add(("streams", name), "E044", f"a source is named `{name}` too", "rename one", key=True)
        for section in ("sources", "streams"):
            for name in getattr(spec, section):
                if name in STAGES:
                    message = f"`{name}` is the name of a stage"
                    self.add((section, name), "E044", message, "choose another name", key=True)
        starts = any(not isinstance(trigger, EventTrigger | WindowTrigger) for trigger in spec.trigger)
        if not (spec.sources or starts or spec.federated):
            hint = "add [sources], or a [[trigger]] of kind schedule, mqtt or start"
            self.add(("task",), "E042", "nothing would ever start this task", hint)

    def streams(self) -> None:
        for name, stream in self.spec.streams.items():
            path: Path = ("streams", name)
            self.refer((*path, "from"), stream.from_, self.flows, "sources and streams")
            for key, there in (("aggregate", stream.aggregate), ("key_by", stream.key_by)):
                if there and stream.window is None:
                    hint = 'add window = { kind = "tumbling", size = "10s" }'
                    self.add(
                        (*path, key), "E043", f"`{key}` of {label(path)} needs a `window`", hint, key=True
                    )
            circle = self.circle(name)
            if circle and circle[0] == min(circle):
                message = f"streams read each other in a circle: {' -> '.join([*circle, circle[0]])}"
                self.add(
                    (*path, "from"), "E041", message, f"sources: {', '.join(self.spec.sources) or 'none'}"
                )

    def circle(self, name: str) -> list[str]:
        """The streams from `name` back to it, or nothing."""
        chain = [name]
        while (before := self.spec.streams[chain[-1]].from_) in self.spec.streams and before not in chain:
            chain.append(before)
        return chain if before == name else []

    def triggers(self) -> None:
        seen: set[str] = set()
        for i, trigger in enumerate(self.spec.trigger):
            path: Path = ("trigger", i)
            if trigger.id in seen:
                place = (*path, "id") if (*path, "id") in self.spans.values else path
                self.add(
                    place,
                    "E044",
                    f"another trigger has the id `{trigger.id}`",
                    "give each trigger its own id",
                )
            seen.add(trigger.id)
            if isinstance(trigger, WindowTrigger):
                streams = list(self.spec.streams)
                self.refer((*path, "stream"), trigger.stream, streams, "streams")
                if trigger.stream in streams and self.spec.streams[trigger.stream].window is None:
                    message = f"streams.{trigger.stream} has no window"
                    self.add(
                        (*path, "stream"), "E043", message, "a window trigger fires when a window closes"
                    )
            if isinstance(trigger, EventTrigger):
                self.pattern((*path, "pattern"), trigger.pattern)

    def pattern(self, path: Path, pattern: tuple[str, ...]) -> None:
        events = [source.emits or name for name, source in self.spec.sources.items()]
        if any("{" in event for event in events):
            return  # names come with the data
        for i, name in enumerate(pattern):
            if name != "*":
                self.refer((*path, i), name, events, "events")

    def stages(self) -> None:
        spec = self.spec
        if spec.model:
            self.refer(("model", "input"), spec.model.input, self.flows, "sources and streams")
            self.obvious((MODEL,), MODEL, "input")
        if spec.script:
            known = self.flows + [MODEL] * (spec.model is not None)
            self.refer(("script", "input"), spec.script.input, known, "sources, streams and stages")
            self.obvious((SCRIPT,), SCRIPT, "input")

    def sinks(self) -> None:
        spec = self.spec
        there = ((TRIGGER, spec.trigger), (MODEL, spec.model), (SCRIPT, spec.script))
        known = self.flows + [name for name, section in there if section]
        for name, sink in spec.sinks.items():
            self.refer(("sinks", name, "from"), sink.from_, known, "sources, streams and stages")
            self.obvious(("sinks", name), name, "from")

    def obvious(self, path: Path, stage: str, key: str) -> None:
        if self.flows and origin_of(self.spec, stage) is None:
            message = f"{label(path)} does not say where its items come from"
            self.add(path, "E045", message, f"add {key} = one of {', '.join(self.flows)}", key=True)

    def tests(self) -> None:
        sources = list(self.spec.sources)
        for i, test in enumerate(self.spec.test):
            path: Path = ("test", i)
            self.refer((*path, "source"), test.source, sources, "sources")
            if test.source is None and len(sources) != 1:
                message = f"{label(path)} does not say which source it replays through"
                self.add(
                    path, "E045", message, f"add source = one of {', '.join(sources) or '(there are none)'}"
                )
            self.expectations(path, test)

    def expectations(self, path: Path, test: Test) -> None:
        for i, expect in enumerate(test.expect):
            place: Path = (*path, "expect", i)
            self.refer((*place, "sink"), expect.sink, list(self.spec.sinks), "sinks")
            if (expect.count is None) == (expect.at_least is None):
                self.add(place, "E043", f"{label(place)} needs `count` or `at_least`, and not both")


class _Expressions:
    """Columns are worked out from stage to stage; see `columns`."""

    def __init__(self, spec: Spec, spans: Spans, changed: set[Path]) -> None:
        self.spec, self.spans, self.changed = spec, spans, changed
        self.findings: list[Finding] = []
        self.known: dict[str, Columns] = {
            name: SOURCE_COLUMNS.get(type(source)) for name, source in spec.sources.items()
        }

    def compile(
        self, path: Path, text: str, columns: Columns, run: Callable[..., Any] = compile_expression
    ) -> None:
        try:
            run(text, columns)
        except ExpressionError as error:
            span = self.spans.value(path)
            if path not in self.changed:
                span = self.spans.inside(span, error.offset, error.length)
            message = f"{label(path)}: {error}"
            self.findings.append(Finding(span, error.code, message, error.hint))

    def column(self, path: Path, name: str | None, columns: Columns) -> None:
        if name is not None and columns is not None and name not in columns:
            hint = near(name, columns) or f"columns here: {', '.join(sorted(columns))}"
            self.findings.append(
                Finding(self.spans.value(path), "E052", f"{label(path)}: unknown name `{name}`", hint)
            )

    # --- columns in sight -----------------------------------------------------------------------------------

    def columns(self, stage: str | None) -> Columns:
        """What items of a source, stream, "trigger", "model" or "script" have."""
        if stage is None:
            return None
        if stage not in self.known:
            self.known[stage] = self._work_out(stage)
        return self.known[stage]

    def _work_out(self, stage: str) -> Columns:
        spec = self.spec
        if stage in spec.streams:
            stream = spec.streams[stage]
            if stream.window:
                return WINDOW_COLUMNS.union(stream.aggregate)
            return _plus(self.columns(stream.from_), stream.map)
        if stage == MODEL and spec.model:
            added = [name for step in spec.model.post for name in _added(step)]
            return _plus(self.columns(origin_of(spec, MODEL)), added)
        return self._fired() if stage == TRIGGER else None

    def _fired(self) -> Columns:
        """What every firing has, whichever trigger it was."""
        shared: Columns = None
        for i, trigger in enumerate(self.spec.trigger):
            columns = self._fired_by(trigger)
            if columns is None:
                return None
            shared = columns if i == 0 or shared is None else shared & columns
        return shared

    def _fired_by(self, trigger: Trigger) -> Columns:
        """The columns of the work's input and those of the window that fired; None for any other trigger."""
        work = self.spec.model or self.spec.script
        read = self.columns(work.input) if work and work.input else frozenset()
        if read is None or not isinstance(trigger, WindowTrigger):
            return None
        return _plus(self.columns(trigger.stream), {TRIGGER, *read})

    # --- sections -------------------------------------------------------------------------------------------

    def streams(self) -> None:
        for name, stream in self.spec.streams.items():
            path: Path = ("streams", name)
            columns = self.columns(stream.from_)
            if stream.filter is not None:
                self.compile((*path, "filter"), stream.filter, columns)
            for new, text in stream.map.items():
                self.compile((*path, "map", new), text, columns)
                columns = _plus(columns, (new,))
            self.column((*path, "key_by"), stream.key_by, columns)
            for new, text in stream.aggregate.items():
                self.compile((*path, "aggregate", new), text, columns, compile_aggregate)
                if new in WINDOW_COLUMNS:
                    message = f"{label((*path, 'aggregate', new))}: every window has a column `{new}`"
                    span = self.spans.key((*path, "aggregate", new))
                    self.findings.append(Finding(span, "E044", message, "choose another name"))

    def triggers(self) -> None:
        for i, trigger in enumerate(self.spec.trigger):
            if trigger.when is not None:
                self.compile(("trigger", i, "when"), trigger.when, self._fired_by(trigger))

    def model(self) -> None:
        if self.spec.model:
            columns = self.columns(origin_of(self.spec, MODEL))
            for i, step in enumerate(self.spec.model.pre):
                if isinstance(step, ColumnsStep):
                    for j, name in enumerate(step.names):
                        self.column(("model", "pre", i, "names", j), name, columns)

    def sinks(self) -> None:
        for name, sink in self.spec.sinks.items():
            path: Path = ("sinks", name)
            columns = self.columns(origin_of(self.spec, name))
            if sink.when is not None:
                self.compile((*path, "when"), sink.when, columns)
            for i, field in enumerate(sink.fields):
                self.column((*path, "fields", i), field, columns)

    def tests(self) -> None:
        for i, test in enumerate(self.spec.test):
            for j, expect in enumerate(test.expect):
                if expect.where is not None:
                    sink = self.spec.sinks[expect.sink]
                    columns = frozenset(sink.fields) or self.columns(origin_of(self.spec, expect.sink))
                    self.compile(("test", i, "expect", j, "where"), expect.where, columns)


def _plus(columns: Columns, more: Any) -> Columns:
    return None if columns is None else columns | frozenset(more)


def _added(step: Post) -> Iterator[str]:
    if isinstance(step, ArgmaxStep):
        yield from ("label", "score")
    else:
        yield "error" if isinstance(step, ErrorStep) else step.name
