import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from edge_agent.clock import ManualClock
from edge_agent.events import Row
from edge_agent.evidence import Ledger
from edge_agent.sinks import http as http_module
from edge_agent.sinks.http import HttpSink
from edge_agent.spec.model import HttpSink as Spec


class Receiver(ThreadingHTTPServer):
    """Answers with the codes it is told to, 200 after that, and keeps what it was sent."""

    def __init__(self, codes: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes, self.bodies = codes, list[Any]()
        self.heard = threading.Semaphore(0)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append((body, self.headers["Content-Type"], self.path))
        self.send_response(self.server.codes.pop(0) if self.server.codes else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.heard.release()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def codes() -> list[int]:
    return []


@pytest.fixture
def receiver(codes: list[int]) -> Iterator[Receiver]:
    server = Receiver(codes)
    yield server
    server.shutdown()
    server.server_close()


def sink(url: str, clock: ManualClock | None = None) -> tuple[HttpSink, Ledger]:
    ledger = Ledger(0.0)
    http = HttpSink("hook", Spec(type="http", url="@{board:hook}"), url, ledger, clock or ManualClock())
    http.open()
    return http, ledger


def rows(*values: int) -> list[Row]:
    return [Row(float(value), {"v": value}) for value in values]


def test_items_arrive_in_order_as_json(receiver: Receiver) -> None:
    http, ledger = sink(receiver.url)
    http.write(rows(1, 2, 3))
    http.close()
    assert receiver.bodies == [({"v": v}, "application/json", "/hook") for v in (1, 2, 3)]
    assert ledger.evidence().errors == 0


@pytest.mark.parametrize("codes", [[500, 503, 429]])
def test_what_may_pass_is_tried_again_with_pauses(receiver: Receiver, codes: list[int]) -> None:
    clock = ManualClock()
    http, ledger = sink(receiver.url, clock)
    http.write(rows(1))
    while not receiver.heard.acquire(timeout=0.05) or len(receiver.bodies) < 4:
        clock.advance(1.0)
    http.close()
    assert [body for body, _, _ in receiver.bodies] == [{"v": 1}] * 4 and codes == []
    assert ledger.evidence().errors == 0


@pytest.mark.parametrize("codes", [[404, 400]])
def test_a_refusal_is_counted_without_the_secret_address(receiver: Receiver, codes: list[int]) -> None:
    http, ledger = sink(receiver.url)
    http.write(rows(1, 2, 3))
    for _ in range(3):
        assert receiver.heard.acquire(timeout=20)
    http.close()
    assert [body["v"] for body, _, _ in receiver.bodies] == [1, 2, 3] and codes == []
    assert ledger.evidence().errors == 2
    assert ledger.evidence().last_error == "sink hook: @{board:hook}: HTTP 400; an item was given up"


def test_a_dead_receiver_neither_blocks_nor_fills_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "QUEUE", 5)
    http, ledger = sink("http://127.0.0.1:1/")
    http.write(rows(*range(100)))
    assert len(http._queue) <= 5
    http.close()
    assert ledger.evidence().dropped + ledger.evidence().errors == 100
    assert "Connection refused" in (ledger.evidence().last_error or "")


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "hook"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sink hook: '@\{board:hook\}' is no address"):
        sink(url)
