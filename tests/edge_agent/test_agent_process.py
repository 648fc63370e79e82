"""The agent as a process: killed without warning while its specs change, stopped politely, started
wrongly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import pytest

from edge_agent.slots import Slots
from edge_agent.status import NotRunning, Picture, read

GUARD = 60.0
"""Seconds after which a test that waits has hung."""


def spec_text(version: str) -> str:
    return f"""schema = 1
[task]
name = "host"
version = "{version}"
[sources]
m = {{ type = "host-metrics", every = "50ms" }}
[sinks]
out = {{ type = "file", path = "out.jsonl", from = "m" }}
"""


class Process:
    """An agent on a folder."""

    def __init__(self, folder: Path) -> None:
        self.state, self.specs = folder / "state", folder / "specs"
        self.specs.mkdir()
        self.child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "edge_agent", "--state", str(self.state), "--specs", str(self.specs)]
        self.child = subprocess.Popen(
            [*command, "--board", "pi-1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def until_ready(self) -> None:
        assert self.child is not None and self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith("agent ready: pi-1"):
                return
        pytest.fail("the agent ended before it was ready")

    def end(self, number: signal.Signals) -> int:
        assert self.child is not None
        self.child.send_signal(number)
        code = self.child.wait(GUARD)
        if self.child.stdout:
            self.child.stdout.close()
        self.child = None
        return code

    def drop(self, version: str, *, in_place: bool = False) -> None:
        path = self.specs / "host.toml"
        if in_place:
            path.write_text(spec_text(version))
        else:
            path.with_suffix(".part").write_text(spec_text(version))
            path.with_suffix(".part").rename(path)

    def picture_when(self, good: Callable[[Picture], object]) -> Picture:
        end = time.monotonic() + GUARD
        seen: Picture | NotRunning | None = None
        while time.monotonic() < end:
            try:
                seen = read(self.state, time.time())
                if good(seen):
                    return seen
            except NotRunning as error:
                seen = error
            time.sleep(0.02)
        pytest.fail(f"never came true: {seen}")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path)
    yield process
    if process.child is not None:
        process.end(signal.SIGKILL)


def is_running(version: str) -> Callable[[Picture], bool]:
    def check(picture: Picture) -> bool:
        task = picture.tasks.get("host")
        return task is not None and task.version == version and task.evidence.state == "running"

    return check


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_of_a_change_it_ends_where_it_would_have(agent: Process, seed: int) -> None:
    rng = Random(seed)
    version = "1.0.0"
    agent.drop(version)
    for n in range(4):
        agent.start()
        if rng.random() < 0.7:
            agent.until_ready()
        time.sleep(rng.uniform(0.0, 0.3))
        version = f"1.{n + 1}.0"
        agent.drop(version, in_place=rng.random() < 0.5)
        time.sleep(rng.uniform(0.0, 0.4))
        assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    agent.start()
    picture = agent.picture_when(is_running(version))
    assert picture.problems == {}
    root = agent.state / "tasks" / "host"
    slots = Slots.model_validate_json((root / "slots.json").read_bytes())
    assert slots.current is not None and slots.current.version == version
    assert (slots.trial, slots.pending) == (None, ())
    kept = {slot.id for slot in (slots.current, slots.previous) if slot}
    assert {folder.name for folder in (root / "versions").iterdir()} == kept
    assert (root / "versions" / slots.current.id / "host.toml").read_text() == spec_text(version)


def test_a_polite_stop_flushes_and_leaves_no_picture(agent: Process) -> None:
    agent.drop("1.0.0")
    agent.start()
    picture = agent.picture_when(
        lambda seen: is_running("1.0.0")(seen) and seen.tasks["host"].evidence.results > 3
    )
    assert agent.child is not None and picture.pid == agent.child.pid
    assert agent.end(signal.SIGTERM) == 0
    lines = (agent.state / "tasks" / "host" / "data" / "out.jsonl").read_text().splitlines()
    assert len(lines) > 3
    with pytest.raises(NotRunning):
        read(agent.state, time.time())


def test_a_killed_agent_leaves_no_script_behind(agent: Process) -> None:
    (agent.specs / "stuck.py").write_text("def on_result(item, state):\n    while True: pass\n")
    (agent.specs / "idle.py").write_text("def on_result(item, state):\n    return item\n")
    for name in ("idle", "stuck"):
        text = spec_text("1.0.0").replace('"host"', f'"{name}"').replace(', from = "m"', "")
        (agent.specs / f"{name}.toml").write_text(f'{text}[script]\nfile = "{name}.py"\ntimeout = "1s"\n')
    agent.start()
    agent.picture_when(
        lambda seen: [task.evidence.events > 0 for task in seen.tasks.values()] == [True, True]
    )
    assert agent.child is not None
    workers = psutil.Process(agent.child.pid).children()
    assert len(workers) == 2
    agent.end(signal.SIGKILL)
    gone, alive = psutil.wait_procs(workers, GUARD)
    assert (len(gone), alive) == (2, [])


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=GUARD, check=False)


def test_a_second_agent_on_the_same_folder_is_told_so(agent: Process) -> None:
    agent.start()
    agent.until_ready()
    result = run("--state", str(agent.state))
    assert result.returncode == 1
    assert "another agent works in" in result.stderr


def test_a_bad_configuration_is_told_and_has_its_exit_code(tmp_path: Path) -> None:
    config = tmp_path / "board.toml"
    config.write_text('board = "Not A Name"\nheartbeat = 5\n')
    result = run("--config", str(config), "--state", str(tmp_path / "state"))
    assert result.returncode == 78
    assert "board.toml: board:" in result.stderr and "board.toml: heartbeat: 5 has no unit" in result.stderr


def test_a_token_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = run("--state", str(tmp_path), "--token-file", str(tmp_path / "none"))
    assert result.returncode == 78
    assert f"{tmp_path / 'none'}: " in result.stderr


def test_a_state_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("--state", str(tmp_path / "file" / "state"))
    assert result.returncode == 1
    assert os.fspath(tmp_path / "file") in result.stderr
