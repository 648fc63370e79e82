"""Fixtures of the cloud's tests.

`mqtt_url` runs a test over the embedded broker and over Mosquitto; `fake_board` makes boards without agents.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloud_broker.wire import topics
from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import (
    Hello,
    Message,
    Notice,
    Presence,
    Reason,
    ReleaseState,
    Report,
    Running,
    decode,
    encode,
    profile_hash,
)

MOSQUITTO = shutil.which(
    "mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_open(port: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(600):
        assert process.poll() is None, f"the broker ended with {process.returncode}"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}")


def _start_embedded(_folder: Path) -> "tuple[subprocess.Popen[str], int]":
    command = [sys.executable, "-m", "cloud_broker.mqtt", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline().rsplit(":", 1)[1])


def _start_mosquitto(folder: Path) -> "tuple[subprocess.Popen[str], int]":
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed: run `make system-deps`")
    port, conf = _free_port(), folder / "mosquitto.conf"
    conf.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_queued_messages 100000\nmax_inflight_messages 100\nlog_type error\n"
    )
    return subprocess.Popen([MOSQUITTO, "-c", str(conf)], text=True), port


_STARTERS = {"embedded": _start_embedded, "mosquitto": _start_mosquitto}


@pytest.fixture(scope="module", params=list(_STARTERS))
def mqtt_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a fresh, empty broker; one per module and kind."""
    process, port = _STARTERS[request.param](tmp_path_factory.mktemp("mqtt"))
    try:
        _wait_until_open(port, process)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout:
            process.stdout.close()


class FakeBoard:
    """A board without an agent: it says hello, and takes every release noticed, but for those in `fails`.

    `fails` maps a version to the reason for which it rolls back; None: it says FETCHING and no more.
    """

    def __init__(self, link: Link, name: str, fails: "dict[str, Reason | None] | None" = None) -> None:
        self.link, self.name, self.fails = link, name, fails or {}
        self.running: dict[str, Running] = {}
        self.notices: list[Notice] = []
        self.asked = 0
        self._seq = 0
        link.subscribe(topics.all_down(name), self._on_message)
        link.on_connect(self.hello)

    def hello(self) -> None:
        self._say("state", Presence(board=self.name, session=1, online=True), retain=True)
        self._say("hello", self._hello(profile=self.running))

    def heartbeat(self) -> None:
        self._say("hello", self._hello(profile=None))

    def _hello(self, profile: "dict[str, Running] | None") -> Hello:
        claimed = profile_hash(self.running)
        return Hello(
            board=self.name, session=1, agent="0", arch="x", at=0.0, profile_hash=claimed, profile=profile
        )

    def report(
        self, notice: Notice, state: ReleaseState, reason: "Reason | None" = None, detail: str = ""
    ) -> None:
        self._seq += 1
        report = Report(
            board=self.name,
            seq=self._seq,
            task=notice.task,
            release=notice.release,
            rollout=notice.rollout,
            state=state,
            at=0.0,
            reason=reason,
            detail=detail,
        )
        self._say("report", report)

    def _say(self, leaf: topics.Up, message: Message, retain: bool = False) -> None:
        self.link.publish(topics.up(self.name, leaf), encode(message), retain=retain)

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic.endswith("/ask"):
            self.asked += 1
            self.hello()
            return
        notice = decode(payload, Notice)
        self.notices.append(notice)
        self.report(notice, ReleaseState.FETCHING)
        if notice.version not in self.fails:
            self.running[notice.task] = Running(version=notice.version, release=notice.release)
            self.report(notice, ReleaseState.GOOD)
            self.hello()
        elif (reason := self.fails[notice.version]) is not None:
            self.report(notice, ReleaseState.ROLLED_BACK, reason, f"{notice.version} fell over")


@pytest.fixture
def fake_board() -> Callable[..., FakeBoard]:
    """FakeBoard(link, name, fails)."""
    return FakeBoard
