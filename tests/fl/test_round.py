"""The round machine: every refusal, every way a round ends, and what a restart does, as tables."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.wire.messages import Reason, Update
from fl import weights
from fl.round import (
    Announced,
    Begin,
    Fetch,
    Fetched,
    Invite,
    Overflowed,
    Phase,
    Refusal,
    Round,
    Tick,
    Unusable,
    step,
)

BASE, OTHER, DELTA = "a" * 64, "b" * 64, "c" * 64
GOOD = {"b": np.zeros(2, np.float32)}
END = 100.0
"""The deadline; everything else happens at 10."""


def opened(**changes: Any) -> Round:
    fields: dict[str, Any] = {
        "plan": "p",
        "number": 3,
        "base": BASE,
        "size": 50,
        "layout": weights.layout(GOOD),
        "cohort": ("x", "y", "z"),
        "quorum": 2,
        "target": 3,
        "deadline": END,
        "max_examples": 1000,
    }
    return Round(**{**fields, **changes})


def collecting(*accepted: str, **changes: Any) -> Round:
    return opened(phase=Phase.COLLECTING, updates=tuple(map(update, accepted)), **changes)


def update(board: str = "x", **changes: Any) -> Update:
    fields: dict[str, Any] = {
        "board": board,
        "plan": "p",
        "round": 3,
        "base": BASE,
        "num_examples": 7,
        "delta": DELTA,
        "size": 50,
    }
    return Update(**{**fields, **changes})


def test_begin_invites_the_cohort_in_its_order() -> None:
    state, actions = step(opened(cohort=("z", "x", "y")), Begin(), 10)
    assert state.phase is Phase.COLLECTING
    assert actions == (Invite("z"), Invite("x"), Invite("y"))


def test_begin_again_invites_who_has_not_answered() -> None:
    state = collecting("y", spoiled=("z",))
    assert step(state, Begin(), 10) == (state, (Invite("x"),))


@pytest.mark.parametrize("phase", [Phase.AGGREGATED, Phase.FAILED])
def test_begin_of_a_closed_round_does_nothing(phase: Phase) -> None:
    assert step(opened(phase=phase), Begin(), 10) == (opened(phase=phase), ())


def test_a_round_without_enough_boards_fails() -> None:
    state, actions = step(opened(cohort=("x",)), Begin(), 10)
    assert (state.phase, state.cause, actions) == (Phase.FAILED, Refusal.TOO_FEW_BOARDS, ())


def test_an_update_is_fetched_and_then_accepted() -> None:
    state, actions = step(collecting(), Announced("x", update()), 10)
    assert (state, actions) == (collecting(), (Fetch(update()),))
    state, actions = step(state, Fetched(update(), GOOD), 10)
    assert (state, actions) == (collecting("x"), ())


@pytest.mark.parametrize(
    ("state", "event", "now", "code", "spoils"),
    [
        (collecting(), Announced("y", update("x")), 10, Refusal.FORGED, False),
        (collecting(), Announced("x", update(plan="q")), 10, Refusal.OTHER_PLAN, False),
        (collecting(), Announced("x", update(round=4)), 10, Refusal.OTHER_ROUND, False),
        (collecting(), Announced("x", update(round=2)), 10, Refusal.LATE, False),
        (collecting("y", "z"), Announced("x", update()), END, Refusal.LATE, False),
        (opened(phase=Phase.AGGREGATED), Announced("x", update()), 10, Refusal.LATE, False),
        (opened(phase=Phase.FAILED), Announced("x", update()), 10, Refusal.LATE, False),
        (collecting(), Announced("w", update("w")), 10, Refusal.UNKNOWN_BOARD, False),
        (collecting(), Announced("x", update(base=OTHER)), 10, Refusal.STALE_BASE, False),
        (collecting("x"), Announced("x", update()), 10, Refusal.DUPLICATE, False),
        (collecting("x"), Announced("x", update(delta=OTHER)), 10, Refusal.DUPLICATE, False),
        (collecting(spoiled=("x",)), Announced("x", update()), 10, Refusal.DUPLICATE, False),
        (collecting("x"), Fetched(update(), GOOD), 10, Refusal.DUPLICATE, False),
        (collecting(), Announced("x", update(num_examples=1001)), 10, Refusal.TOO_MANY_EXAMPLES, True),
        (collecting(), Announced("x", update(num_examples=10**400)), 10, Refusal.TOO_MANY_EXAMPLES, True),
        (collecting(), Announced("x", update(size=51)), 10, Reason.TOO_LARGE, True),
        (collecting(), Announced("x", update(metrics={"loss": math.inf})), 10, Refusal.NON_FINITE, True),
        (collecting(), Unusable(update(), Reason.FETCH_FAILED), 10, Reason.FETCH_FAILED, True),
        (collecting(), Unusable(update(), Refusal.NOT_WEIGHTS), 10, Refusal.NOT_WEIGHTS, True),
        (collecting(), Fetched(update(), {"c": GOOD["b"]}), 10, Refusal.WRONG_SHAPE, True),
        (collecting(), Fetched(update(), {"b": np.zeros(1, np.float32)}), 10, Refusal.WRONG_SHAPE, True),
        (collecting(), Fetched(update(), {"b": np.zeros(2)}), 10, Refusal.WRONG_SHAPE, True),
        (collecting(), Fetched(update(), {"b": np.float32([0, np.nan])}), 10, Refusal.NON_FINITE, True),
        (collecting(), Fetched(update(), {"b": np.float32([np.inf, 0])}), 10, Refusal.NON_FINITE, True),
    ],
)
def test_refused_and_counted(state: Round, event: Any, now: float, code: str, spoils: bool) -> None:
    after, actions = step(state, event, now)
    assert actions == ()
    assert after.refused == {code: 1}
    assert after.updates == state.updates
    assert after.spoiled == ((*state.spoiled, "x") if spoils else state.spoiled)
    again, _ = step(after, event, now)
    assert sum(again.refused.values()) == 2


def test_every_refusal_of_an_update_has_a_row_above() -> None:
    table = test_refused_and_counted.pytestmark[0].args[1]  # type: ignore[attr-defined]
    causes = {Refusal.TOO_FEW_BOARDS, Refusal.NO_QUORUM}
    assert {row[3] for row in table if isinstance(row[3], Refusal)} == set(Refusal) - causes


@pytest.mark.parametrize(
    ("state", "event", "now", "phase", "cause"),
    [
        (collecting("y", "z"), Fetched(update(), GOOD), 10, Phase.AGGREGATED, None),  # target reached
        (collecting("y", target=2), Fetched(update(), GOOD), 10, Phase.AGGREGATED, None),
        (
            collecting("y", "z"),
            Unusable(update(), Refusal.NOT_WEIGHTS),
            10,
            Phase.AGGREGATED,
            None,
        ),  # all said
        (collecting("y"), Fetched(update(), GOOD), 10, Phase.COLLECTING, None),
        (collecting("y", "z"), Tick(), END - 1, Phase.COLLECTING, None),
        (collecting("y", "z"), Tick(), END, Phase.AGGREGATED, None),
        (collecting("y", "z"), Begin(), END, Phase.AGGREGATED, None),  # restarted after its end
        (collecting("y", "z"), Announced("x", update()), END, Phase.AGGREGATED, None),
        (collecting("y"), Tick(), END, Phase.FAILED, Refusal.NO_QUORUM),
        (
            collecting("y", spoiled=("z",)),
            Unusable(update(), Refusal.NOT_WEIGHTS),
            10,
            Phase.FAILED,
            Refusal.NO_QUORUM,
        ),
        (opened(phase=Phase.AGGREGATED), Overflowed(), 10, Phase.FAILED, Refusal.NON_FINITE),
        (collecting("y"), Overflowed(), 10, Phase.COLLECTING, None),
        (opened(), Tick(), END, Phase.OPEN, None),
    ],
)
def test_how_a_round_ends(state: Round, event: Any, now: float, phase: Phase, cause: Any) -> None:
    after, _ = step(state, event, now)
    assert (after.phase, after.cause) == (phase, cause)
    assert Round.model_validate_json(after.model_dump_json()) == after


def test_only_known_metrics_are_kept() -> None:
    told = update(metrics={"loss": 1.0, "x" * 1000: 2.0})
    state, _ = step(collecting(), Fetched(told, GOOD), 10)
    assert state.updates[0].metrics == {"loss": 1.0}


EVENTS = st.one_of(
    st.just(Begin()),
    st.just(Tick()),
    st.just(Overflowed()),
    st.builds(
        Announced,
        st.sampled_from("wxyz"),
        st.builds(update, st.sampled_from("wxyz"), round=st.integers(2, 4), size=st.integers(49, 51)),
    ),
    st.builds(Fetched, st.builds(update, st.sampled_from("wxyz")), st.sampled_from([GOOD, {}])),
    st.builds(Unusable, st.builds(update, st.sampled_from("wxyz")), st.just(Refusal.NOT_WEIGHTS)),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 30)), max_size=15))
@settings(max_examples=100, deadline=None)
def test_whatever_happens(events: list[tuple[Any, float]]) -> None:
    state, now = opened(), 0.0
    for event, passed in events:
        before, now = state, now + passed
        state, actions = step(state, event, now)
        accepted = [update.board for update in state.updates]
        assert len(set(accepted)) == len(accepted) <= state.target
        assert set(accepted) | set(state.spoiled) <= set(state.cohort)
        assert not set(accepted) & set(state.spoiled)
        if before.phase in (Phase.AGGREGATED, Phase.FAILED):
            assert state.updates == before.updates and actions == ()
        if state.phase is Phase.AGGREGATED:
            assert len(accepted) >= state.quorum
        if state.phase is Phase.COLLECTING:
            assert now < END
