"""FedAvg: known answers, whoever answers first, and what a cohort is."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest

from fl import weights
from fl.strategy import Contribution, FedAvg
from fl.weights import Weights


def update(board: str, num_examples: int, delta: Weights) -> Contribution:
    return Contribution(board, num_examples, lambda: delta)


def test_the_mean_is_weighted_by_examples() -> None:
    base = {"w": np.array([10.0, 20.0], np.float32)}
    updates = [
        update("a", 1, {"w": np.array([4.0, 0.0], np.float32)}),
        update("b", 3, {"w": np.array([0.0, 8.0], np.float32)}),
    ]
    result = FedAvg(lambda n: n).aggregate(base, updates)
    np.testing.assert_array_equal(result["w"], np.array([11.0, 26.0], np.float32))
    assert weights.layout(result) == weights.layout(base)


def test_who_answers_first_cannot_change_the_bits() -> None:
    rng = np.random.default_rng(0)
    base = {"w": rng.normal(size=500).astype(np.float32)}
    updates = [
        update(f"pi-{index}", index + 1, {"w": (rng.normal(size=500) * 10.0**index).astype(np.float32)})
        for index in range(5)
    ]
    results = {
        weights.encode(FedAvg(len).aggregate(base, order))
        for order in permutations(updates)  # type: ignore[arg-type]
    }
    assert len(results) == 1


def test_close_to_exact_arithmetic() -> None:
    rng = np.random.default_rng(1)
    base = {"w": rng.normal(size=50)}
    deltas, examples = rng.normal(size=(7, 50)), [3, 1, 4, 1, 5, 9, 2]
    updates = [update(f"pi-{i}", n, {"w": deltas[i]}) for i, n in enumerate(examples)]
    result = FedAvg(lambda n: n).aggregate(base, updates)["w"]
    for column in range(50):
        total = sum(n * Fraction(deltas[i, column]) for i, n in enumerate(examples))
        exact = Fraction(base["w"][column]) + total / sum(examples)
        assert abs(Fraction(result[column]) - exact) < Fraction(1, 10**14)


def test_past_its_range_a_number_is_infinite_and_nobody_is_warned() -> None:
    huge = {"w": np.array([3e38], np.float32)}
    result = FedAvg(lambda n: n).aggregate(huge, [update("a", 1, huge)])
    assert not weights.finite(result)


@pytest.mark.parametrize(("there", "size"), [(0, 0), (1, 1), (7, 3), (20, 20)])
def test_cohort(there: int, size: int) -> None:
    names = [f"pi-{index}" for index in range(there)]
    strategy = FedAvg(lambda _: size)
    chosen = strategy.configure(1, names, np.random.default_rng(5))
    assert len(chosen) == len(set(chosen)) == size and set(chosen) <= set(names)
    assert chosen == strategy.configure(1, reversed(names), np.random.default_rng(5))  # type: ignore[arg-type]
