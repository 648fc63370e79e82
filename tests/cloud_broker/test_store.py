"""Blobs on disk: in place only when whole and right. The database: all of a transaction or nothing."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from cloud_broker.database import KEEP_EVENTS, Database, DatabaseError
from cloud_broker.store import BlobStore, StoreError
from cloud_broker.wire import digest
from cloud_broker.wire.messages import Reason

DATA = b"some bytes"
DIGEST = digest.of_bytes(DATA)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_blob_is_stored_once_under_its_digest(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    assert store.put(DATA) == store.put(DATA) == DIGEST
    assert files(tmp_path) == [f"{DIGEST[:2]}/{DIGEST[2:]}"]
    assert (store.get(DIGEST), store.size(DIGEST), store.size("0" * 64)) == (DATA, len(DATA), None)
    with pytest.raises(StoreError, match="there is no blob"):
        store.get("0" * 64)


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "%2e" * 21]
)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a digest"):
        BlobStore(tmp_path).path(name)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"other bytes", Reason.DIGEST_MISMATCH), (b"x" * 101, Reason.TOO_LARGE)]
)
def test_wrong_bytes_leave_nothing(tmp_path: Path, data: bytes, reason: Reason) -> None:
    store = BlobStore(tmp_path, limit=100)
    with pytest.raises(StoreError) as error, store.receive(DIGEST) as incoming:
        incoming.write(data)
    assert error.value.reason is reason
    assert files(tmp_path) == []


@pytest.mark.parametrize("call", ["os.fsync", "os.rename"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    store = BlobStore(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        with pytest.raises(StoreError, match=r"cannot store blob .*: No space left on device") as error:
            store.put(DATA)
    assert error.value.reason is Reason.DISK_FULL
    assert files(tmp_path) == []
    assert store.put(DATA) == DIGEST


def test_leftovers_of_a_stop_are_removed_on_opening(tmp_path: Path) -> None:
    BlobStore(tmp_path).put(DATA)
    (tmp_path / "incoming" / "tmpabc").write_bytes(b"half")
    assert BlobStore(tmp_path).get(DIGEST) == DATA
    assert len(files(tmp_path)) == 1


# --- the database ------------------------------------------------------------------------------------------


def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")

    def cut_short() -> None:
        with database.transaction():
            database.put_rollout(database.new_rollout(), b"state", [("board", b"member")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        cut_short()
    assert database.rollouts() == []
    with database.transaction():
        number = database.new_rollout()
        database.put_rollout(number, b"state", [("board", b"member")])
        database.add_event(1.0, "kind", "subject", "text")
    database.close()
    again = Database(tmp_path / "db")
    assert again.rollouts() == [(number, b"state")]
    assert again.members(number) == [("board", b"member")]
    assert [event.text for event in again.events()] == ["text"]


def test_events_are_numbered_newest_kept(tmp_path: Path) -> None:
    database = Database(tmp_path / "db")
    with database.transaction():
        for index in range(KEEP_EVENTS + 3):
            database.add_event(float(index), "kind", "s", "")
    assert [event.id for event in database.events(last=2)] == [KEEP_EVENTS + 2, KEEP_EVENTS + 3]
    assert database.events(last=KEEP_EVENTS * 2)[0].id == 4
    assert [event.id for event in database.events(after=KEEP_EVENTS + 2)] == [KEEP_EVENTS + 3]


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all" * 100)
    with pytest.raises(DatabaseError, match="text cannot be used as the database: file is not a database"):
        Database(tmp_path / "text")
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DatabaseError, match="has schema 99, this server speaks 1"):
        Database(tmp_path / "newer")
