"""A board's side of a round: invited, it trains on its own data and sends back what changed in the weights.

`train` is the mathematics, `contribute` one whole answer from bytes to bytes, `run` the shell that fetches
and puts blobs, `answer` what an agent calls. The same invitation and data give the same bytes, so a board
that was killed half-way just answers again.
"""

from __future__ import annotations

import hashlib
import logging
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cloud_broker.wire import blobs, digest, topics
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import RoundOpen, Update, encode
from fl import linear, weights
from fl.linear import Dataset
from fl.weights import Array, Weights, WeightsError

log = logging.getLogger(__name__)

METRICS = ("loss", "accuracy", "loss_after", "accuracy_after")
"""On the board's own data: of the base it was given, and after training."""
RETRY = 1.0
"""Seconds between two tries."""
FETCH_TIMEOUT = 30.0
"""Seconds without a byte."""
MAX_LABEL = 65_535


class ClientError(ValueError):
    """Why this board cannot answer an invitation."""


class Train(BaseModel):
    """How a board trains; the [train] of a plan, and the `config` of an invitation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1, le=100_000)] = 20
    batch: Annotated[int, Field(ge=1, le=65_536)] = 16
    lr: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 0.1
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0


class Trained(NamedTuple):
    delta: dict[str, Array]
    """Of the base's layout."""
    num_examples: int
    metrics: dict[str, float]


def generator(seed: int, round: int, board: str) -> np.random.Generator:
    """One board's randomness in one round: the same on the board and in a simulation of it."""
    name = int.from_bytes(hashlib.sha256(board.encode()).digest(), "big")
    return np.random.default_rng([seed, round, name])


def train(invitation: RoundOpen, base: Weights, data: Dataset, rng: np.random.Generator) -> Trained:
    """Local steps from the base. Raises ClientError: base and data do not fit, or training diverged."""
    config = _config(invitation)
    _check_fit(base, data)
    before = linear.evaluate(base, data)
    with np.errstate(over="ignore", invalid="ignore"):
        trained = linear.sgd(base, data, steps=config.steps, batch=config.batch, lr=config.lr, rng=rng)
    if not weights.finite(trained):
        raise ClientError(
            f"{_name(invitation)}: training diverged at lr = {config.lr}; a smaller lr is needed"
        )
    metrics = dict(zip(METRICS, (*before, *linear.evaluate(trained, data)), strict=True))
    return Trained(weights.subtract(trained, base), len(data.y), metrics)


def contribute(invitation: RoundOpen, base: bytes, data: Dataset, board: str) -> tuple[bytes, Update]:
    """The delta's bytes and the message that announces them. Raises ClientError."""
    if digest.of_bytes(base) != invitation.base:
        raise ClientError(f"{_name(invitation)}: the base has other bytes than its digest says")
    try:
        model = weights.decode(base)
    except WeightsError as error:
        raise ClientError(f"{_name(invitation)}: the base is no weights: {error}") from None
    rng = generator(_config(invitation).seed, invitation.round, board)
    trained = train(invitation, model, data, rng)
    delta = weights.encode(trained.delta)
    return delta, Update(
        board=board,
        plan=invitation.plan,
        round=invitation.round,
        base=invitation.base,
        num_examples=trained.num_examples,
        delta=digest.of_bytes(delta),
        size=len(delta),
        metrics=trained.metrics,
    )


def run(
    invitation: RoundOpen,
    data_path: Path,
    *,
    board: str,
    publish: Callable[[str, bytes], None],
    token: str,
    workdir: Path,
    now: float,
) -> Update:
    """Answer an invitation: fetch the base, train, put the delta, publish the update.

    Blocks, so it is not for a link's thread. A base that was fetched in part is resumed after a kill; bases
    of other rounds are removed from `workdir`. Raises ClientError (too late, or data and model do not fit)
    and FetchError.
    """
    if now >= invitation.deadline:
        raise ClientError(f"{_name(invitation)} ended {now - invitation.deadline:.0f} s ago")
    data = load_data(data_path)
    delta, update = contribute(invitation, _base(invitation, workdir), data, board)
    blobs.put(invitation.blobs, delta, token)
    publish(topics.up(board, "update"), encode(update))
    return update


def answer(
    invitation: RoundOpen,
    data_path: Path,
    *,
    board: str,
    publish: Callable[[str, bytes], None],
    token: str,
    workdir: Path,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Update:
    """`run`, tried again while the round lasts when a transfer broke in a way that this may mend. Raises as
    `run` does."""
    while True:
        try:
            return run(
                invitation,
                data_path=data_path,
                board=board,
                publish=publish,
                token=token,
                workdir=workdir,
                now=now(),
            )
        except FetchError as error:
            if not error.retry:
                raise
            log.warning("%s: %s; trying again", _name(invitation), error)
            sleep(RETRY)


def load_data(path: Path) -> Dataset:
    """`x` [n, f] finite numbers and `y` [n] whole numbers from 0 on, out of an .npz. Raises ClientError."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ClientError(f"{path}: one bare array, expected an .npz with x and y")
        with loaded as file:
            missing = [name for name in ("x", "y") if name not in file]
            if missing:
                raise ClientError(f"{path}: no array {missing[0]}; arrays here: {', '.join(file) or 'none'}")
            x, y = file["x"], file["y"]
    except ClientError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ClientError(f"{path}: not a readable .npz: {error}") from None
    return checked(x, y, str(path))


def checked(x: NDArray[Any], y: NDArray[Any], name: str) -> Dataset:
    """The arrays as a data set; `name` is what errors call their source. Raises ClientError."""
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] == 0 or x.dtype.kind not in "fiu":
        raise ClientError(f"{name}: x is {x.dtype} {list(x.shape)}, expected numbers [examples, features]")
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
        raise ClientError(f"{name}: y is {y.dtype} {list(y.shape)}, expected whole numbers [{len(x)}]")
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0]
        raise ClientError(f"{name}: x[{row}, {column}] is {x[row, column]}, expected a finite float32")
    if y.min() < 0 or y.max() > MAX_LABEL:
        raise ClientError(f"{name}: labels go from {y.min()} to {y.max()}, expected 0 to {MAX_LABEL}")
    return Dataset(features, y.astype(np.int64))


def _base(invitation: RoundOpen, workdir: Path) -> bytes:
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / f"{invitation.base}.base"
    for other in workdir.glob("*.base*"):
        if not other.name.startswith(path.name):
            other.unlink()
    if not path.exists():
        blobs.fetch(
            invitation.blobs,
            invitation.base,
            path,
            size=invitation.size,
            timeout=FETCH_TIMEOUT,
        )
    return path.read_bytes()


def _config(invitation: RoundOpen) -> Train:
    try:
        return Train.model_validate(invitation.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ClientError(f"{_name(invitation)}: config.{where}: {first['msg']}") from None


def _check_fit(base: Weights, data: Dataset) -> None:
    shapes = {name: array.shape for name, array in base.items()}
    features, classes = shape if len(shape := shapes.get("w", ())) == 2 else (0, 0)
    if not classes or shapes != {"b": (classes,), "w": (features, classes)}:
        raise ClientError(f"the base has tensors {shapes}, expected w [features, classes] and b [classes]")
    if data.x.shape[1] != features:
        raise ClientError(f"the data has {data.x.shape[1]} features, the base expects {features}")
    if data.y.max() >= classes:
        raise ClientError(f"the data has a label {data.y.max()}, the base knows 0 to {classes - 1}")


def _name(invitation: RoundOpen) -> str:
    return f"round {invitation.round} of {invitation.plan}"
