"""cloud_broker/mqtt/store.py: what was committed is there, what was not is not, and clear refusals."""

import sqlite3
from math import inf
from pathlib import Path

import pytest

from cloud_broker.mqtt.records import (
    DeliveryRecord,
    InboundRecord,
    Journal,
    MessageRecord,
    Record,
    RetainedRecord,
    SessionRecord,
    SubscriptionRecord,
)
from cloud_broker.mqtt.store import Store, StoreError

RECORDS: list[Record] = [
    SessionRecord("a", 60, inf),
    SubscriptionRecord("a", "t/#", 2, True, False, 1, 300),
    MessageRecord(1, b"\x30\x04\0\x01t\0", 1e9),
    DeliveryRecord("a", 1, 1, 2, False, "300 4", 65535, True),
    DeliveryRecord("a", 2, 1, 1, True, "", 0, False),
    InboundRecord("a", 7),
    RetainedRecord("t", b"\x30\x04\0\x01t\0", 1, inf),
]


def save(store: Store, *records: Record) -> None:
    journal = Journal()
    for record in records:
        journal.put(record)
    store.write(journal.take())
    store.commit()


def test_every_record_comes_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "folder")
    save(store, *RECORDS)
    store.close()
    assert list(Store(tmp_path / "new" / "folder").load()) == RECORDS


def test_the_last_write_of_a_key_wins(tmp_path: Path) -> None:
    store, journal = Store(tmp_path), Journal()
    save(store, *RECORDS)
    journal.drop(DeliveryRecord, "a", 1)
    journal.put(InboundRecord("a", 8))
    journal.drop(InboundRecord, "a", 8)
    journal.drop(RetainedRecord, "t")
    journal.put(RetainedRecord("t", b"new", 0, inf))
    store.write(journal.take())
    store.commit()
    assert journal.take() == {}
    assert list(store.load()) == [*RECORDS[:3], *RECORDS[4:6], RetainedRecord("t", b"new", 0, inf)]


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    store, journal = Store(tmp_path), Journal()
    journal.put(InboundRecord("a", 1))
    journal.put(InboundRecord("a", object()))  # type: ignore[arg-type]
    with pytest.raises(sqlite3.Error):
        store.write(journal.take())
    save(store, InboundRecord("a", 2))
    assert list(store.load()) == [InboundRecord("a", 2)]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = Store(tmp_path)
    with pytest.raises(StoreError, match="another broker uses this folder"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mqtt.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(StoreError, match=r"mqtt\.db.*damaged.*move it away"):
        Store(tmp_path)


def test_a_file_that_is_damaged_inside_is_refused_when_it_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, *(SessionRecord(f"client-{number}", 60, inf) for number in range(2000)))
    store.close()
    whole = (tmp_path / "mqtt.db").read_bytes()
    (tmp_path / "mqtt.db").write_bytes(whole[:8192] + b"\xff" * 32768 + whole[40960:])
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=r"mqtt\.db.*damaged.*move it away"):
        list(store.load())
    store.close()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    db = sqlite3.connect(tmp_path / "mqtt.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="expected schema 1, got 99"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open"):
        Store(tmp_path / "file" / "sub")
