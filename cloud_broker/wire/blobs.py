"""Bytes over HTTP by their digest: `fetch` to a file, `get` to memory, `put` to a store. No dependencies.

A blob's address is `<base>/blobs/sha256/<hex>`. What arrives is trusted because of its digest, never because
of where it came from. Retries and back-off belong to the caller; `FetchError.retry` says if one makes sense.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from cloud_broker.wire import digest as digests
from cloud_broker.wire.messages import Reason

Progress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all)."""
TIMEOUT = 30.0
"""Seconds without a byte, for `get` and `put`."""


class FetchError(Exception):
    """A transfer that failed: a code for reports, a sentence for people, and whether to try again."""

    def __init__(self, reason: Reason, text: str, *, retry: bool) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
        self.retry = retry


def url(base_url: str, digest: str) -> str:
    return f"{base_url.rstrip('/')}/blobs/sha256/{digest}"


def fetch(
    base_url: str,
    digest: str,
    path: Path,
    *,
    size: int,
    timeout: float,
    on_progress: Progress | None = None,
) -> None:
    """Bring the blob to `path`, durable and verified, through `path.part`, which a later call resumes.

    `timeout` is seconds without a byte. Raises FetchError: FETCH_FAILED (retry after a lost connection, 5xx
    or a short answer; not after 4xx), DIGEST_MISMATCH, TOO_LARGE (both drop the part), DISK_FULL (keeps
    it).
    """
    part = path.with_name(path.name + ".part")
    with _disk_errors(path):
        resumed = _usable(part, size)
        with part.open("ab") as file:
            if resumed < size:
                _download(url(base_url, digest), file, resumed, size, timeout, on_progress)
            file.flush()
            os.fsync(file.fileno())
        got = digests.of_file(part)
        if got != digest:
            part.unlink()
            text = f"{url(base_url, digest)}: the bytes have digest {got}"
            raise FetchError(Reason.DIGEST_MISMATCH, text, retry=resumed > 0)
        part.rename(path)
        sync_folder(path.parent)


def get(base_url: str, digest: str, limit: int) -> bytes:
    """The blob's bytes, at most `limit` of them. Raises FetchError."""
    address = url(base_url, digest)
    with _request("GET", address, {}, None, TIMEOUT) as response:
        _expect(response, address, 200)
        data = _read(response, address, limit + 1)
    if len(data) > limit:
        raise FetchError(Reason.TOO_LARGE, f"{address}: more than the {limit} bytes allowed", retry=False)
    if digests.of_bytes(data) != digest:
        raise FetchError(Reason.DIGEST_MISMATCH, f"{address}: other bytes than its name says", retry=False)
    return data


def put(base_url: str, data: bytes | Path, token: str) -> str:
    """Store bytes or a file's bytes, there already or not; returns their digest. Raises FetchError."""
    digest = digests.of_bytes(data) if isinstance(data, bytes) else digests.of_file(data)
    address = url(base_url, digest)
    headers = _authorization(token)
    if isinstance(data, bytes):
        with _request("PUT", address, headers, data, TIMEOUT) as response:
            _expect(response, address, 200, 201)
    else:
        headers["Content-Length"] = str(data.stat().st_size)
        with data.open("rb") as file, _request("PUT", address, headers, file, TIMEOUT) as response:
            _expect(response, address, 200, 201)
    return digest


def connection_to(address: str, timeout: float) -> tuple[HTTPConnection, str]:
    """A connection, not yet opened, and the path to ask it for. Raises FetchError when this is no address."""
    try:
        parts = urlsplit(address)
        kind = {"http": HTTPConnection, "https": HTTPSConnection}.get(parts.scheme)
        if kind and parts.hostname:
            return kind(parts.hostname, parts.port, timeout=timeout), parts.path
    except (ValueError, HTTPException):  # the port is none, or the host could never be one
        pass
    text = f"{address!r} is not an http or https address; expected http://host:port"
    raise FetchError(Reason.FETCH_FAILED, text, retry=False)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _usable(part: Path, size: int) -> int:
    """Bytes of an earlier attempt that can be built upon; a part longer than the blob is thrown away."""
    try:
        have = part.stat().st_size
    except FileNotFoundError:
        part.parent.mkdir(parents=True, exist_ok=True)
        return 0
    if have > size:
        part.unlink()
        return 0
    return have


def _download(
    address: str,
    file: BinaryIO,
    have: int,
    size: int,
    timeout: float,
    on_progress: Progress | None,
) -> None:
    headers: dict[str, str] = {}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _request("GET", address, headers, None, timeout) as response:
        if response.status == 416:
            file.truncate(0)
            raise FetchError(
                Reason.FETCH_FAILED, f"{address}: the server cannot resume; starting over", retry=True
            )
        _expect(response, address, 200, 206)
        content_range = response.headers.get("Content-Range", "")
        if response.status == 200:
            file.truncate(0)
            have = 0
        elif not content_range.startswith(f"bytes {have}-"):
            text = f"{address}: asked for the bytes from {have} on, got {content_range!r}"
            raise FetchError(Reason.FETCH_FAILED, text, retry=True)
        while chunk := _read(response, address, digests.CHUNK):
            have += len(chunk)
            if have > size:
                file.truncate(0)
                raise FetchError(
                    Reason.TOO_LARGE, f"{address}: more than the {size} bytes announced", retry=False
                )
            file.write(chunk)
            if on_progress is not None:
                on_progress(have, size)
    if have < size:
        raise FetchError(Reason.FETCH_FAILED, f"{address}: cut short at {have} of {size} bytes", retry=True)


@contextmanager
def _request(
    method: str, address: str, headers: dict[str, str], body: bytes | BinaryIO | None, timeout: float
) -> Iterator[HTTPResponse]:
    connection, path = connection_to(address, timeout)
    try:
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise FetchError(Reason.FETCH_FAILED, f"{address}: {_why(error)}", retry=True) from None
        except ValueError as error:  # a host, path or token that cannot be written into a request
            raise FetchError(Reason.FETCH_FAILED, f"{address!r}: {error}", retry=False) from None
        yield response
    finally:
        connection.close()


def _read(response: HTTPResponse, address: str, amount: int) -> bytes:
    try:
        return response.read(amount)
    except (OSError, HTTPException) as error:
        raise FetchError(Reason.FETCH_FAILED, f"{address}: {_why(error)}", retry=True) from None


def _expect(response: HTTPResponse, address: str, *statuses: int) -> None:
    if response.status in statuses:
        return
    retry = response.status >= 500 or response.status in (408, 429)
    said = _read(response, address, 300).decode(errors="replace").strip()
    text = f"{address}: HTTP {response.status} {response.reason}" + (f": {said}" if said else "")
    raise FetchError(Reason.FETCH_FAILED, text, retry=retry)


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = Reason.DISK_FULL if full else Reason.FETCH_FAILED
        raise FetchError(reason, f"{path}: {_why(error)}", retry=False) from None


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
