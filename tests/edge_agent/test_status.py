"""States are computed from evidence: one row per state, and the picture on disk that grows old."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent import intents, status
from edge_agent.evidence import Evidence
from edge_agent.status import NotRunning, Picture, Status, View, of
from edge_agent.supervisor import Life, Phase

NOW = 1000.0
LIVELY = Evidence(
    started=900.0, heartbeat=NOW - 0.2, last_event=NOW - 1, last_result=NOW - 2, events=50, results=10
)
RUNNING = View(Life(Phase.RUNNING, 900.0), NOW, LIVELY, "1.3.2")
DEAD = Life(Phase.BACKOFF, NOW - 1, 2, NOW + 1, "cannot allocate")
TYPO = "dock.toml has 1 error."

ROWS: list[tuple[str, View, Status]] = [
    ("running", RUNNING, Status("running")),
    (
        "idle",
        replace(RUNNING, evidence=replace(LIVELY, last_event=NOW - 40)),
        Status("idle", "no events for 40 s"),
    ),
    (
        "idle from the start",
        replace(RUNNING, evidence=replace(LIVELY, last_event=None)),
        Status("idle", "no events for 100 s (none so far)"),
    ),
    (
        "degraded",
        replace(RUNNING, evidence=replace(LIVELY, errors=10, last_error="KeyError: 'c'")),
        Status("degraded", "10 of 20 items failed: KeyError: 'c'"),
    ),
    (
        "silent",
        replace(RUNNING, evidence=replace(LIVELY, heartbeat=NOW - 60), deadline=30.0),
        Status("failed", "no sign of life for 60 s"),
    ),
    (
        "busy with one long item",
        replace(RUNNING, evidence=replace(LIVELY, heartbeat=NOW - 40), deadline=30.0),
        Status("running"),
    ),
    ("restarting", replace(RUNNING, life=DEAD), Status("restarting", "cannot allocate")),
    (
        "failed",
        replace(RUNNING, life=replace(DEAD, phase=Phase.FAILED, deaths=5)),
        Status("failed", "5 deaths in a row, the last: cannot allocate"),
    ),
    (
        "trial",
        replace(RUNNING, trial_left=2.0),
        Status("trial", "version 1.3.2, 2 s of probation left"),
    ),
    (
        "stopped",
        View(Life(cause="dock.toml was deleted"), NOW),
        Status("stopped", "dock.toml was deleted"),
    ),
    ("starting", View(Life(), NOW, starting=True), Status("starting")),
    ("never started", View(Life(), NOW, problem=TYPO), Status("bad-spec", TYPO)),
    (
        "running, its file broken",
        replace(RUNNING, problem=TYPO),
        Status("running", "dock.toml has 1 error. The running version 1.3.2 was left untouched."),
    ),
    ("no evidence yet", View(Life(Phase.RUNNING, NOW), NOW), Status("running")),
]


@pytest.mark.parametrize(("view", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_state_and_cause(view: View, expected: Status) -> None:
    assert of(view) == expected


def test_the_wire_form_carries_the_counters() -> None:
    sent = status.for_wire(Status("running"), LIVELY)
    assert (sent.state, sent.events, sent.results, sent.last_event) == ("running", 50, 10, NOW - 1)
    assert status.for_wire(Status("stopped", "why"), None).cause == "why"


def test_the_picture_is_believed_while_it_is_fresh(tmp_path: Path) -> None:
    picture = Picture(
        board="pi-1",
        pid=1 << 30,  # more than there can be
        session=1,
        agent="0.1.0",
        at=NOW,
        connected=None,
        outbox=0,
        tasks={},
        problems={},
    )
    with pytest.raises(NotRunning, match=r"no status\.json in"):
        status.read(tmp_path, NOW)
    intents.save(intents.Disk(), tmp_path / "status.json", picture)
    assert status.read(tmp_path, NOW + 3) == picture
    with pytest.raises(NotRunning, match=r"agent not running: .* is 60 s old"):
        status.read(tmp_path, NOW + 60)
    with pytest.raises(NotRunning, match="agent not running"):
        status.read(tmp_path, NOW - 60)
    living = picture.model_copy(update={"pid": os.getpid()})
    intents.replace(tmp_path / "status.json", living)
    assert status.read(tmp_path, NOW - 60) == living
    with pytest.raises(NotRunning, match=r"drawn no picture in .* for 60 s: its disk is full, or it hangs"):
        status.read(tmp_path, NOW + 60)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(NotRunning, match=r"status\.json"):
        status.read(tmp_path, NOW)
