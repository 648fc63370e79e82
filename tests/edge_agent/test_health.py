"""The verdict over a version on trial: one row per sign."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloud_broker.wire.messages import Reason
from edge_agent.evidence import Evidence
from edge_agent.health import GOOD, Probation, Verdict, error_rate, judge

BEGAN, LENGTH = 1000.0, 3.0
FRESH = Evidence(started=BEGAN, heartbeat=BEGAN)
STEADY = Evidence(started=BEGAN - 100, heartbeat=BEGAN, last_result=BEGAN - 0.5, events=400, results=200)
"""Two results per second."""
BROKEN = replace(FRESH, events=12, errors=12, last_error="script error: ZeroDivisionError at anomaly.py:14")
DURING = Probation(BEGAN, LENGTH, BEGAN + 1, FRESH)
OVER = replace(DURING, now=BEGAN + LENGTH)

ROWS: list[tuple[str, Probation, Verdict | None]] = [
    ("too early", DURING, None),
    ("over, nothing known against it", OVER, GOOD),
    ("over, results", replace(OVER, after=replace(FRESH, results=6), before=STEADY), GOOD),
    (
        "the loop ended",
        replace(DURING, after=replace(FRESH, failed="MemoryError")),
        Verdict(Reason.CRASHED, "MemoryError"),
    ),
    ("restarted", replace(DURING, deaths=1, cause="segfault"), Verdict(Reason.CRASHED, "segfault")),
    (
        "every item failed",
        replace(DURING, after=BROKEN),
        Verdict(
            Reason.FAILURE_RATE,
            "12 of 12 items failed: script error: ZeroDivisionError at anomaly.py:14",
        ),
    ),
    ("two errors say nothing yet", replace(DURING, after=replace(FRESH, errors=2)), None),
    ("two errors beside a result", replace(OVER, after=replace(FRESH, errors=2, results=1)), GOOD),
    (
        "a single item, and it failed",
        replace(OVER, after=replace(FRESH, errors=1, last_error="KeyError: 'c'")),
        Verdict(Reason.FAILURE_RATE, "1 of 1 items failed: KeyError: 'c'"),
    ),
    (
        "two of two failed, where the old one mostly succeeded",
        replace(OVER, after=replace(FRESH, errors=2, last_error="x"), before=replace(STEADY, errors=20)),
        Verdict(Reason.FAILURE_RATE, "2 of 2 items failed: x"),
    ),
    (
        "two of two failed, like all of the old one's",
        replace(OVER, after=replace(FRESH, errors=2), before=replace(STEADY, errors=1, results=0)),
        GOOD,
    ),
    (
        "two of two failed, like most of the old one's",
        replace(OVER, after=replace(FRESH, errors=2), before=replace(STEADY, errors=40, results=10)),
        GOOD,
    ),
    (
        "two of two failed, the old one did nothing",
        replace(OVER, after=replace(FRESH, errors=2, last_error="x"), before=replace(STEADY, results=0)),
        Verdict(Reason.FAILURE_RATE, "2 of 2 items failed: x"),
    ),
    ("a fifth failed is still good", replace(OVER, after=replace(FRESH, errors=3, results=12)), GOOD),
    (
        "more than a fifth failed",
        replace(DURING, after=replace(FRESH, errors=3, results=11, last_error="timeout")),
        Verdict(Reason.FAILURE_RATE, "3 of 14 items failed: timeout"),
    ),
    (
        "failing no more than the old one",
        replace(OVER, after=replace(BROKEN, results=1), before=replace(STEADY, errors=800)),
        GOOD,
    ),
    (
        "silent where the old one was not",
        replace(OVER, before=STEADY),
        Verdict(Reason.FAILURE_RATE, "no result in 3 s; the version before would have given about 6"),
    ),
    ("silent, like the old one", replace(OVER, before=replace(STEADY, results=0, last_result=None)), GOOD),
    ("silent, the old one was slow", replace(OVER, before=replace(STEADY, results=50)), GOOD),
    (
        "silent, the old one had become silent",
        replace(OVER, before=replace(STEADY, last_result=BEGAN - 20)),
        GOOD,
    ),
    ("silent, the old one is hardly known", replace(OVER, before=replace(STEADY, started=BEGAN - 2)), GOOD),
]


@pytest.mark.parametrize(("trial", "verdict"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_verdict(trial: Probation, verdict: Verdict | None) -> None:
    assert judge(trial) == verdict


def test_error_rate_is_zero_until_enough_failed() -> None:
    assert [error_rate(replace(FRESH, errors=n)) for n in range(5)] == [0.0, 0.0, 0.0, 1.0, 1.0]
