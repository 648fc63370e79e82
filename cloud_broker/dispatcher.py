"""The server's heart: messages, requests and the clock in; states kept first, then notices out.

Everything happens in a `_Turn`: one lock, one transaction. A notice is published only after the state
that intends it is safe; what a stop in between swallowed is sent again by `start` and on every reconnect.
Messages that are not ours are counted and logged, and change nothing.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from cloud_broker import fleet, rollout, rollout_spec
from cloud_broker.database import Database
from cloud_broker.fleet import Board
from cloud_broker.registry import Registry, Release
from cloud_broker.rollout import Announce, Event, Member, Notify, Phase, Rollout
from cloud_broker.rollout_spec import Policy
from cloud_broker.wire import topics
from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import (
    Ask,
    Hello,
    Notice,
    Presence,
    Reason,
    Report,
    Update,
    WireError,
    decode,
    encode,
)

log = logging.getLogger(__name__)

ROLLBACK_POLICY = Policy.model_validate(
    {"steps": ["100%"], "hold": "0s", "advance_if": "ok_rate >= 0%", "abort_if": "failed_rate > 100%"}
)
"""Going back is for everyone, at once, whatever happens on the way."""

VERBS: Mapping[str, tuple[Callable[[], Event], tuple[Phase, ...]]] = {
    "pause": (rollout.Paused, (Phase.RUNNING,)),
    "resume": (rollout.Resumed, (Phase.PAUSED,)),
    "skip": (rollout.Skipped, (Phase.RUNNING, Phase.PAUSED)),
    "abort": (rollout.Aborted, (Phase.RUNNING, Phase.PAUSED, Phase.COMPLETE)),
}
"""What a person may say to a rollout, and in which phases."""


class Refused(Exception):
    """A request that makes no sense now: what is wrong, what to do; `known`: there is such a thing."""

    def __init__(self, text: str, advice: str, *, known: bool = True) -> None:
        super().__init__(text)
        self.advice = advice
        self.known = known


class Dispatcher:
    """Owns fleet and rollouts; safe from any thread. `blobs`: the store's address as boards see it."""

    def __init__(
        self, database: Database, registry: Registry, link: Link, *, blobs: str, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._registry = registry
        self._link = link
        self._blobs = blobs
        self._clock = clock
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self.counters: Counter[str] = Counter()
        self._boards: dict[str, Board] = {}
        for record in database.boards():
            board = Board.model_validate_json(record).model_copy(update={"online": False})
            self._boards[board.board] = board
        self._rollouts = {number: self._load(number, state) for number, state in database.rollouts()}
        self._current = {state.task: number for number, state in self._rollouts.items() if state.open}

    def start(self) -> None:
        """Listen to the boards, and say again what may have been lost."""
        self._link.subscribe(topics.all_up(), self.handle)
        self._link.on_connect(self._repeat)
        self._link.start()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener`, quickly and from any thread, whenever anything that can be seen has changed."""
        self._listeners.append(listener)

    # --- from boards ---

    def handle(self, topic: str, payload: bytes) -> None:
        """One message of a board."""
        address = topics.parse(topic)
        take = _KINDS.get(address.leaf) if address and address.direction == "up" else None
        if address is None or take is None:
            self._not_ours(topic, "no such topic")
            return
        try:
            take(self, address.board, payload)
            self.counters[address.leaf] += 1
        except WireError as error:
            self._not_ours(topic, str(error))

    def _hello(self, name: str, payload: bytes) -> None:
        hello = decode(payload, Hello)
        _same_board(name, hello.board)
        with self._turn() as turn:
            board = fleet.after_hello(self._boards.get(name), hello, turn.now)
            turn.boards[name] = board
            if not board.profile_hash:
                turn.messages.append((topics.down(name, "ask"), encode(Ask(profile_hash=hello.profile_hash))))
                return
            for task, number in self._current.items():
                turn.step(number, rollout.BoardSeen(name, board.profile.get(task)))

    def _report(self, name: str, payload: bytes) -> None:
        report = decode(payload, Report)
        _same_board(name, report.board)
        with self._turn() as turn:
            number = _number(report.rollout)
            if number not in self._rollouts:
                self.counters["report_without_rollout"] += 1
                return
            event = rollout.Reported(name, report.release, report.state, report.reason, report.detail)
            turn.step(number, event)
            if name in self._boards:
                turn.boards[name] = self._boards[name].model_copy(update={"seen": turn.now})

    def _presence(self, name: str, payload: bytes) -> None:
        presence = decode(payload, Presence)
        _same_board(name, presence.board)
        with self._turn() as turn:
            before = self._boards.get(name)
            board = fleet.after_presence(before, presence, turn.now)
            turn.boards[name] = board
            if board.online == (before is not None and before.online):
                return
            if not board.online:
                turn.log("offline", name, "the connection broke")
            for task, number in self._current.items():
                if not board.online:
                    turn.step(number, rollout.BoardGone(name))
                elif board.profile_hash:
                    turn.step(number, rollout.BoardSeen(name, board.profile.get(task)))

    def _update(self, name: str, payload: bytes) -> None:
        """Contributions are the federated coordinator's; here they only show that the board is alive."""
        _same_board(name, decode(payload, Update).board)

    def _not_ours(self, topic: str, why: str) -> None:
        self.counters["not_ours"] += 1
        log.warning("a message on %.200r is not ours: %.300s", topic, why)

    # --- from people ---

    def start_rollout(self, release: Release, policy: Policy | None = None) -> Rollout:
        """Spread `release`, as told or as its spec says. Raises Refused, PolicyError, StoreError."""
        if policy is None:
            spec = self._registry.spec(release).decode(errors="replace")
            policy = rollout_spec.from_spec(spec, release.manifest.spec)
        with self._lock:
            running = self._open_rollout(release.task)
            if running and running.release == release.release and running.phase is not Phase.ABORTED:
                raise Refused(
                    f"{release.task} {release.version} is rollout {running.id} already, {running.phase}",
                    f"`abort {running.id}` first to start it anew",
                )
            previous = rollout.previous_good(self._rollouts.values(), release.task, release.release)
            return self._begin(release, policy, previous=previous, rollback=False)

    def rollback(self, task: str) -> Rollout:
        """Send every board back to the release of the task that was good before this one. Raises Refused."""
        with self._lock:
            current = self._open_rollout(task)
            if current is None:
                raise Refused(
                    f"no rollout of {task!r} to go back from", "`walle rollout` lists them", known=False
                )
            if current.phase is Phase.ABORTED:
                raise Refused(
                    f"rollout {current.id} was aborted and its boards sent back already", "nothing to do"
                )
            back_to = rollout.previous_good(self._rollouts.values(), task, current.release)
            release = self._registry.get(back_to)
            if release is None:
                raise Refused(
                    f"there is no earlier good release of {task!r}", "release a corrected version instead"
                )
            return self._begin(release, ROLLBACK_POLICY, previous="", rollback=True)

    def act(self, rollout_id: str, verb: str) -> Rollout:
        """pause, resume, skip or abort. Raises Refused."""
        with self._lock:
            state = self._rollouts.get(_number(rollout_id))
            if state is None or verb not in VERBS:
                what = f"rollout {rollout_id!r}" if state is None else f"verb {verb!r}"
                raise Refused(
                    f"there is no {what}",
                    f"`walle rollout` lists them; verbs: {', '.join(VERBS)}",
                    known=False,
                )
            event, phases = VERBS[verb]
            if state.phase not in phases or not state.open:
                now = state.phase if state.open else f"{state.phase} and a newer one has taken over"
                raise Refused(
                    f"rollout {state.id} is {now}", f"{verb} works while it is {' or '.join(phases)}"
                )
            with self._turn() as turn:
                turn.step(state.number, event())
            return self._rollouts[state.number]

    def tick(self) -> None:
        """What only time brings: holds that are over, boards that took too long."""
        with self._turn() as turn:
            for number in self._current.values():
                turn.step(number, rollout.Tick())

    # --- to look at ---

    def boards(self) -> list[Board]:
        with self._lock:
            return sorted(self._boards.values(), key=lambda board: board.board)

    def rollouts(self) -> list[Rollout]:
        """Newest first."""
        with self._lock:
            return [self._rollouts[number] for number in sorted(self._rollouts, reverse=True)]

    def rollout(self, rollout_id: str) -> Rollout | None:
        with self._lock:
            return self._rollouts.get(_number(rollout_id))

    # --- inside ---

    @contextmanager
    def _turn(self) -> Iterator[_Turn]:
        with self._lock:
            turn = _Turn(self)
            with self._database.transaction():
                yield turn
                turn.keep()
            self._boards |= turn.boards
            self._rollouts |= turn.rollouts
            self._current = {
                **self._current,
                **{state.task: number for number, state in turn.rollouts.items() if state.open},
            }
            for topic, payload in turn.messages:
                self._link.publish(topic, payload)
            changed = turn.changed
        if changed:
            for listener in self._listeners:
                listener()

    def _begin(self, release: Release, policy: Policy, *, previous: str, rollback: bool) -> Rollout:
        known = {
            board.board: (board.seen if board.online else 0.0, board.profile.get(release.task))
            for board in self._boards.values()
        }
        with self._turn() as turn:
            number = self._database.new_rollout()
            older = self._current.get(release.task)
            if older is not None:
                turn.step(older, rollout.Superseded(f"r{number}", withdrawn=rollback))
            fresh = Rollout(
                number=number,
                task=release.task,
                version=release.version,
                release=release.release,
                previous=previous,
                rollback=rollback,
                policy=policy,
                started=turn.now,
            )
            word = "rollback to" if rollback else "rollout of"
            turn.log("started", fresh.id, f"{word} {release.task} {release.version}")
            turn.take(*rollout.begin(fresh, known, turn.now))
        return self._rollouts[number]

    def _open_rollout(self, task: str) -> Rollout | None:
        number = self._current.get(task)
        return None if number is None else self._rollouts[number]

    def _load(self, number: int, state: bytes) -> Rollout:
        members = {board: decode(member, Member) for board, member in self._database.members(number)}
        return decode(state, Rollout).model_copy(update={"members": members})

    def _repeat(self) -> None:
        """Notices whose state was kept, but which may never have left."""
        with self._lock:
            turn = _Turn(self)
            for number in self._current.values():
                state = self._rollouts[number]
                for notify in rollout.pending(state):
                    turn.notify(state, notify)
            for topic, payload in turn.messages:
                self._link.publish(topic, payload)


class _Turn:
    """What one message, request or tick changes, collected before any of it is kept or sent."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._of = dispatcher
        self.now = dispatcher._clock()
        self.boards: dict[str, Board] = {}
        self.rollouts: dict[int, Rollout] = {}
        self.messages: list[tuple[str, bytes]] = []
        self._events: list[tuple[str, str, str]] = []

    @property
    def changed(self) -> bool:
        return bool(self.boards or self.rollouts or self._events)

    def step(self, number: int, event: Event) -> None:
        state = self.rollouts.get(number) or self._of._rollouts[number]
        new, actions = rollout.step(state, event, self.now)
        if new != state:  # or else every tick would wake whoever looks
            self.take(new, actions)

    def take(self, state: Rollout, actions: Iterable[rollout.Action]) -> None:
        self.rollouts[state.number] = state
        for action in actions:
            match action:
                case Notify():
                    self.notify(state, action)
                case Announce(kind, text):
                    self.log(kind, state.id, f"{state.task} {state.version}: {text}")

    def notify(self, state: Rollout, action: Notify) -> None:
        release = self._of._registry.get(action.release)
        if release is None:
            raise KeyError(
                f"rollout {state.id} names release {action.release}, which the registry does not have"
            )
        notice = Notice(
            task=release.task,
            version=release.version,
            release=release.release,
            size=release.size,
            blobs=self._of._blobs,
            rollout=state.id,
            issued=self.now,
            rollback=action.rollback,
        )
        self.messages.append((topics.down(action.board, "notice"), encode(notice)))
        self._of.counters["notices"] += 1

    def log(self, kind: str, subject: str, text: str) -> None:
        self._events.append((kind, subject, text))

    def keep(self) -> None:
        database = self._of._database
        for name, board in self.boards.items():
            old = self._of._boards.get(name)
            if old is None or fleet.lasting(old) != fleet.lasting(board):
                database.put_board(name, board.model_dump_json().encode())
        for number, state in self.rollouts.items():
            before = self._of._rollouts.get(number)
            known = before.members if before else {}
            members = [
                (name, encode(member))
                for name, member in state.members.items()
                if _news(known.get(name), member)
            ]
            head = _head(state)
            if members or before is None or _head(before) != head:
                database.put_rollout(number, head, members)
        for event in self._events:
            database.add_event(self.now, *event)


_KINDS: Mapping[str, Callable[[Dispatcher, str, bytes], None]] = {
    "hello": Dispatcher._hello,
    "report": Dispatcher._report,
    "state": Dispatcher._presence,
    "update": Dispatcher._update,
}


def _head(state: Rollout) -> bytes:
    return encode(state.model_copy(update={"members": {}}))


def _news(old: Member | None, new: Member) -> bool:
    """Is there more to keep than when the board was seen, which every heartbeat changes?"""
    return old is not new and (old is None or old.model_copy(update={"seen": new.seen}) != new)


def _same_board(topic: str, message: str) -> None:
    if topic != message:
        raise WireError(Reason.NOT_OURS, f"it speaks for board {message!r} on the topic of {topic!r}")


def _number(rollout_id: str) -> int:
    """The number in "r12", or -1."""
    return int(rollout_id[1:]) if re.fullmatch(r"r\d{1,15}", rollout_id, re.ASCII) else -1
