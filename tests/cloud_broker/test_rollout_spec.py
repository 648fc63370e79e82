"""Policies: what is understood, and what each mistake is answered with."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.rollout_spec import (
    AbortRule,
    AdvanceRule,
    Duration,
    Policy,
    PolicyError,
    Step,
    from_deploy,
    from_spec,
    load,
)
from edge_agent.spec.model import Deploy

WORKED = sorted((Path(__file__).parents[2] / "specs" / "rollouts").glob("*.toml"))


@pytest.mark.parametrize(
    ("text", "share", "count"),
    [("1 board", 0.0, 1), ("3 boards", 0.0, 3), ("25%", 0.25, 1), ("100%", 1.0, 1), (" 0.5% ", 0.005, 1)],
)
def test_steps(text: str, share: float, count: int) -> None:
    assert Step.parse(text) == Step(text, share, count)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10.0), ("500ms", 0.5), ("1.5 h", 5400.0), ("2d", 172800.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize(
    ("text", "good", "failed", "holds"),
    [
        ("failed >= 1", 9, 0, False),
        ("failed >= 1", 9, 1, True),
        ("failed_rate > 5%", 18, 1, False),  # nineteen finished are too few to tell
        ("failed_rate > 5%", 18, 2, True),
        ("failed_rate > 0.5 and finished >= 4", 2, 2, False),
        ("failed_rate > 0.5 and finished >= 4", 1, 3, True),
        ("failed >= 3 or failed_rate > 50% and finished >= 2", 0, 2, True),
        ("failed_rate > 100%", 0, 99, False),
        ("failed_rate > 0% and finished >= 1", 5, 0, False),
    ],
)
def test_abort_rules(text: str, good: int, failed: int, holds: bool) -> None:
    assert AbortRule.parse(text).holds(good, failed) is holds


@pytest.mark.parametrize(
    ("text", "good", "failed", "holds"),
    [("ok_rate >= 95%", 95, 5, True), ("ok_rate >= 0.95", 94, 6, False), ("ok_rate >= 95%", 0, 0, True)],
)
def test_advance_rules(text: str, good: int, failed: int, holds: bool) -> None:
    assert AdvanceRule.parse(text).holds(good, failed) is holds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hold": 60}, r"""x: deploy.hold: 60 has no unit of time; did you mean "60s"\?"""),
        (
            {"hold": "soon"},
            "x: deploy.hold: 'soon' is not a duration: expected a number and one of ms, s, m, h, d",
        ),
        (
            {"steps": ["half", "100%"]},
            r"""x: deploy.steps.0: 'half' is not a step: expected "3 boards" or a share""",
        ),
        ({"steps": ["0 boards", "100%"]}, "'0 boards' is not a step"),
        ({"steps": ["101%"]}, "'101%' is not a step"),
        ({"steps": ["1 board"]}, 'x: deploy.steps: the last step must be "100%"'),
        ({"steps": []}, 'the last step must be "100%"'),
        ({"steps": ["50%", "25%", "100%"]}, "each step must be larger than the one before"),
        ({"steps": ["50%", "9 boards", "100%"]}, "each step must be larger than the one before"),
        ({"steps": "100%"}, "x: deploy.steps: "),
        ({"abort_if": "restarts > 3"}, "'restarts > 3' is not a rule to abort by: expected \"failed >= 3\""),
        ({"abort_if": "failed >= 0"}, "is not a rule to abort by"),
        ({"abort_if": "failed_rate > 400%"}, "is not a rule to abort by"),
        ({"advance_if": "p95_ms < 3"}, 'is not a rule to advance by: expected "ok_rate >= 95%"'),
        ({"advance_if": "ok_rate >= 2"}, "is not a rule to advance by"),
        ({"on_abort": "panic"}, "x: deploy.on_abort: "),
        ({"to": "Dock 1"}, "x: deploy.to: 'Dock 1': expected \"all\" or names of boards"),
        ({"to": ","}, 'expected "all" or names of boards'),
        ({"widow": "1s"}, "x: deploy.widow: unknown key; keys here: to, steps, hold"),
    ],
)
def test_mistakes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        from_deploy(values, "x")


def test_all_mistakes_at_once() -> None:
    with pytest.raises(PolicyError) as error:
        load('schema = 1\n[rollout]\nhold = 3\ntimeout = "x"\n', "r.toml")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == [
        " rollout.hold",
        " rollout.timeout",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"r.toml: expected `schema = 1` and one table \[rollout\], got nothing"),
        ("schema = 2\n[rollout]\n", "expected `schema = 1`"),
        ("schema = 1\n[rollout]\n[task]\n", "got schema, rollout, task"),
        ("schema = 1\nx", "r.toml: not TOML: .*"),
        ("x = " + "[" * 5000, "r.toml: not TOML: .*nested"),
        ("x = " + "9" * 5000, "r.toml: not TOML: .*digits"),
    ],
)
def test_files_that_are_not_rollout_specs(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        load(text, "r.toml")


def test_a_task_spec_without_deploy_has_the_agents_defaults() -> None:
    """Both packages write the defaults down, since neither imports the other; here they are held together."""
    words = Deploy().model_dump(mode="json", exclude={"probation"})
    assert words.items() <= Policy().model_dump(mode="json").items()
    assert from_spec("[task]\n", "x") == from_deploy(words, "x") == Policy()


@pytest.mark.parametrize(
    ("text", "message"), [("deploy = 3\n", "x: deploy: expected a table, got 3"), ("deploy", "x: not TOML: ")]
)
def test_task_specs_without_a_policy(text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        from_spec(text, "x")


def test_a_policy_is_written_back_in_its_own_words() -> None:
    words = {
        "to": "a, b",
        "steps": ("2 boards", "30%", "100%"),
        "hold": "1.5h",
        "abort_if": "failed_rate > 5%",
    }
    policy = from_deploy({**words, "probation": "3s"}, "x")
    assert words.items() <= policy.model_dump().items()
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert (policy.covers("a"), policy.covers("c"), Policy().covers("c")) == (True, False, True)


@pytest.mark.parametrize("path", WORKED, ids=lambda path: path.stem)
def test_worked_examples(path: Path) -> None:
    assert load(path.read_text(), path.name).steps[-1].share == 1.0


def test_there_are_worked_examples() -> None:
    assert len(WORKED) >= 2


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    fuzz(f"schema = 1\n[rollout]\n{text}".encode())


def seeds() -> list[bytes]:
    return [path.read_bytes() for path in WORKED]


def fuzz(data: bytes) -> None:
    with contextlib.suppress(PolicyError):
        load(data.decode(errors="replace"), "fuzz")
