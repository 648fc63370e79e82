"""Softmax regression in NumPy: the model that a round trains. Weights are `w` [f, c] and `b` [c].

Everything is a function of its arguments; what is random comes from the generator that is passed in. Numbers
keep the dtype of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fl.weights import Array, Weights


class Dataset(NamedTuple):
    x: NDArray[np.float32]
    """[n, f], finite."""
    y: NDArray[np.int64]
    """[n], labels from 0."""


class Score(NamedTuple):
    loss: float
    """Mean cross-entropy in nats."""
    accuracy: float
    """Share of examples whose likeliest class is theirs."""


def init(features: int, classes: int) -> dict[str, Array]:
    """Zeros: the loss is convex, so no start is better."""
    return {"b": np.zeros(classes, np.float32), "w": np.zeros((features, classes), np.float32)}


def logits(weights: Weights, x: NDArray[Any]) -> Array:
    """x [n, f] -> [n, c]"""
    scores: Array = x.astype(weights["w"].dtype, copy=False) @ weights["w"] + weights["b"]
    return scores


def predict(weights: Weights, x: NDArray[Any]) -> NDArray[np.int64]:
    """The likeliest class of each row; of equally likely ones the first."""
    likeliest: NDArray[np.int64] = logits(weights, x).argmax(axis=1)
    return likeliest


def loss_and_gradient(weights: Weights, x: NDArray[Any], y: NDArray[Any]) -> tuple[float, dict[str, Array]]:
    """Mean cross-entropy of the rows and its gradient, a tensor per weight."""
    log_p = _log_softmax(logits(weights, x))
    rows = np.arange(len(y))
    error = np.exp(log_p)
    error[rows, y] -= 1
    error /= len(y)
    gradient: dict[str, Array] = {
        "b": error.sum(axis=0),
        "w": x.astype(error.dtype, copy=False).T @ error,
    }
    return float(-log_p[rows, y].mean()), gradient


def evaluate(weights: Weights, data: Dataset) -> Score:
    scores = logits(weights, data.x)
    loss = -_log_softmax(scores)[np.arange(len(data.y)), data.y].mean()
    return Score(float(loss), float((scores.argmax(axis=1) == data.y).mean()))


def sgd(
    weights: Weights, data: Dataset, *, steps: int, batch: int, lr: float, rng: np.random.Generator
) -> dict[str, Array]:
    """`steps` steps of plain gradient descent on minibatches; the weights given stay as they are."""
    trained = {name: array.copy() for name, array in weights.items()}
    for rows in _batches(len(data.y), batch, steps, rng):
        _, gradient = loss_and_gradient(trained, data.x[rows], data.y[rows])
        for name, array in trained.items():
            array -= lr * gradient[name]
    return trained


def _batches(n: int, batch: int, steps: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Whole shuffled passes over n rows, cut into `steps` batches; a pass's last batch may be short."""
    taken = 0
    while True:
        order = rng.permutation(n)
        for start in range(0, n, batch):
            if taken == steps:
                return
            taken += 1
            yield order[start : start + batch]


def _log_softmax(scores: Array) -> Array:
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p
