"""The gray rollout of one release: `step(state, event, now) -> (state, actions)`, pure.

```
            Tick: held, good enough                   every step held
 RUNNING ───────────────────────▶ next step … 100 % ─────────────────▶ COMPLETE (late boards still join)
   │ ▲  Paused, advance_if unmet ▶ PAUSED
   │ └───────── Resumed, Skipped ────┘
   └─ abort_if holds, Aborted ▶ ABORTED (every board that took it is sent back)    any ─ Superseded ▶ closed
```

Who is in a step: the boards whose `position` is below the step's share, and, while they are fewer than
its count, the next lowest ones in reach. A position is a hash of board and release, so steps are nested,
never re-shuffle, and a board that joins late knows its place. Boards out of reach are not waited for;
they join when they are seen again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from cloud_broker.rollout_spec import Policy, Step
from cloud_broker.wire.digest import Digest
from cloud_broker.wire.messages import (
    Message,
    Name,
    Reason,
    Record,
    ReleaseState,
    Running,
    Version,
    version_key,
)

REPEAT = 30.0
"""Seconds after which a board that is seen, but is at no end, is told again; one that was away, at once."""
EXPECTED = frozenset(
    {Reason.NEEDS_AGENT, Reason.NEEDS_ARCH, Reason.TOO_OLD, Reason.SUPERSEDED, Reason.OPERATOR}
)
"""Reasons for an end that say nothing against the release."""


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETE = "complete"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


class Stage(StrEnum):
    """Where one board stands, as the rollout sees it."""

    WAITING = "waiting"  # not told yet, or told while it was away
    NOTIFIED = "notified"
    WORKING = "working"  # it has reported something that is not an end
    GOOD = "good"
    FAILED = "failed"
    EXCUSED = "excused"  # its end says nothing against the release
    RESTORING = "restoring"  # told to run the previous release
    RESTORED = "restored"


BUSY = frozenset({Stage.NOTIFIED, Stage.WORKING})
TOOK_IT = frozenset({Stage.NOTIFIED, Stage.WORKING, Stage.GOOD})
ENDED = frozenset({Stage.GOOD, Stage.FAILED, Stage.EXCUSED})


class Member(Message):
    """One board in one rollout."""

    KIND: ClassVar[str] = "member"
    stage: Stage = Stage.WAITING
    since: float
    """When this stage began; for a busy board, when it was first told."""
    noticed: float = 0.0
    seen: float
    running: Running | None = None
    """What the board said last that it runs of this task."""
    state: ReleaseState | None = None
    reason: Reason | None = None
    detail: str = ""


class Cause(Record):
    """Why a rollout stopped: the first failing board, or a person (board is then empty)."""

    board: str
    reason: Reason
    detail: str

    def __str__(self) -> str:
        return f"{f'board {self.board}: ' if self.board else ''}{self.reason}: {self.detail}".rstrip(": ")


class Rollout(Message):
    """The whole state. Not `open` once a newer rollout of the task took over: it records, but acts not."""

    KIND: ClassVar[str] = "rollout"
    number: int
    task: Name
    version: Version
    release: Digest
    previous: str = ""
    """The release to send boards back to; empty when there is none."""
    rollback: bool = False
    """Its release is an earlier one."""
    policy: Policy
    started: float
    phase: Phase = Phase.RUNNING
    open: bool = True
    step: int = 0
    settled: float | None = None
    """When every board that the opened steps had so far had come to an end."""
    completed: float | None = None
    forgiven: int = 0
    """Failures that a person has seen and gone on from."""
    cause: Cause | None = None
    members: Mapping[str, Member] = {}

    @property
    def id(self) -> str:
        return f"r{self.number}"

    def count(self) -> Counter[Stage]:
        return Counter(member.stage for member in self.members.values())


# --- events and actions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BoardSeen:
    """A board's hello; `running` is what it runs of this task."""

    board: str
    running: Running | None


@dataclass(frozen=True, slots=True)
class BoardGone:
    """Its connection broke: nobody waits for it, unless it is at work on the release."""

    board: str


@dataclass(frozen=True, slots=True)
class Reported:
    board: str
    release: str
    state: ReleaseState
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    pass


@dataclass(frozen=True, slots=True)
class Paused:
    pass


@dataclass(frozen=True, slots=True)
class Resumed:
    """Go on; failures so far are forgiven."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Open the next step now; failures so far are forgiven."""


@dataclass(frozen=True, slots=True)
class Aborted:
    detail: str = "aborted by a person"


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer rollout of the task has taken over; `withdrawn` when it is one that goes back from this one."""

    by: str
    withdrawn: bool = False


Event = BoardSeen | BoardGone | Reported | Tick | Paused | Resumed | Skipped | Aborted | Superseded


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell a board which release to run."""

    board: str
    release: str
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class Announce:
    """A line for the audit log."""

    kind: str
    text: str


Action = Notify | Announce
Result = tuple[Rollout, tuple[Action, ...]]


def step(state: Rollout, event: Event, now: float) -> Result:
    """What `event` makes of the rollout, and what is to be done about it once the new state is safe."""
    machine = _Machine(state, now)
    machine.take(event)
    if machine.state.open:
        machine.settle()
    return machine.result()


def pending(state: Rollout) -> Iterator[Notify]:
    """Notices that may have been lost between intent and deed, or whose answer was: to be sent again after a
    restart. A board that is at work ignores it, one that has come to an end says so once more.
    """
    if not state.open:
        return
    for board, member in state.members.items():
        if member.stage in BUSY:
            yield Notify(board, state.release, _backwards(state, member))
        elif member.stage is Stage.RESTORING:
            yield Notify(board, state.previous, rollback=True)


def begin(state: Rollout, boards: Mapping[str, tuple[float, Running | None]], now: float) -> Result:
    """A fresh rollout's first step over the boards known: {board: (last seen or 0.0, what it runs)}."""
    members = {
        board: Member(
            stage=Stage.GOOD if running and running.release == state.release else Stage.WAITING,
            since=now,
            seen=seen,
            running=running,
        )
        for board, (seen, running) in boards.items()
        if state.policy.covers(board)
    }
    return step(state.model_copy(update={"members": members}), Tick(), now)


def previous_good(rollouts: Iterable[Rollout], task: str, release: str) -> str:
    """The release of `task`, other than `release`, that last completed a rollout with a good board, else
    empty. Only a task's newest rollout is open, so their numbers are the order, whatever the clock did.
    """
    done = [
        (state.number, state.release)
        for state in rollouts
        if state.task == task
        and state.release != release
        and state.phase is Phase.COMPLETE
        and state.count()[Stage.GOOD]
    ]
    return max(done)[1] if done else ""


def position(board: str, release: str) -> float:
    """A board's fixed place in [0, 1) in the order in which it gets a release."""
    return int.from_bytes(hashlib.sha256(f"{release}:{board}".encode()).digest()[:6]) / 2**48


def _backwards(state: Rollout, member: Member) -> bool:
    newer = member.running is not None and version_key(member.running.version) > version_key(state.version)
    return state.rollback and newer


class _Machine:
    """One step in the making: the state so far and the actions so far."""

    def __init__(self, state: Rollout, now: float) -> None:
        self.state = state
        """All but the members; those are in `members` until `result`, sorted, so that they have one order."""
        self.members = dict(sorted(state.members.items()))
        self.now = now
        self.actions: list[Action] = []

    def result(self) -> Result:
        return self.state.model_copy(update={"members": self.members}), tuple(self.actions)

    # --- events ---

    def take(self, event: Event) -> None:
        match event:
            case BoardSeen(board, running):
                if self.state.policy.covers(board):
                    self._seen(board, running)
            case BoardGone(board):
                self._gone(board)
            case Reported():
                if self.state.policy.covers(event.board):
                    self._reported(event)
            case Tick():
                pass
            case Paused():
                if self.state.phase is Phase.RUNNING:
                    self._change(phase=Phase.PAUSED)
                    self._announce("paused", "paused by a person")
            case Resumed():
                if self.state.phase is Phase.PAUSED:
                    self._go_on()
                    self._announce("resumed", "resumed by a person")
            case Skipped():
                if self.state.phase in (Phase.RUNNING, Phase.PAUSED):
                    self._go_on()
                    self._advance("skipped by a person")
            case Aborted(detail):
                if self.state.phase in (Phase.RUNNING, Phase.PAUSED, Phase.COMPLETE) and self.state.open:
                    self._abort(Cause(board="", reason=Reason.OPERATOR, detail=detail))
            case Superseded(by, withdrawn):
                if self.state.phase in (Phase.RUNNING, Phase.PAUSED) or withdrawn:
                    self._change(phase=Phase.SUPERSEDED, completed=None)
                    self._announce("superseded", f"superseded by {by}")
                self._change(open=False)

    def _seen(self, board: str, running: Running | None) -> None:
        old = self.members.get(board) or Member(since=self.now, seen=self.now)
        member = old.model_copy(update={"seen": self.now, "running": running})
        self._put(board, member)
        release = running.release if running else None
        if not self.state.open:
            return
        if self.state.phase is Phase.ABORTED:
            self._seen_after_abort(board, member)
        elif member.stage is Stage.WAITING and release == self.state.release:
            self._stage(board, Stage.GOOD)
        elif member.stage is Stage.GOOD and release not in (self.state.release, ""):
            self._stage(board, Stage.WAITING)
        elif member.stage in BUSY and (old.seen == 0.0 or self.now - member.noticed >= REPEAT):
            self._notify(board, self.state.release, _backwards(self.state, member))

    def _gone(self, board: str) -> None:
        member = self.members.get(board)
        if member is None:
            return
        self.members[board] = member.model_copy(update={"seen": 0.0})
        if member.stage is Stage.NOTIFIED:
            self._stage(board, Stage.WAITING)

    def _seen_after_abort(self, board: str, member: Member) -> None:
        """Now the previous release is the one to run, for who took this one and for who has neither."""
        release = member.running.release if member.running else None
        if release == self.state.previous:
            if member.stage is Stage.RESTORING:
                self._stage(board, Stage.RESTORED)
            return
        took_it = release == self.state.release
        waited = self.now - member.noticed >= REPEAT
        if self.state.previous and release != "" and waited and (took_it or member.stage not in ENDED):
            self._restore(board)

    def _reported(self, event: Reported) -> None:
        member = self.members.get(event.board) or Member(since=self.now, seen=self.now)
        self._put(event.board, member.model_copy(update={"seen": self.now}))
        stage = _stage_of(event.state, event.reason)
        if event.release == self.state.previous and member.stage is Stage.RESTORING:
            if stage in ENDED:
                restored = Stage.RESTORED if stage is Stage.GOOD else Stage.FAILED
                self._stage(event.board, restored, event)
        elif event.release == self.state.release and _may_follow(stage, member):
            since = member.since if stage is Stage.WORKING and member.stage in BUSY else self.now
            self._stage(event.board, stage, event, since=since)
            if stage is Stage.FAILED:
                self._announce(
                    "failed", f"board {event.board}: {event.reason or event.state}: {event.detail}"
                )
            if stage is Stage.GOOD and self.state.phase is Phase.ABORTED and self.state.open:
                self._restore(event.board)

    # --- what follows from the state and the clock ---

    def settle(self) -> None:
        if self.state.phase is Phase.ABORTED:
            return
        self._time_out()
        count = self._count()
        self._change(forgiven=min(self.state.forgiven, count[Stage.FAILED]))
        failed = count[Stage.FAILED] - self.state.forgiven
        if self.state.phase is not Phase.COMPLETE and self.state.policy.abort_if.holds(
            count[Stage.GOOD], failed
        ):
            self._stop(self._first_failure())
        while self.state.phase in (Phase.RUNNING, Phase.COMPLETE):
            self._open_to_reachable()
            if self.state.phase is Phase.COMPLETE or not self._held():
                break
            self._advance("all good")

    def _time_out(self) -> None:
        policy = self.state.policy
        for board, member in list(self.members.items()):
            if member.stage not in BUSY or self.now - member.since < policy.timeout.seconds:
                continue
            if member.stage is Stage.NOTIFIED and self.now - member.seen > policy.reach.seconds:
                self._stage(board, Stage.WAITING)  # it was away and has not heard of it
            else:
                last = member.state or "the notice"
                late = Reported(
                    board,
                    self.state.release,
                    member.state or ReleaseState.FETCHING,
                    Reason.TIMEOUT,
                    f"no end within {policy.timeout.text}; the last word was {last}",
                )
                self._stage(board, Stage.FAILED, late)
                self._announce("failed", f"board {board}: {late.reason}: {late.detail}")

    def _open_to_reachable(self) -> None:
        """Notify who is in the opened steps and waits."""
        policy = self.state.policy
        waiting = [
            board
            for board, member in self.members.items()
            if member.stage is Stage.WAITING and self.now - member.seen <= policy.reach.seconds
        ]
        taken = sum(member.stage not in (Stage.WAITING, Stage.EXCUSED) for member in self.members.values())
        rule = policy.steps[self.state.step]
        for board in in_step(rule, waiting, taken, lambda board: position(board, self.state.release)):
            self._stage(board, Stage.NOTIFIED)
            self._notify(board, self.state.release, _backwards(self.state, self.members[board]))

    def _held(self) -> bool:
        """Were the opened steps at an end, and good enough, for the hold? Later boards do not restart it."""
        count = self._count()
        at_end = any(count[stage] for stage in ENDED) and not any(count[stage] for stage in BUSY)
        if self.state.settled is None and not at_end:
            return False
        failed = count[Stage.FAILED] - self.state.forgiven
        if not self.state.policy.advance_if.holds(count[Stage.GOOD], failed):
            self._pause(self._first_failure())
            return False
        if self.state.settled is None:
            self._change(settled=self.now)
        return self.now - (self.state.settled or 0.0) >= self.state.policy.hold.seconds

    # --- deeds ---

    def _advance(self, why: str) -> None:
        following = self.state.step + 1
        self._change(settled=None)
        if following < len(self.state.policy.steps):
            self._change(step=following)
            self._announce("advanced", f"opened to {self.state.policy.steps[following].text}: {why}")
        else:
            self._change(phase=Phase.COMPLETE, completed=self.now)
            self._announce("complete", f"{self._count()[Stage.GOOD]} boards run {self.state.version}")

    def _go_on(self) -> None:
        self._change(phase=Phase.RUNNING, cause=None, forgiven=self._count()[Stage.FAILED])

    def _stop(self, cause: Cause) -> None:
        if self.state.policy.on_abort == "pause":
            self._pause(cause)
        else:
            self._abort(cause)

    def _pause(self, cause: Cause) -> None:
        if self.state.phase is Phase.RUNNING:
            self._change(phase=Phase.PAUSED, cause=cause, settled=None)
            self._announce("paused", f"{cause}; resume, skip or abort it")

    def _abort(self, cause: Cause) -> None:
        self._change(phase=Phase.ABORTED, cause=cause, settled=None)
        self._announce("aborted", str(cause))
        for board, member in list(self.members.items()):
            if member.stage in TOOK_IT and self.state.previous:
                self._restore(board)

    def _restore(self, board: str) -> None:
        """Back from this release, or from an unfinished one before it; the board knows which is newer."""
        self._stage(board, Stage.RESTORING)
        self._notify(board, self.state.previous, rollback=True)

    def _notify(self, board: str, release: str, rollback: bool) -> None:
        self._put(board, self.members[board].model_copy(update={"noticed": self.now}))
        self.actions.append(Notify(board, release, rollback))

    def _first_failure(self) -> Cause:
        """Of those that nobody has forgiven."""
        failures = [item for item in self.members.items() if item[1].stage is Stage.FAILED]
        failures.sort(key=lambda item: (item[1].since, item[0]))
        board, member = failures[self.state.forgiven]
        return Cause(board=board, reason=member.reason or Reason.CRASHED, detail=member.detail)

    def _stage(
        self, board: str, stage: Stage, word: Reported | None = None, *, since: float | None = None
    ) -> None:
        changes: dict[str, object] = {"stage": stage, "since": self.now if since is None else since}
        changes |= {
            "state": word.state if word else None,
            "reason": word.reason if word else None,
            "detail": word.detail if word else "",
        }
        self._put(board, self.members[board].model_copy(update=changes))

    def _put(self, board: str, member: Member) -> None:
        self.members[board] = member

    def _change(self, **changes: object) -> None:
        self.state = self.state.model_copy(update=changes)

    def _count(self) -> Counter[Stage]:
        return Counter(member.stage for member in self.members.values())

    def _announce(self, kind: str, text: str) -> None:
        self.actions.append(Announce(kind, text))


def in_step(rule: Step, waiting: list[str], taken: int, place: Callable[[str], float]) -> list[str]:
    """Who of `waiting` joins: all below the share, then the lowest until `taken` and they fill the count."""
    ordered = sorted(waiting, key=place)
    inside = sum(place(board) < rule.share for board in ordered)
    return ordered[: max(inside, rule.count - taken)]


def _stage_of(state: ReleaseState, reason: Reason | None) -> Stage:
    match state:
        case ReleaseState.GOOD:
            return Stage.GOOD
        case ReleaseState.ROLLED_BACK | ReleaseState.REFUSED:
            return Stage.EXCUSED if reason in EXPECTED else Stage.FAILED
        case _:
            return Stage.WORKING


def _may_follow(stage: Stage, member: Member) -> bool:
    """Reports may come twice or late: an end is only undone by a word that can be newer than it."""
    match member.stage:
        case Stage.WAITING | Stage.NOTIFIED | Stage.WORKING:
            return True
        case Stage.GOOD:
            return stage is Stage.FAILED
        case Stage.FAILED:
            return stage is Stage.GOOD and member.reason is Reason.TIMEOUT
        case _:
            return False
