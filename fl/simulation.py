"""Many boards in one process: the same coordinator and client code, over a link, blobs and time in memory.

A run is a function of plan, data and seed: twice the same bytes, and the bytes that real boards with this
data and a real broker would come to, as long as all of them answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_broker.wire import topics
from cloud_broker.wire.link import Link, MemoryHub
from cloud_broker.wire.messages import Presence, RoundOpen, decode, encode
from fl.client import ClientError, checked, contribute
from fl.clock import VirtualClock
from fl.coordinator import Coordinator, Row
from fl.linear import Dataset
from fl.round_spec import Plan
from fl.stores import Blobs, MemoryBlobs, MemoryCheckpoint
from fl.strategy import FedAvg
from fl.weights import Weights

TEST_SHARE = 0.2


class History(NamedTuple):
    rows: tuple[Row, ...]
    weights: Weights


class Split(NamedTuple):
    clients: dict[str, Dataset]
    test: Dataset


class Board:
    """A board of the simulation: says that it is there, and answers invitations at once."""

    def __init__(self, name: str, link: Link, blobs: Blobs, data: Dataset) -> None:
        self._name = name
        self._link = link
        self._blobs = blobs
        self._data = data
        link.subscribe(topics.down(name, "round"), self._invited)
        presence = encode(Presence(board=name, session=1, online=True))
        link.on_connect(lambda: link.publish(topics.up(name, "state"), presence, retain=True))

    def _invited(self, _topic: str, payload: bytes) -> None:
        invitation = decode(payload, RoundOpen)
        base = self._blobs.get(invitation.base, invitation.size)
        delta, update = contribute(invitation, base, self._data, self._name)
        self._blobs.put(delta)
        self._link.publish(topics.up(self._name, "update"), encode(update))


def simulate(
    plan: Plan,
    clients: Mapping[str, Dataset],
    seed: int,
    *,
    test: Dataset | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> History:
    """All rounds of a plan with these boards; `seed` takes the place of the plan's own."""
    plan = plan.model_copy(update={"train": plan.train.model_copy(update={"seed": seed})})
    hub, blobs = MemoryHub(), MemoryBlobs()
    for name, data in clients.items():
        link = hub.link(name)
        Board(name, link, blobs, data)
        link.start()
    link = hub.link("coordinator")
    link.start()
    coordinator = Coordinator(
        plan,
        FedAvg(plan.plan.invited),
        link,
        blobs,
        MemoryCheckpoint(),
        VirtualClock(),
        test=test,
        on_row=on_row,
    )
    return History(coordinator.run().history, coordinator.base)


def digits() -> Dataset:
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels, scaled to 0 to 1. Raises ClientError."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ClientError(
            "the digits come with scikit-learn, which is not installed; "
            "pip install 'walle-edge[bench]', or give an .npz with x and y"
        ) from None
    x, y = load_digits(return_X_y=True)
    return checked(x / 16, y, "digits")


def split(data: Dataset, clients: int, seed: int, alpha: float = 0.5) -> Split:
    """A fifth held out; of the rest each class goes to the boards in shares drawn from Dirichlet(alpha).

    Small alpha: boards know few classes each; every board has an example. Raises ClientError.
    """
    rng = np.random.default_rng([seed, clients])
    order = rng.permutation(len(data.y))
    held = max(1, round(TEST_SHARE * len(order)))
    train = order[held:]
    if not 1 <= clients <= len(train):
        raise ClientError(f"{len(train)} examples cannot be split over {clients} boards")
    rows = _dirichlet(train, data.y[train], clients, alpha, rng)
    width = len(str(clients - 1))
    return Split(
        {f"sim-{index:0{width}}": _take(data, mine) for index, mine in enumerate(rows)},
        _take(data, order[:held]),
    )


def _dirichlet(
    rows: NDArray[np.int64], labels: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """The rows of each client; who got none takes one from the richest."""
    shares: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        mine = rows[labels == label]
        cuts = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1] * len(mine)
        for share, part in zip(shares, np.split(mine, cuts.astype(int)), strict=True):
            share.extend(part)
    for share in shares:
        if not share:
            share.append(max(shares, key=len).pop())
    return [np.array(share) for share in shares]


def _take(data: Dataset, rows: NDArray[np.int64]) -> Dataset:
    return Dataset(np.ascontiguousarray(data.x[rows]), data.y[rows])
