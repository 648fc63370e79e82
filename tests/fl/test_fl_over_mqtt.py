"""Rounds over a real broker and a real blob server: the bytes are those of the simulation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from cloud_broker.wire import topics
from cloud_broker.wire.link import MqttLink
from cloud_broker.wire.messages import Presence, RoundOpen, decode, encode
from fl import client, commands, simulation, weights
from fl.linear import Dataset

PLAN = """schema = 1
[plan]
name = "wired"
rounds = 3
boards = 3
min = 3
deadline = "100s"
[train]
steps = 10
batch = 8
lr = 0.3
seed = 4
[data]
features = 5
classes = 3
"""


class Cloud(NamedTuple):
    mqtt: str
    server: str
    token: str


def _start(stack: ExitStack, *command: str) -> str:
    """Start a module's process and return the address that its first line ends with."""
    process = stack.enter_context(
        subprocess.Popen([sys.executable, "-m", *command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    )
    stack.callback(process.terminate)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert " ready on " in line, f"{command[0]} said {line!r}"
    return line.split(" ready on ")[1].strip()


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    pytest.importorskip(
        "uvicorn", reason="the server's packages are missing: pip install 'walle-edge[cloud]'"
    )
    with ExitStack() as stack:
        mqtt = f"mqtt://{_start(stack, 'cloud_broker.mqtt')}"
        state = tmp_path / "server"
        server = _start(stack, "cloud_broker.server", "--state", str(state), "--mqtt", mqtt)
        yield Cloud(mqtt, server, (state / "token").read_text().strip())


def _join(cloud: Cloud, name: str, data: Dataset, folder: Path) -> MqttLink:
    """A board that only trains."""
    np.savez(folder / f"{name}.npz", x=data.x, y=data.y)
    link = MqttLink(cloud.mqtt, name, rng=Random(0))
    answer = partial(
        client.answer,
        data_path=folder / f"{name}.npz",
        board=name,
        publish=link.publish,
        token=cloud.token,
        workdir=folder / name,
    )
    link.subscribe(topics.down(name, "round"), lambda _, payload: answer(decode(payload, RoundOpen)))
    online = encode(Presence(board=name, session=1, online=True))
    link.on_connect(lambda: link.publish(topics.up(name, "state"), online, retain=True))
    link.start()
    return link


def test_the_same_bytes_as_simulated(cloud: Cloud, boards: dict[str, Dataset], tmp_path: Path) -> None:
    boards.pop("pi-3")
    plan = tmp_path / "wired.toml"
    plan.write_text(PLAN)
    with ExitStack() as stack:
        for name, data in boards.items():
            stack.callback(_join(cloud, name, data, tmp_path).stop)
        rows = commands.run(plan, cloud.mqtt, cloud.server, cloud.token, state=tmp_path / "fl")
    simulated = simulation.simulate(commands.read(plan), boards, seed=4)
    assert (tmp_path / "fl" / "wired.weights").read_bytes() == weights.encode(simulated.weights)
    assert rows == [commands.as_row(row) for row in simulated.rows]
    assert [path.suffix for path in (tmp_path / "pi-0").iterdir()] == [".base"]
    again = commands.run(plan, cloud.mqtt, cloud.server, cloud.token, state=tmp_path / "fl")
    assert again == rows
