"""Drives rounds over a link and a blob store: the shell of `round.step`.

Every transition is saved before it is acted upon. Whoever stops the coordinator, at any moment, and starts it
again gets the same final bytes: an open round goes on with the boards that have not answered, a closed one is
aggregated again from the same updates.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from queue import Full, Queue
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from cloud_broker.wire import digest, topics
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Presence, RoundOpen, Update, WireError, decode, encode
from fl import linear, weights
from fl.clock import Clock
from fl.linear import Dataset
from fl.round import (
    Announced,
    Begin,
    Code,
    Event,
    Fetch,
    Fetched,
    Invite,
    Overflowed,
    Phase,
    Refusal,
    Round,
    Tick,
    Unusable,
    step,
)
from fl.round_spec import Plan
from fl.stores import Blobs, Checkpoint
from fl.strategy import Contribution, Strategy
from fl.weights import Weights, WeightsError

log = logging.getLogger(__name__)

HEARD: tuple[Literal["state", "update"], ...] = ("state", "update")
QUIET = 0.5
"""Seconds without a message after which everybody who is there has been heard of."""
MAX_WAITING = 10_000
"""Messages from boards not yet looked at; beyond, the newest are dropped and counted."""


class CoordinatorError(Exception):
    """Why rounds cannot begin or go on; nothing of what was saved is lost."""


class Row(BaseModel):
    """What came of one round."""

    model_config = ConfigDict(frozen=True)

    round: int
    cohort: int
    updates: int
    refused: Mapping[str, int]
    """Code -> how many."""
    loss: float | None
    accuracy: float | None
    """Both of the weights this round started from, on the boards' own data, weighted by their examples."""
    test_accuracy: float | None
    """Of the weights this round ended with, on held-out data; None where there is none."""
    bytes: int
    """Of the base to each of the cohort, and of the accepted deltas back."""
    cause: Code | None
    """Why the round failed; its base is kept."""


class Saved(BaseModel):
    """The checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = 1
    plan: str
    """Digest of the plan: another plan's rounds are not continued."""
    weights: str
    size: int
    round: Round | None = None
    """The one under way."""
    history: tuple[Row, ...] = ()


class Arrival(NamedTuple):
    at: float
    topic: str
    payload: bytes


class Coordinator:
    """Runs a plan's rounds. `test` is held-out data, for the record only; `on_row` hears of every round."""

    def __init__(
        self,
        plan: Plan,
        strategy: Strategy,
        link: Link,
        blobs: Blobs,
        checkpoint: Checkpoint,
        clock: Clock,
        *,
        test: Dataset | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self._plan = plan
        self._strategy = strategy
        self._link = link
        self._blobs = blobs
        self._checkpoint = checkpoint
        self._clock = clock
        self._test = test
        self._on_row = on_row
        self._inbox: Queue[Arrival] = Queue(MAX_WAITING)
        self._presence: dict[str, Presence] = {}
        self.counters: Counter[str] = Counter()
        """dropped (inbox full), between_rounds, and messages that were none, by their reason."""
        self._saved = self._resume()
        self.base: Weights = weights.decode(blobs.get(self._saved.weights, self._saved.size))

    def run(self) -> Saved:
        """Every round that is left; how it ended. Raises FetchError when the blob store stays away."""
        ends = [self._link.subscribe(topics.all_up(leaf), self._heard) for leaf in HEARD]
        try:
            while self._listen(self._clock.now() + QUIET):
                pass
            while len(self._saved.history) < self._plan.plan.rounds:
                self._one_round()
        finally:
            for end in ends:
                end()
        return self._saved

    # --- the acts of a round ---

    def _one_round(self) -> None:
        if self._saved.round is None:
            self._open()
        self._feed(Begin(), self._clock.now())
        while self._round.phase is Phase.COLLECTING:
            if not self._listen(self._round.deadline):
                self._feed(Tick(), self._clock.now())
        self._close()

    def _open(self) -> None:
        """Choose the cohort when enough boards are there; without them the round still opens, and fails."""
        rules, number = self._plan.plan, len(self._saved.history) + 1
        until = self._clock.now() + rules.deadline
        while len(self._online()) < rules.min and self._listen(until):
            pass
        online = self._online()
        opened = Round(
            plan=rules.name,
            number=number,
            base=self._saved.weights,
            size=self._saved.size,
            layout=weights.layout(self.base),
            cohort=self._strategy.configure(
                number, online, np.random.default_rng([self._plan.train.seed, number])
            ),
            quorum=rules.min,
            target=rules.wanted(len(online)),
            deadline=self._clock.now() + rules.deadline,
            max_examples=rules.max_examples,
        )
        self._save(round=opened)

    def _close(self) -> None:
        """The next weights from the accepted updates, or the same ones again."""
        after: dict[str, object] = {"round": None}
        if self._round.phase is Phase.AGGREGATED:
            result = self._strategy.aggregate(self.base, map(self._contribution, self._round.updates))
            if weights.finite(result):
                self.base, data = result, weights.encode(result)
                after |= {"weights": self._blobs.put(data), "size": len(data)}
            else:
                self._feed(Overflowed(), self._clock.now())
        row = self._row(self._round)
        self._save(**after, history=(*self._saved.history, row))
        if self._on_row is not None:
            self._on_row(row)

    # --- events in, actions out ---

    @property
    def _round(self) -> Round:
        assert self._saved.round is not None, "a round is under way"
        return self._saved.round

    def _feed(self, event: Event, now: float) -> None:
        before = self._round
        after, actions = step(before, event, now)
        if (after.phase, after.updates, after.spoiled) != (before.phase, before.updates, before.spoiled):
            self._save(round=after)
        else:
            self._saved = self._saved.model_copy(update={"round": after})
        for action in actions:
            match action:
                case Invite(board):
                    self._link.publish(topics.down(board, "round"), encode(self._invitation()))
                case Fetch(update):
                    self._feed(self._fetch(update), now)

    def _fetch(self, update: Update) -> Fetched | Unusable:
        try:
            return Fetched(update, self._delta(update))
        except WeightsError:
            return Unusable(update, Refusal.NOT_WEIGHTS)
        except FetchError as error:
            if error.retry:
                raise
            return Unusable(update, error.reason)

    def _delta(self, update: Update) -> Weights:
        return weights.decode(self._blobs.get(update.delta, update.size))

    def _contribution(self, update: Update) -> Contribution:
        return Contribution(update.board, update.num_examples, lambda: self._delta(update))

    def _invitation(self) -> RoundOpen:
        return RoundOpen(
            plan=self._round.plan,
            round=self._round.number,
            base=self._round.base,
            size=self._round.size,
            blobs=self._blobs.url,
            deadline=self._round.deadline,
            config=self._plan.train.model_dump(),
        )

    # --- what boards say ---

    def _heard(self, topic: str, payload: bytes) -> None:
        """On the link's thread."""
        try:
            self._inbox.put_nowait(Arrival(self._clock.now(), topic, payload))
        except Full:
            self.counters["dropped"] += 1

    def _listen(self, until: float) -> bool:
        """Take in one message; False when none came until then."""
        arrival = self._clock.take(self._inbox, until)
        if arrival is None:
            return False
        address = topics.parse(arrival.topic)
        try:
            if address is not None and address.leaf == "state":
                self._know(address.board, decode(arrival.payload, Presence))
            elif address is not None:
                self._answered(Announced(address.board, decode(arrival.payload, Update)), arrival.at)
        except WireError as error:
            self.counters[error.reason.value] += 1
            log.warning("%s: %s", arrival.topic, error)
        return True

    def _answered(self, event: Announced, at: float) -> None:
        if self._saved.round is None:
            self.counters["between_rounds"] += 1
        else:
            self._feed(event, at)

    def _know(self, board: str, presence: Presence) -> None:
        known = self._presence.get(board)
        if presence.board == board and (known is None or presence.session >= known.session):
            self._presence[board] = presence

    def _online(self) -> list[str]:
        return [board for board, presence in self._presence.items() if presence.online]

    # --- what is kept ---

    def _resume(self) -> Saved:
        """Where the last coordinator of this plan stopped, or the beginning."""
        plan = digest.of_bytes(self._plan.model_dump_json().encode())
        data = self._checkpoint.load()
        if data is None:
            first = weights.encode(linear.init(self._plan.data.features, self._plan.data.classes))
            saved = Saved(plan=plan, weights=self._blobs.put(first), size=len(first))
            self._checkpoint.save(saved.model_dump_json().encode())
            return saved
        try:
            saved = Saved.model_validate_json(data)
        except ValidationError as error:
            raise CoordinatorError(f"the checkpoint is not readable: {error}") from None
        if saved.plan != plan:
            raise CoordinatorError(
                "the checkpoint is of another plan; put that plan back, or begin in another state folder"
            )
        return saved

    def _save(self, **changes: object) -> None:
        self._saved = self._saved.model_copy(update=changes)
        self._checkpoint.save(self._saved.model_dump_json().encode())

    def _row(self, state: Round) -> Row:
        return Row(
            round=state.number,
            cohort=len(state.cohort),
            updates=len(state.updates),
            refused=state.refused,
            loss=_mean("loss", state.updates),
            accuracy=_mean("accuracy", state.updates),
            test_accuracy=None if self._test is None else linear.evaluate(self.base, self._test).accuracy,
            bytes=state.size * len(state.cohort) + sum(update.size for update in state.updates),
            cause=state.cause,
        )


def _mean(metric: str, updates: Iterable[Update]) -> float | None:
    """What the boards reported, weighted by their examples; None when nobody did."""
    told = [
        (update.num_examples, update.metrics[metric])
        for update in sorted(updates, key=lambda update: update.board)
        if metric in update.metrics
    ]
    return sum(n * value for n, value in told) / sum(n for n, _ in told) if told else None
