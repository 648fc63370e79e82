"""The HTTP interface over a real socket: blobs, refusals, rollouts, live events, and the page."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker import bundle, page
from cloud_broker.client import Client, ServerError
from cloud_broker.database import Database
from cloud_broker.dispatcher import Dispatcher
from cloud_broker.http import Site, application
from cloud_broker.registry import Registry
from cloud_broker.store import BlobStore
from cloud_broker.wire import blobs, digest
from cloud_broker.wire.link import MemoryHub
from cloud_broker.wire.messages import Hello, Reason, Running, TaskEvidence, encode, profile_hash
from cloud_broker.wire.signing import sign, trust

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TOKEN = "secret"
DATA = bytes(range(256)) * 10
DIGEST = digest.of_bytes(DATA)
BLOB = f"/blobs/sha256/{DIGEST}"


@dataclass
class Served:
    """A running server, its parts, and a clock that stands."""

    site: Site
    hub: MemoryHub
    url: str
    port: int
    now: list[float]

    @property
    def client(self) -> Client:
        return Client(self.url, TOKEN)

    def ask(
        self, method: str, path: str, body: bytes = b"", token: str = TOKEN, **headers: Any
    ) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Authorization": f"Bearer {token}", **given})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response, answer

    def tick(self, seconds: float) -> None:
        self.now[0] += seconds
        self.site.dispatcher.tick()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    now, hub = [1000.0], MemoryHub()
    database, store = Database(tmp_path / "db"), BlobStore(tmp_path / "blobs", limit=100_000)
    registry = Registry(database, store, trust([KEY.public_key()]))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    dispatcher = Dispatcher(database, registry, hub.link("server"), blobs=url, clock=lambda: now[0])
    dispatcher.start()
    site = Site(database, store, registry, dispatcher, TOKEN, lambda: now[0])
    server = uvicorn.Server(uvicorn.Config(application(site), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Served(site, hub, url, port, now)
    site.live.closing = True
    site.live.changed()
    server.should_exit = True
    thread.join()
    listener.close()
    database.close()


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], Path]:
    """A spec file of this version, with a file beside it."""

    def write(version: str) -> Path:
        (tmp_path / "hot.py").write_text("pass")
        path = tmp_path / "hot.toml"
        path.write_text(
            f'schema = 1\n[task]\nname = "hot"\nversion = "{version}"\n[script]\nfile = "hot.py"\n'
            '[deploy]\nsteps = ["1 board", "100%"]\nhold = "10s"\n'
        )
        return path

    return write


# --- blobs ------------------------------------------------------------------------------------------------


def test_blobs_come_back_as_they_were_put(served: Served) -> None:
    assert served.ask("PUT", BLOB, DATA)[0].status == 201
    assert served.ask("PUT", BLOB, DATA)[0].status == 200
    response, body = served.ask("GET", BLOB, token="")
    assert (response.status, body) == (200, DATA)
    assert response.headers["ETag"] == f'"{DIGEST}"'
    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    head, nothing = served.ask("HEAD", BLOB)
    assert (head.status, head.headers["Content-Length"], nothing) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    ("headers", "status", "start", "end"),
    [
        ({"Range": "bytes=0-9"}, 206, 0, 10),
        ({"Range": "bytes=100-"}, 206, 100, len(DATA)),
        ({"Range": "bytes=-5"}, 206, len(DATA) - 5, len(DATA)),
        ({"Range": "bytes=2550-999999"}, 206, 2550, len(DATA)),
        ({"Range": "bytes=2560-"}, 416, 0, 0),
        ({"Range": "bytes=9-3"}, 400, None, None),
        ({"Range": "bytes=x"}, 400, None, None),
        ({"Range": "bytes=0-9", "If_Range": f'"{DIGEST}"'}, 206, 0, 10),
        ({"Range": "bytes=0-9", "If_Range": '"other"'}, 200, 0, len(DATA)),
        ({"If_None_Match": f'"{DIGEST}"'}, 304, 0, 0),
        ({"If_None_Match": '"other"'}, 200, 0, len(DATA)),
    ],
)
def test_ranges(
    served: Served, headers: dict[str, Any], status: int, start: int | None, end: int | None
) -> None:
    served.site.store.put(DATA)
    response, body = served.ask("GET", BLOB, **headers)
    assert response.status == status
    if start is not None:
        assert body == DATA[start:end]
    if status == 206:
        assert response.headers["Content-Range"] == f"bytes {start}-{(end or 0) - 1}/{len(DATA)}"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/blobs/sha256/" + "0" * 64, 404),
        ("/blobs/sha256/" + "A" * 64, 400),
        ("/blobs/sha256/..%2f..%2fdb", 404),
        ("/blobs/sha256/%2e%2e", 400),
        ("/blobs/sha256/../../db", 404),
        ("/blobs/sha256/", 404),
        ("/blobs/md5/" + "0" * 32, 404),
    ],
)
def test_paths_that_are_no_blobs(served: Served, path: str, status: int) -> None:
    for method in ("GET", "PUT"):
        response, body = served.ask(method, path, DATA if method == "PUT" else b"")
        assert response.status == (422 if method == "PUT" and path.endswith("0" * 64) else status)
        assert set(json.loads(body)) == {"error", "reason", "next"}


@pytest.mark.parametrize(
    ("data", "status", "reason"),
    [(b"other", 422, Reason.DIGEST_MISMATCH), (b"x" * 100_001, 413, Reason.TOO_LARGE)],
)
def test_uploads_that_are_refused(served: Served, data: bytes, status: int, reason: Reason) -> None:
    response, body = served.ask("PUT", BLOB, data)
    assert (response.status, json.loads(body)["reason"]) == (status, reason)
    assert served.site.store.size(DIGEST) is None


def test_a_full_disk_is_said(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.rename", full)
    response, body = served.ask("PUT", BLOB, DATA)
    assert response.status == 507
    assert json.loads(body) == {
        "error": f"cannot store blob {DIGEST[:16]}…: No space left on device",
        "reason": "disk_full",
        "next": "make room on the server's disk",
    }


def test_the_boards_client_and_this_server_agree(served: Served, tmp_path: Path) -> None:
    assert blobs.put(served.url, DATA, TOKEN) == DIGEST
    (tmp_path / "b.part").write_bytes(DATA[:1000])
    blobs.fetch(served.url, DIGEST, tmp_path / "b", size=len(DATA), timeout=30)
    assert (tmp_path / "b").read_bytes() == blobs.get(served.url, DIGEST, len(DATA)) == DATA


# --- who may do what --------------------------------------------------------------------------------------

CHANGING = [
    ("PUT", BLOB),
    ("POST", "/api/releases"),
    ("POST", "/api/rollouts"),
    ("POST", "/api/rollouts/r1/abort"),
    ("POST", "/api/tasks/hot/rollback"),
]


@pytest.mark.parametrize("token", ["", "wrong", "Secret", "\xe9"])
def test_changes_need_the_token(served: Served, token: str) -> None:
    for method, path in CHANGING:
        response, body = served.ask(method, path, DATA, token=token)
        assert response.status == 401
        assert json.loads(body)["error"].startswith("this needs `Authorization: Bearer TOKEN`")
    assert served.site.store.size(DIGEST) is None


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/releases", b"nonsense", 400, "expected a signed message"),
        ("/api/releases", b"x" * 300_000, 413, "the body has more than"),
        ("/api/rollouts", b"[]", 400, "expected a JSON object"),
        ("/api/rollouts", b"{", 400, "expected a JSON object"),
        ("/api/rollouts", b"[" * 100_000, 400, "expected a JSON object"),
        ("/api/rollouts", b"{}", 422, 'expected {"task": name}'),
        ("/api/rollouts", b'{"task": 5}', 422, 'expected {"task": name}'),
        ("/api/rollouts", b'{"task": "none"}', 404, "there is no release of task 'none'"),
        ("/api/rollouts", b'{"release": "abc"}', 404, "there is no release 'abc'"),
        ("/api/rollouts/r9/abort", b"", 404, "there is no rollout 'r9'"),
        ("/api/tasks/none/rollback", b"", 404, "no rollout of 'none'"),
    ],
)
def test_requests_that_make_no_sense(served: Served, path: str, body: bytes, status: int, said: str) -> None:
    response, answer = served.ask("POST", path, body)
    assert response.status == status
    assert json.loads(answer)["error"].startswith(said)


# --- releases and rollouts --------------------------------------------------------------------------------


def test_a_release_from_a_folder_to_two_boards(
    served: Served, spec: Callable[[str], Path], fake_board: Callable[..., Any]
) -> None:
    boards = [fake_board(served.hub.link(name), name, {"1.1": Reason.CRASHED}) for name in ("one", "two")]
    for board in boards:
        board.link.start()
    client = served.client
    info = client.publish_release(spec("1.0"), KEY, 1.0)
    assert client.publish_release(spec("1.0"), KEY, 2.0) == info
    assert (info.task, info.version, info.files) == ("hot", "1.0", 2)
    started = client.start_rollout(task="hot")
    assert (started["id"], started["phase"], started["steps"]) == ("r1", "running", ["1 board", "100%"])
    served.tick(10.0)
    served.tick(10.0)
    assert client.rollout("r1")["boards"]["good"] == 2
    client.publish_release(spec("1.1"), KEY, 1.0)
    client.start_rollout(task="hot", policy={"steps": ["100%"], "abort_if": "failed >= 2"})
    assert client.rollouts()[0]["why"] == "board one: crashed: 1.1 fell over"
    assert {name: member["stage"] for name, member in client.rollout("r2")["members"].items()} == {
        "one": "failed",
        "two": "failed",
    }
    status = client.status()
    assert [task["tasks"]["hot"]["version"] for task in status["boards"]] == ["1.0", "1.0"]
    assert [release["version"] for release in status["releases"]] == ["1.1", "1.0"]
    assert status["counters"]["notices"] == 4
    with pytest.raises(
        ServerError, match="rollout r2 was aborted and its boards sent back already\n  next: nothing"
    ):
        client.rollback("hot")


def test_a_database_without_room_changes_nothing(
    served: Served, spec: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    served.client.publish_release(spec("1.0"), KEY, 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(served.site.database, "put_rollout", full)
        with pytest.raises(
            ServerError, match=r"the database refuses: database or disk is full; nothing was changed"
        ):
            served.client.start_rollout(task="hot")
    assert served.client.rollouts() == []
    assert served.client.start_rollout(task="hot")["id"] == "r1"


def test_the_client_explains_itself(served: Served, spec: Callable[[str], Path]) -> None:
    with pytest.raises(ServerError, match=r"cannot upload hot.py: .*HTTP 401"):
        Client(served.url, "wrong").publish_release(spec("1.0"), KEY, 1.0)
    with pytest.raises(
        ServerError, match=r"no answer from http://127.0.0.1:9: Connection refused; is the server"
    ):
        Client("http://127.0.0.1:9").status()
    with pytest.raises(ServerError, match="'walle' is not an http or https address"):
        Client("walle").status()
    served.client.publish_release(spec("1.0"), KEY, 1.0)
    with pytest.raises(ServerError, match=r"policy.hold: '5' has no unit of time; did you mean .5s."):
        served.client.start_rollout(task="hot", policy={"hold": "5"})
    stranger = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
    with pytest.raises(
        ServerError, match=r"signed by .*; trusted here: .*\n  next: sign it with a key whose"
    ):
        served.client.publish_release(spec("1.1"), stranger, 1.0)


# --- looking ----------------------------------------------------------------------------------------------


def test_health(served: Served) -> None:
    response, body = served.ask("GET", "/healthz")
    assert (response.status, json.loads(body)) == (200, {"ok": True})


def test_events_are_live(served: Served, spec: Callable[[str], Path]) -> None:
    connection = HTTPConnection("127.0.0.1", served.port, timeout=30)
    connection.request("GET", "/api/events")
    stream = connection.getresponse()
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.readline() == b"event: change\n"
    served.client.publish_release(spec("1.0"), KEY, 1.0)
    lines = iter(stream.readline, b"")
    line = next(line for line in lines if line.startswith(b'data: {"'))
    event = json.loads(line[6:])
    assert (event["kind"], event["subject"]) == ("released", "hot")
    connection.close()
    again = HTTPConnection("127.0.0.1", served.port, timeout=30)
    again.request("GET", "/api/events", headers={"Last-Event-ID": "0"})
    assert again.getresponse().readline() == b"id: 1\n"
    again.close()


HOSTILE = "<script>alert(1)</script>\"'&"


class Checker(HTMLParser):
    """Every tag closed in order; counts the scripts; collects the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("meta", "link", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_escapes_everything_and_stays_small(served: Served) -> None:
    running = {"hot": Running(version="1.0", release="a" * 64)}
    hello = Hello(
        board="one",
        session=1,
        agent=HOSTILE,
        arch=HOSTILE,
        at=0.0,
        profile_hash=profile_hash(running),
        profile=running,
        tasks={"hot": TaskEvidence(state=HOSTILE, cause=HOSTILE, last_event=990.0)},
        labels={HOSTILE: HOSTILE},
    )
    served.site.dispatcher.handle("wl/v1/d/one/up/hello", encode(hello))
    served.site.database.add_event(1.0, HOSTILE, HOSTILE, HOSTILE)
    response, body = served.ask("GET", "/", token="")
    html = body.decode()
    checker = Checker()
    checker.feed(html)
    assert (checker.scripts, checker.open) == (1, [])
    assert checker.text.count(HOSTILE) == 7
    assert "10 s ago" in checker.text and "1/1" in checker.text
    assert len(body) < 20_000
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "'unsafe" not in policy
    part = served.ask("GET", "/?part=main")[1].decode()
    assert part in html and "<main" not in part


def test_the_page_without_anything(served: Served) -> None:
    html = served.ask("GET", "/")[1].decode()
    assert "No board has said hello yet" in html and "Nothing has happened yet" in html


def test_the_page_shows_why_a_rollout_stopped(
    served: Served, spec: Callable[[str], Path], fake_board: Callable[..., Any]
) -> None:
    fake_board(served.hub.link("one"), "one", {"1.0": Reason.CRASHED}).link.start()
    served.client.publish_release(spec("1.0"), KEY, 1.0)
    served.client.start_rollout(task="hot")
    html = served.ask("GET", "/?part=main")[1].decode()
    assert "board one: crashed: 1.0 fell over" in html
    assert '<li class="now" aria-current="step">1 board</li>' in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s ago"), (59.9, "59 s ago"), (60, "1 min ago"), (7200, "2 h ago"), (1e6, "11 d ago")],
)
def test_ages(seconds: float, text: str) -> None:
    assert page.ago(seconds) == text


def test_an_envelope_posted_raw(served: Served, spec: Callable[[str], Path]) -> None:
    manifest, files = bundle.build(spec("1.0"), 1.0)
    envelope = encode(sign(manifest, [KEY]))
    response, body = served.ask("POST", "/api/releases", envelope)
    assert (response.status, json.loads(body)["reason"]) == (409, "fetch_failed")
    for data in files.values():
        blobs.put(served.url, data, TOKEN)
    response, body = served.ask("POST", "/api/releases", envelope)
    assert response.status == 201
    assert json.loads(body)["release"] == digest.of_bytes(envelope)
    assert json.loads(served.ask("GET", "/api/releases")[1])[0]["version"] == "1.0"
