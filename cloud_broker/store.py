"""Blobs on disk by their digest: `blobs/ab/cdef…`. A blob is written beside its place, checked, made
durable, renamed.

What is in its place is therefore whole and right, whatever power cut came before. Who may write is
`http`'s business.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cloud_broker.wire import digest as digests
from cloud_broker.wire.blobs import sync_folder
from cloud_broker.wire.messages import Reason

MAX_BLOB = 1 << 30


class StoreError(Exception):
    """A blob that could not be taken or given: a code for machines, a sentence for people."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Incoming:
    """A blob on its way in; `write` raises StoreError (TOO_LARGE, DISK_FULL)."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._limit:
            raise StoreError(Reason.TOO_LARGE, f"more than the {self._limit} bytes allowed for a blob")
        self._hash.update(chunk)
        self._file.write(chunk)

    def finish(self) -> str:
        """Durable now; the digest of what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._hash.hexdigest()


class BlobStore:
    """The blobs under one folder; leftovers of transfers that a stop cut short are removed on opening."""

    def __init__(self, folder: Path, *, limit: int = MAX_BLOB) -> None:
        self._folder = folder
        self._limit = limit
        self._incoming = folder / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink()

    def path(self, digest: str) -> Path:
        """Where the blob is or would be. Raises ValueError for anything that is not a digest."""
        if not digests.DIGEST.fullmatch(digest):
            raise ValueError(f"{digest[:80]!r} is not a digest: expected 64 lower-case hexadecimal digits")
        return self._folder / digest[:2] / digest[2:]

    def size(self, digest: str) -> int | None:
        """Bytes of the blob, None when it is not here."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    @contextmanager
    def receive(self, digest: str) -> Iterator[Incoming]:
        """Write the bytes inside; then the blob is in place. Raises StoreError, and nothing is kept."""
        place = self.path(digest)
        try:
            with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
                try:
                    incoming = Incoming(file, self._limit)
                    yield incoming
                    got = incoming.finish()
                    if got != digest:
                        text = f"announced as {digest}, the bytes have digest {got}"
                        raise StoreError(Reason.DIGEST_MISMATCH, text)
                    place.parent.mkdir(exist_ok=True)
                    os.rename(file.name, place)
                    sync_folder(place.parent)
                finally:
                    Path(file.name).unlink(missing_ok=True)
        except OSError as error:
            reason = Reason.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Reason.FETCH_FAILED
            raise StoreError(reason, f"cannot store blob {digest[:16]}…: {error.strerror or error}") from None

    def put(self, data: bytes) -> str:
        """Store bytes, there already or not; returns their digest. Raises StoreError."""
        digest = digests.of_bytes(data)
        if self.size(digest) != len(data):
            with self.receive(digest) as incoming:
                incoming.write(data)
        return digest

    def get(self, digest: str) -> bytes:
        """The blob's bytes. Raises StoreError (FETCH_FAILED) when it is not here."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise StoreError(Reason.FETCH_FAILED, f"there is no blob {digest}") from None
