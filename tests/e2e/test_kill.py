"""kill -9 of any of the demo's five processes, at 50 seeded moments: it ends where it would have anyway."""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from walle_demo import StepFailed, System, wait_for

SEED, MOMENTS = 20221, 50
PROCESSES = ("broker", "server", "board-1", "board-2", "board-3")

PULSE = """
schema = 1
[task]
name = "{name}"
version = "{version}"
[sources]
host = {{ type = "host-metrics", every = "100ms" }}
[streams.load]
from = "host"
window = {{ kind = "tumbling", size = "200ms" }}
aggregate = {{ cpu = "mean(cpu)" }}
[sinks]
loads = {{ type = "sqlite", table = "loads" }}
[deploy]
steps = ["1 board", "100%"]
hold = "100ms"
probation = "500ms"
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("system"), port=0)
    try:
        system.start()
        yield system
    finally:
        system.stop()


def write_spec(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(PULSE.format(name=name, version=version))
    return path


def until_it_works(deed, seconds: float = 60) -> object:
    """A user whose command met a process that was just being killed gives it again."""
    end = time.monotonic() + seconds
    while True:
        try:
            return deed()
        except StepFailed:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def released(system: System, version: str) -> None:
    """Publish `pulse` in this version and start its rollout, unless that has happened already."""
    folder = system.folder / "releases" / version
    write_spec(folder, "pulse", version)
    with contextlib.suppress(OSError):
        if any(rollout["version"] == version for rollout in system.get("/api/rollouts")):
            return
    system.release(folder)


def as_it_must_be(system: System, release: str, dropped: str) -> bool:
    """Boards, server and rollout agree: every board runs the release, and the dropped spec beside it."""
    rollout = system.get("/api/rollouts")[0]
    boards = system.status()["boards"]
    told = {board["board"]: board["tasks"]["pulse"] for board in boards if board["online"]}
    own = {board: system.board_status(board)["tasks"] for board in system.boards}
    return (
        (rollout["version"], rollout["phase"]) == (release, "complete")
        and rollout["boards"].get("good") == len(system.boards)
        and all(told[board]["version"] == release for board in system.boards)
        and all(tasks["pulse"]["version"] == release for tasks in own.values())
        and all(tasks["local"]["version"] == dropped for tasks in own.values())
        and all(task["evidence"]["results"] > 0 for tasks in own.values() for task in tasks.values())
    )


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fifty_kills_leave_the_system_where_it_would_be_anyway(system: System) -> None:
    rng = Random(SEED)
    for moment in range(MOMENTS):
        version, victim, delay = f"1.{moment}.0", rng.choice(PROCESSES), rng.uniform(0.0, 2.5)
        killer = threading.Timer(delay, system.kill, [victim])
        killer.start()
        until_it_works(lambda version=version: released(system, version))
        for board in system.boards:
            write_spec(system.specs(board), "local", version)
        killer.join()
        what = f"{version} everywhere (seed {SEED}, {victim} killed after {delay:.2f} s)"
        wait_for(what, lambda version=version: as_it_must_be(system, version, version), 60)
    assert sum(process.restarts for process in system.processes.values()) == MOMENTS
    shutil.rmtree(system.folder / "releases")
