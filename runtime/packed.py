"""Weights as the kernels read them, kept in files: packed once, mapped by every process that runs the model.

A file is named by everything that its bytes depend on, so it is never changed: a writer fills a file of its
own, checks that it is on the disk and renames it. Readers see all of it or none, whoever dies when. What is
damaged is written anew; where nothing can be written the caller's own memory serves. The folder is trusted as
the program's own: who may truncate its files may end the processes that map them.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from runtime.graph import Array

FOLDER = "packed"
"""In a cache folder, beside what the search keeps there."""
MAX_BYTES = 1 << 30
"""Of all files together; the ones that nobody has used for the longest time go first."""
HEADER = 64
"""Bytes in front of the weights: what keeps them aligned for every kernel."""
MAGIC = b"WALLEPK1"
_LAYOUT = struct.Struct("<8s32sQI")
"""Magic, key, bytes of weights, their CRC-32."""
STALE = 3600.0
"""Seconds after which an unfinished file belongs to nobody, and a file in use is marked as used again."""
PIECE = 1 << 16
"""Bytes that are checked at a time."""
_count = itertools.count()
_verified: set[tuple[int, int, int]] = set()
"""(device, inode, time of change) of the files whose CRC this process has seen to be right."""


class Store:
    """A folder of packed weights, of at most `most` bytes. Safe to use from any number of processes."""

    def __init__(self, folder: Path, most: int = MAX_BYTES) -> None:
        self.folder, self.most = folder, most

    def open(self, key: bytes, size: int, fill: Callable[[Array], None]) -> mmap.mmap | None:
        """The file of a key, whose weights start at HEADER, mapped for reading only. `fill` writes the `size`
        bytes, all zero before, of a file that is not there yet; what it raises goes through.

        `key` is a SHA-256 digest. None where the folder cannot be used, or has no room for it.
        """
        path = self.folder / f"{key.hex()}.packed"
        if size + HEADER > self.most:
            return None
        with contextlib.suppress(OSError):
            if (known := _mapped(path, key, size)) is not None:
                return known
            self._write(path, key, size, fill)
            self._evict(path)
            return _mapped(path, key, size)
        return None

    def _write(self, path: Path, key: bytes, size: int, fill: Callable[[Array], None]) -> None:
        """Room is reserved first: a full disk is an OSError here, not a signal while the file is filled."""
        self.folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.stem}.{os.getpid()}.{next(_count)}.tmp")
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(file, 0, HEADER + size)
            _fill(file, key, size, fill)
            os.fsync(file)
            os.replace(fresh, path)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        finally:
            os.close(file)

    def _evict(self, newest: Path) -> None:
        """Removes what is over the bound, and what writers left that were killed."""
        for path, stat in _files(self.folder, ".tmp"):
            if stat.st_mtime < time.time() - STALE:
                path.unlink(missing_ok=True)
        entries = sorted(_files(self.folder, ".packed"), key=lambda entry: entry[1].st_mtime)
        total = sum(stat.st_size for _, stat in entries)
        for path, stat in entries:
            if total > self.most and path != newest:
                path.unlink(missing_ok=True)
                total -= stat.st_size


def _files(folder: Path, suffix: str) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.iterdir():
        if path.suffix == suffix:
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()


def _fill(file: int, key: bytes, size: int, fill: Callable[[Array], None]) -> None:
    """The mapping goes with its last view."""
    mapping = mmap.mmap(file, HEADER + size)
    weights = np.frombuffer(mapping, np.uint8, size, HEADER)
    fill(weights)
    header = _LAYOUT.pack(MAGIC, key, size, zlib.crc32(weights.data))
    mapping[: len(header)] = header
    mapping.flush()


def _mapped(path: Path, key: bytes, size: int) -> mmap.mmap | None:
    """The file, if it is there and sound."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        stat = os.fstat(file)
        if stat.st_size != HEADER + size:
            return None
        if not _sound(file, key, size, stat):
            return None
        _mark_used(file, stat)
        return mmap.mmap(file, stat.st_size, prot=mmap.PROT_READ)
    finally:
        os.close(file)


def _sound(file: int, key: bytes, size: int, stat: os.stat_result) -> bool:
    """Read piece by piece, for what is mapped and looked at counts as this process's memory."""
    magic, stored, length, crc = _LAYOUT.unpack(os.pread(file, _LAYOUT.size, 0))
    if (magic, stored, length) != (MAGIC, key, size):
        return False
    identity = stat.st_dev, stat.st_ino, stat.st_mtime_ns
    if identity not in _verified:
        found = 0
        for at in range(HEADER, HEADER + size, PIECE):
            found = zlib.crc32(os.pread(file, min(PIECE, HEADER + size - at), at), found)
        if found != crc:
            return False
        _verified.add(identity)
    return True


def _mark_used(file: int, stat: os.stat_result) -> None:
    """Now and then; a folder that may only be read stays as it is."""
    if stat.st_mtime < time.time() - STALE:
        with contextlib.suppress(OSError):
            os.utime(file)
            now = os.fstat(file)
            _verified.add((now.st_dev, now.st_ino, now.st_mtime_ns))
