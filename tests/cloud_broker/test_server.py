"""The server as a process, over both brokers: ready, refused, stopped, killed between steps of a rollout."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cloud_broker import keys
from cloud_broker.client import Client, ServerError
from cloud_broker.database import Database
from cloud_broker.server import ServerConfig, serve
from cloud_broker.server import ServerError as CannotStart
from cloud_broker.wire import topics
from cloud_broker.wire.link import MqttLink
from cloud_broker.wire.messages import Presence, Reason, encode

HANG = 60.0
"""Seconds after which a test is called hung."""


class Server:
    """A server process on one state folder and one port."""

    def __init__(self, folder: Path, mqtt: str) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.argv = [sys.executable, "-m", "cloud_broker.server", "--state", str(folder), "--mqtt", mqtt]
        self.argv += ["--port", str(self.port)]
        self.process = self.start()

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == f"server ready on http://127.0.0.1:{self.port}\n"
        return process

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def restart(self) -> None:
        self.kill()
        self.process = self.start()

    @property
    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", keys.load_or_create_token(self.folder))

    def release(self, folder: Path, version: str) -> None:
        spec = folder / "hot.toml"
        spec.write_text(f'schema = 1\n[task]\nname = "hot"\nversion = "{version}"\n')
        self.client.publish_release(spec, keys.signing_key(self.folder), 1.0)


def until(what: Callable[[], bool]) -> None:
    """Wait for it; a server that is just starting counts as not yet."""
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        try:
            if what():
                return
        except ServerError:
            pass
        time.sleep(0.02)
    pytest.fail("it never came")


@pytest.fixture
def server(tmp_path: Path, mqtt_url: str) -> Iterator[Server]:
    server = Server(tmp_path / "state", mqtt_url)
    yield server
    server.kill()


@pytest.fixture
def boards(mqtt_url: str, fake_board: Callable[..., Any], tmp_path: Path) -> Iterator[list[Any]]:
    """Two boards on the broker, with names of their own in each test; version 2.0 fails on both."""
    made = []
    for number in (1, 2):
        name = f"b{number}-{abs(hash(tmp_path)) % 10**9}"
        will = (topics.up(name, "state"), encode(Presence(board=name, session=1, online=False)))
        link = MqttLink(mqtt_url, name, will=will, rng=Random(number))
        made.append(fake_board(link, name, {"2.0": Reason.CRASHED}))
        link.start()
    yield made
    for board in made:
        board.link.publish(topics.up(board.name, "state"), b"", retain=True)
        board.link.stop()


def versions(boards: list[Any]) -> list[str]:
    return [board.running["hot"].version if "hot" in board.running else "" for board in boards]


def test_a_rollout_survives_a_kill_between_any_two_steps(
    server: Server, boards: list[Any], tmp_path: Path
) -> None:
    client = server.client
    until(lambda: sum(board["online"] for board in client.status()["boards"]) == 2)
    server.release(tmp_path, "1.0")
    server.restart()
    first = client.start_rollout(task="hot", policy={"steps": ["1 board", "100%"], "hold": "500ms"})["id"]
    server.restart()
    until(lambda: sorted(versions(boards)) != ["", ""])
    server.restart()
    until(lambda: bool(client.rollout(first)["phase"] == "complete"))
    assert versions(boards) == ["1.0", "1.0"]
    server.release(tmp_path, "2.0")
    bad = client.start_rollout(task="hot", policy={"steps": ["1 board", "100%"], "hold": "500ms"})["id"]
    server.restart()
    until(lambda: bool(client.rollout(bad)["phase"] == "aborted"))
    server.restart()
    cause = client.rollout(bad)["cause"]
    assert (cause["reason"], cause["detail"]) == ("crashed", "2.0 fell over")
    assert versions(boards) == ["1.0", "1.0"]
    assert [release["version"] for release in client.releases()] == ["2.0", "1.0"]


def test_sigterm_ends_it_cleanly_even_with_live_listeners(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=HANG) as live:
        live.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        assert live.recv(12) == b"HTTP/1.1 200"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate(timeout=HANG)[0] == ""
    assert server.process.returncode == 0


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Server]:
    """A server whose broker is not there."""
    server = Server(tmp_path / "state", "mqtt://127.0.0.1:9")
    yield server
    server.kill()


def refused(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=HANG, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_without_a_broker_it_serves_and_keeps_trying(idle: Server, tmp_path: Path) -> None:
    idle.release(tmp_path, "1.0")
    assert idle.client.start_rollout(task="hot")["phase"] == "running"
    assert (idle.folder / "token").stat().st_mode & 0o777 == 0o600


def test_what_keeps_it_from_starting(idle: Server, tmp_path: Path) -> None:
    def argv(state: Path, mqtt: str = "mqtt://h", port: int = 0) -> list[str]:
        command = [sys.executable, "-m", "cloud_broker.server", "--state", str(state), "--mqtt", mqtt]
        return [*command, "--port", str(port)]

    (tmp_path / "file").write_text("")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "server.sqlite").write_text("no database" * 1000)
    port = idle.port
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use" in refused(
        argv(tmp_path / "x", port=port)
    )
    assert f"error: another server runs on {idle.folder}" in refused(argv(idle.folder))
    assert "error: 'h:1' is not a broker's address" in refused(argv(tmp_path / "y", mqtt="h:1"))
    assert f"error: cannot use {tmp_path / 'file'} as the state folder" in refused(argv(tmp_path / "file"))
    assert "server.sqlite cannot be used as the database" in refused(argv(tmp_path / "bad"))


def test_a_database_that_holds_something_else_is_said(tmp_path: Path) -> None:
    database = Database(tmp_path / "server.sqlite")
    database.put_board("b", b"not a board")
    database.close()
    with pytest.raises(CannotStart, match=r"server\.sqlite holds what this server cannot read: "):
        serve(ServerConfig(tmp_path, "mqtt://127.0.0.1:9", port=0))
