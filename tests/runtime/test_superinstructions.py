"""Superinstructions replace what they stand for, around any operand, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.backends.superinstructions import PATTERNS, shortened
from runtime.decompose.rule import Program, call, const, load
from runtime.primitives import evaluate

X = call("mul", load(1), const(2.0))


def around(pattern: Program, operand: Program) -> Program:
    """The pattern with an operand in the place of each load."""
    return tuple(inner for step in pattern for inner in (operand if step.name == "load" else (step,)))


@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_a_pattern_becomes_its_primitive_and_means_the_same(name: str, pattern: Program) -> None:
    program = call("add", const(1.0), call("neg", around(pattern, X)))
    short = shortened(program)
    assert short == call("add", const(1.0), call("neg", call(name, X)))
    numbers = [np.zeros(99, np.float32), np.linspace(-9, 9, 99, dtype=np.float32)]
    np.testing.assert_allclose(evaluate(short, numbers), evaluate(program, numbers), rtol=1e-6, atol=1e-6)


def test_a_pattern_within_a_pattern() -> None:
    inner = call("mul", load(0), call("logistic", load(0)))
    assert shortened(call("mul", inner, call("logistic", inner))) == call("silu", call("silu", load(0)))


@pytest.mark.parametrize(
    "program",
    [
        call("mul", load(0), call("logistic", load(1))),
        call("mul", X, call("logistic", load(1))),
        call("add", load(0), call("logistic", load(0))),
        call("logistic", load(0)),
        load(0),
    ],
)
def test_what_is_no_pattern_stays(program: Program) -> None:
    assert shortened(program) == program
