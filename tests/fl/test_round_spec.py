"""Plans: the worked examples, the shares, and what is said about a wrong one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from fl import round_spec
from fl.round_spec import PlanError

EXAMPLES = sorted((Path(__file__).parents[2] / "specs" / "rounds").glob("*.toml"))
SMALL = 'schema = 1\n[plan]\nname = "p"\nrounds = 2\n[data]\nfeatures = 4\nclasses = 3\n'


def seeds() -> list[bytes]:
    return [SMALL.encode(), *(path.read_bytes() for path in EXAMPLES)]


def fuzz(data: bytes) -> None:
    with contextlib.suppress(PlanError):
        round_spec.load(data.decode("utf-8", "replace"), "fuzz.toml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_load(path: Path) -> None:
    assert round_spec.load(path.read_text(), path.name).plan.name == path.stem


def test_the_example_in_the_docstring_loads() -> None:
    assert round_spec.__doc__ is not None
    plan = round_spec.load(round_spec.__doc__.split("```")[1].removeprefix("toml"), "doc")
    assert (plan.plan.boards, plan.plan.extra, plan.plan.deadline, plan.train.lr) == (0.5, 0.3, 30.0, 0.5)


def test_defaults() -> None:
    plan = round_spec.load(SMALL, "p.toml")
    assert plan.plan.model_dump() == {
        "name": "p",
        "rounds": 2,
        "boards": 1.0,
        "min": 1,
        "extra": 0.0,
        "deadline": 60.0,
        "max_examples": 1_000_000,
    }
    assert plan.train.model_dump() == {"steps": 20, "batch": 16, "lr": 0.1, "seed": 0}


@pytest.mark.parametrize(
    ("rules", "there", "wanted", "invited"),
    [
        ('boards = "50%"\nmin = 3\nextra = "20%"', 20, 10, 12),
        ('boards = "50%"\nmin = 3\nextra = "20%"', 4, 3, 4),
        ('boards = "50%"\nmin = 3', 2, 2, 2),
        ("boards = 5", 3, 3, 3),
        ("boards = 5", 100, 5, 5),
        ('boards = 5\nextra = "10%"', 100, 5, 6),
        ('boards = "1%"', 10, 1, 1),
        ('boards = "10%"', 0, 0, 0),
    ],
)
def test_how_many(rules: str, there: int, wanted: int, invited: int) -> None:
    plan = round_spec.load(SMALL.replace("rounds = 2", f"rounds = 2\n{rules}"), "p.toml").plan
    assert (plan.wanted(there), plan.invited(there)) == (wanted, invited)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", "p.toml: schema: "),
        ("schema = 1\n", "", "p.toml: schema: this key is missing"),
        (
            "rounds = 2",
            "round = 2",
            "p.toml: plan.round: unknown key; did you mean `rounds`? keys here: name",
        ),
        ("rounds = 2", "", "p.toml: plan.rounds: this key is missing"),
        ("rounds = 2", "rounds = 0", "p.toml: plan.rounds: "),
        ("rounds = 2", 'rounds = "2"', "p.toml: plan.rounds: "),
        ('name = "p"', 'name = "P q"', "p.toml: plan.name: "),
        ("rounds = 2", "rounds = 2\ndeadline = 30", 'did you mean "30s"?'),
        ("rounds = 2", 'rounds = 2\ndeadline = "30 parsecs"', "expected a number and one of ms, s, m, h, d"),
        ("rounds = 2", 'rounds = 2\ndeadline = "0s"', "p.toml: plan.deadline: "),
        ("rounds = 2", 'rounds = 2\nboards = "half"', 'expected a percentage such as "20%"'),
        ("rounds = 2", 'rounds = 2\nboards = "0%"', 'expected more than "0%"'),
        ("rounds = 2", 'rounds = 2\nboards = "120%"', 'at most "100%"'),
        ("rounds = 2", "rounds = 2\nboards = 0", "p.toml: plan.boards"),
        ("rounds = 2", "rounds = 2\nboards = true", "p.toml: plan.boards"),
        ("rounds = 2", "rounds = 2\nboards = 2\nmin = 3", "min = 3 updates cannot come from boards = 2"),
        ("[data]", "[train]\nlr = nan\n[data]", "p.toml: train.lr: "),
        ("[data]", "[train]\nlr = -1\n[data]", "p.toml: train.lr: "),
        ("[data]", "[train]\nsteps = 1_000_000_000\n[data]", "p.toml: train.steps: "),
        ("[data]", "[trian]\n[data]", "p.toml: trian: unknown key; did you mean `train`?"),
        ("classes = 3", "classes = 1", "p.toml: data.classes: "),
        ("[data]", "[data", "p.toml: not TOML: "),
        ("rounds = 2", "rounds = " + "2" * 5000, "p.toml: not TOML: "),
        ("rounds = 2", "rounds = " + "[" * 5000, "p.toml: not TOML: "),
    ],
)
def test_what_is_wrong(old: str, new: str, said: str) -> None:
    with pytest.raises(PlanError) as caught:
        round_spec.load(SMALL.replace(old, new), "p.toml")
    assert said in str(caught.value)


def test_every_problem_at_once() -> None:
    text = SMALL.replace("rounds = 2", "rounds = 0\ndeadline = 5").replace("classes = 3", "classes = 1")
    with pytest.raises(PlanError) as caught:
        round_spec.load(text, "p.toml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "plan.rounds",
        "plan.deadline",
        "data.classes",
    ]


def test_fuzz_target_takes_its_own_seeds() -> None:
    for seed in seeds():
        fuzz(seed)
        fuzz(seed[: len(seed) // 2])
