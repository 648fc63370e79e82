"""The graph of a task's stages, without threads: rows go in by source, batches flow from stage to stage,
time is passed in.

    source --> streams --> trigger --> [ waiting work ] --> model --> script --> sinks

Streams and triggers keep up with the sources; the work (model, script) is done one item at a time by `work`,
from a bounded queue ruled by `[run]`. An item that fails in a stage is counted with its text and ends there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edge_agent.clock import Clock
from edge_agent.events import Batch, Row, batches
from edge_agent.evidence import NOTHING, Counts, Ledger
from edge_agent.inbox import AHEAD, TAKE, Entry
from edge_agent.spec.model import Limits, Run

MAX_ERROR = 2000
"""Characters of an error that are kept."""


class Breach(Exception):
    """An item broke a limit of the task."""


class Stop(Exception):
    """The task cannot go on: `limits.on_breach = "stop"`."""


class Stage(Protocol):
    """One step of a task. `push` raises for a batch it cannot process, before it changes any state."""

    @property
    def ends(self) -> bool:
        """What is due comes to an end by itself in silence (windows do, schedules do not)."""

    @property
    def silence(self) -> float:
        """Nothing falls due because of an event before this many seconds have passed."""

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:
        """The batch came from the stage (or source) named `origin`."""

    def tick(self, now: float) -> list[Batch]:
        """What is due by time alone."""

    def due(self) -> float | None:
        """When `tick` should be called next."""

    def counts(self) -> Counts:
        """So far."""

    def reset(self) -> None:
        """Start again with empty state (limits.on_breach = "restart")."""

    def close(self) -> None: ...


class StageBase:
    """A stage without state, time or resources."""

    ends = True
    silence: float = float("inf")

    def tick(self, now: float) -> list[Batch]:  # noqa: ARG002
        return []

    def due(self) -> float | None:
        return None

    def counts(self) -> Counts:
        return NOTHING

    def reset(self) -> None:
        pass

    def close(self) -> None:
        pass


class _Work(NamedTuple):
    row: Row
    origin: str
    arrived: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How stages are connected. `readers`: source or stage -> the stages that read it, streams before
    triggers before sinks. `work`: model and script, in order; only the first is fed through the queue.
    `outputs`: what sinks read."""

    stages: Mapping[str, Stage]
    readers: Mapping[str, Sequence[str]]
    work: tuple[str, ...] = ()
    outputs: frozenset[str] = frozenset()
    run: Run = field(default_factory=Run)
    limits: Limits = field(default_factory=Limits)


class Pipeline:
    def __init__(self, plan: Plan, clock: Clock, ledger: Ledger) -> None:
        self.plan = plan
        self._clock = clock
        self._ledger = ledger
        self._waiting: deque[_Work] = deque()
        self._silence = min((stage.silence for stage in plan.stages.values()), default=0.0)
        self._busy_until = float("-inf")
        self._last_fired = float("-inf")

    def feed(self, entries: Iterable[Entry]) -> None:
        """Let rows of sources flow, in order; rows of one source go together unless something was due
        between."""
        run: list[Entry] = []
        due = self.due()
        for entry in entries:
            if run and (entry.source != run[0].source or entry.arrived >= run[0].arrived + self._silence):
                self._feed_run(run)
                run, due = [], self.due()
            if due is not None and due <= entry.arrived:
                self._feed_run(run)
                self.tick(entry.arrived)
                run, due = [], self.due()
            run.append(entry)
        self._feed_run(run)

    def _feed_run(self, run: Sequence[Entry]) -> None:
        if run:
            now = run[-1].arrived
            self._ledger.events(len(run), now)
            self.send(run[0].source, batches(entry.row for entry in run), now)

    def tick(self, now: float) -> None:
        """Let every stage whose time has come act."""
        for name, stage in self.plan.stages.items():
            due = stage.due()
            if due is not None and due <= now:
                self.send(name, stage.tick(now), now)

    def due(self) -> float | None:
        """When `tick` should be called next."""
        dues = (stage.due() for stage in self.plan.stages.values())
        return min((due for due in dues if due is not None), default=None)

    def closing(self) -> float | None:
        """When the next open window closes if nothing more arrives."""
        dues = (stage.due() for stage in self.plan.stages.values() if stage.ends)
        return min((due for due in dues if due is not None), default=None)

    def send(self, origin: str, what: Sequence[Batch], now: float) -> None:
        """Hand batches on to whoever reads `origin`."""
        if not what:
            return
        for batch in what:
            for name in self.plan.readers.get(origin, ()):
                if name not in self.plan.work:
                    self.send(name, self._push(name, origin, batch, now), now)
                elif name == self.plan.work[0]:
                    self._enqueue(batch, origin, now)
                else:
                    for single in batch.singles():
                        self._do(name, origin, single, now)
        if origin in self.plan.outputs:
            self._ledger.results(sum(map(len, what)), now)

    def _push(self, name: str, origin: str, batch: Batch, now: float) -> list[Batch]:
        try:
            return self.plan.stages[name].push(origin, batch, now)
        except Stop:
            raise
        except Exception as error:
            if len(batch) > 1:  # one bad row must not take the others with it
                return [out for single in batch.singles() for out in self._push(name, origin, single, now)]
            self._ledger.error(f"{name}: {_text(error)}")
            if isinstance(error, Breach):
                self._breach(name, _text(error))
            return []

    # --- work -----------------------------------------------------------------------------------------------

    def _enqueue(self, batch: Batch, origin: str, now: float) -> None:
        for row in batch.rows():
            if row.time - self._last_fired < self.plan.run.debounce:
                self._ledger.dropped()
                continue
            self._last_fired = row.time
            if len(self._waiting) >= self.plan.run.max:
                self._waiting.popleft()
                self._ledger.dropped()
            self._waiting.append(_Work(row, origin, now))

    def work(self) -> bool:
        """Do one waiting piece of work; False when there is none. Raises Stop."""
        while self._waiting:
            work = self._waiting.popleft()
            if self.plan.run.mode == "single" and work.arrived < self._busy_until:
                self._ledger.dropped()
                continue
            began = self._clock.now()
            self._do(self.plan.work[0], work.origin, batches([work.row])[0], began)
            self._busy_until = self._clock.now()
            took = self._busy_until - began
            if took > self.plan.limits.deadline:
                text = f"an item took {took:.3g} s, limits.deadline is {self.plan.limits.deadline:g} s"
                self._ledger.error(text)
                self._breach(self.plan.work[0], text)
            return True
        return False

    @property
    def idle(self) -> bool:
        """Nothing waits to be done."""
        return not self._waiting

    @property
    def appetite(self) -> int:
        """How many events to take from sources that can wait: few, and only when there is nothing else to
        do, since they may be large and would be dropped where work piles up."""
        if not self.plan.work:
            return TAKE
        return min(AHEAD, self.plan.run.max) if self.idle else 0

    def _do(self, name: str, origin: str, single: Batch, now: float) -> None:
        self.send(name, self._push(name, origin, single, now), self._clock.now())

    def _breach(self, name: str, text: str) -> None:
        if self.plan.limits.on_breach == "stop":
            raise Stop(text)
        if self.plan.limits.on_breach == "restart":
            self.plan.stages[name].reset()

    # --- life -----------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """Of all stages; triggers, which alone can miss, are one stage."""
        counts = [stage.counts() for stage in self.plan.stages.values()]
        newest = max(counts, key=lambda each: each.near_misses, default=NOTHING)
        return newest._replace(late=sum(each.late for each in counts))

    def close(self) -> None:
        """Let go of what the stages hold (model, script's process)."""
        for stage in self.plan.stages.values():
            stage.close()


def _text(error: Exception) -> str:
    """What the user needs of an error: the text alone where we wrote it, with its type otherwise."""
    text = str(error) if isinstance(error, ValueError | Breach) else f"{type(error).__name__}: {error}"
    return text[:MAX_ERROR]
