"""Rows in a table of the task's results.sqlite: collective storage (Lv et al., OSDI 2022, §4.3).

Rows wait in memory and reach the disk together, in one transaction per `THRESHOLD` rows, flush or read: SD
cards live long. Every row has `at`, the item's event time (an item's own `at` goes to `item_at`); rows
`keep` seconds older than the newest are deleted. A column that appears later is added; lists and the like
become JSON text.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_agent.events import ItemError, Row
from edge_agent.results import encode
from edge_agent.spec.model import Item
from edge_agent.spec.model import SqliteSink as Spec

Cell = None | int | float | str
Record = dict[str, Cell]
FILE = "results.sqlite"
THRESHOLD = 500
MAX_BUFFER = 10_000
"""Rows that wait at most while the disk refuses them."""
RETAIN_EVERY = 100
"""Writes between two looks for rows that are too old."""
MAX_COLUMNS = 200


class SqliteSink:
    """Safe from any thread, so that results can be read while the task runs."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self.writes = 0
        """Transactions so far."""
        self._path = folder / FILE
        self._table = spec.table
        self._keep = spec.keep
        self._lock = threading.Lock()
        self._buffer: list[Record] = []
        self._database: sqlite3.Connection | None = None
        self._known: set[str] = set()  # of the table and the buffer

    def open(self) -> None:
        database = sqlite3.connect(self._path, timeout=10.0, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        table, index = _quoted(self._table), _quoted(f"{self._table}_at")
        database.execute(f"CREATE TABLE IF NOT EXISTS {table} (at REAL NOT NULL)")
        database.execute(f"CREATE INDEX IF NOT EXISTS {index} ON {table} (at)")
        self._known = set(self._columns(database))
        self._database = database

    def write(self, rows: Sequence[Row]) -> None:
        records = [_record(row) for row in rows]
        with self._lock:
            known = self._known.union(*records)
            if len(known) > MAX_COLUMNS:
                raise ItemError(
                    f"table {self._table} has {MAX_COLUMNS} columns, no more are added; choose `fields`"
                )
            if len(self._buffer) + len(rows) > MAX_BUFFER:
                raise BufferError(
                    f"{MAX_BUFFER} rows wait for table {self._table}; {len(rows)} were given up"
                )
            self._buffer += records
            self._known = known
            full = len(self._buffer) >= THRESHOLD
        if full:
            self.flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def read(self, limit: int = 100) -> list[Item]:
        """The newest rows, newest first, those in memory included."""
        with self._lock:
            self._flush()
            assert self._database is not None
            query = f"SELECT * FROM {_quoted(self._table)} ORDER BY at DESC, rowid DESC LIMIT ?"
            cursor = self._database.execute(query, (limit,))
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def close(self) -> None:
        with self._lock:
            if self._database is not None:
                try:
                    self._flush()
                finally:
                    self._database.close()
                    self._database = None

    def _flush(self) -> None:
        if not self._buffer or self._database is None:
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._insert(self._database)
            self._retain(self._database)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self.writes += 1
        self._buffer.clear()

    def _insert(self, database: sqlite3.Connection) -> None:
        columns = self._columns(database)  # looked up, since another version of the task may write here too
        for name in dict.fromkeys(name for record in self._buffer for name in record):
            if name not in columns:
                database.execute(f"ALTER TABLE {_quoted(self._table)} ADD COLUMN {_quoted(name)}")
                columns.append(name)
        names = ", ".join(map(_quoted, columns))
        marks = ", ".join("?" * len(columns))
        database.executemany(
            f"INSERT INTO {_quoted(self._table)} ({names}) VALUES ({marks})",
            [[record.get(name) for name in columns] for record in self._buffer],
        )

    def _columns(self, database: sqlite3.Connection) -> list[str]:
        return [row[1].lower() for row in database.execute(f"PRAGMA table_info({_quoted(self._table)})")]

    def _retain(self, database: sqlite3.Connection) -> None:
        if self.writes % RETAIN_EVERY == 0:
            table = _quoted(self._table)
            database.execute(
                f"DELETE FROM {table} WHERE at < (SELECT max(at) FROM {table}) - ?", (self._keep,)
            )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _record(row: Row) -> Record:
    record: Record = {"at": row.time}
    for name, value in row.item.items():
        column = _text(name).lower()
        record["item_at" if column == "at" else column] = _cell(value)
    return record


def _cell(value: Any) -> Cell:
    """What SQLite can hold."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if value is None or isinstance(value, int | float):
        return value
    return _text(value) if isinstance(value, str) else encode(value).decode()


def _text(value: str) -> str:
    """Without what has no place in UTF-8 (lone surrogates) or in SQLite's names (NUL)."""
    return value.encode(errors="replace").decode().replace("\0", "?")
