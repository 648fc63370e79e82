"""What is known of each board: its latest word on itself. Pure; the dispatcher keeps and stores it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from cloud_broker.wire.digest import Digest
from cloud_broker.wire.messages import (
    Hello,
    Message,
    Name,
    Presence,
    Reason,
    Running,
    TaskEvidence,
    WireError,
    profile_hash,
)
from cloud_broker.wire.topics import BoardId


class Board(Message):
    """One board; `profile_hash` is empty while its profile is unknown, `tasks` its last hello's evidence."""

    KIND: ClassVar[str] = "board"
    board: BoardId
    session: int
    online: bool
    seen: float
    agent: str = ""
    arch: str = ""
    profile_hash: Digest | Literal[""] = ""
    profile: Mapping[Name, Running] = {}
    tasks: Mapping[Name, TaskEvidence] = {}
    labels: Mapping[str, str] = {}


def after_hello(board: Board | None, hello: Hello, now: float) -> Board:
    """The board after its hello. Its `profile_hash` is empty when the hello only claims a hash we do not
    know: ask.

    Raises WireError (NOT_OURS) when the profile does not have the hash that is claimed for it.
    """
    if hello.profile is not None:
        if profile_hash(hello.profile) != hello.profile_hash:
            raise WireError(
                Reason.NOT_OURS, f"hello of {hello.board}: the profile has another hash than claimed"
            )
        profile, known = hello.profile, True
    else:
        known = board is not None and board.profile_hash == hello.profile_hash
        profile = board.profile if board is not None else {}
    return Board(
        board=hello.board,
        session=hello.session,
        online=True,
        seen=now,
        agent=hello.agent,
        arch=hello.arch,
        profile_hash=hello.profile_hash if known else "",
        profile=profile,
        tasks=hello.tasks,
        labels=hello.labels,
    )


def after_presence(board: Board | None, presence: Presence, now: float) -> Board:
    """The board after a word on its connection; unchanged by the will of a session that is not its latest."""
    if board is None:
        return Board(board=presence.board, session=presence.session, online=presence.online, seen=now)
    if presence.session < board.session:
        return board
    seen = now if presence.online else board.seen
    return board.model_copy(update={"session": presence.session, "online": presence.online, "seen": seen})


def lasting(board: Board) -> bytes:
    """What of a board is worth a write: everything but the times and counts that every heartbeat changes."""
    return board.model_copy(update={"seen": 0.0, "tasks": {}}).model_dump_json().encode()
