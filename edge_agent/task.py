"""One running task: a loop on a thread of its own, fed by the threads of its sources through a bounded inbox.

Sinks open first, then the loop starts, then the sources: nothing is emitted that nobody would take. Whatever
fails for one item is counted and the loop goes on; when the loop itself ends, `evidence().failed` says why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from itertools import islice

from cloud_broker.wire.messages import Reason
from edge_agent.clock import Clock
from edge_agent.evidence import Evidence, Ledger, StartError
from edge_agent.inbox import Inbox, Outlet
from edge_agent.pipeline import Pipeline, Stop
from edge_agent.sinks.base import Sink
from edge_agent.sinks.stage import Recent
from edge_agent.sources.base import Source
from edge_agent.spec.model import Item

log = logging.getLogger(__name__)

HEARTBEAT = 0.5
"""Seconds between signs of life of an idle loop."""
FLUSH = 0.5
"""Seconds that results wait in memory at most."""
STOP = 5.0


class Task:
    """Built by `edge_agent.topology.build`; started once."""

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        sources: Mapping[str, tuple[Source, Outlet]],
        sinks: Mapping[str, Sink],
        inbox: Inbox,
        ledger: Ledger,
        recent: Recent,
        clock: Clock,
        kill: Callable[[], None],
    ) -> None:
        self.name = name
        self._pipeline = pipeline
        self._sources = sources
        self._sinks = sinks
        self._inbox = inbox
        self._ledger = ledger
        self._recent = recent
        self._clock = clock
        self._kill = kill
        self._stop = threading.Event()
        self._abandon = threading.Event()
        self._underway: list[Callable[[], None]] = []  # `done` of events whose work may not be done
        self._finished: list[Callable[[], None]] = []  # and of those whose results only wait for a flush
        self._flushed = clock.now()
        self._loop = threading.Thread(target=self._run, name=f"task-{name}", daemon=True)
        self._feeders = [
            threading.Thread(target=self._source, args=(source, outlet), name=f"{name}-{key}", daemon=True)
            for key, (source, outlet) in sources.items()
        ]

    def start(self) -> None:
        """Raises StartError when a sink cannot be opened; nothing is left running then."""
        opened: list[Sink] = []
        for key, sink in self._sinks.items():
            try:
                sink.open()
                opened.append(sink)
            except Exception as error:
                for each in opened:
                    each.close()
                self._pipeline.close()
                raise StartError(
                    Reason.START_FAILED, f"sink {key}: {type(error).__name__}: {error}"
                ) from error
        for thread in (self._loop, *self._feeders):
            thread.start()

    def stop(self, timeout: float = STOP) -> bool:
        """End the sources, finish what waits, flush, close. A script still busy after `timeout` seconds is
        killed. False when a thread was still alive at the end, which is logged."""
        self._stop.set()
        self._inbox.close()
        if self._loop.ident is None:
            self._pipeline.close()
            return True
        for thread in (*self._feeders, self._loop):
            thread.join(timeout)
        if self._loop.is_alive():
            self._abandon.set()
            self._kill()
            self._loop.join(timeout)
        alive = [thread.name for thread in (self._loop, *self._feeders) if thread.is_alive()]
        if alive:
            log.warning(
                "task %s: %s did not end and goes on beside what comes next", self.name, ", ".join(alive)
            )
        return not alive

    def evidence(self) -> Evidence:
        return self._ledger.evidence()

    def recent_results(self, n: int = 10) -> list[tuple[str, float, Item]]:
        """The newest results, newest first: (sink, event time, item)."""
        return list(islice(reversed(self._recent.copy()), n))

    # --- the threads ----------------------------------------------------------------------------------------

    def _source(self, source: Source, outlet: Outlet) -> None:
        try:
            source.run(outlet, self._stop, self._clock)
        except Exception as error:
            log.exception("source %s of task %s ended", outlet.source, self.name)
            outlet.error(f"ended: {type(error).__name__}: {error}")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._round(self._patience())
            self._drain()
        except Stop as stop:
            self._ledger.failed(f"stopped by limits.on_breach: {stop}", final=True)
        except Exception as error:
            log.exception("the loop of task %s ended", self.name)
            self._ledger.failed(f"{type(error).__name__}: {error}")
        finally:
            self._stop.set()
            self._inbox.close()
            self._flush()
            for key, sink in self._sinks.items():
                self._guarded(f"sink {key}", sink.close)
            for key, (source, _) in self._sources.items():
                self._guarded(f"source {key}", source.close)
            self._pipeline.close()

    def _patience(self) -> float:
        """Seconds until something is to be done even if no event comes."""
        if not self._pipeline.idle:
            return 0.0
        due = self._pipeline.due()
        return HEARTBEAT if due is None else min(HEARTBEAT, max(0.0, due - self._clock.now()))

    def _round(self, patience: float) -> bool:
        """Take in what waits, do at most one piece of work; True when there was anything to do."""
        self._settle()
        entries = self._inbox.take(patience, self._pipeline.appetite)
        self._underway += [entry.done for entry in entries if entry.done]
        self._pipeline.feed(entries)
        now = self._clock.now()
        self._pipeline.tick(now)
        worked = self._pipeline.work()
        now = self._clock.now()
        self._ledger.beat(now, self._pipeline.counts())
        if now >= self._flushed + FLUSH:
            self._flush()
        return bool(entries) or worked

    def _drain(self) -> None:
        """What had been accepted is finished; nothing new is."""
        while not self._abandon.is_set() and self._round(0.0):
            pass

    def _flush(self) -> None:
        """Carry results out, then tell the sources that what led to them is safe."""
        self._flushed = self._clock.now()
        self._settle()
        fine = [self._guarded(f"sink {key}", sink.flush) for key, sink in self._sinks.items()]
        if all(fine):
            for done in self._finished:
                self._guarded("noting what was taken", done)
            self._finished = []

    def _settle(self) -> None:
        if self._pipeline.idle:
            self._finished += self._underway
            self._underway = []

    def _guarded(self, what: str, act: Callable[[], None]) -> bool:
        try:
            act()
        except Exception as error:
            self._ledger.error(f"{what}: {type(error).__name__}: {error}")
            return False
        return True
