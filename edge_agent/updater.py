"""The release machine of one task: what a board does from a notice to a version that is good, or back.

    IDLE --notice--> FETCHING --files here--> VERIFYING --checked, sealed--> STAGED --started--> TRIAL
    --healthy--> GOOD
                        |                        |                            |                   |
                        +------- REFUSED <-------+                            +-> ROLLED_BACK <---+

`step` is pure: it says what to do, `releases` does it and answers with the next event. IDLE, GOOD,
ROLLED_BACK and REFUSED are rest: the next notice starts anew. While at work a newer notice pre-empts the
older one (SUPERSEDED), an event about another release is too late and ignored, and every phase ends by a
timeout at the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from cloud_broker.wire.messages import Notice, Reason, ReleaseState
from edge_agent.slots import Outcome, Slot, Slots, Trial


class Phase(StrEnum):
    IDLE = "idle"
    FETCHING = "fetching"
    VERIFYING = "verifying"
    STAGED = "staged"
    TRIAL = "trial"
    GOOD = "good"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


BUSY = frozenset({Phase.FETCHING, Phase.VERIFYING, Phase.STAGED, Phase.TRIAL})
STARTED = frozenset({Phase.STAGED, Phase.TRIAL})
"""Phases in which the version may run already, so that going back means stopping it."""
TIMEOUTS: Mapping[Phase, float] = {
    Phase.FETCHING: 1800.0,
    Phase.VERIFYING: 300.0,
    Phase.STAGED: 120.0,
    Phase.TRIAL: 60.0,  # beyond the probation
}
"""Seconds."""
MAX_WAIT = 60.0
"""Longest pause between two attempts to fetch, in seconds."""


@dataclass(frozen=True, slots=True)
class State:
    phase: Phase = Phase.IDLE
    notice: Notice | None = None
    """The release at work, or the last one."""
    slot: Slot | None = None
    """Known once its manifest was admitted."""
    since: float = 0.0
    """When this phase began."""
    probation: float = 0.0
    attempts: int = 0
    retry_at: float | None = None
    """When to fetch again, while waiting for it."""


# --- events: what happened; `release` says about which one ---


@dataclass(frozen=True, slots=True)
class NoticeReceived:
    notice: Notice
    slots: Slots


@dataclass(frozen=True, slots=True)
class FetchDone:
    """The manifest is signed and admitted, and every file is here."""

    release: str
    slot: Slot


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """A transfer broke in a way that another attempt may mend; `jitter` in [0, 1) spreads the attempts of
    a fleet.
    """

    release: str
    detail: str
    jitter: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A check said no, for good."""

    release: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Verified:
    release: str
    probation: float


@dataclass(frozen=True, slots=True)
class Staged:
    release: str


@dataclass(frozen=True, slots=True)
class Started:
    release: str


@dataclass(frozen=True, slots=True)
class StartFailed:
    release: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """The end of probation: good without a reason, else bad."""

    release: str
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Overridden:
    """A person dropped a spec for this task by hand: that wins."""

    detail: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The agent began: a trial that goes on, or the outcome of one that was given up."""

    task: str
    trial: Trial | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    pass


About = FetchDone | FetchFailed | Refused | Verified | Staged | Started | StartFailed | HealthVerdict
Event = About | NoticeReceived | Overridden | Restarted | Tick


# --- actions: what to do, in this order ---


@dataclass(frozen=True, slots=True)
class Fetch:
    notice: Notice


@dataclass(frozen=True, slots=True)
class Verify:
    slot: Slot


@dataclass(frozen=True, slots=True)
class Stage:
    slot: Slot


@dataclass(frozen=True, slots=True)
class Start:
    """Write the intent, start beside the old version, hand over."""

    slot: Slot
    rollout: str
    probation: float


@dataclass(frozen=True, slots=True)
class Commit:
    slot: Slot


@dataclass(frozen=True, slots=True)
class RollBack:
    """Back to the current version, which was never touched; remember why."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refuse:
    """Free what the release left on disk; remember why."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Report:
    release: str
    rollout: str
    state: ReleaseState
    reason: Reason | None = None
    detail: str = ""


Action = Fetch | Verify | Stage | Start | Commit | RollBack | Refuse | Report
Result = tuple[State, tuple[Action, ...]]


def step(state: State, event: Event, now: float) -> Result:
    """The next state and what to do. Total: an event that means nothing in this state changes nothing."""
    match event:
        case NoticeReceived():
            return _notice(state, event, now)
        case Restarted():
            return _restarted(event, now)
        case Overridden(detail):
            return _fail(state, Reason.OPERATOR, detail, now) if state.phase in BUSY else (state, ())
        case Tick():
            return _tick(state, now)
    if state.notice is None or state.notice.release != event.release:
        return state, ()
    rule = RULES.get((state.phase, type(event)))
    return rule(state, event, now) if rule else (state, ())


# --- a notice ---


def _notice(state: State, event: NoticeReceived, now: float) -> Result:
    notice = event.notice
    if state.phase not in BUSY or state.notice is None:
        return _begin(notice, event.slots, now)
    if notice.release == state.notice.release:
        return _again(state, notice)
    if notice.issued < state.notice.issued:
        text = f"a newer release, {state.notice.version}, is at work"
        return state, (_report(notice, ReleaseState.REFUSED, Reason.SUPERSEDED, text),)
    text = f"version {notice.version} was released in between"
    _, ended = _fail(state, Reason.SUPERSEDED, text, now)
    begun, actions = _begin(notice, event.slots, now)
    return begun, ended + actions


def _again(state: State, notice: Notice) -> Result:
    """The release at work is announced once more; only another rollout needs to hear about it."""
    if state.notice is not None and notice.rollout == state.notice.rollout:
        return state, ()
    return replace(state, notice=notice), (_report(notice, ReleaseState(state.phase)),)


def _begin(notice: Notice, slots: Slots, now: float) -> Result:
    current, previous = slots.current, slots.previous
    if current and current.id == notice.release:
        return State(Phase.GOOD, notice, current, now), (_report(notice, ReleaseState.GOOD),)
    known = slots.outcome(notice.release, notice.rollout)
    if known:
        answer = _report(notice, known.state, known.reason, known.detail)
        return State(Phase(known.state), notice, None, now), (answer,)
    if notice.rollback and previous and previous.id == notice.release:
        state = State(Phase.STAGED, notice, previous, now)
        return state, (
            _report(notice, ReleaseState.STAGED),
            Start(previous, notice.rollout, 0.0),
        )
    if current and current.origin == "drop" and slots.released and slots.released.id == notice.release:
        text = (
            f"a spec dropped by hand ({current.version}) replaced this release; the next release wins again"
        )
        answer = _report(notice, ReleaseState.REFUSED, Reason.OPERATOR, text)
        return State(Phase.REFUSED, notice, None, now), (answer,)
    return State(Phase.FETCHING, notice, None, now), (
        _report(notice, ReleaseState.FETCHING),
        Fetch(notice),
    )


# --- progress: one row per (phase, event) that means something ---


def _fetched(state: State, event: FetchDone, now: float) -> Result:
    return replace(state, phase=Phase.VERIFYING, slot=event.slot, since=now), (Verify(event.slot),)


def _fetch_failed(state: State, event: FetchFailed, now: float) -> Result:
    """Wait longer each time, each wait between half and all of its step."""
    wait = min(MAX_WAIT, 2.0 ** min(state.attempts, 10)) * (0.5 + event.jitter / 2)
    return replace(state, attempts=state.attempts + 1, retry_at=now + wait), ()


def _verified(state: State, event: Verified, _now: float) -> Result:
    return replace(state, probation=event.probation), (Stage(_slot(state)),)


def _staged(state: State, _event: Staged, now: float) -> Result:
    notice, slot = _at_work(state), _slot(state)
    return replace(state, phase=Phase.STAGED, since=now), (Start(slot, notice.rollout, state.probation),)


def _started(state: State, _event: Started, now: float) -> Result:
    return replace(state, phase=Phase.TRIAL, since=now), (_report(_at_work(state), ReleaseState.TRIAL),)


def _verdict(state: State, event: HealthVerdict, now: float) -> Result:
    if event.reason is not None:
        return _fail(state, event.reason, event.detail, now)
    return replace(state, phase=Phase.GOOD, since=now), (
        Commit(_slot(state)),
        _report(_at_work(state), ReleaseState.GOOD),
    )


def _bad(state: State, event: Refused | StartFailed, now: float) -> Result:
    return _fail(state, event.reason, event.detail, now)


RULES: Mapping[tuple[Phase, type[Any]], Callable[[State, Any, float], Result]] = {
    (Phase.FETCHING, FetchDone): _fetched,
    (Phase.FETCHING, FetchFailed): _fetch_failed,
    (Phase.FETCHING, Refused): _bad,
    (Phase.VERIFYING, Verified): _verified,
    (Phase.VERIFYING, Refused): _bad,
    (Phase.VERIFYING, Staged): _staged,
    (Phase.STAGED, Started): _started,
    (Phase.STAGED, StartFailed): _bad,
    (Phase.TRIAL, StartFailed): _bad,  # after a restart of the agent
    (Phase.TRIAL, HealthVerdict): _verdict,
}


# --- time, restarts, ends ---


def _tick(state: State, now: float) -> Result:
    if state.phase not in BUSY:
        return state, ()
    limit = TIMEOUTS[state.phase] + (state.probation if state.phase is Phase.TRIAL else 0.0)
    if now - state.since > limit:
        return _fail(state, Reason.TIMEOUT, f"{state.phase} took longer than {limit:.0f} s", now)
    if state.retry_at is not None and now >= state.retry_at:
        return replace(state, retry_at=None), (Fetch(_at_work(state)),)
    return state, ()


def _restarted(event: Restarted, now: float) -> Result:
    if event.trial is not None:
        trial = event.trial
        notice = _notice_of(event.task, trial.slot.id, trial.slot.version, trial.rollout, trial.since)
        return State(Phase.TRIAL, notice, trial.slot, now, trial.probation), ()
    if event.outcome is not None:
        outcome = event.outcome
        notice = _notice_of(event.task, outcome.release, "0", outcome.rollout, now)
        answer = _report(notice, outcome.state, outcome.reason, outcome.detail)
        return State(Phase(outcome.state), notice, None, now), (answer,)
    return State(since=now), ()


def _notice_of(task: str, release: str, version: str, rollout: str, issued: float) -> Notice:
    """The notice that a state on disk stands for; nothing is fetched by it."""
    return Notice(
        task=task, version=version, release=release, size=0, blobs="", rollout=rollout, issued=issued
    )


def _fail(state: State, reason: Reason, detail: str, now: float) -> Result:
    """End the release at work: rolled back when it may have run, refused before."""
    notice = _at_work(state)
    ran = state.phase in STARTED
    end = ReleaseState.ROLLED_BACK if ran else ReleaseState.REFUSED
    outcome = Outcome(
        release=notice.release, rollout=notice.rollout, state=end, reason=reason, detail=detail[:2000]
    )
    undo = RollBack(outcome) if ran else Refuse(outcome)
    return State(Phase(end), notice, None, now), (undo, _report(notice, end, reason, detail))


def _report(notice: Notice, state: ReleaseState, reason: Reason | None = None, detail: str = "") -> Report:
    return Report(notice.release, notice.rollout, state, reason, detail[:2000])


def _at_work(state: State) -> Notice:
    if state.notice is None:
        raise AssertionError(f"{state.phase} without a notice")
    return state.notice


def _slot(state: State) -> Slot:
    if state.slot is None:
        raise AssertionError(f"{state.phase} without a slot")
    return state.slot
