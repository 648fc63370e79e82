"""What `walle fl` calls: `simulate` and `run`. Both give rows, one per round, for a table or for JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from cloud_broker.wire.link import MqttLink
from fl import round_spec, simulation, weights
from fl.client import load_data
from fl.clock import SystemClock
from fl.coordinator import Coordinator, Row
from fl.round_spec import Plan, PlanError
from fl.stores import FileCheckpoint, HttpBlobs
from fl.strategy import FedAvg

COLUMNS = ("round", "cohort", "updates", "refused", "loss", "accuracy", "test_accuracy", "bytes", "cause")
OnRow = Callable[[dict[str, Any]], None]


def simulate(
    plan_path: Path,
    *,
    clients: int = 20,
    seed: int | None = None,
    alpha: float = 0.5,
    data: Path | None = None,
    on_row: OnRow | None = None,
) -> list[dict[str, Any]]:
    """A plan's rounds in this process, on an .npz or on scikit-learn's digits, split over simulated boards.

    Raises PlanError and ClientError, both with a text for people.
    """
    plan = read(plan_path)
    chosen = plan.train.seed if seed is None else seed
    whole = load_data(data) if data is not None else simulation.digits()
    shards = simulation.split(whole, clients, chosen, alpha)
    history = simulation.simulate(plan, shards.clients, chosen, test=shards.test, on_row=_told(on_row))
    return [as_row(row) for row in history.rows]


def run(
    plan_path: Path, mqtt: str, server: str, token: str, *, state: Path, on_row: OnRow | None = None
) -> list[dict[str, Any]]:
    """A plan's rounds with the boards behind a broker; stopped and started again it goes on where it was.

    `server` is the blob server's address as boards reach it. `state` keeps `<plan>.rounds`, from which to go
    on, and in the end `<plan>.weights`. Raises PlanError, CoordinatorError, FetchError, and ValueError for a
    bad address.
    """
    plan = read(plan_path)
    name = plan.plan.name
    link = MqttLink(mqtt, f"fl-{name}", rng=Random())
    coordinator = Coordinator(
        plan,
        FedAvg(plan.plan.invited),
        link,
        HttpBlobs(server, token),
        FileCheckpoint(state / f"{name}.rounds"),
        SystemClock(),
        on_row=_told(on_row),
    )
    link.start()
    try:
        ended = coordinator.run()
    finally:
        link.stop()
    FileCheckpoint(state / f"{name}.weights").save(weights.encode(coordinator.base))
    return [as_row(row) for row in ended.history]


def read(path: Path) -> Plan:
    """The plan in a file. Raises PlanError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: {error}") from None
    return round_spec.load(text, str(path))


def as_row(row: Row) -> dict[str, Any]:
    """Plain values under COLUMNS."""
    values = row.model_dump(mode="json")
    return {name: values[name] for name in COLUMNS}


def _told(on_row: OnRow | None) -> Callable[[Row], None] | None:
    return None if on_row is None else lambda row: on_row(as_row(row))
