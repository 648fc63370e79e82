"""The server's truth: one SQLite file (WAL, every commit durable) with boards, releases, rollouts,
members, events.

Rows hold encoded messages; the columns beside them are only what is searched by. `transaction` is the one
door for writing, so that a state and its audit event are kept together or not at all.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SCHEMA = 1
KEEP_EVENTS = 10_000
"""Audit events beyond the newest ones go, oldest first."""
TABLES = """
CREATE TABLE boards   (board TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE releases (release TEXT PRIMARY KEY, task TEXT NOT NULL, at REAL NOT NULL,
                       envelope BLOB NOT NULL);
CREATE TABLE rollouts (id INTEGER PRIMARY KEY AUTOINCREMENT, state BLOB NOT NULL);
CREATE TABLE members  (rollout INTEGER NOT NULL REFERENCES rollouts, board TEXT NOT NULL, state BLOB NOT NULL,
                       PRIMARY KEY (rollout, board)) WITHOUT ROWID;
CREATE TABLE events   (id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, kind TEXT NOT NULL,
                       subject TEXT NOT NULL, text TEXT NOT NULL);
"""


class DatabaseError(Exception):
    """The file cannot serve as the database."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log: what happened to which rollout, release or board."""

    id: int
    at: float
    kind: str
    subject: str
    text: str

    def json(self) -> str:
        return json.dumps(asdict(self))


class Database:
    """Safe to call from any thread. Raises DatabaseError when the file is another's or of another schema."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute("PRAGMA foreign_keys = ON")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
        except sqlite3.Error as error:
            raise DatabaseError(f"{path} cannot be used as the database: {error}") from None
        if version not in (0, SCHEMA):
            self.close()
            raise DatabaseError(
                f"{path} has schema {version}, this server speaks {SCHEMA}; move it away or upgrade"
            )

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together, or none; joins a transaction that is open on this thread."""
        with self._lock:
            joins = self._connection.in_transaction
            if joins:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # --- boards and releases ---

    def put_board(self, board: str, record: bytes) -> None:
        self._write("INSERT OR REPLACE INTO boards VALUES (?, ?)", board, record)

    def boards(self) -> list[bytes]:
        return [record for (record,) in self._rows("SELECT record FROM boards ORDER BY board")]

    def put_release(self, release: str, task: str, at: float, envelope: bytes) -> None:
        self._write("INSERT INTO releases VALUES (?, ?, ?, ?)", release, task, at, envelope)

    def releases(self) -> list[tuple[str, float, bytes]]:
        """(release, when it was added, envelope), oldest first."""
        return self._rows("SELECT release, at, envelope FROM releases ORDER BY rowid")

    # --- rollouts ---

    def new_rollout(self) -> int:
        """A number never used before, inside the transaction that will `put_rollout` it."""
        with self._lock:
            return self._connection.execute("INSERT INTO rollouts (state) VALUES (x'')").lastrowid or 0

    def put_rollout(self, number: int, state: bytes, members: Iterable[tuple[str, bytes]]) -> None:
        """The rollout's state and those of its members that changed."""
        with self.transaction():
            self._write("UPDATE rollouts SET state = ? WHERE id = ?", state, number)
            self._connection.executemany(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?)",
                [(number, board, member) for board, member in members],
            )

    def rollouts(self) -> list[tuple[int, bytes]]:
        return self._rows("SELECT id, state FROM rollouts ORDER BY id")

    def members(self, number: int) -> list[tuple[str, bytes]]:
        return self._rows("SELECT board, state FROM members WHERE rollout = ?", number)

    # --- events ---

    def add_event(self, at: float, kind: str, subject: str, text: str) -> None:
        self._write(
            "INSERT INTO events (at, kind, subject, text) VALUES (?, ?, ?, ?)", at, kind, subject, text
        )
        self._write("DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?", KEEP_EVENTS)

    def events(self, *, after: int = 0, last: int = 100) -> list[Event]:
        """The newest `last` events with a number above `after`, oldest first."""
        rows = self._rows("SELECT * FROM events WHERE id > ? ORDER BY id DESC LIMIT ?", after, last)
        return [Event(*row) for row in reversed(rows)]

    def _write(self, sql: str, *values: Any) -> None:
        with self.transaction():
            self._connection.execute(sql, values)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()
