"""One round as a pure machine: OPEN -> COLLECTING -> AGGREGATED | FAILED.

AGGREGATED means that the round's updates are final; the next weights follow from them and the base alone. A
round ends when `target` updates are in, when nobody is left to wait for, or at its deadline, and it counts
only with `quorum` updates. `CHECKS`, `CONTENT` and `DELTA` hold, in order, why an update is refused; each
refusal is counted by its code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from cloud_broker.wire.messages import Reason, Update
from fl import weights
from fl.client import METRICS
from fl.weights import Layout, Weights


class Phase(StrEnum):
    OPEN = "open"
    COLLECTING = "collecting"
    AGGREGATED = "aggregated"
    FAILED = "failed"


class Refusal(StrEnum):
    """Why an update was refused or a round failed, beside wire's `Reason`; codes are never renamed."""

    FORGED = "forged"  # sent by another board than it names
    OTHER_PLAN = "other_plan"
    LATE = "late"  # of an earlier round, or after this one's end
    OTHER_ROUND = "other_round"  # of a round that is yet to come
    UNKNOWN_BOARD = "unknown_board"  # not in the cohort
    STALE_BASE = "stale_base"  # trained from other weights
    DUPLICATE = "duplicate"
    TOO_MANY_EXAMPLES = "too_many_examples"
    NOT_WEIGHTS = "not_weights"
    WRONG_SHAPE = "wrong_shape"
    NON_FINITE = "non_finite"
    TOO_FEW_BOARDS = "too_few_boards"  # fewer than the quorum could be invited
    NO_QUORUM = "no_quorum"  # fewer than the quorum answered


Code = Refusal | Reason


class Round(BaseModel):
    """The machine's whole state; what stands above `phase` is settled when the round opens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: str
    number: int
    base: str
    """Digest of the weights to train from."""
    size: int
    """Bytes of the base; no delta is larger."""
    layout: Layout
    cohort: tuple[str, ...]
    quorum: int
    target: int
    deadline: float
    max_examples: int
    phase: Phase = Phase.OPEN
    cause: Code | None = None
    """Why the round failed."""
    updates: tuple[Update, ...] = ()
    """Accepted, in the order of arrival."""
    spoiled: tuple[str, ...] = ()
    """Boards of the cohort whose answer was refused for what it holds; they are not waited for."""
    refused: Mapping[str, int] = {}
    """Code -> how many."""

    @property
    def answered(self) -> frozenset[str]:
        return frozenset(self.spoiled).union(update.board for update in self.updates)


# --- events and actions ---


@dataclass(frozen=True, slots=True)
class Begin:
    """Start, or go on after a restart."""


@dataclass(frozen=True, slots=True)
class Announced:
    """A board, known by its topic, says that an update is ready."""

    sender: str
    update: Update


@dataclass(frozen=True, slots=True)
class Fetched:
    update: Update
    delta: Weights


@dataclass(frozen=True, slots=True)
class Unusable:
    """The announced bytes could not be had, or are no weights."""

    update: Update
    code: Code


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Overflowed:
    """The accepted updates add up to something that is not finite."""


@dataclass(frozen=True, slots=True)
class Invite:
    board: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the delta; the answer is Fetched or Unusable."""

    update: Update


Event = Begin | Announced | Fetched | Unusable | Tick | Overflowed
Action = Invite | Fetch

# --- the rules ---


class Case(NamedTuple):
    """What a rule looks at."""

    state: Round
    update: Update
    now: float
    delta: Weights


Rules = tuple[tuple[Code, Callable[[Case], bool]], ...]

CHECKS: Rules = (
    (Refusal.OTHER_PLAN, lambda case: case.update.plan != case.state.plan),
    (Refusal.OTHER_ROUND, lambda case: case.update.round > case.state.number),
    (Refusal.LATE, lambda case: case.update.round < case.state.number or case.now >= case.state.deadline),
    (Refusal.LATE, lambda case: case.state.phase in (Phase.AGGREGATED, Phase.FAILED)),
    (Refusal.UNKNOWN_BOARD, lambda case: case.update.board not in case.state.cohort),
    (Refusal.STALE_BASE, lambda case: case.update.base != case.state.base),
    (Refusal.DUPLICATE, lambda case: case.update.board in case.state.answered),
)
"""Whether an update is meant for this round, now. One that is not leaves its board another try."""

CONTENT: Rules = (
    (Refusal.TOO_MANY_EXAMPLES, lambda case: case.update.num_examples > case.state.max_examples),
    (Reason.TOO_LARGE, lambda case: case.update.size > case.state.size),
    (Refusal.NON_FINITE, lambda case: not all(map(math.isfinite, case.update.metrics.values()))),
)
"""What it says of itself. A refusal for this, or for its delta, was its board's answer."""

DELTA: Rules = (
    (Refusal.WRONG_SHAPE, lambda case: weights.layout(case.delta) != case.state.layout),
    (Refusal.NON_FINITE, lambda case: not weights.finite(case.delta)),
)
"""What it brings."""


def step(state: Round, event: Event, now: float) -> tuple[Round, tuple[Action, ...]]:
    """The round after an event at `now`, and what is to be done about it."""
    actions: tuple[Action, ...] = ()
    match event:
        case Begin():
            state, actions = _begin(state)
        case Announced(sender, update):
            code, spoils = _judge(Case(state, update, now, {}), CONTENT)
            if sender != update.board:
                state = _refuse(state, sender, Refusal.FORGED, False)
            elif code:
                state = _refuse(state, sender, code, spoils)
            else:
                actions = (Fetch(update),)
        case Fetched(update, delta):
            code, spoils = _judge(Case(state, update, now, delta), DELTA)
            state = _refuse(state, update.board, code, spoils) if code else _accept(state, update)
        case Unusable(update, why):
            code, spoils = _judge(Case(state, update, now, {}), ())
            state = _refuse(state, update.board, code or why, spoils)
        case Overflowed() if state.phase is Phase.AGGREGATED:
            state = _failed(state, Refusal.NON_FINITE)
        case _:
            pass
    return _settle(state, now), actions


def _begin(state: Round) -> tuple[Round, tuple[Action, ...]]:
    """Invite whoever has not answered: everybody at first, the rest after a restart."""
    if state.phase is Phase.OPEN:
        if len(state.cohort) < state.quorum:
            return _failed(state, Refusal.TOO_FEW_BOARDS), ()
        state = state.model_copy(update={"phase": Phase.COLLECTING})
    if state.phase is not Phase.COLLECTING:
        return state, ()
    return state, tuple(Invite(board) for board in state.cohort if board not in state.answered)


def _judge(case: Case, rules: Rules) -> tuple[Code | None, bool]:
    """Why an update is refused, None if it is not; and whether that settles its board's part in the round."""
    code = _first(CHECKS, case)
    return (code, False) if code else (_first(rules, case), True)


def _settle(state: Round, now: float) -> Round:
    """Close a round that has what it wants, or can get no more."""
    if state.phase is not Phase.COLLECTING:
        return state
    full = len(state.updates) >= state.target
    if not full and len(state.answered) < len(state.cohort) and now < state.deadline:
        return state
    if len(state.updates) < state.quorum:
        return _failed(state, Refusal.NO_QUORUM)
    return state.model_copy(update={"phase": Phase.AGGREGATED})


def _accept(state: Round, update: Update) -> Round:
    kept = {name: value for name, value in update.metrics.items() if name in METRICS}
    return state.model_copy(update={"updates": (*state.updates, update.model_copy(update={"metrics": kept}))})


def _refuse(state: Round, board: str, code: Code, spoils: bool) -> Round:
    refused = {**state.refused, code.value: state.refused.get(code.value, 0) + 1}
    spoiled = (*state.spoiled, board) if spoils else state.spoiled
    return state.model_copy(update={"refused": refused, "spoiled": spoiled})


def _failed(state: Round, cause: Code) -> Round:
    return state.model_copy(update={"phase": Phase.FAILED, "cause": cause})


def _first(rules: Rules, case: Case) -> Code | None:
    """The code of the first rule that applies."""
    return next((code for code, applies in rules if applies(case)), None)
