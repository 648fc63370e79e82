"""Checkpoints survive a cut at any operation; a blob store is asked again as long as that makes sense."""

from __future__ import annotations

import os
from pathlib import Path
from queue import Queue

import pytest

from cloud_broker.wire import blobs
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import Reason
from fl.clock import SystemClock, VirtualClock
from fl.stores import WAITS, FileCheckpoint, HttpBlobs, MemoryBlobs


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "p.rounds"
    checkpoint = FileCheckpoint(path)
    assert checkpoint.load() is None
    for data in (b"one", b"two, longer", b""):
        checkpoint.save(data)
        assert FileCheckpoint(path).load() == data
    assert [file.name for file in path.parent.iterdir()] == ["p.rounds"]


@pytest.mark.parametrize("operation", ["fsync", "rename"])
def test_a_cut_before_the_flip_leaves_the_former(
    operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    def cut(*_args: object) -> None:
        raise Cut

    checkpoint = FileCheckpoint(tmp_path / "p.rounds")
    checkpoint.save(b"former")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", cut) if operation == "fsync" else (Path, "rename", cut)))
        with pytest.raises(Cut):
            checkpoint.save(b"next")
    assert checkpoint.load() == b"former"
    checkpoint.save(b"next")
    assert checkpoint.load() == b"next"


@pytest.mark.parametrize(
    ("failures", "retry", "waits", "comes"),
    [
        (0, True, [], True),
        (2, True, list(WAITS[:2]), True),
        (len(WAITS), True, list(WAITS), True),
        (len(WAITS) + 1, True, list(WAITS), False),
        (1, False, [], False),
    ],
)
def test_patience(
    failures: int, retry: bool, waits: list[float], comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    left = failures

    def get(base_url: str, digest: str, limit: int) -> bytes:
        nonlocal left
        left -= 1
        if left >= 0:
            raise FetchError(Reason.FETCH_FAILED, "refused", retry=retry)
        return f"{base_url} {digest} {limit}".encode()

    monkeypatch.setattr(blobs, "get", get)
    store = HttpBlobs("http://server", "token", waited.append)
    if comes:
        assert store.get("d", 7) == b"http://server d 7"
    else:
        with pytest.raises(FetchError):
            store.get("d", 7)
    assert waited == waits


def test_blobs_in_memory() -> None:
    store = MemoryBlobs()
    key = store.put(b"data")
    assert store.get(key, 4) == b"data"
    with pytest.raises(FetchError) as large:
        store.get(key, 3)
    with pytest.raises(FetchError) as missing:
        store.get("0" * 64, 3)
    assert (large.value.reason, missing.value.reason) == (Reason.TOO_LARGE, Reason.FETCH_FAILED)


def test_clocks() -> None:
    queue: Queue[str] = Queue()
    queue.put("item")
    queue.put("item")
    virtual, system = VirtualClock(5.0), SystemClock()
    assert (virtual.take(queue, 9.0), virtual.now()) == ("item", 5.0)
    assert system.take(queue, system.now() - 1) == "item"
    assert system.take(queue, system.now() + 0.01) is None
    assert (virtual.take(queue, 9.0), virtual.now()) == (None, 9.0)
    assert (virtual.take(queue, 7.0), virtual.now()) == (None, 9.0)
