"""The broker's state on disk: one SQLite table per record class, written a journal at a time.

`write` fills a transaction, `commit` makes it durable (WAL, synced: it survives `kill -9` and a power cut).
They are apart because only the second waits for the disk and may run on another thread. One process at a
time holds the folder. The SQL is made from the record classes: a new field is a new `SCHEMA` number.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cloud_broker.mqtt.records import KEYS, Record, Writes

SCHEMA = 1


class StoreError(Exception):
    """The state folder cannot be used; the text says which one, why, and what to do."""


class Store:
    def __init__(self, folder: Path) -> None:
        """Open or create `folder`/mqtt.db. Raises StoreError."""
        self.path = folder / "mqtt.db"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            self._open()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self.path}: cannot open the broker's state: {error}; {_hint(error)}"
            ) from error

    def _open(self) -> None:
        run = self._db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("BEGIN IMMEDIATE")
        (schema,) = run("PRAGMA user_version").fetchone()
        if schema not in (0, SCHEMA):
            raise StoreError(
                f"{self.path}: expected schema {SCHEMA}, got {schema}; "
                "it was written by another version: use that one, or another state folder"
            )
        for record, width in KEYS.items():
            fields, key = ", ".join(record._fields), ", ".join(record._fields[:width])
            run(f"CREATE TABLE IF NOT EXISTS {_table(record)} ({fields}, PRIMARY KEY ({key})) WITHOUT ROWID")
        run(f"PRAGMA user_version = {SCHEMA}")
        run("COMMIT")

    def load(self) -> Iterator[Record]:
        """Every record, table by table in the order of `KEYS`, each table in the order of its key. Raises
        StoreError.
        """
        try:
            for record in KEYS:
                order = ", ".join(record._fields[: KEYS[record]])
                for row in self._db.execute(f"SELECT * FROM {_table(record)} ORDER BY {order}"):
                    yield record(*row)
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: cannot read the broker's state: {error}; {_hint(error)}"
            ) from error

    def write(self, writes: Writes) -> None:
        """Put the changes into a new transaction. Raises sqlite3.Error with nothing changed."""
        puts: dict[type[Any], list[Record]] = defaultdict(list)
        drops: dict[type[Any], list[tuple[Any, ...]]] = defaultdict(list)
        for (kind, key), record in writes.items():
            if record is None:
                drops[kind].append(key)
            else:
                puts[kind].append(record)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for kind, records in puts.items():
                self._db.executemany(_PUT[kind], records)
            for kind, keys in drops.items():
                self._db.executemany(_DROP[kind], keys)
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise

    def commit(self) -> None:
        """Wait until the transaction is on disk. Raises sqlite3.Error with nothing changed."""
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        self._db.close()


def _table(record: type[Any]) -> str:
    return record.__name__.removesuffix("Record").lower()


def _hint(error: Exception) -> str:
    if "locked" in str(error):
        return "another broker uses this folder: stop it, or choose another folder"
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
        return "the file is damaged: move it away to start with empty state"
    return "check that the folder exists, is writable and has space left"


_PUT = {
    record: f"INSERT OR REPLACE INTO {_table(record)} VALUES ({', '.join('?' * len(record._fields))})"
    for record in KEYS
}
_DROP = {
    record: f"DELETE FROM {_table(record)} WHERE "
    + " AND ".join(f"{name} = ?" for name in record._fields[:width])
    for record, width in KEYS.items()
}
