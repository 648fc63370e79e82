"""Who this board is and what it runs: the hello, and the board facts that releases are checked against."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata

from cloud_broker.wire.messages import Hello, Running, TaskEvidence, profile_hash
from edge_agent.slots import Slot


@cache
def agent_version() -> str:
    return metadata.version("walle-edge")


@dataclass(frozen=True, slots=True)
class Board:
    """What does not change while the agent runs."""

    id: str
    session: int
    labels: Mapping[str, str] = field(default_factory=dict)
    agent: str = field(default_factory=agent_version)
    arch: str = field(default_factory=platform.machine)


def running(slots: Mapping[str, Slot | None]) -> dict[str, Running]:
    """The profile: every task that has a version to run, the one on trial included."""
    return {name: Running(version=slot.version, release=slot.release) for name, slot in slots.items() if slot}


def hello(
    board: Board,
    profile: Mapping[str, Running],
    tasks: Mapping[str, TaskEvidence],
    now: float,
    *,
    whole: bool,
) -> Hello:
    """With the profile itself on connect, on change and when asked; the heartbeat carries its hash alone."""
    return Hello(
        board=board.id,
        session=board.session,
        agent=board.agent,
        arch=board.arch,
        at=now,
        profile_hash=profile_hash(profile),
        profile=dict(profile) if whole else None,
        tasks=dict(tasks),
        labels=dict(board.labels),
    )
