"""POST of one JSON object per item, from a thread of its own with a bounded queue; retried with growing
pauses.

A receiver that refuses an item for good (4xx but 408 and 429) gets the next one; anything else is tried
again up to `ATTEMPTS` times. What is given up is counted with its cause.
"""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence

from edge_agent.clock import Clock
from edge_agent.events import Row
from edge_agent.evidence import Ledger
from edge_agent.results import encode
from edge_agent.spec.model import HttpSink as Spec

QUEUE = 1000
ATTEMPTS = 8
PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before the second attempt, doubling up to the longest."""


class HttpSink:
    """`url` is the spec's with its secrets, so it is never printed. Raises ValueError when it is not http or
    https."""

    def __init__(self, name: str, spec: Spec, url: str, ledger: Ledger, clock: Clock) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"sink {name}: {spec.url!r} is no address; expected http://… or https://…")
        self._name = name
        self._url = url
        self._shown = spec.url
        self._timeout = spec.timeout
        self._ledger = ledger
        self._clock = clock
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"http-{name}", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def write(self, rows: Sequence[Row]) -> None:
        bodies = [encode(row.item) for row in rows]
        with self._changed:
            for body in bodies:
                if len(self._queue) >= QUEUE:
                    self._queue.popleft()
                    self._ledger.dropped()
                self._queue.append(body)
            self._changed.notify()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """Each item that still waits gets one attempt, as long as they succeed."""
        self._stop.set()
        with self._changed:
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(2 * self._timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stop.is_set():
                    self._changed.wait()
                if not self._queue:
                    return
                body = self._queue.popleft()
            if not self._deliver(body) and self._stop.is_set():
                with self._changed:
                    self._ledger.dropped(len(self._queue))
                return

    def _deliver(self, body: bytes) -> bool:
        pause = PAUSE
        for attempt in range(1, ATTEMPTS + 1):
            problem = self._post(body)
            if problem is None:
                return True
            text, final = problem
            if final or attempt == ATTEMPTS or self._clock.wait(self._stop, pause):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
        self._ledger.error(f"sink {self._name}: {self._shown}: {text}; an item was given up")
        return False

    def _post(self, body: bytes) -> tuple[str, bool] | None:
        """None when it was taken; else what went wrong, and whether trying again is useless."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return f"HTTP {error.code}", 400 <= error.code < 500 and error.code not in (408, 429)
        except (OSError, ValueError) as error:
            return f"{getattr(error, 'reason', error)}", False
