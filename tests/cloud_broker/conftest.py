"""Fixtures shared by the broker tests: `mqtt_url` runs a test over the embedded broker and over Mosquitto."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
