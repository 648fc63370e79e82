"""A task's life as rows, and the hand-over from one version to the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from edge_agent import supervisor
from edge_agent.evidence import Evidence
from edge_agent.slots import Slot
from edge_agent.supervisor import Began, Died, Life, Phase, Restart, Runner, Stopped, Tick, step

NOW = 1000.0
RUNNING = Life(Phase.RUNNING, NOW - 5)
BACKOFF = Life(Phase.BACKOFF, NOW - 1, 2, NOW + 1, "boom")
FAILED = Life(Phase.FAILED, NOW - 1, 5, NOW + 59, "boom")
STOPPED = Life(cause="deleted")

ROWS: list[tuple[str, Life, supervisor.Event, Life]] = [
    ("first start", STOPPED, Began(fresh=True), Life(Phase.RUNNING, NOW)),
    ("a new version has a clean record", BACKOFF, Began(fresh=True), Life(Phase.RUNNING, NOW)),
    ("the same version has not", BACKOFF, Began(fresh=False), Life(Phase.RUNNING, NOW, 2)),
    ("first death", RUNNING, Died("x"), Life(Phase.BACKOFF, NOW, 1, NOW + 0.5, "x")),
    (
        "third death",
        replace(RUNNING, deaths=2),
        Died("x"),
        Life(Phase.BACKOFF, NOW, 3, NOW + 2.0, "x"),
    ),
    ("fifth death", replace(RUNNING, deaths=4), Died("x"), Life(Phase.FAILED, NOW, 5, NOW + 60, "x")),
    (
        "a long life is forgiven",
        Life(Phase.RUNNING, NOW - 60, 4),
        Died("x"),
        Life(Phase.BACKOFF, NOW, 1, NOW + 0.5, "x"),
    ),
    ("a failed start", BACKOFF, Died("y"), Life(Phase.BACKOFF, NOW, 3, NOW + 2.0, "y")),
    ("stopped", RUNNING, Stopped("deleted"), Life(Phase.STOPPED, NOW, cause="deleted")),
    ("stopped while waiting", FAILED, Stopped("deleted"), Life(Phase.STOPPED, NOW, cause="deleted")),
    ("too early to retry", BACKOFF, Tick(), BACKOFF),
    ("nothing to retry", RUNNING, Tick(), RUNNING),
    ("nothing runs", STOPPED, Tick(), STOPPED),
]


@pytest.mark.parametrize(("life", "event", "after"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_step(life: Life, event: supervisor.Event, after: Life) -> None:
    assert step(life, event, NOW) == (after, ())


@pytest.mark.parametrize("life", [BACKOFF, FAILED])
def test_a_retry_is_asked_for_once(life: Life) -> None:
    waiting, actions = step(life, Tick(), NOW + 60)
    assert actions == (Restart(),)
    assert step(waiting, Tick(), NOW + 120) == (waiting, ())


@dataclass
class FakeTask:
    now: Evidence = field(default_factory=lambda: Evidence(started=NOW, heartbeat=NOW))
    stopped: bool = False

    def start(self) -> None: ...

    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.stopped = True

    def evidence(self) -> Evidence:
        return self.now


def slot(version: str) -> Slot:
    return Slot(id=version[0] * 64, version=version, spec="task.toml", files=(), origin="drop")


def test_the_new_version_takes_over_and_the_old_one_stops() -> None:
    runner, old, new = Runner(), FakeTask(), FakeTask()
    runner.hand_over(old, slot("1.0"), NOW)
    old.now = replace(old.now, results=12)
    runner.hand_over(new, slot("2.0"), NOW)
    runner.join(5, lambda: 0.0)
    assert (old.stopped, new.stopped) == (True, False)
    assert runner.before is not None and runner.before.results == 12
    assert runner.evidence is new.now


def test_a_loop_that_ended_is_asked_for_again_and_keeps_its_record() -> None:
    runner, task = Runner(), FakeTask()
    runner.hand_over(task, slot("1.0"), NOW)
    task.now = replace(task.now, failed="out of memory")
    assert not runner.poll(NOW + 1)
    assert (runner.life.phase, runner.life.cause) == (Phase.BACKOFF, "out of memory")
    assert runner.poll(NOW + 2)
    runner.hand_over(FakeTask(), slot("1.0"), NOW + 2)
    assert (runner.life.phase, runner.life.deaths) == (Phase.RUNNING, 1)
    assert runner.before is None


def test_an_end_that_the_spec_asked_for_is_final() -> None:
    runner, task = Runner(), FakeTask()
    runner.hand_over(task, slot("1.0"), NOW)
    task.now = replace(task.now, failed="stopped by limits.on_breach: 2 s", final=True)
    assert not runner.poll(NOW + 1)
    assert not runner.poll(NOW + 1000)
    assert (runner.life.phase, runner.life.cause) == (Phase.STOPPED, "stopped by limits.on_breach: 2 s")


def test_a_stopped_task_is_gone_and_a_bad_ending_harms_nobody() -> None:
    class Stubborn(FakeTask):
        def stop(self, timeout: float) -> None:
            super().stop(timeout)
            raise RuntimeError("no")

    runner, task = Runner(), Stubborn()
    runner.hand_over(task, slot("1.0"), NOW)
    runner.stop("hot.toml was deleted", NOW)
    runner.join(5, lambda: 0.0)
    assert task.stopped
    assert (runner.evidence, runner.slot, runner.life.phase) == (None, None, Phase.STOPPED)
