"""A small plan, boards whose data is drawn from a seed, and brokers and servers started on loopback."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fl import round_spec
from fl.linear import Dataset
from fl.round_spec import Plan

PLAN = """
schema = 1
[plan]
name = "small"
rounds = 3
boards = "100%"
min = 4
deadline = "30s"
[train]
steps = 6
batch = 8
lr = 0.3
seed = 11
[data]
features = 5
classes = 3
"""


@pytest.fixture
def plan() -> Plan:
    """Three rounds with four boards, all of which must answer: 5 features, 3 classes."""
    return round_spec.load(PLAN, "small.toml")


@pytest.fixture
def dataset() -> Callable[..., Dataset]:
    """(n, seed) -> n rows of 5 features in 3 classes that a linear model can tell apart, mostly."""

    def draw(n: int = 30, seed: int = 0) -> Dataset:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, 5)).astype(np.float32)
        y = (x[:, :3] + 0.3 * rng.normal(size=(n, 3))).argmax(axis=1)
        return Dataset(x, y)

    return draw


@pytest.fixture
def boards(dataset: Callable[..., Dataset]) -> dict[str, Dataset]:
    return {f"pi-{index}": dataset(20 + 5 * index, index) for index in range(4)}
