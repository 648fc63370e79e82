"""The verdict over a version on trial, from what was counted: pure, and the only place that knows what
healthy means.

A bad sign ends the trial at once; without one the version is good when its probation is over, unless all it
did by then was to fail.
"""

from __future__ import annotations

from dataclasses import dataclass

from cloud_broker.wire.messages import Reason
from edge_agent.evidence import Evidence

MIN_ERRORS = 3
"""Fewer failed items than this say nothing while others may still succeed."""
MAX_ERROR_RATE = 0.2
"""Failed items out of all that ended, beyond which a version is sick."""
MIN_EXPECTED = 3.0
"""A version is missed only when the one before would have given this many results in the same time."""
MIN_HISTORY = 10.0
"""Seconds over which the version before must have been watched to know its rate."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Good without a reason; else why not, for machines and for people."""

    reason: Reason | None = None
    detail: str = ""


GOOD = Verdict()


@dataclass(frozen=True, slots=True)
class Probation:
    """A trial as seen at one moment: `before` is the last word of the version before it, if there was one."""

    began: float
    length: float
    now: float
    after: Evidence
    before: Evidence | None = None
    deaths: int = 0
    """How often the loop ended since the trial began."""
    cause: str = ""
    """Why it ended last."""


def judge(trial: Probation) -> Verdict | None:
    """The verdict, or None while it is too early for one."""
    sick = _crashed(trial) or _failing(trial)
    if sick:
        return sick
    if trial.now - trial.began < trial.length:
        return None
    return _fruitless(trial) or _missed(trial) or GOOD


def error_rate(evidence: Evidence, least: int = MIN_ERRORS) -> float:
    """Failed items out of all that ended; 0 while fewer than `least` failed."""
    if evidence.errors < least:
        return 0.0
    return evidence.errors / (evidence.errors + evidence.results)


def failing_text(evidence: Evidence) -> str:
    """ "12 of 12 items failed: script error: ZeroDivisionError at anomaly.py:14" """
    ended = evidence.errors + evidence.results
    return f"{evidence.errors} of {ended} items failed: {evidence.last_error or 'no text'}"


def _crashed(trial: Probation) -> Verdict | None:
    if trial.after.failed is not None:
        return Verdict(Reason.CRASHED, trial.after.failed)
    if trial.deaths:
        return Verdict(Reason.CRASHED, trial.cause)
    return None


def _failing(trial: Probation) -> Verdict | None:
    """Failing more than the version before: a server that is down for both is not the new one's fault."""
    usual = error_rate(trial.before) if trial.before else 0.0
    if error_rate(trial.after) <= usual + MAX_ERROR_RATE:
        return None
    return Verdict(Reason.FAILURE_RATE, failing_text(trial.after))


def _fruitless(trial: Probation) -> Verdict | None:
    """Nothing but failures, however few, where the version before was not as bad."""
    usual = error_rate(trial.before, least=1) if trial.before else 0.0
    if trial.after.results or not trial.after.errors or usual + MAX_ERROR_RATE >= 1.0:
        return None
    return Verdict(Reason.FAILURE_RATE, failing_text(trial.after))


def _missed(trial: Probation) -> Verdict | None:
    """No result although the version before gave them steadily, up to the end."""
    before = trial.before
    if before is None or trial.after.results or before.last_result is None:
        return None
    watched = trial.began - before.started
    expected = before.results / max(watched, MIN_HISTORY) * trial.length
    if watched < MIN_HISTORY or expected < MIN_EXPECTED or trial.began - before.last_result > trial.length:
        return None
    text = f"no result in {trial.length:.0f} s; the version before would have given about {expected:.0f}"
    return Verdict(Reason.FAILURE_RATE, text)
