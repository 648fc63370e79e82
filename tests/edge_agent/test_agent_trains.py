"""A board takes part in rounds as a process of its own: a real broker, server and coordinator around it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from fl import commands, simulation, weights
from fl.client import load_data

PLAN = """schema = 1
[plan]
name = "wired"
rounds = 2
boards = 1
min = 1
deadline = "60s"
[train]
steps = 10
lr = 0.3
[data]
features = 5
classes = 3
"""
SPEC = """schema = 1
[task]
name = "wired"
[federated]
data = "{state}/mine.npz"
"""
GUARD = 60.0
"""Seconds after which a test that waits has hung."""
Start = Callable[..., str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a module's process; returns the first of its lines that says `ready`."""
    with ExitStack() as stack:

        def begin(*command: str) -> str:
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.terminate)
            assert process.stdout is not None
            return next(line.strip() for line in process.stdout if " ready" in line)

        yield begin


def test_a_board_with_federated_data_answers_every_round(start: Start, tmp_path: Path) -> None:
    pytest.importorskip(
        "uvicorn", reason="the server's packages are missing: pip install 'walle-edge[cloud]'"
    )
    state, specs, data = tmp_path / "board", tmp_path / "specs", tmp_path / "board" / "mine.npz"
    for folder in (state, specs):
        folder.mkdir()
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 5)).astype(np.float32)
    np.savez(data, x=x, y=x[:, :3].argmax(axis=1))
    (specs / "wired.toml").write_text(SPEC)
    (tmp_path / "wired.toml").write_text(PLAN)

    mqtt = "mqtt://" + start("cloud_broker.mqtt", "--port", "0").rpartition(" ")[2]
    cloud = ("--state", str(tmp_path / "server"), "--mqtt", mqtt, "--port", "0")
    server = start("cloud_broker.server", *cloud).rpartition(" ")[2]
    token = tmp_path / "server" / "token"
    board = ("--state", str(state), "--specs", str(specs), "--board", "pi-1", "--mqtt", mqtt)
    start("edge_agent", *board, "--server", server, "--token-file", str(token))
    end = time.monotonic() + GUARD
    while not (specs / "wired.toml.status").exists():
        assert time.monotonic() < end
        time.sleep(0.02)

    plan = tmp_path / "wired.toml"
    rows = commands.run(plan, mqtt, server, token.read_text().strip(), state=tmp_path / "fl")

    simulated = simulation.simulate(commands.read(plan), {"pi-1": load_data(data)}, seed=0)
    assert rows == [commands.as_row(row) for row in simulated.rows]
    assert (tmp_path / "fl" / "wired.weights").read_bytes() == weights.encode(simulated.weights)
