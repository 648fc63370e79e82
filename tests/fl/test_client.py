"""The board's side: data that is no data, invitations that do not fit, the same answer each time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloud_broker.wire import digest
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import Reason, RoundOpen
from fl import client, linear, weights
from fl.client import ClientError, contribute, generator, load_data, run, train
from fl.linear import Dataset

BASE = weights.encode(linear.init(5, 3))


def invitation(base: bytes = BASE, **config: Any) -> RoundOpen:
    return RoundOpen(
        plan="p",
        round=2,
        base=digest.of_bytes(base),
        size=len(base),
        blobs="http://127.0.0.1:9",
        deadline=100.0,
        config={"steps": 6, "batch": 8, "lr": 0.3, "seed": 11, **config},
    )


def test_an_answer_adds_up(dataset: Callable[..., Dataset]) -> None:
    data = dataset(25)
    delta, update = contribute(invitation(), BASE, data, "pi-1")
    assert (update.num_examples, update.delta, update.size) == (25, digest.of_bytes(delta), len(delta))
    base, change = linear.init(5, 3), weights.decode(delta)
    trained = linear.sgd(base, data, steps=6, batch=8, lr=0.3, rng=generator(11, 2, "pi-1"))
    for name, array in trained.items():
        np.testing.assert_array_equal(base[name] + change[name], array)
    before, after = linear.evaluate(base, data), linear.evaluate(trained, data)
    assert update.metrics == {
        "loss": before.loss,
        "accuracy": before.accuracy,
        "loss_after": after.loss,
        "accuracy_after": after.accuracy,
    }


def test_the_same_answer_each_time_and_another_for_each_board_and_seed(
    dataset: Callable[..., Dataset],
) -> None:
    data = dataset(25)
    first = contribute(invitation(), BASE, data, "pi-1")
    assert contribute(invitation(), BASE, data, "pi-1") == first
    assert contribute(invitation(), BASE, data, "pi-2")[0] != first[0]
    assert contribute(invitation(seed=12), BASE, data, "pi-1")[0] != first[0]


@pytest.mark.parametrize(
    ("base", "config", "said"),
    [
        (BASE, {"steps": 0}, "round 2 of p: config.steps: "),
        (BASE, {"steps": 10**9}, "config.steps"),
        (BASE, {"lr": "fast"}, "config.lr"),
        (BASE, {"momentum": 0.9}, "config.momentum"),
        (BASE, {"lr": 1000.0, "steps": 5000}, "smaller lr"),
        (b"no weights at all", {}, "the base is no weights"),
        (weights.encode(linear.init(6, 3)), {}, "the data has 5 features, the base expects 6"),
        (weights.encode(linear.init(5, 2)), {}, "the data has a label 2, the base knows 0 to 1"),
        (weights.encode({"w": np.zeros((5, 3), np.float32)}), {}, "expected w [features, classes] and b"),
        (weights.encode({"b": np.zeros(()), "w": np.zeros((5, 3))}), {}, "expected w [features, classes]"),
        (weights.encode({"b": np.zeros(2), "w": np.zeros((5, 3))}), {}, "expected w [features, classes]"),
    ],
)
def test_an_invitation_that_does_not_fit(
    base: bytes, config: dict[str, Any], said: str, dataset: Callable[..., Dataset]
) -> None:
    data = dataset(25)
    if "lr" in config and config["lr"] == 1000.0:
        data = Dataset(data.x * np.float32(1e36), data.y)
    with pytest.raises(ClientError) as caught:
        contribute(invitation(base, **config), base, data, "pi-1")
    assert said in str(caught.value)


def test_a_base_that_is_not_the_one_invited_to(dataset: Callable[..., Dataset]) -> None:
    with pytest.raises(ClientError, match="other bytes"):
        contribute(invitation(), BASE + b"!", dataset(25), "pi-1")


def test_train_is_pure(dataset: Callable[..., Dataset]) -> None:
    data, base = dataset(25), weights.decode(BASE)
    train(invitation(), base, data, np.random.default_rng(0))
    assert weights.encode(base) == BASE
    np.testing.assert_array_equal(data.x, dataset(25).x)


X, Y = np.zeros((4, 2)), np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": X}, "no array y; arrays here: x"),
        ({}, "no array x; arrays here: none"),
        ({"x": X[0], "y": Y}, "x is float64 [2], expected numbers [examples, features]"),
        ({"x": X[:0], "y": Y[:0]}, "x is float64 [0, 2]"),
        ({"x": X.astype(str), "y": Y}, "x is <U"),
        ({"x": X.astype(complex), "y": Y}, "x is complex128"),
        ({"x": X, "y": Y[:3]}, "y is int64 [3], expected whole numbers [4]"),
        ({"x": X, "y": Y.astype(float)}, "y is float64 [4]"),
        ({"x": X, "y": Y - 1}, "labels go from -1 to 0"),
        ({"x": X, "y": Y * 10**6}, "labels go from 0 to 1000000"),
        ({"x": np.array([[0, 1], [np.nan, 0]]), "y": Y[:2]}, "x[1, 0] is nan"),
        ({"x": np.array([[0, 1e300]]), "y": Y[:1]}, "x[0, 1] is 1e+300, expected a finite float32"),
        ({"x": X.astype(object), "y": Y}, "allow_pickle"),
    ],
)
def test_data_that_is_no_data(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ClientError) as caught:
        load_data(tmp_path / "data.npz")
    assert str(caught.value).startswith(str(tmp_path / "data.npz")) and said in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 but no zip", b"x,y\n1,2\n", b"\x80\x04\x95pickled", None])
def test_a_file_that_is_no_npz(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ClientError, match=r"not a readable \.npz"):
        load_data(tmp_path / "data.npz")


def test_one_bare_array(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", X)
    with pytest.raises(ClientError, match="bare array"):
        load_data(tmp_path / "data.npy")


def test_data_of_other_number_types(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.arange(8, dtype=np.uint8).reshape(4, 2), y=Y.astype(np.uint16))
    data = load_data(tmp_path / "data.npz")
    assert (data.x.dtype, data.y.dtype, data.x[3, 1]) == (np.float32, np.int64, 7.0)


class Gone:
    """A blob server that answers `run` with these failures, then no more."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls: list[float] = []

    def __call__(self, _invitation: RoundOpen, *, now: float, **_: object) -> None:
        self.calls.append(now)
        if self.failures:
            raise self.failures.pop(0)


LOST, REFUSED = (FetchError(Reason.FETCH_FAILED, "lost", retry=retry) for retry in (True, False))


@pytest.mark.parametrize(
    ("failures", "calls", "ends"),
    [
        ((), 1, nullcontext()),
        ((LOST, LOST), 3, nullcontext()),
        ((REFUSED,), 1, pytest.raises(FetchError)),
        ((LOST, ClientError("too late")), 2, pytest.raises(ClientError)),
    ],
)
def test_an_answer_is_tried_again_where_that_makes_sense(
    failures: tuple[Exception, ...],
    calls: int,
    ends: AbstractContextManager[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, times = Gone(*failures), itertools.count(50.0)
    monkeypatch.setattr(client, "run", gone)
    with ends:
        client.answer(
            invitation(),
            Path("data.npz"),
            board="pi-1",
            publish=lambda *_: None,
            token="",
            workdir=Path("work"),
            now=lambda: next(times),
            sleep=lambda _: None,
        )
    assert gone.calls == [50.0 + call for call in range(calls)]


def test_nobody_trains_for_a_round_that_is_over(tmp_path: Path) -> None:
    published: list[object] = []
    with pytest.raises(ClientError, match=r"round 2 of p ended 7 s ago"):
        run(
            invitation(),
            tmp_path / "data.npz",
            board="pi-1",
            publish=lambda *message: published.append(message),
            token="",
            workdir=tmp_path,
            now=107.0,
        )
    assert published == []
