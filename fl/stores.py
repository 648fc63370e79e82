"""Where a coordinator keeps bytes: weights in a blob store, its state in a checkpoint; each with its fake."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from cloud_broker.wire import blobs, digest
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import Reason

WAITS = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each further try of a transfer."""

T = TypeVar("T")


class Blobs(Protocol):
    url: str
    """What boards are told."""

    def put(self, data: bytes) -> str:
        """Durable when it returns the digest. Raises FetchError."""

    def get(self, digest: str, limit: int) -> bytes:
        """Those bytes and no others, at most `limit`. Raises FetchError."""


class HttpBlobs:
    """The blob server; a transfer that may succeed later is tried again."""

    def __init__(self, url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url
        self._token = token
        self._sleep = sleep

    def put(self, data: bytes) -> str:
        return self._patiently(lambda: blobs.put(self.url, data, self._token))

    def get(self, digest: str, limit: int) -> bytes:
        return self._patiently(lambda: blobs.get(self.url, digest, limit))

    def _patiently(self, transfer: Callable[[], T]) -> T:
        for wait in WAITS:
            try:
                return transfer()
            except FetchError as error:
                if not error.retry:
                    raise
            self._sleep(wait)
        return transfer()


class MemoryBlobs:
    url = "memory:"

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        key = digest.of_bytes(data)
        self._blobs[key] = data
        return key

    def get(self, digest: str, limit: int) -> bytes:
        data = self._blobs.get(digest)
        if data is None:
            raise FetchError(Reason.FETCH_FAILED, f"there is no blob {digest}", retry=False)
        if len(data) > limit:
            raise FetchError(Reason.TOO_LARGE, f"more than the {limit} bytes allowed", retry=False)
        return data


class Checkpoint(Protocol):
    def load(self) -> bytes | None:
        """What was saved last, None at first."""

    def save(self, data: bytes) -> None:
        """Whole and durable when it returns; after a power cut before that, still the former."""


class FileCheckpoint:
    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def save(self, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._path)
        blobs.sync_folder(self._path.parent)


class MemoryCheckpoint:
    def __init__(self) -> None:
        self._data: bytes | None = None

    def load(self) -> bytes | None:
        return self._data

    def save(self, data: bytes) -> None:
        self._data = data
