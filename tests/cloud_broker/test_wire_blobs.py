"""Fetching by digest from a server that misbehaves in every way."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.wire import blobs, digest
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import Reason

DATA = bytes(range(256)) * 1000
DIGEST = digest.of_bytes(DATA)


@dataclass
class Web:
    """Answers GET by `answer(range start or None) -> (status, headers, body)`; remembers what was asked."""

    url: str = ""
    answer: Callable[[int | None], tuple[int, dict[str, str], bytes]] = lambda start: whole_or_rest(start)
    asked: list[dict[str, str]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)


def whole_or_rest(start: int | None) -> tuple[int, dict[str, str], bytes]:
    if start is None:
        return 200, {}, DATA
    return 206, {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}, DATA[start:]


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(dict(self.headers))
            given = self.headers.get("Range")
            status, headers, body = web.answer(int(given[6:-1]) if given else None)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            web.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(201 if self.headers.get("Authorization") == "Bearer secret" else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    web.url = f"http://127.0.0.1:{server.server_port}"
    yield web
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(web: Web, path: Path, **changes: Any) -> None:
    blobs.fetch(web.url, **{"digest": DIGEST, "path": path, "size": len(DATA), "timeout": 10.0, **changes})


def test_a_blob_arrives_whole(web: Web, tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    fetch(
        web,
        tmp_path / "new" / "blob",
        on_progress=lambda done, size: progress.append((done, size)),
    )
    assert (tmp_path / "new" / "blob").read_bytes() == DATA
    assert progress[-1] == (len(DATA), len(DATA))
    assert "Authorization" not in web.asked[0]  # a notice names the store, and a notice is not signed
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["blob"]


@pytest.mark.parametrize("have", [1, 1000, len(DATA) - 1])
def test_a_part_is_resumed(web: Web, tmp_path: Path, have: int) -> None:
    (tmp_path / "blob.part").write_bytes(DATA[:have])
    fetch(web, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == DATA
    assert web.asked[0]["Range"] == f"bytes={have}-"


def test_a_whole_part_needs_no_request(web: Web, tmp_path: Path) -> None:
    (tmp_path / "blob.part").write_bytes(DATA)
    fetch(web, tmp_path / "blob")
    assert web.asked == [] and (tmp_path / "blob").exists()


def test_a_server_without_ranges_starts_over(web: Web, tmp_path: Path) -> None:
    web.answer = lambda _: (200, {}, DATA)
    (tmp_path / "blob.part").write_bytes(DATA[:500])
    fetch(web, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == DATA


def test_an_empty_blob(web: Web, tmp_path: Path) -> None:
    fetch(web, tmp_path / "blob", digest=digest.of_bytes(b""), size=0)
    assert (tmp_path / "blob").read_bytes() == b""


Answer = tuple[int, dict[str, str], bytes]


@pytest.mark.parametrize(
    ("have", "answer", "reason", "retry", "left"),
    [
        (0, (404, {}, b'{"error":"there is no blob"}'), Reason.FETCH_FAILED, False, 0),
        (0, (403, {}, b""), Reason.FETCH_FAILED, False, 0),
        (0, (302, {"Location": "http://elsewhere"}, b""), Reason.FETCH_FAILED, False, 0),
        (0, (429, {}, b""), Reason.FETCH_FAILED, True, 0),
        (0, (503, {}, b""), Reason.FETCH_FAILED, True, 0),
        (5, (503, {}, b""), Reason.FETCH_FAILED, True, 5),
        (0, (200, {}, DATA[:100]), Reason.FETCH_FAILED, True, 100),  # ended early
        (0, (200, {"Content-Length": "256000"}, DATA[:100]), Reason.FETCH_FAILED, True, 100),  # cut off
        (0, (200, {}, DATA + b"x"), Reason.TOO_LARGE, False, 0),
        (0, (200, {}, DATA[:-1] + b"x"), Reason.DIGEST_MISMATCH, False, None),
        (
            5,
            (206, {"Content-Range": "bytes 5-255999/256000"}, b"x" * (len(DATA) - 5)),
            Reason.DIGEST_MISMATCH,
            True,
            None,
        ),
        (5, (206, {"Content-Range": "bytes 0-255999/256000"}, DATA), Reason.FETCH_FAILED, True, 5),
        (5, (206, {}, DATA[5:]), Reason.FETCH_FAILED, True, 5),
        (5, (416, {}, b""), Reason.FETCH_FAILED, True, 0),
    ],
)
def test_misbehaving_servers(
    web: Web, tmp_path: Path, have: int, answer: Answer, reason: Reason, retry: bool, left: int | None
) -> None:
    """`left` is the size of the part afterwards, None when it is gone."""
    part = tmp_path / "blob.part"
    part.write_bytes(DATA[:have])
    web.answer = lambda _: answer
    with pytest.raises(FetchError) as error:
        fetch(web, tmp_path / "blob")
    assert (error.value.reason, error.value.retry) == (reason, retry)
    assert DIGEST in str(error.value)
    assert (part.stat().st_size if part.exists() else None) == left
    assert not (tmp_path / "blob").exists()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as error:
        fetch(Web("http://127.0.0.1:9"), tmp_path / "blob")
    assert (error.value.reason, error.value.retry) == (Reason.FETCH_FAILED, True)


@pytest.mark.parametrize("url", ["ftp://h", "", "file:///etc", "http://h:99999", "http://[::1", "http:///x"])
def test_addresses_that_are_not_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(FetchError, match="is not an http or https address"):
        fetch(Web(url), tmp_path / "blob")


@pytest.mark.parametrize("rest", ["/\xe9", "/\n\xe9"])
def test_addresses_that_no_request_can_hold(web: Web, rest: str, tmp_path: Path) -> None:
    """A notice is unsigned: whatever it names as the store ends in an error like any other."""
    with pytest.raises(FetchError) as error:
        fetch(Web(web.url + rest), tmp_path / "blob")
    assert (error.value.reason, error.value.retry) == (Reason.FETCH_FAILED, False)
    with pytest.raises(FetchError, match="Invalid header value"):
        blobs.put(web.url, DATA, "a\nb")


def test_a_server_that_stops_in_the_middle_of_its_refusal(web: Web, tmp_path: Path) -> None:
    web.answer = lambda _: (503, {"Transfer-Encoding": "chunked"}, b"zz")
    with pytest.raises(FetchError) as error:
        fetch(web, tmp_path / "blob")
    assert (error.value.reason, error.value.retry) == (Reason.FETCH_FAILED, True)
    with pytest.raises(FetchError):
        blobs.get(web.url, DIGEST, len(DATA))


def test_a_full_disk_keeps_the_part(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(FetchError) as error:
            fetch(web, tmp_path / "blob")
    assert (error.value.reason, error.value.retry) == (Reason.DISK_FULL, False)
    fetch(web, tmp_path / "blob")
    assert len(web.asked) == 1


def test_get(web: Web) -> None:
    assert blobs.get(web.url, DIGEST, len(DATA)) == DATA
    with pytest.raises(FetchError) as large:
        blobs.get(web.url, DIGEST, len(DATA) - 1)
    assert large.value.reason is Reason.TOO_LARGE
    with pytest.raises(FetchError) as other:
        blobs.get(web.url, "0" * 64, len(DATA))
    assert other.value.reason is Reason.DIGEST_MISMATCH


def test_put(web: Web, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    assert blobs.put(web.url, DATA, "secret") == blobs.put(web.url, tmp_path / "file", "secret") == DIGEST
    assert web.stored == {f"/blobs/sha256/{DIGEST}": DATA}
    with pytest.raises(FetchError, match="HTTP 401"):
        blobs.put(web.url, DATA, "wrong")
