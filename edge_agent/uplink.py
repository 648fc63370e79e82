"""The board's line to the server: presence, hello, reports up; notices, questions and invitations down.

The link may come and go. Presence and the whole profile are said on every connect, reports wait in the outbox
until acknowledged, what comes down is put into the agent's queue: all but the `heard` and `delivered`
callbacks is the agent's thread.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from random import Random

from cloud_broker.wire import topics
from cloud_broker.wire.link import Link, MqttLink
from cloud_broker.wire.messages import (
    Ask,
    Message,
    Notice,
    Presence,
    Report,
    RoundOpen,
    Running,
    TaskEvidence,
    WireError,
    decode,
    encode,
)
from edge_agent import profile, updater
from edge_agent.outbox import Outbox
from edge_agent.profile import Board

log = logging.getLogger("walle")

DOWN: Mapping[str, type[Message]] = {"notice": Notice, "ask": Ask, "round": RoundOpen}
"""Leaf of the topic -> what comes there."""
MAX_UNSAVED = 100
"""Reports kept in memory while the disk takes none; then the oldest go."""

Post = Callable[[Callable[[], None]], None]
"""Do this on the agent's thread."""


def will(board: Board) -> tuple[str, bytes]:
    """What the broker says when this board is lost without a goodbye."""
    message = Presence(board=board.id, session=board.session, online=False)
    return topics.up(board.id, "state"), encode(message)


def mqtt(url: str, board: Board, rng: Random) -> Link:
    return MqttLink(url, f"walle-{board.id}", will=will(board), rng=rng)


class Uplink:
    """`hear` gets what was sent to this board, decoded; `link` is None on a board that works alone."""

    def __init__(self, board: Board, link: Link | None, outbox: Outbox, heartbeat: float, post: Post) -> None:
        self._board = board
        self._link = link
        self._outbox = outbox
        self._heartbeat = heartbeat
        self._post = post
        self._unsaved: deque[tuple[str, updater.Report, float]] = deque(maxlen=MAX_UNSAVED)
        self._told: Mapping[str, Running] | None = None
        self._next_hello = 0.0

    def start(self, hear: Callable[[Message], None]) -> None:
        if self._link:
            self._link.subscribe(topics.all_down(self._board.id), partial(self._heard, hear))
            self._link.on_connect(lambda: self._post(self._connected))
            self._link.start()

    def stop(self) -> None:
        """Say goodbye."""
        if self._link:
            if self._link.connected:
                self._presence(online=False)
            self._link.stop()

    @property
    def connected(self) -> bool | None:
        """None on a board that works alone."""
        return self._link.connected if self._link else None

    def report(self, task: str, report: updater.Report, now: float) -> None:
        """Keep a report until the server has it; on a disk that takes nothing, in memory."""
        if self._link:
            self._unsaved.append((task, report, now))
            self._save()

    def say_soon(self) -> None:
        """Something about the tasks changed: do not wait for the next heartbeat."""
        self._next_hello = 0.0

    def answer(self) -> None:
        """The server asked: the next hello carries the whole profile."""
        self._told = None

    def tick(self, running: Mapping[str, Running], tasks: Mapping[str, TaskEvidence], now: float) -> None:
        """Send what waits; say hello when it is time: the whole profile when it changed, else its hash."""
        if self._link is None or not self._link.connected:
            return
        self._save()
        self._outbox.send(self._link, self._board.id, self._delivered)
        changed = running != self._told
        if changed or now >= self._next_hello:
            message = profile.hello(self._board, running, tasks, now, whole=changed)
            self._link.publish(topics.up(self._board.id, "hello"), encode(message))
            self._told = dict(running)
            self._next_hello = now + self._heartbeat

    def _save(self) -> None:
        while self._unsaved:
            task, report, at = self._unsaved[0]
            try:
                self._outbox.put(partial(self._numbered, task, report, at))
            except sqlite3.Error as error:
                log.error("%s: the report %s waits in memory: %s", task, report.state, error)
                return
            self._unsaved.popleft()

    def _numbered(self, task: str, report: updater.Report, at: float, seq: int) -> Report:
        return Report(
            board=self._board.id,
            seq=seq,
            task=task,
            release=report.release,
            rollout=report.rollout,
            state=report.state,
            at=at,
            reason=report.reason,
            detail=report.detail,
        )

    def _connected(self) -> None:
        self._presence(online=True)
        self._outbox.reconnected()
        self._told = None

    def _presence(self, *, online: bool) -> None:
        if self._link:
            message = Presence(board=self._board.id, session=self._board.session, online=online)
            self._link.publish(topics.up(self._board.id, "state"), encode(message), retain=True)

    # --- on the link's thread ---

    def _delivered(self, seq: int) -> None:
        self._post(partial(self._outbox.delivered, seq))

    def _heard(self, hear: Callable[[Message], None], topic: str, payload: bytes) -> None:
        address = topics.parse(topic)
        kind = DOWN.get(address.leaf) if address else None
        try:
            if kind is None:
                log.warning("a message on %r is not for boards", topic)
            else:
                self._post(partial(hear, decode(payload, kind)))
        except WireError as error:
            log.warning("a message on %r is refused (%s): %.300s", topic, error.reason, error)
