"""Softmax regression: its gradient against finite differences, SGD against a plain loop, that it learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fl import linear
from fl.linear import Dataset


def drawn(
    features: int, classes: int, seed: int
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    rng = np.random.default_rng(seed)
    return {"b": rng.normal(size=classes), "w": rng.normal(size=(features, classes))}


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_what_finite_differences_say(seed: int, dataset: Callable[..., Dataset]) -> None:
    weights, data, h = drawn(5, 3, seed), dataset(17, seed), 1e-6
    _, gradient = linear.loss_and_gradient(weights, data.x, data.y)
    for name, array in weights.items():
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in weights.items()}
                moved[name][index] += sign * h
                sides.append(linear.loss_and_gradient(moved, data.x, data.y)[0])
            assert gradient[name][index] == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-5, abs=1e-8)


def test_loss_of_nothing_learnt_is_that_of_a_guess(dataset: Callable[..., Dataset]) -> None:
    data = dataset(40)
    score = linear.evaluate(linear.init(5, 3), data)
    assert score.loss == pytest.approx(np.log(3))
    assert score.accuracy == np.mean(data.y == 0)


def test_large_scores_do_not_overflow() -> None:
    weights = {"b": np.array([1000.0, -1000.0]), "w": np.zeros((1, 2))}
    data = Dataset(np.zeros((2, 1), np.float32), np.array([0, 1]))
    assert linear.evaluate(weights, data).loss == 1000.0


def test_sgd_is_the_loop_one_would_write(dataset: Callable[..., Dataset]) -> None:
    data, base = dataset(10), drawn(5, 3, 4)
    got = linear.sgd(base, data, steps=5, batch=4, lr=0.1, rng=np.random.default_rng(3))
    rng, expected = np.random.default_rng(3), {name: array.copy() for name, array in base.items()}
    first, second = rng.permutation(10), rng.permutation(10)
    for rows in (first[:4], first[4:8], first[8:], second[:4], second[4:8]):
        _, gradient = linear.loss_and_gradient(expected, data.x[rows], data.y[rows])
        expected = {name: expected[name] - 0.1 * gradient[name] for name in expected}
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)
    np.testing.assert_array_equal(base["w"], drawn(5, 3, 4)["w"])


def test_it_learns_and_keeps_its_dtype(dataset: Callable[..., Dataset]) -> None:
    data = dataset(300)
    trained = linear.sgd(linear.init(5, 3), data, steps=200, batch=16, lr=0.5, rng=np.random.default_rng(0))
    assert {array.dtype for array in trained.values()} == {np.dtype(np.float32)}
    assert linear.evaluate(trained, data).accuracy > 0.85
    np.testing.assert_array_equal(
        np.mean(linear.predict(trained, data.x) == data.y), linear.evaluate(trained, data).accuracy
    )
