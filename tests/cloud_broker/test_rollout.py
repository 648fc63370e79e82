"""The rollout machine: scenes as rows of (event, what follows), and what holds under any order of events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.rollout import (
    BUSY,
    REPEAT,
    Aborted,
    Action,
    Announce,
    BoardGone,
    BoardSeen,
    Event,
    Member,
    Notify,
    Paused,
    Phase,
    Reported,
    Resumed,
    Rollout,
    Skipped,
    Stage,
    Superseded,
    Tick,
    begin,
    in_step,
    pending,
    position,
    previous_good,
    step,
)
from cloud_broker.rollout_spec import Policy, Step
from cloud_broker.wire.messages import Reason, ReleaseState, Running, decode, encode

NEW, OLD, OTHER = "a" * 64, "b" * 64, "c" * 64
OLD_RUNS, NEW_RUNS = Running(version="1.0", release=OLD), Running(version="1.1", release=NEW)
BOARDS = sorted((f"board-{n}" for n in range(8)), key=lambda board: position(board, NEW))
"""In the order in which they get the release."""


def rollout(policy: Mapping[str, object] = {}, *, previous: str = OLD, rollback: bool = False) -> Rollout:
    rules = {"steps": ["1 board", "50%", "100%"], "hold": "10s", "timeout": "60s", "reach": "90s", **policy}
    return Rollout(
        number=1,
        task="t",
        version="1.1",
        release=NEW,
        previous=previous,
        rollback=rollback,
        policy=Policy.model_validate(rules),
        started=1000.0,
    )


@dataclass
class Scene:
    """A rollout under way, with its clock and everything that it did."""

    state: Rollout
    now: float = 1000.0
    actions: list[Action] = field(default_factory=list)

    @staticmethod
    def of(count: int, running: Running | None = OLD_RUNS, previous: str = OLD, **policy: Any) -> Scene:
        scene = Scene(rollout(policy, previous=previous))
        scene.state, actions = begin(scene.state, dict.fromkeys(BOARDS[:count], (1000.0, running)), 1000.0)
        scene.actions += actions
        return scene

    def do(self, *events: Event, after: float = 0.0) -> list[Action]:
        """What the events, one after the other, lead to."""
        self.now += after
        fresh: list[Action] = []
        for event in events:
            self.state, actions = step(self.state, event, self.now)
            fresh += actions
        self.actions += fresh
        return fresh

    def good(self, *boards: str) -> list[Action]:
        return self.do(*(Reported(board, NEW, ReleaseState.GOOD) for board in boards))

    def crash(self, board: str) -> list[Action]:
        return self.do(Reported(board, NEW, ReleaseState.ROLLED_BACK, Reason.CRASHED, "division by zero"))

    def phase(self) -> Phase:
        return self.state.phase

    def stage(self, board: str) -> Stage:
        return self.state.members[board].stage


def told(actions: list[Action]) -> list[str]:
    return [action.board for action in actions if isinstance(action, Notify)]


def kinds(actions: list[Action]) -> list[str]:
    return [action.kind for action in actions if isinstance(action, Announce)]


def test_all_good_goes_through_every_step() -> None:
    scene = Scene.of(8)
    half = [board for board in BOARDS if position(board, NEW) < 0.5]
    assert told(scene.actions) == BOARDS[:1]
    assert scene.good(BOARDS[0]) == []
    assert scene.do(Tick(), after=9.5) == []
    opened = scene.do(Tick(), after=0.5)
    assert kinds(opened) == ["advanced"] and told(opened) == half[1:]
    scene.good(*half[1:])
    assert told(scene.do(Tick(), after=10.0)) == BOARDS[len(half) :]
    scene.good(*BOARDS)
    assert kinds(scene.do(Tick(), after=10.0)) == ["complete"]
    assert scene.phase() is Phase.COMPLETE and scene.state.completed == scene.now
    assert sorted(told(scene.actions)) == sorted(BOARDS)


def test_a_failure_aborts_and_sends_back_who_took_it() -> None:
    scene = Scene.of(8)
    scene.good(BOARDS[0])
    opened = told(scene.do(Tick(), after=10.0))
    first, second = opened[:2]
    scene.good(first)
    stopped = scene.crash(second)
    assert kinds(stopped) == ["failed", "aborted"]
    assert scene.phase() is Phase.ABORTED
    assert str(scene.state.cause) == f"board {second}: crashed: division by zero"
    taken = [BOARDS[0], *opened]
    assert [action for action in stopped if isinstance(action, Notify)] == [
        Notify(board, OLD, rollback=True) for board in taken if board != second
    ]
    scene.do(Reported(first, OLD, ReleaseState.GOOD), BoardSeen(BOARDS[0], OLD_RUNS))
    assert scene.stage(first) is Stage.RESTORED and scene.stage(BOARDS[0]) is Stage.RESTORED
    assert scene.do(Tick(), after=1e6) == []


def test_after_an_abort_late_words_are_answered_with_the_previous_release() -> None:
    scene = Scene.of(3)
    scene.do(Aborted())
    assert str(scene.state.cause) == "operator: aborted by a person"
    unfinished = Running(version="1.0.9", release=OTHER)  # of a rollout that this one superseded
    late = scene.do(
        BoardSeen("late", NEW_RUNS),
        BoardSeen("blank", None),
        BoardSeen("between", unfinished),
        BoardSeen("hand", Running(version="9")),
    )
    assert late == [Notify(board, OLD, rollback=True) for board in ("late", "blank", "between")]
    assert scene.do(BoardSeen("late", NEW_RUNS), after=1.0) == []
    assert scene.do(BoardSeen("late", NEW_RUNS), after=REPEAT) == [Notify("late", OLD, rollback=True)]
    assert scene.good(BOARDS[2]) == [Notify(BOARDS[2], OLD, rollback=True)]


def test_without_an_earlier_release_an_abort_only_stops() -> None:
    scene = Scene.of(3, running=None, previous="")
    assert told(scene.crash(BOARDS[0])) == []
    assert scene.phase() is Phase.ABORTED


@pytest.mark.parametrize(
    ("policy", "failures", "goods", "phase"),
    [
        (
            {"abort_if": "failed >= 2"},
            1,
            7,
            Phase.PAUSED,
        ),  # 87 % good: nothing to stop for, too little to go on
        ({"abort_if": "failed >= 2", "advance_if": "ok_rate >= 80%"}, 1, 7, Phase.COMPLETE),
        ({"abort_if": "failed >= 2"}, 2, 0, Phase.ABORTED),
        ({"abort_if": "failed_rate > 20% and finished >= 5"}, 1, 3, Phase.PAUSED),
        ({"abort_if": "failed_rate > 20% and finished >= 4"}, 1, 3, Phase.ABORTED),
        ({"abort_if": "failed_rate > 20%"}, 4, 4, Phase.PAUSED),  # fewer than twenty finished
        ({"abort_if": "failed >= 3 or failed_rate > 20% and finished >= 4"}, 3, 0, Phase.ABORTED),
        ({"abort_if": "failed >= 1", "on_abort": "pause"}, 1, 0, Phase.PAUSED),
    ],
)
def test_rules(policy: dict[str, Any], failures: int, goods: int, phase: Phase) -> None:
    scene = Scene.of(failures + goods, steps=["100%"], hold="0s", **policy)
    scene.good(*BOARDS[:goods])
    for board in BOARDS[goods : goods + failures]:
        scene.crash(board)
    scene.do(Tick())
    assert scene.phase() is phase
    assert (scene.state.cause is not None) == (phase in (Phase.PAUSED, Phase.ABORTED))


@pytest.mark.parametrize(
    ("state", "reason", "stage"),
    [
        (ReleaseState.FETCHING, None, Stage.WORKING),
        (ReleaseState.TRIAL, None, Stage.WORKING),
        (ReleaseState.GOOD, None, Stage.GOOD),
        (ReleaseState.ROLLED_BACK, Reason.FAILURE_RATE, Stage.FAILED),
        (ReleaseState.ROLLED_BACK, Reason.OPERATOR, Stage.EXCUSED),
        (ReleaseState.REFUSED, Reason.BAD_SIGNATURE, Stage.FAILED),
        (ReleaseState.REFUSED, Reason.DISK_FULL, Stage.FAILED),
        (ReleaseState.REFUSED, Reason.NEEDS_ARCH, Stage.EXCUSED),
        (ReleaseState.REFUSED, Reason.TOO_OLD, Stage.EXCUSED),
    ],
)
def test_reports(state: ReleaseState, reason: Reason | None, stage: Stage) -> None:
    scene = Scene.of(1, abort_if="failed >= 2")
    scene.do(Reported(BOARDS[0], NEW, state, reason))
    assert scene.stage(BOARDS[0]) is stage


def test_an_excused_board_is_replaced_by_the_next() -> None:
    scene = Scene.of(3)
    assert told(scene.do(Reported(BOARDS[0], NEW, ReleaseState.REFUSED, Reason.NEEDS_ARCH))) == [BOARDS[1]]


@pytest.mark.parametrize(
    ("words", "stage"),
    [
        ([ReleaseState.GOOD, ReleaseState.TRIAL], Stage.GOOD),  # said twice or late
        ([ReleaseState.GOOD, ReleaseState.ROLLED_BACK], Stage.FAILED),  # it fell over afterwards
        ([ReleaseState.ROLLED_BACK, ReleaseState.GOOD], Stage.FAILED),
        ([ReleaseState.ROLLED_BACK, ReleaseState.FETCHING], Stage.FAILED),
    ],
)
def test_reports_twice_or_late(words: list[ReleaseState], stage: Stage) -> None:
    scene = Scene.of(1, abort_if="failed >= 2")
    scene.do(*(Reported(BOARDS[0], NEW, word, Reason.CRASHED) for word in words))
    assert scene.stage(BOARDS[0]) is stage


def test_reports_on_other_releases_change_nothing() -> None:
    scene = Scene.of(1)
    before = scene.state
    assert scene.do(Reported(BOARDS[0], OTHER, ReleaseState.GOOD)) == []
    assert scene.state == before


def test_a_silent_board_times_out_and_may_still_make_it() -> None:
    scene = Scene.of(2, abort_if="failed >= 2")
    scene.do(Reported(BOARDS[0], NEW, ReleaseState.TRIAL), after=1.0)
    assert kinds(scene.do(Tick(), after=59.0)) == ["failed", "paused"]
    member = scene.state.members[BOARDS[0]]
    assert (member.stage, member.reason) == (Stage.FAILED, Reason.TIMEOUT)
    assert "trial" in member.detail
    scene.good(BOARDS[0])
    assert scene.stage(BOARDS[0]) is Stage.GOOD


def test_a_board_that_goes_away_before_it_heard_is_not_waited_for() -> None:
    scene = Scene.of(3)
    assert told(scene.do(BoardGone(BOARDS[0]))) == [BOARDS[1]]
    scene.good(BOARDS[1])
    assert told(scene.do(BoardSeen(BOARDS[0], OLD_RUNS))) == []  # the step of one board has its board
    scene.do(Tick(), after=10.0)
    assert BOARDS[0] in told(scene.actions[2:])


def test_a_board_that_goes_away_at_work_is_waited_for_until_its_time_is_out() -> None:
    scene = Scene.of(1)
    scene.do(Reported(BOARDS[0], NEW, ReleaseState.TRIAL), BoardGone(BOARDS[0]))
    assert scene.stage(BOARDS[0]) is Stage.WORKING
    assert told(scene.do(BoardSeen(BOARDS[0], OLD_RUNS))) == BOARDS[:1]  # it may have forgotten
    scene.do(Tick(), after=60.0)
    assert scene.state.cause is not None and scene.state.cause.reason is Reason.TIMEOUT


def test_boards_out_of_reach_wait_and_do_not_block() -> None:
    scene = Scene(rollout({"steps": ["100%"], "hold": "0s"}))
    scene.state, actions = begin(scene.state, {"away": (0.0, OLD_RUNS), "here": (1000.0, OLD_RUNS)}, 1000.0)
    assert told(list(actions)) == ["here"]
    scene.good("here")
    assert scene.phase() is Phase.COMPLETE
    assert told(scene.do(BoardSeen("away", OLD_RUNS), after=1e5)) == ["away"]


def test_a_board_that_joins_during_the_hold_does_not_start_it_anew() -> None:
    scene = Scene.of(1, steps=["50%", "100%"])
    scene.good(BOARDS[0])
    assert told(scene.do(BoardSeen(BOARDS[1], None), after=5.0)) == [BOARDS[1]]
    assert kinds(scene.do(Tick(), after=5.0)) == ["advanced"]


def test_with_no_board_at_all_nothing_advances() -> None:
    scene = Scene.of(0)
    scene.do(Tick(), after=1e6)
    assert scene.state.step == 0 and scene.phase() is Phase.RUNNING
    assert told(scene.do(BoardSeen("first", None))) == ["first"]


@pytest.mark.parametrize(
    ("running", "again"),
    [
        (NEW_RUNS, False),
        (Running(version="7.0"), False),  # a person put a spec there by hand
        (OLD_RUNS, True),
        (None, True),
    ],
)
def test_a_good_board_is_told_again_only_when_it_lost_the_release(
    running: Running | None, again: bool
) -> None:
    scene = Scene.of(1, steps=["100%"], hold="0s")
    scene.good(BOARDS[0])
    assert told(scene.do(BoardSeen(BOARDS[0], running), after=5.0)) == ([BOARDS[0]] if again else [])


def test_a_board_that_runs_it_already_is_not_told() -> None:
    scene = Scene.of(1, running=NEW_RUNS)
    assert scene.actions == [] and scene.stage(BOARDS[0]) is Stage.GOOD


def test_a_failed_board_is_left_alone() -> None:
    scene = Scene.of(1, abort_if="failed >= 2")
    scene.crash(BOARDS[0])
    assert scene.do(BoardSeen(BOARDS[0], OLD_RUNS), after=1000.0) == []


def test_a_busy_board_is_told_again_after_a_while() -> None:
    scene = Scene.of(1)
    assert scene.do(BoardSeen(BOARDS[0], OLD_RUNS), after=REPEAT - 1) == []
    assert told(scene.do(BoardSeen(BOARDS[0], OLD_RUNS), after=1.0)) == [BOARDS[0]]


def test_pause_resume_skip() -> None:
    scene = Scene.of(8)
    scene.do(Paused())
    scene.good(BOARDS[0])
    assert scene.do(Tick(), after=100.0) == [] and scene.phase() is Phase.PAUSED
    assert kinds(scene.do(Resumed())) == ["resumed"]
    skipped = scene.do(Skipped())
    assert kinds(skipped) == ["advanced"] and scene.state.step == 1
    assert kinds(scene.do(Skipped(), Skipped())) == ["advanced", "complete"]
    assert scene.do(Skipped(), Resumed(), Paused()) == []


def test_resuming_forgives_the_failures_so_far() -> None:
    scene = Scene.of(3, steps=["100%"], on_abort="pause", hold="0s")
    assert kinds(scene.crash(BOARDS[0])) == ["failed", "paused"]
    scene.do(Resumed(), Tick())
    assert scene.phase() is Phase.RUNNING and scene.state.cause is None
    scene.crash(BOARDS[1])
    assert scene.phase() is Phase.PAUSED
    assert scene.state.cause is not None and scene.state.cause.board == BOARDS[1]


def test_a_superseded_rollout_records_and_does_nothing_more() -> None:
    scene = Scene.of(3)
    assert kinds(scene.do(Superseded("r2"))) == ["superseded"]
    assert scene.do(BoardSeen("late", None), Tick(), after=1e5) == []
    scene.good(BOARDS[0])
    assert scene.stage(BOARDS[0]) is Stage.GOOD and list(pending(scene.state)) == []


def test_after_a_restart_who_was_at_work_is_asked_again() -> None:
    """Its last word may have been on the way; a board that is still at work has nothing to add."""
    scene = Scene.of(2, steps=["100%"])
    scene.do(Reported(BOARDS[0], NEW, ReleaseState.TRIAL))
    assert list(pending(scene.state)) == [Notify(board, NEW) for board in sorted(BOARDS[:2])]
    scene.good(BOARDS[0])
    assert list(pending(scene.state)) == [Notify(BOARDS[1], NEW)]


def test_going_back_says_so_to_boards_that_run_something_newer() -> None:
    newer, older = Running(version="1.2", release=OTHER), Running(version="1.0", release=OLD)
    fresh = rollout({"steps": ["100%"]}, previous="", rollback=True)
    state, actions = begin(fresh, {"x": (1000.0, newer), "y": (1000.0, older)}, 1000.0)
    assert set(actions) == {Notify("x", NEW, rollback=True), Notify("y", NEW)}
    assert set(pending(state)) == set(actions)


def test_only_the_boards_named_take_part() -> None:
    scene = Scene.of(8, to=f"{BOARDS[3]}, {BOARDS[5]}", steps=["100%"])
    assert told(scene.actions) == [BOARDS[3], BOARDS[5]]
    assert scene.do(BoardSeen(BOARDS[0], None), Reported(BOARDS[0], NEW, ReleaseState.ROLLED_BACK)) == []


def test_previous_good() -> None:
    def done(
        number: int, release: str, phase: Phase = Phase.COMPLETE, task: str = "t", stage: Stage = Stage.GOOD
    ) -> Rollout:
        changes = {
            "number": number,
            "release": release,
            "phase": phase,
            "completed": float(100 - number),  # the clock may be set back in between
            "task": task,
            "members": {"b": Member(stage=stage, since=0.0, seen=0.0)},
        }
        return rollout().model_copy(update=changes)

    history = [done(1, OLD), done(2, OTHER, Phase.ABORTED), done(3, OTHER, task="u")]
    assert previous_good(history, "t", NEW) == OLD
    assert previous_good(history, "t", OLD) == ""
    assert previous_good([*history, done(4, OTHER)], "t", NEW) == OTHER
    assert previous_good([*history, done(4, OTHER, stage=Stage.EXCUSED)], "t", NEW) == OLD


def test_in_step_fills_the_count_with_the_lowest() -> None:
    place = {"a": 0.1, "b": 0.3, "c": 0.6, "d": 0.9}.__getitem__
    waiting = ["d", "c", "b", "a"]
    assert in_step(Step("", 0.0, 2), waiting, 1, place) == ["a"]
    assert in_step(Step("", 0.0, 2), waiting, 5, place) == []
    assert in_step(Step("", 0.5, 1), waiting, 9, place) == ["a", "b"]
    assert in_step(Step("", 0.05, 3), waiting, 0, place) == ["a", "b", "c"]


def test_positions_are_spread_and_nested() -> None:
    names = [f"b{n}" for n in range(2000)]
    low = {name for name in names if position(name, NEW) < 0.25}
    assert 400 < len(low) < 600
    assert low < {name for name in names if position(name, NEW) < 0.5}
    assert low != {name for name in names if position(name, OTHER) < 0.25}


# --- under any order of events ----------------------------------------------------------------------------

runs = st.sampled_from([None, OLD_RUNS, NEW_RUNS, Running(version="1.0", release=OTHER)])
boards = st.sampled_from(BOARDS)
reports = st.builds(
    Reported,
    boards,
    st.sampled_from([NEW, NEW, NEW, OLD]),
    st.sampled_from([*ReleaseState, ReleaseState.GOOD, ReleaseState.GOOD]),
    st.sampled_from([Reason.CRASHED, Reason.NEEDS_ARCH]),
)
people = st.sampled_from([Paused(), Resumed(), Skipped(), Aborted(), Superseded("r2")])
events = st.one_of(
    st.builds(BoardSeen, boards, runs),
    reports,
    reports,
    st.just(Tick()),
    st.just(Tick()),
    st.builds(BoardGone, boards),
)
policies = st.fixed_dictionaries(
    {
        "steps": st.sampled_from([["100%"], ["1 board", "100%"], ["2 boards", "25%", "60%", "100%"]]),
        "hold": st.sampled_from(["0s", "10s"]),
        "abort_if": st.sampled_from(["failed >= 1", "failed >= 3", "failed_rate > 30% and finished >= 3"]),
        "on_abort": st.sampled_from(["rollback", "pause"]),
    }
)


def told_by(actions: tuple[Action, ...], release: str) -> Iterator[str]:
    return (action.board for action in actions if isinstance(action, Notify) and action.release == release)


def check_membership(before: Rollout, after: Rollout, actions: tuple[Action, ...]) -> None:
    """Whoever is newly told is below the opened share, or needed to fill the opened count."""
    if after.phase is Phase.COMPLETE:
        return
    rule = after.policy.steps[after.step]
    fresh = [
        board
        for board in told_by(actions, NEW)
        if before.members.get(board) is None or board in waiting(before)
    ]
    taken = sum(member.stage not in (Stage.WAITING, Stage.EXCUSED) for member in after.members.values())
    beyond = [board for board in fresh if position(board, NEW) >= rule.share]
    assert not beyond or taken <= max(rule.count, *(step.count for step in after.policy.steps))


def waiting(state: Rollout) -> set[str]:
    return {board for board, member in state.members.items() if member.stage is Stage.WAITING}


@settings(max_examples=150, deadline=None)
@given(
    policies,
    st.lists(st.tuples(st.one_of(events, events, events, people), st.sampled_from([0.0, 1.0, 20.0, 70.0]))),
)
def test_any_order_of_events(policy: dict[str, object], script: list[tuple[Event, float]]) -> None:
    state, now = rollout(policy), 1000.0
    for event, passed in script:
        now += passed
        before = state
        state, actions = step(before, event, now)
        reloaded, again = step(decode(encode(before), Rollout), event, now)
        assert (encode(reloaded), again) == (encode(state), actions)
        check_membership(before, state, actions)
        stopped = not before.open or before.phase in (Phase.PAUSED, Phase.ABORTED)
        if stopped and not isinstance(event, Resumed | Skipped):
            busy = {board for board, member in before.members.items() if member.stage in BUSY}
            assert set(told_by(actions, NEW)) <= busy
        if state.phase in (Phase.ABORTED, Phase.PAUSED):
            assert state.cause is not None or Paused() in [event for event, _ in script]


@settings(max_examples=60, deadline=None)
@given(policies, st.lists(st.tuples(events, st.sampled_from([0.0, 1.0, 20.0]))))
def test_it_comes_to_an_end(policy: dict[str, object], script: list[tuple[Event, float]]) -> None:
    """With boards that answer every notice, any rollout ends: complete, aborted, or paused with a cause."""
    scene = Scene(rollout(policy))
    for event, passed in script:
        scene.do(event, after=passed)
    for _ in range(60):
        scene.do(Tick(), *(BoardSeen(board, scene_runs(scene, board)) for board in BOARDS), after=20.0)
        scene.good(*(board for board, member in scene.state.members.items() if member.stage in BUSY))
        restoring = [
            board for board, member in scene.state.members.items() if member.stage is Stage.RESTORING
        ]
        scene.do(*(Reported(board, OLD, ReleaseState.GOOD) for board in restoring))
    assert scene.state.phase in (Phase.COMPLETE, Phase.ABORTED, Phase.PAUSED)
    assert scene.phase() is Phase.COMPLETE or scene.state.cause is not None
    assert scene.state.count()[Stage.RESTORING] == 0


def scene_runs(scene: Scene, board: str) -> Running:
    member = scene.state.members.get(board)
    return NEW_RUNS if member and member.stage is Stage.GOOD else OLD_RUNS
