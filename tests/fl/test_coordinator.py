"""The coordinator among boards in memory: undisturbed, killed at every checkpoint, and among liars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from cloud_broker.wire import digest, topics
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.link import MemoryHub, MemoryLink
from cloud_broker.wire.messages import Presence, Reason, RoundOpen, Update, decode, encode
from fl import weights
from fl.client import contribute
from fl.clock import VirtualClock
from fl.coordinator import Coordinator, CoordinatorError
from fl.linear import Dataset
from fl.round_spec import Plan
from fl.simulation import Board, simulate
from fl.stores import Checkpoint, MemoryBlobs, MemoryCheckpoint
from fl.strategy import FedAvg

Answer = Callable[[RoundOpen, MemoryBlobs, Callable[[Update], None]], None]


class Killed(BaseException):
    """The power goes."""


class Fuse(MemoryCheckpoint):
    """Kills at the n-th save, before or after it took place."""

    def __init__(self) -> None:
        super().__init__()
        self.saves = 0
        self.kill_at: tuple[int, str] | None = None

    def save(self, data: bytes) -> None:
        self.saves += 1
        if self.kill_at == (self.saves, "before"):
            raise Killed
        super().save(data)
        if self.kill_at == (self.saves, "after"):
            raise Killed


class World:
    """A hub, its boards and a blob store, which outlive coordinators."""

    def __init__(self, boards: Mapping[str, Dataset]) -> None:
        self.hub, self.blobs = MemoryHub(), MemoryBlobs()
        for name, data in boards.items():
            link = self.hub.link(name)
            Board(name, link, self.blobs, data)
            link.start()

    def coordinator(self, plan: Plan, checkpoint: Checkpoint) -> Coordinator:
        link = self.hub.link("coordinator")
        link.start()
        return Coordinator(plan, FedAvg(plan.plan.invited), link, self.blobs, checkpoint, VirtualClock())

    def liar(self, name: str, answer: Answer) -> None:
        """A board that answers in its own way."""
        link: MemoryLink = self.hub.link(name)

        def send(update: Update) -> None:
            link.publish(topics.up(name, "update"), encode(update))

        link.subscribe(
            topics.all_down(name),
            lambda _, payload: answer(decode(payload, RoundOpen), self.blobs, send),
        )
        link.start()
        online = Presence(board=name, session=1, online=True)
        link.publish(topics.up(name, "state"), encode(online), retain=True)


def with_rules(plan: Plan, **changes: Any) -> Plan:
    return plan.model_copy(update={"plan": plan.plan.model_copy(update=changes)})


def test_undisturbed(plan: Plan, boards: dict[str, Dataset]) -> None:
    world = World(boards)
    coordinator = world.coordinator(plan, MemoryCheckpoint())
    saved = coordinator.run()
    assert [(row.round, row.cohort, row.updates, row.refused, row.cause) for row in saved.history] == [
        (number, 4, 4, {}, None) for number in (1, 2, 3)
    ]
    assert saved.history[0].loss == pytest.approx(np.log(3))
    losses = [row.loss for row in saved.history]
    assert losses == sorted(losses, reverse=True)
    assert saved.history[0].bytes == 8 * saved.size
    assert world.blobs.get(saved.weights, saved.size) == weights.encode(coordinator.base)


def test_one_round_is_the_mean_one_would_compute_by_hand(plan: Plan, boards: dict[str, Dataset]) -> None:
    seen: list[RoundOpen] = []
    world = World(boards)
    world.hub.link("watcher").subscribe("wl/v1/d/+/dn/round", lambda _, p: seen.append(decode(p, RoundOpen)))
    world.hub.restore("watcher")
    coordinator = world.coordinator(with_rules(plan, rounds=1), MemoryCheckpoint())
    start = coordinator.base
    coordinator.run()
    answers = [contribute(seen[0], weights.encode(start), data, name) for name, data in boards.items()]
    examples = sum(update.num_examples for _, update in answers)
    for name, array in coordinator.base.items():
        mean = sum(weights.decode(delta)[name] * float(u.num_examples) for delta, u in answers) / examples
        np.testing.assert_allclose(array, start[name] + mean, rtol=1e-6, atol=1e-7)


def test_killed_at_every_checkpoint_the_final_bytes_are_the_same(
    plan: Plan, boards: dict[str, Dataset]
) -> None:
    plan = with_rules(plan, rounds=2, min=2, boards=3)
    count = Fuse()
    expected = World(boards).coordinator(plan, count).run()
    assert count.saves >= 2 * (1 + 1 + 3 + 1)
    for at in range(1, count.saves + 1):
        for side in ("before", "after"):
            world, fuse = World(boards), Fuse()
            fuse.kill_at = (at, side)
            with pytest.raises(Killed):
                world.coordinator(plan, fuse).run()
            world.hub.lose("coordinator")
            coordinator = world.coordinator(plan, fuse)
            ended = coordinator.run()
            assert ended.weights == expected.weights, f"killed {side} save {at}"
            assert digest.of_bytes(weights.encode(coordinator.base)) == expected.weights
            assert [row.round for row in ended.history] == [1, 2]


def test_started_again_after_its_end_it_does_nothing(plan: Plan, boards: dict[str, Dataset]) -> None:
    world, checkpoint = World(boards), MemoryCheckpoint()
    ended = world.coordinator(plan, checkpoint).run()
    assert world.coordinator(plan, checkpoint).run() == ended


def test_another_plans_checkpoint_is_not_continued(plan: Plan, boards: dict[str, Dataset]) -> None:
    world, checkpoint = World(boards), MemoryCheckpoint()
    world.coordinator(plan, checkpoint).run()
    with pytest.raises(CoordinatorError, match="another plan"):
        world.coordinator(with_rules(plan, rounds=9), checkpoint)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"schema_": 2}', b"\xff"])
def test_a_damaged_checkpoint_is_not_overwritten(content: bytes, plan: Plan) -> None:
    checkpoint = MemoryCheckpoint()
    checkpoint.save(content)
    with pytest.raises(CoordinatorError, match="not readable"):
        World({}).coordinator(plan, checkpoint)
    assert checkpoint.load() == content


def offer(blobs: MemoryBlobs, invitation: RoundOpen, board: str, data: bytes, **changes: Any) -> Update:
    return Update(
        board=board,
        plan=invitation.plan,
        round=invitation.round,
        base=invitation.base,
        num_examples=1,
        delta=blobs.put(data),
        size=len(data),
    ).model_copy(update=changes)


def answering(make: Callable[[RoundOpen, MemoryBlobs], Update]) -> Answer:
    return lambda invitation, blobs, send: send(make(invitation, blobs))


def silence(_invitation: RoundOpen, _blobs: MemoryBlobs, _send: Callable[[Update], None]) -> None:
    """No answer at all."""


ZEROS = {"b": np.zeros(3, np.float32), "w": np.zeros((5, 3), np.float32)}
NAN = {**ZEROS, "b": np.float32([np.nan, 0, 0])}
OTHER = {"b": np.zeros(3, np.float32)}
HUGE = {**ZEROS, "b": np.full(3, 3e38, np.float32)}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (answering(lambda i, b: offer(b, i, "liar", weights.encode(NAN))), "non_finite"),
        (answering(lambda i, b: offer(b, i, "liar", weights.encode(OTHER))), "wrong_shape"),
        (answering(lambda i, b: offer(b, i, "liar", b"PK")), "not_weights"),
        (answering(lambda i, b: offer(b, i, "liar", b"0" * 10_000)), "too_large"),
        (answering(lambda i, b: offer(b, i, "liar", b"0" * 10_000, size=9)), "too_large"),
        (answering(lambda i, b: offer(b, i, "liar", b"", delta="f" * 64)), "fetch_failed"),
        (answering(lambda i, b: offer(b, i, "pi-0", weights.encode(ZEROS))), "forged"),
        (answering(lambda i, b: offer(b, i, "liar", b"", base="f" * 64)), "stale_base"),
        (answering(lambda i, b: offer(b, i, "liar", b"", round=9)), "other_round"),
        (answering(lambda i, b: offer(b, i, "liar", b"", plan="q")), "other_plan"),
        (answering(lambda i, b: offer(b, i, "liar", b"", num_examples=10**30)), "too_many_examples"),
        (silence, None),
    ],
)
def test_a_liar_changes_nothing(
    answer: Answer, code: str | None, plan: Plan, boards: dict[str, Dataset]
) -> None:
    honest = World(boards).coordinator(plan, MemoryCheckpoint()).run()
    world = World(boards)
    world.liar("liar", answer)
    ended = world.coordinator(plan, MemoryCheckpoint()).run()
    assert ended.weights == honest.weights
    assert [row.refused for row in ended.history] == [{code: 1} if code else {}] * 3
    assert all((row.cohort, row.updates, row.cause) == (5, 4, None) for row in ended.history)


def test_an_update_sent_twice_counts_once(plan: Plan, boards: dict[str, Dataset]) -> None:
    def twice(invitation: RoundOpen, blobs: MemoryBlobs, send: Callable[[Update], None]) -> None:
        update = offer(blobs, invitation, "a-twin", weights.encode(ZEROS))
        send(update)
        send(update)

    world = World(boards)
    world.liar("a-twin", twice)
    ended = world.coordinator(plan, MemoryCheckpoint()).run()
    assert sum(sum(row.refused.values()) for row in ended.history) >= 2
    assert set().union(*(row.refused for row in ended.history)) <= {"duplicate", "late"}
    assert [row.updates for row in ended.history] == [5, 5, 5]


def test_updates_that_overflow_void_the_round(plan: Plan) -> None:
    world = World({})
    for name in "abcd":
        world.liar(name, answering(lambda i, b, n=name: offer(b, i, n, weights.encode(HUGE))))  # type: ignore[misc]
    ended = world.coordinator(plan, MemoryCheckpoint()).run()
    assert [row.cause for row in ended.history] == [None, "non_finite", "non_finite"]
    assert weights.finite(weights.decode(world.blobs.get(ended.weights, ended.size)))


def test_without_boards_every_round_fails_and_the_base_stays(plan: Plan) -> None:
    coordinator = World({}).coordinator(plan, MemoryCheckpoint())
    ended = coordinator.run()
    assert [(row.cause, row.bytes, row.loss) for row in ended.history] == [("too_few_boards", 0, None)] * 3
    assert not coordinator.base["w"].any()


def test_without_a_quorum_a_round_fails_at_its_deadline(plan: Plan, boards: dict[str, Dataset]) -> None:
    world = World(dict(list(boards.items())[:3]))
    world.liar("silent", silence)
    ended = world.coordinator(plan, MemoryCheckpoint()).run()
    assert [(row.cause, row.updates) for row in ended.history] == [("no_quorum", 3)] * 3


def test_a_board_that_left_is_not_invited(plan: Plan, boards: dict[str, Dataset]) -> None:
    def leave(_invitation: RoundOpen, _blobs: MemoryBlobs, _send: object) -> None:
        for session, online in ((2, False), (1, True)):  # the second is the word of an older session
            word = Presence(board="leaver", session=session, online=online)
            link.publish(topics.up("leaver", "state"), encode(word), retain=True)

    world = World(boards)
    link = world.hub.link("voice")
    link.start()
    world.liar("leaver", leave)
    ended = world.coordinator(plan, MemoryCheckpoint()).run()
    assert [row.cohort for row in ended.history] == [5, 4, 4]


def test_what_is_no_message_is_counted(plan: Plan, boards: dict[str, Dataset]) -> None:
    world = World(boards)
    world.liar("noisy", silence)
    coordinator = world.coordinator(with_rules(plan, rounds=1), MemoryCheckpoint())
    link = world.hub.link("noise")
    link.subscribe("wl/v1/d/noisy/dn/round", lambda *_: link.publish("wl/v1/d/noisy/up/update", b"{}"))
    link.start()
    assert coordinator.run().history[0].updates == 4
    assert coordinator.counters == {"not_ours": 1}


class Away(MemoryBlobs):
    """The boards' blob store, out of reach for the coordinator from its n-th read on."""

    def __init__(self, blobs: MemoryBlobs, reads: int) -> None:
        self._blobs = blobs._blobs
        self._reads = reads

    def get(self, digest: str, limit: int) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise FetchError(Reason.FETCH_FAILED, "connection refused", retry=True)
        return super().get(digest, limit)


@pytest.mark.parametrize("reads", [1, 3, 6, 11])
def test_when_the_blob_store_is_away_nothing_is_lost(
    reads: int, plan: Plan, boards: dict[str, Dataset]
) -> None:
    expected = World(boards).coordinator(plan, MemoryCheckpoint()).run()
    world, checkpoint = World(boards), MemoryCheckpoint()
    reachable = world.blobs
    world.blobs = Away(reachable, reads)
    with pytest.raises(FetchError):
        world.coordinator(plan, checkpoint).run()
    world.hub.lose("coordinator")
    world.blobs = reachable
    assert world.coordinator(plan, checkpoint).run().weights == expected.weights


def test_the_simulator_is_this_very_coordinator(plan: Plan, boards: dict[str, Dataset]) -> None:
    expected = World(boards).coordinator(plan, MemoryCheckpoint()).run()
    history = simulate(plan, boards, seed=11)
    assert digest.of_bytes(weights.encode(history.weights)) == expected.weights
    assert history.rows == expected.history
