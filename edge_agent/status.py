"""What state a task is in, computed from evidence each time it is asked for and never stored, with its cause.

The agent writes the whole picture to `status.json` once a second and at once when a state or a version
changes; readers (`walle status`) call `read`, which says so when that picture is old. Rules are rows: the
first that applies names the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cloud_broker.wire.messages import Record, TaskEvidence
from edge_agent import health
from edge_agent.evidence import Evidence, NearMiss
from edge_agent.intents import load
from edge_agent.supervisor import Life, Phase

QUIET = 30.0
"""Seconds without an event after which a task is called idle."""
SILENT = 15.0
"""Seconds beyond the task's deadline without a sign of life from its loop."""
MAX_CAUSE = 500
"""Characters of a cause that travel."""
STALE = 5.0
"""Age in seconds of status.json beyond which the agent is not running."""


@dataclass(frozen=True, slots=True)
class View:
    """All that is known of one task at one moment."""

    life: Life
    now: float
    evidence: Evidence | None = None
    version: str = ""
    trial_left: float | None = None
    """Seconds of probation left, while on trial."""
    starting: bool = False
    """A version is on its way up."""
    deadline: float = 0.0
    """Longest time one item may take."""
    problem: str = ""
    """What is wrong with the dropped file of this task, if something is."""


@dataclass(frozen=True, slots=True)
class Status:
    state: str
    cause: str = ""


def _stopped(view: View) -> Status | None:
    if view.life.phase is not Phase.STOPPED:
        return None
    if view.starting:
        return Status("starting")
    return Status("bad-spec", view.problem) if view.problem else Status("stopped", view.life.cause)


def _failed(view: View) -> Status | None:
    if view.life.phase is not Phase.FAILED:
        return None
    return Status("failed", f"{view.life.deaths} deaths in a row, the last: {view.life.cause}")


def _waiting(view: View) -> Status | None:
    if view.life.phase is not Phase.BACKOFF:
        return None
    return Status("restarting", view.life.cause)


def _silent(view: View) -> Status | None:
    age = view.now - view.evidence.heartbeat if view.evidence else 0.0
    if age <= view.deadline + SILENT:
        return None
    return Status("failed", f"no sign of life for {age:.0f} s")


def _degraded(view: View) -> Status | None:
    if view.evidence is None or health.error_rate(view.evidence) <= health.MAX_ERROR_RATE:
        return None
    return Status("degraded", health.failing_text(view.evidence))


def _trial(view: View) -> Status | None:
    if view.trial_left is None:
        return None
    return Status("trial", f"version {view.version}, {max(view.trial_left, 0.0):.0f} s of probation left")


def _idle(view: View) -> Status | None:
    if view.evidence is None:
        return None
    last = view.evidence.last_event
    age = view.now - (view.evidence.started if last is None else last)
    if age <= QUIET:
        return None
    return Status("idle", f"no events for {age:.0f} s" + (" (none so far)" if last is None else ""))


RULES: tuple[Callable[[View], Status | None], ...] = (
    _stopped,
    _failed,
    _waiting,
    _silent,
    _degraded,
    _trial,
    _idle,
)


def of(view: View) -> Status:
    """The task's state and its cause; a problem of its file is added to whatever it is doing."""
    found = next((status for rule in RULES if (status := rule(view))), Status("running"))
    if not view.problem or found.state == "bad-spec":
        return found
    untouched = f"{view.problem} The running version {view.version} was left untouched."
    return Status(found.state, f"{found.cause}; {untouched}" if found.cause else untouched)


def for_wire(status: Status, evidence: Evidence | None) -> TaskEvidence:
    cause = status.cause[:MAX_CAUSE]
    if evidence is None:
        return TaskEvidence(state=status.state, cause=cause)
    return TaskEvidence(
        state=status.state,
        cause=cause,
        last_event=evidence.last_event,
        last_result=evidence.last_result,
        events=evidence.events,
        results=evidence.results,
        errors=evidence.errors,
    )


def missed(miss: NearMiss) -> str:
    """ "2026-03-01T21:03:40.000+00:00 door: pir.high came too late (29 s > 20 s)" """
    when = datetime.fromtimestamp(miss.time, UTC).isoformat(timespec="milliseconds")
    return f"{when} {miss.trigger}: {miss.why}"[:MAX_CAUSE]


# --- status.json ---


class TaskPicture(Record):
    """One row of `walle status`."""

    version: str
    release: str
    """The digest of the release, or "" for a spec dropped by hand."""
    file: str
    """The dropped file, or ""."""
    previous: str
    """The version kept behind this one, or ""."""
    update: str
    """Phase of the release at work or last seen."""
    dropped: int
    late: int
    near_misses: int
    missed: tuple[str, ...]
    """The newest near misses of its triggers, newest last: when, which, why not."""
    evidence: TaskEvidence


class Picture(Record):
    """What one agent knows of itself."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    board: str
    pid: int
    session: int
    agent: str
    at: float
    connected: bool | None
    """None without a broker."""
    outbox: int
    """Reports not yet delivered."""
    tasks: Mapping[str, TaskPicture]
    problems: Mapping[str, str]
    """Dropped file, or the specs folder -> what is wrong with it."""


class NotRunning(Exception):
    """There is no agent on this state folder, or none that can say how it is; says since when."""


def read(state: Path, now: float) -> Picture:
    """The picture the agent drew last. Raises NotRunning when there is none or it is old, or from the future
    (an agent does not follow a clock that is set back) and by nobody who is there."""
    try:
        picture = load(state / "status.json", Picture)
    except ValueError as error:
        raise NotRunning(f"agent not running: {error}") from None
    if picture is None:
        raise NotRunning(f"agent not running: no status.json in {state}")
    age, alive = now - picture.at, Path(f"/proc/{picture.pid}").exists()
    if age <= STALE and (alive or age >= -STALE):
        return picture
    if alive:
        text = f"the agent, process {picture.pid}, has drawn no picture in {state} for {age:.0f} s"
        raise NotRunning(f"{text}: its disk is full, or it hangs")
    raise NotRunning(f"agent not running: its last sign of life in {state} is {age:.0f} s old")
