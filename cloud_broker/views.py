"""What the outside sees of the server's state: plain dictionaries, for the HTTP interface and the page."""

from __future__ import annotations

from typing import Any

from cloud_broker.fleet import Board
from cloud_broker.registry import Release
from cloud_broker.rollout import Rollout, Stage
from cloud_broker.wire.messages import TaskEvidence

View = dict[str, Any]


def board(board: Board) -> View:
    """A board and each of its tasks: what it runs, and the evidence for the state it is in."""
    names = sorted({*board.profile, *board.tasks})
    return {
        "board": board.board,
        "online": board.online,
        "seen": board.seen,
        "agent": board.agent,
        "arch": board.arch,
        "labels": dict(board.labels),
        "tasks": {name: _task(board, name) for name in names},
    }


def _task(board: Board, name: str) -> View:
    running = board.profile.get(name)
    evidence = board.tasks.get(name, TaskEvidence(state="unknown"))
    return {
        "version": running.version if running else "",
        "release": running.release if running else "",
        **evidence.model_dump(),
    }


def release(release: Release) -> View:
    manifest = release.manifest
    return {
        "task": release.task,
        "version": release.version,
        "release": release.release,
        "added": release.added,
        "bytes": sum(entry.size for entry in manifest.files),
        "files": [entry.model_dump() for entry in manifest.files],
    }


def rollout(state: Rollout, *, members: bool = True) -> View:
    count = state.count()
    view: View = {
        "id": state.id,
        "task": state.task,
        "version": state.version,
        "release": state.release,
        "previous": state.previous,
        "rollback": state.rollback,
        "phase": state.phase.value,
        "open": state.open,
        "step": state.step,
        "steps": [step.text for step in state.policy.steps],
        "policy": state.policy.model_dump(),
        "started": state.started,
        "completed": state.completed,
        "settled": state.settled,
        "cause": state.cause.model_dump() if state.cause else None,
        "why": str(state.cause) if state.cause else "",
        "boards": {stage.value: count[stage] for stage in Stage},
    }
    if members:
        view["members"] = {
            name: member.model_dump(mode="json", include={"stage", "since", "state", "reason", "detail"})
            for name, member in sorted(state.members.items())
        }
    return view
