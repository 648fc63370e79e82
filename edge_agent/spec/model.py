"""What a task spec may say: one frozen pydantic model per section; unknown keys are errors.

The flow of a task: sources -> streams -> triggers -> model -> script -> sinks. A section's `from` (or
`input`) names where its items come from: a source, a stream, "model" or "script"; left out, it is the stage
just before. Loading, positions in the text and the wording of errors are `edge_agent.spec`'s other files;
running is `edge_agent.topology`'s.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cloud_broker.wire.digest import Digest
from cloud_broker.wire.messages import Name, RelativePath, Version
from edge_agent.spec.units import Duration, Period, Size

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,63}$")]
"""Names of sources, streams, sinks and columns: usable in expressions."""
Expression = Annotated[str, StringConstraints(min_length=1, max_length=500)]
"""A checked subset of Python over the columns in sight; see `edge_agent.spec.expressions`."""


TOPIC = r"^[^+#\x00]+$"
TOPIC_FILTER = r"^(#|(\+|[^+#/\x00]*)(/(\+|[^+#/\x00]*))*(/#)?)$"
URL = r"^(https?://|@\{)"
Topic = Annotated[str, StringConstraints(pattern=TOPIC)]
TopicFilter = Annotated[str, StringConstraints(pattern=TOPIC_FILTER, min_length=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Needs(Section):
    agent: str = ""
    arch: tuple[str, ...] = ()


class TaskSection(Section):
    name: Name
    version: Version = "1.0.0"
    about: str = ""
    needs: Needs = Needs()
    resources: tuple[RelativePath, ...] = ()
    """More files of the bundle: what a script opens, or the pictures that a test's recording names."""


# --- sources ------------------------------------------------------------------------------------------------


class TimeField(Section):
    """Event time comes from this field of the data; without it, arrival time."""

    field: str
    unit: Literal["s", "ms", "us", "iso"] = "s"


class SourceBase(Section):
    emits: str = ""
    """Event name for triggers of kind event, `{column}` in it filled in per event; the source's own name when
    empty."""
    time: TimeField | None = None
    buffer: Annotated[int, Field(gt=0, le=1_000_000)] = 1024
    """Events waiting at most; then `overflow` decides, and drops are counted."""
    overflow: Literal["drop-oldest", "drop-newest", "block"] = "drop-oldest"


class MqttSource(SourceBase):
    """JSON objects from a topic filter; the topic is in the column `topic`."""

    type: Literal["mqtt"]
    topic: TopicFilter
    qos: Literal[0, 1, 2] = 1


class FileSource(SourceBase):
    """Replays records of a file (JSON lines or CSV), as fast as the task takes them or at `rate` per
    second."""

    type: Literal["file"]
    path: RelativePath
    format: Literal["jsonl", "csv"] = "jsonl"
    rate: Annotated[float, Field(gt=0)] | None = None


class HostMetricsSource(SourceBase):
    """This machine: cpu, mem, disk_mb, net_mb, load1, temp, procs; units in
    `edge_agent.sources.host_metrics`."""

    type: Literal["host-metrics"]
    every: Period = 1.0


class FolderSource(SourceBase):
    """Images that appear in a folder, each once: columns `path`, `name`, `image` (uint8 [height, width,
    3])."""

    type: Literal["folder"]
    path: str
    """May name `{state}`, the agent's own folder."""
    pattern: str = "*.png"


Source = Annotated[MqttSource | FileSource | HostMetricsSource | FolderSource, Field(discriminator="type")]


# --- streams and triggers -----------------------------------------------------------------------------------


class Window(Section):
    """Event-time windows [start, end), aligned to the epoch."""

    kind: Literal["tumbling"]
    size: Period
    out_of_order: Duration = 0.0
    """The watermark stays this far behind the newest event time."""
    lateness: Duration = 0.0
    """A window stays open this long behind the watermark and is emitted again with a higher revision; later
    events are counted."""
    idle: Duration = 10.0
    """After this much silence the watermark follows the clock: the last window closes without another
    event."""


class Stream(Section):
    """Applied in this order: from, filter, map, key_by, window, aggregate."""

    from_: Annotated[Identifier, Field(alias="from")]
    filter: Expression | None = None
    map: dict[Identifier, Expression] = {}
    key_by: Identifier | None = None
    window: Window | None = None
    aggregate: dict[Identifier, Expression] = {}
    """Column -> one of count() sum(x) mean(x) min(x) max(x) first(x) last(x) std(x) over an expression."""


class TriggerBase(Section):
    id: Identifier = "trigger"
    when: Expression | None = None


class EventTrigger(TriggerBase):
    """An ordered pattern of event names, "*" matching any one event, completed within a time."""

    on: Literal["event"]
    pattern: Annotated[tuple[str, ...], Field(min_length=1, max_length=32)]
    within: Duration | None = None


class ScheduleTrigger(TriggerBase):
    on: Literal["schedule"]
    every: Period


class MqttTrigger(TriggerBase):
    on: Literal["mqtt"]
    topic: TopicFilter


class WindowTrigger(TriggerBase):
    on: Literal["window"]
    stream: Identifier


class StartTrigger(TriggerBase):
    on: Literal["start"]


Trigger = Annotated[
    EventTrigger | ScheduleTrigger | MqttTrigger | WindowTrigger | StartTrigger, Field(discriminator="on")
]


class Run(Section):
    """How fired work is executed when the one before is not done."""

    mode: Literal["single", "queued"] = "queued"
    """single drops what fires meanwhile (counted); queued keeps up to `max`."""
    max: Annotated[int, Field(gt=0, le=100_000)] = 1024
    debounce: Duration = 0.0


# --- model and script ---------------------------------------------------------------------------------------


class ColumnsStep(Section):
    """The named columns of the item as one float32 row [1, n]."""

    op: Literal["columns"]
    names: Annotated[tuple[Identifier, ...], Field(min_length=1)]


class GrayStep(Section):
    op: Literal["gray"]


class ResizeStep(Section):
    """Area average to [width, height]."""

    op: Literal["resize"]
    size: tuple[Annotated[int, Field(gt=0, le=8192)], Annotated[int, Field(gt=0, le=8192)]]


class ScaleStep(Section):
    """x * by + offset."""

    op: Literal["scale"]
    by: float = 1.0
    offset: float = 0.0


class ArgmaxStep(Section):
    """Adds `label` (index, or the name from `labels`) and `score`."""

    op: Literal["argmax"]
    labels: tuple[str, ...] = ()


class ErrorStep(Section):
    """Adds `error`: the mean squared difference between the model's input and its output (autoencoders)."""

    op: Literal["error"]


class OutputStep(Section):
    """Adds the output tensor as a list in column `name`."""

    op: Literal["output"]
    name: Identifier = "output"


Pre = Annotated[ColumnsStep | GrayStep | ResizeStep | ScaleStep, Field(discriminator="op")]
Post = Annotated[ArgmaxStep | ErrorStep | OutputStep, Field(discriminator="op")]


class Model(Section):
    file: RelativePath
    sha256: Digest | None = None
    input: Identifier | None = None
    backend: Literal["auto", "cpu", "reference", "tflite"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    pre: tuple[Pre, ...] = ()
    post: tuple[Post, ...] = (OutputStep(op="output"),)


class Script(Section):
    """`entry(item: dict, state: dict) -> dict | list[dict] | None` of a Python file; `state` lives as long
    as the task."""

    file: RelativePath
    entry: Identifier = "on_result"
    input: Identifier | None = None
    timeout: Duration = 1.0


# --- sinks --------------------------------------------------------------------------------------------------


class SinkBase(Section):
    from_: Annotated[Identifier | None, Field(alias="from")] = None
    when: Expression | None = None
    fields: tuple[Identifier, ...] = ()
    """Only these columns, in this order; all when empty."""


class MqttSink(SinkBase):
    """One JSON object per item; `{board}` and `{task}` in the topic are filled in."""

    type: Literal["mqtt"]
    topic: Topic
    qos: Literal[0, 1, 2] = 1
    retain: bool = False


class SqliteSink(SinkBase):
    """Rows in the task's results.sqlite, buffered and written together."""

    type: Literal["sqlite"]
    table: Identifier
    keep: Duration = 30 * 86400.0


class FileSink(SinkBase):
    """JSON lines, appended; rotated once at `max`."""

    type: Literal["file"]
    path: RelativePath
    max: Size = 16 * 2**20


class HttpSink(SinkBase):
    """POST of one JSON object per item."""

    type: Literal["http"]
    url: Annotated[str, StringConstraints(pattern=URL)]
    timeout: Duration = 5.0


Sink = Annotated[MqttSink | SqliteSink | FileSink | HttpSink, Field(discriminator="type")]


# --- limits, deploy, federated, tests -----------------------------------------------------------------------


class Limits(Section):
    deadline: Duration = 30.0
    """Longest time one item may take from trigger to sinks."""
    memory: Size = 256 * 2**20
    """Address space of the script's process above what it starts with."""
    on_breach: Literal["restart", "skip", "stop"] = "skip"


class Deploy(Section):
    """Defaults for a rollout of this task; a rollout spec overrides them. `cloud_broker.rollout_spec` reads
    them."""

    to: str = "all"
    steps: tuple[str, ...] = ("1 board", "25%", "100%")
    hold: str = "5s"
    advance_if: str = "ok_rate >= 95%"
    abort_if: str = "failed >= 1"
    on_abort: Literal["rollback", "pause"] = "rollback"
    probation: Duration = 3.0
    """How long a board watches a new version before it calls it good."""


class Federated(Section):
    """This task's board-local data may train in rounds of the plan with the task's name."""

    data: str
    """An .npz with arrays x [n, features] and y [n]; `{state}` names the agent's folder."""


class Expect(Section):
    sink: Identifier
    count: int | None = None
    at_least: int | None = None
    where: Expression | None = None


class Test(Section):
    """Replays a file of records through one source on a virtual clock and compares what reaches the sinks."""

    __test__ = False
    name: str
    replay: RelativePath
    source: Identifier | None = None
    expect: Annotated[tuple[Expect, ...], Field(min_length=1)]


class Spec(Section):
    """A whole task file."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    task: TaskSection
    sources: dict[Identifier, Source] = {}
    streams: dict[Identifier, Stream] = {}
    trigger: tuple[Trigger, ...] = ()
    run: Run = Run()
    model: Model | None = None
    script: Script | None = None
    sinks: dict[Identifier, Sink] = {}
    limits: Limits = Limits()
    deploy: Deploy = Deploy()
    federated: Federated | None = None
    test: tuple[Test, ...] = ()


Item = dict[str, Any]
"""What travels between stages at run time: column -> value."""
