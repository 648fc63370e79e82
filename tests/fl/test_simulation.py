"""The simulator: the same bits for the same seed, a fair split, and that digits are learnt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fl import commands, simulation, weights
from fl.client import ClientError
from fl.linear import Dataset
from fl.round_spec import Plan, PlanError

DIGITS = Path(__file__).parents[2] / "specs" / "rounds" / "digits.toml"


def test_the_same_seed_gives_the_same_bits(plan: Plan, boards: dict[str, Dataset]) -> None:
    first = simulation.simulate(plan, boards, 1)
    second = simulation.simulate(plan, dict(reversed(boards.items())), 1)
    assert weights.encode(first.weights) == weights.encode(second.weights)
    other = simulation.simulate(plan, boards, 2)
    assert weights.encode(first.weights) != weights.encode(other.weights)


@pytest.mark.parametrize(
    ("n", "clients", "alpha"), [(200, 10, 0.1), (200, 10, 100.0), (10, 8, 0.05), (2, 1, 1.0)]
)
def test_a_split_hands_out_every_example_once(
    n: int, clients: int, alpha: float, dataset: Callable[..., Dataset]
) -> None:
    data = dataset(n)
    shards = simulation.split(data, clients, 3, alpha)
    assert len(shards.clients) == clients and all(len(shard.y) for shard in shards.clients.values())
    parts = [*shards.clients.values(), shards.test]
    rows = np.concatenate([np.column_stack([part.x, part.y]) for part in parts])
    whole = np.column_stack([data.x, data.y])
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], whole[np.lexsort(whole.T)])
    again = simulation.split(data, clients, 3, alpha)
    for name, shard in shards.clients.items():
        np.testing.assert_array_equal(shard.x, again.clients[name].x)


def test_small_alpha_skews_labels(dataset: Callable[..., Dataset]) -> None:
    def largest_share(alpha: float) -> float:
        shards = simulation.split(dataset(600), 10, 0, alpha).clients.values()
        return float(np.mean([np.bincount(shard.y).max() / len(shard.y) for shard in shards]))

    assert largest_share(0.05) > largest_share(100.0) + 0.2


@pytest.mark.parametrize("clients", [0, 9, 10])
def test_more_boards_than_examples(clients: int, dataset: Callable[..., Dataset]) -> None:
    with pytest.raises(ClientError, match=f"8 examples cannot be split over {clients} boards"):
        simulation.split(dataset(10), clients, 0)


def test_digits_are_learnt_without_anybody_showing_theirs() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install 'walle-edge[bench]'")
    told: list[object] = []
    rows = commands.simulate(DIGITS, clients=20, on_row=told.append)
    assert told == rows and json.loads(json.dumps(rows)) == rows
    assert [tuple(row) for row in rows] == [commands.COLUMNS] * 20
    assert rows[-1]["test_accuracy"] > 0.9
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert all((row["cohort"], row["updates"], row["cause"]) == (12, 10, None) for row in rows)


def test_own_data(tmp_path: Path, dataset: Callable[..., Dataset]) -> None:
    data = dataset(200)
    np.savez(tmp_path / "own.npz", x=data.x, y=data.y)
    plan = tmp_path / "own.toml"
    text = (
        'schema = 1\n[plan]\nname = "own"\nrounds = 5\n[train]\nlr = 0.3\n[data]\nfeatures = 5\nclasses = 3\n'
    )
    plan.write_text(text)
    rows = commands.simulate(plan, clients=4, seed=1, data=tmp_path / "own.npz")
    assert rows == commands.simulate(plan, clients=4, seed=1, data=tmp_path / "own.npz")
    assert rows != commands.simulate(plan, clients=4, seed=2, data=tmp_path / "own.npz")
    assert rows[-1]["test_accuracy"] > 0.75


def test_a_board_whose_data_does_not_fit_is_not_waited_for_beyond_the_deadline(
    plan: Plan, boards: dict[str, Dataset]
) -> None:
    narrow = Dataset(np.zeros((3, 4), np.float32), np.zeros(3, np.int64))
    rows = simulation.simulate(plan, {**boards, "odd": narrow}, 1).rows
    assert [(row.cohort, row.updates, row.cause) for row in rows] == [(5, 4, None)] * 3


def test_a_plan_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"none\.toml: .*No such file"):
        commands.simulate(tmp_path / "none.toml")
