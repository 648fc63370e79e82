"""The release machine: one row per (phase, event), then the stories that cross several rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.wire.messages import FINAL, FileEntry, Notice, Reason, ReleaseState
from edge_agent import updater as up
from edge_agent.slots import Dropped, Outcome, Released, Slot, Slots, Trial
from edge_agent.updater import BUSY, TIMEOUTS, Phase, State, step

R1, R2, R3, R4 = "1" * 64, "2" * 64, "3" * 64, "4" * 64
NOW = 1000.0


def make_slot(release: str, version: str, origin: str = "release") -> Slot:
    entry = FileEntry(path="task.toml", digest="f" * 64, size=10)
    return Slot.model_validate(
        {"id": release, "version": version, "spec": "task.toml", "files": (entry,), "origin": origin}
    )


def make_notice(release: str, version: str, *, issued: float = 100.0, **more: object) -> Notice:
    fields = {
        "task": "hot",
        "version": version,
        "release": release,
        "size": 10,
        "blobs": "http://h",
        "rollout": f"ro-{version}",
        "issued": issued,
        **more,
    }
    return Notice.model_validate(fields)


OLD, NEW = make_slot(R1, "1.0.0"), make_slot(R2, "1.1.0")
NOTICE = make_notice(R2, "1.1.0")
NEWER = make_notice(R3, "1.2.0", issued=200.0)
OLDER = make_notice(R4, "1.0.5", issued=50.0)
SLOTS = Slots(current=OLD, released=Released(id=R1, version="1.0.0"))


def state(phase: Phase) -> State:
    """That phase of release R2, since NOW - 1."""
    if phase is Phase.IDLE:
        return State(since=NOW - 1)
    slot = None if phase in (Phase.FETCHING, Phase.REFUSED) else NEW
    return State(phase, NOTICE, slot, NOW - 1, 3.0)


EVENTS: dict[str, up.Event] = {
    "newer": up.NoticeReceived(NEWER, SLOTS),
    "older": up.NoticeReceived(OLDER, SLOTS),
    "same": up.NoticeReceived(NOTICE, SLOTS),
    "fetched": up.FetchDone(R2, NEW),
    "fetch failed": up.FetchFailed(R2, "cut short", 0.5),
    "refused": up.Refused(R2, Reason.BAD_SPEC, "unknown key"),
    "verified": up.Verified(R2, 5.0),
    "staged": up.Staged(R2),
    "started": up.Started(R2),
    "start failed": up.StartFailed(R2, Reason.START_FAILED, "no such topic"),
    "healthy": up.HealthVerdict(R2),
    "sick": up.HealthVerdict(R2, Reason.FAILURE_RATE, "12 of 12"),
    "overridden": up.Overridden("dropped by hand"),
    "tick": up.Tick(),
}

BEGIN = (Phase.FETCHING, "Report:fetching", "Fetch")
REFUSE = (Phase.REFUSED, "Refuse", "Report:refused")
BACK = (Phase.ROLLED_BACK, "RollBack", "Report:rolled_back")
REST: dict[str, tuple[str, ...]] = {"newer": BEGIN, "older": BEGIN, "same": BEGIN}

TABLE: dict[Phase, dict[str, tuple[str, ...]]] = {
    Phase.IDLE: REST,
    Phase.GOOD: REST,
    Phase.ROLLED_BACK: REST,
    Phase.REFUSED: REST,
    Phase.FETCHING: {
        "newer": (Phase.FETCHING, *REFUSE[1:], *BEGIN[1:]),
        "older": (Phase.FETCHING, "Report:refused"),
        "fetched": (Phase.VERIFYING, "Verify"),
        "fetch failed": (Phase.FETCHING,),
        "refused": REFUSE,
        "overridden": REFUSE,
    },
    Phase.VERIFYING: {
        "newer": (Phase.FETCHING, *REFUSE[1:], *BEGIN[1:]),
        "older": (Phase.VERIFYING, "Report:refused"),
        "refused": REFUSE,
        "verified": (Phase.VERIFYING, "Stage"),
        "staged": (Phase.STAGED, "Start"),
        "overridden": REFUSE,
    },
    Phase.STAGED: {
        "newer": (Phase.FETCHING, *BACK[1:], *BEGIN[1:]),
        "older": (Phase.STAGED, "Report:refused"),
        "started": (Phase.TRIAL, "Report:trial"),
        "start failed": BACK,
        "overridden": BACK,
    },
    Phase.TRIAL: {
        "newer": (Phase.FETCHING, *BACK[1:], *BEGIN[1:]),
        "older": (Phase.TRIAL, "Report:refused"),
        "start failed": BACK,
        "healthy": (Phase.GOOD, "Commit", "Report:good"),
        "sick": BACK,
        "overridden": BACK,
    },
}
"""Phase -> event -> the next phase and the actions; an event that is not listed changes nothing."""


def names(actions: tuple[up.Action, ...]) -> tuple[str, ...]:
    return tuple(
        f"Report:{action.state}" if isinstance(action, up.Report) else type(action).__name__
        for action in actions
    )


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS)
def test_every_phase_and_event(phase: Phase, event: str) -> None:
    before = state(phase)
    after, actions = step(before, EVENTS[event], NOW)
    wanted = TABLE[phase].get(event)
    if wanted is None:
        assert (after, actions) == (before, ())
    else:
        assert (after.phase, *names(actions)) == wanted


@pytest.mark.parametrize("phase", sorted(BUSY))
@pytest.mark.parametrize("event", [name for name, event in EVENTS.items() if hasattr(event, "release")])
def test_an_event_about_another_release_comes_too_late(phase: Phase, event: str) -> None:
    before = state(phase)
    assert step(before, replace(EVENTS[event], release=R3), NOW) == (before, ())  # type: ignore[arg-type]


@pytest.mark.parametrize("phase", sorted(BUSY))
def test_every_busy_phase_ends_by_a_timeout(phase: Phase) -> None:
    limit = TIMEOUTS[phase] + (3.0 if phase is Phase.TRIAL else 0.0)
    begun = NOW - 1
    assert step(state(phase), up.Tick(), begun + limit) == (state(phase), ())
    after, actions = step(state(phase), up.Tick(), begun + limit + 0.1)
    assert after.phase is (Phase.ROLLED_BACK if phase in up.STARTED else Phase.REFUSED)
    report = actions[-1]
    assert isinstance(report, up.Report)
    assert report.reason is Reason.TIMEOUT
    assert f"{phase} took longer than {limit:.0f} s" in report.detail


def test_a_broken_transfer_is_tried_again_later_each_time() -> None:
    current, waits = state(Phase.FETCHING), []
    for _ in range(8):
        current, actions = step(current, up.FetchFailed(R2, "cut short", 0.0), NOW)
        assert actions == ()
        assert current.retry_at is not None
        waits.append(current.retry_at - NOW)
        assert step(current, up.Tick(), current.retry_at - 0.01) == (current, ())
        current, actions = step(current, up.Tick(), current.retry_at)
        assert actions == (up.Fetch(NOTICE),)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_release_from_notice_to_good() -> None:
    current = State()
    seen: list[str] = []
    for name in ("same", "fetched", "verified", "staged", "started", "healthy"):
        current, actions = step(current, EVENTS[name], NOW)
        seen += names(actions)
    assert current.phase is Phase.GOOD
    assert seen == [
        "Report:fetching",
        "Fetch",
        "Verify",
        "Stage",
        "Start",
        "Report:trial",
        "Commit",
        "Report:good",
    ]


def test_start_carries_rollout_and_probation() -> None:
    current, _ = step(state(Phase.VERIFYING), up.Verified(R2, 5.0), NOW)
    _, actions = step(current, up.Staged(R2), NOW)
    assert actions == (up.Start(NEW, "ro-1.1.0", 5.0),)


def test_the_current_release_is_good_already() -> None:
    after, actions = step(State(), up.NoticeReceived(make_notice(R1, "1.0.0"), SLOTS), NOW)
    assert after.phase is Phase.GOOD
    assert actions == (up.Report(R1, "ro-1.0.0", ReleaseState.GOOD),)


def test_a_bad_release_gets_the_same_answer_in_the_same_rollout_and_a_new_chance_in_another() -> None:
    outcome = Outcome(
        release=R2,
        rollout="ro-1.1.0",
        state=ReleaseState.ROLLED_BACK,
        reason=Reason.CRASHED,
        detail="segfault",
    )
    slots = SLOTS.model_copy(update={"refused": (outcome,)})
    after, actions = step(State(), up.NoticeReceived(NOTICE, slots), NOW)
    assert after.phase is Phase.ROLLED_BACK
    assert actions == (up.Report(R2, "ro-1.1.0", ReleaseState.ROLLED_BACK, Reason.CRASHED, "segfault"),)
    again = make_notice(R2, "1.1.0", rollout="second")
    _, actions = step(State(), up.NoticeReceived(again, slots), NOW)
    assert names(actions) == BEGIN[1:]


def test_a_rollback_to_the_previous_good_version_needs_no_network() -> None:
    slots = Slots(current=NEW, previous=OLD)
    notice = make_notice(R1, "1.0.0", rollback=True)
    after, actions = step(State(), up.NoticeReceived(notice, slots), NOW)
    assert (after.phase, *names(actions)) == (Phase.STAGED, "Report:staged", "Start")
    assert actions[1] == up.Start(OLD, "ro-1.0.0", 0.0)
    _, actions = step(State(), up.NoticeReceived(make_notice(R1, "1.0.0"), slots), NOW)
    assert names(actions) == BEGIN[1:]  # not asked to roll back: the manifest's version will be judged


def test_a_rollback_notice_ends_the_trial_it_is_about() -> None:
    notice = make_notice(R1, "1.0.0", issued=300.0, rollback=True)
    after, actions = step(state(Phase.TRIAL), up.NoticeReceived(notice, SLOTS), NOW)
    assert (after.phase, *names(actions)) == (Phase.GOOD, *BACK[1:], "Report:good")


def test_a_drop_wins_over_the_release_it_replaced_but_not_over_the_next() -> None:
    drop = make_slot("d" * 64, "1.1.0", "drop")
    slots = Slots(
        current=drop,
        previous=NEW,
        released=Released(id=R2, version="1.1.0"),
        dropped=Dropped(id=drop.id, file="hot.toml"),
    )
    after, actions = step(State(), up.NoticeReceived(NOTICE, slots), NOW)
    assert after.phase is Phase.REFUSED
    assert isinstance(actions[0], up.Report) and actions[0].reason is Reason.OPERATOR
    _, actions = step(State(), up.NoticeReceived(NEWER, slots), NOW)
    assert names(actions) == BEGIN[1:]


def test_another_rollout_of_the_release_at_work_is_answered_too() -> None:
    other = make_notice(R2, "1.1.0", rollout="second")
    after, actions = step(state(Phase.TRIAL), up.NoticeReceived(other, SLOTS), NOW)
    assert actions == (up.Report(R2, "second", ReleaseState.TRIAL),)
    _, actions = step(after, up.HealthVerdict(R2), NOW)
    assert actions[-1] == up.Report(R2, "second", ReleaseState.GOOD)


def test_a_restart_goes_on_with_the_trial_from_its_beginning() -> None:
    trial = Trial(slot=NEW, rollout="ro-1.1.0", since=NOW - 50, probation=3.0, tries_left=1)
    after, actions = step(State(), up.Restarted("hot", trial), NOW)
    assert (after.phase, after.since, after.probation, actions) == (Phase.TRIAL, NOW, 3.0, ())
    assert names(step(after, up.HealthVerdict(R2), NOW + 3)[1]) == ("Commit", "Report:good")


def test_a_restart_reports_a_trial_that_was_given_up() -> None:
    outcome = Outcome(
        release=R2,
        rollout="ro-1.1.0",
        state=ReleaseState.ROLLED_BACK,
        reason=Reason.CRASHED,
        detail="died 5 times",
    )
    after, actions = step(State(), up.Restarted("hot", outcome=outcome), NOW)
    assert after.phase is Phase.ROLLED_BACK
    assert actions == (up.Report(R2, "ro-1.1.0", ReleaseState.ROLLED_BACK, Reason.CRASHED, "died 5 times"),)
    assert step(State(), up.Restarted("hot"), NOW) == (State(since=NOW), ())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=12))
def test_any_story_ends_each_release_at_most_once_and_never_without_an_end(story: list[str]) -> None:
    """Whatever happens, a timeout later the machine rests, and every release that was begun got one final
    report.
    """
    current, begun, final = State(), 0, 0
    last: up.Event = up.Tick()
    for event, now in [*((EVENTS[name], NOW) for name in story), (last, NOW + 1e6)]:
        current, actions = step(current, event, now)
        begun += sum(isinstance(action, up.Report) and action.state == "fetching" for action in actions)
        final += sum(
            isinstance(action, up.Report) and action.state in FINAL and "at work" not in action.detail
            for action in actions
        )
    assert current.phase not in BUSY
    assert begun == final
