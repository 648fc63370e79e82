"""Reports wait here, on disk, until the broker has acknowledged them; and the numbers that must outlive the
process.

At least once: what was sent but not acknowledged is sent again after a reconnect; `seq` tells the copies
apart. At most `LIMIT` reports are kept: then the oldest go, and are counted.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cloud_broker.wire import topics
from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Report, encode

log = logging.getLogger(__name__)

LIMIT = 1000
WINDOW = 100
"""Reports under way at once."""

TABLES = """
create table if not exists reports (seq integer primary key autoincrement, payload blob not null);
create table if not exists numbers (name text primary key, value integer not null);
"""


class Outbox:
    """One per agent, used by one thread. `delivered` is called from elsewhere through `post`."""

    def __init__(self, path: Path) -> None:
        self.counters: Counter[str] = Counter()
        """dropped (more than LIMIT waiting)."""
        self._under_way: set[int] = set()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(TABLES)

    def close(self) -> None:
        self._db.close()

    def next_session(self) -> int:
        """A number that grows with every start of the agent."""
        row = self._db.execute(
            "insert into numbers values ('session', 1)"
            " on conflict (name) do update set value = value + 1 returning value"
        ).fetchone()
        return int(row[0])

    def put(self, make: Callable[[int], Report]) -> None:
        """Keep the report that `make` builds around its number; durable when this returns. Raises
        sqlite3.Error.
        """
        self._db.execute("begin immediate")
        try:
            cursor = self._db.execute("insert into reports (payload) values (x'')")
            seq = int(cursor.lastrowid or 0)
            self._db.execute("update reports set payload = ? where seq = ?", (encode(make(seq)), seq))
            gone = self._db.execute("delete from reports where seq <= ?", (seq - LIMIT,)).rowcount
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            raise
        self.counters["dropped"] += gone

    def __len__(self) -> int:
        return int(self._db.execute("select count(*) from reports").fetchone()[0])

    def waiting(self) -> list[tuple[int, bytes]]:
        """What is not under way, oldest first, as far as the window allows."""
        rows = self._db.execute("select seq, payload from reports order by seq limit ?", (WINDOW,))
        return [(seq, payload) for seq, payload in rows if seq not in self._under_way]

    def send(self, link: Link, board: str, delivered: Callable[[int], None]) -> None:
        """Publish what waits; `delivered(seq)` is called, on the link's thread, for each one acknowledged."""
        for seq, payload in self.waiting():
            self._under_way.add(seq)
            link.publish(
                topics.up(board, "report"),
                payload,
                on_delivered=lambda seq=seq: delivered(seq),  # type: ignore[misc]
            )

    def delivered(self, seq: int) -> None:
        self._under_way.discard(seq)
        self._db.execute("delete from reports where seq = ?", (seq,))

    def reconnected(self) -> None:
        """What was under way may be lost: send it again."""
        self._under_way.clear()
