"""The agent: one thread on which everything is decided, fed by the link, the drop folder, the workers and the
clock.

Whatever arrives is put into one queue as a call and done in order; nothing else touches a task, so nothing is
locked. The link may come and go: tasks run on, reports wait in the outbox. A stop, clean or not, needs no
preparation: see `slots`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import IO, TypeVar

from cloud_broker.wire import topics
from cloud_broker.wire.link import Link, MqttLink
from cloud_broker.wire.messages import (
    Ask,
    Notice,
    Presence,
    Reason,
    Report,
    RoundOpen,
    Running,
    WireError,
    decode,
    encode,
)
from cloud_broker.wire.signing import Trusted
from edge_agent import drop_folder, intents, profile, updater
from edge_agent.clock import Clock
from edge_agent.config import BoardConfig
from edge_agent.drop_folder import Bad, Bundle, Complain, Deploy, Dismiss, Fine, Look
from edge_agent.managed import Managed
from edge_agent.outbox import Outbox
from edge_agent.profile import Board
from edge_agent.releases import Refusal, Tools
from edge_agent.slots import Slot
from edge_agent.status import Picture

log = logging.getLogger("walle")
T = TypeVar("T")

TICK = 0.2
"""Seconds between looks at health, timeouts and heartbeats."""
PICTURE = 1.0
"""Seconds between pictures in status.json."""
STOP_TIMEOUT = 5.0
"""Seconds that all tasks together get to flush their sinks."""

MakeTools = Callable[[BoardConfig, str, Link | None, Clock], Tools]
"""(configuration, task, link, clock) -> what versions of that task are checked and built with."""


class AgentError(Exception):
    """The agent cannot start: what, where, what to do."""


class Agent:
    """One board. `link` replaces the one that the configuration names; `on_round` gets invitations to train,
    on a thread of its own."""

    def __init__(
        self,
        config: BoardConfig,
        make_tools: MakeTools,
        *,
        clock: Clock,
        rng: Random,
        link: Callable[[Board], Link] | None = None,
        on_round: Callable[[RoundOpen], None] | None = None,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.trusted: Trusted = config.trust
        self.token = config.token.get_secret_value()
        self.tasks: dict[str, Managed] = {}
        self._config = config
        self._make_tools = make_tools
        self._on_round = on_round
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ended = False
        self._lock = _lock(config.state)
        self._outbox = Outbox(config.state / "outbox.sqlite")
        self._board = Board(config.board, self._outbox.next_session(), config.labels)
        self._link = link(self._board) if link else self._mqtt()
        self._folder = config.specs_folder
        self._watcher = drop_folder.Watcher(self._folder, self._look)
        self._check = self._make_tools(config, "", None, clock).check
        self._read: dict[str, tuple[Look, Bundle | Bad]] = {}
        self._found: dict[str, Bundle | Bad] = {}
        self._failed: dict[str, tuple[str, str]] = {}
        """Dropped file -> (content that did not start, why): not tried again before it changes."""
        self._problems: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._told: dict[str, Running] | None = None
        self._next_picture = 0.0
        self._next_hello = 0.0

    # --- life ---

    def run(self) -> None:
        """Until `stop`."""
        self.start()
        print(f"agent ready: {self._board.id}", flush=True)
        due = 0.0
        while not self._ended:
            with contextlib.suppress(Empty):
                self._guarded(self._queue.get(timeout=TICK))
            if self.clock.now() >= due:
                self._guarded(self.tick)
                due = self.clock.now() + TICK
        self.close()

    def start(self) -> None:
        """Start every task that should run, then listen."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._config.state / "tasks"
        for root in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                self._task(root.name).boot()
            except ValueError as error:
                self.tasks.pop(root.name, None)
                log.error("task %s is left alone: %s", root.name, error)
        if self._link:
            self._link.subscribe(topics.all_down(self._board.id), self._heard)
            self._link.on_connect(partial(self._queue.put, self._connected))
            self._link.start()
        self._watcher.start()

    def stop(self) -> None:
        """Ask `run` to end; safe from any thread and from a signal handler."""
        self._queue.put(self._end)

    def close(self) -> None:
        """Stop the tasks, let their sinks flush, say goodbye."""
        self._watcher.stop()
        for task in self.tasks.values():
            task.stop()
        until = self.clock.now() + STOP_TIMEOUT
        for task in self.tasks.values():
            task.runner.join(until - self.clock.now(), self.clock.now)
        if self._link:
            if self._link.connected:
                self._presence(online=False)
            self._link.stop()
        self._outbox.close()
        (self._config.state / "status.json").unlink(missing_ok=True)
        self._lock.close()

    def work(self, timeout: float) -> bool:
        """Do one piece of what waits; False when nothing came within `timeout` seconds."""
        try:
            self._queue.get(timeout=timeout)()
        except Empty:
            return False
        return True

    def tick(self) -> None:
        """Health, timeouts, restarts; then tell what changed."""
        for name, task in list(self.tasks.items()):
            task.tick()
            if task.forgettable:
                del self.tasks[name]
        self._watch_states()
        now = self.clock.now()
        if now >= self._next_picture:
            self._next_picture = now + PICTURE
            self._draw()
        if self._link and self._link.connected:
            self._outbox.send(self._link, self._board.id, self._delivered)
            self._hello(now)

    # --- what a task asks for (see managed.Host) ---

    def tools(self, task: str) -> Tools:
        return self._make_tools(self._config, task, self._link, self.clock)

    def aside(self, work: Callable[[], T], then: Callable[[T | Refusal], None]) -> None:
        def run() -> None:
            result: T | Refusal
            try:
                result = work()
            except Refusal as refusal:
                result = refusal
            except Exception as error:
                log.exception("a worker failed")
                result = Refusal(Reason.CRASHED, f"{type(error).__name__}: {error}")
            self._queue.put(lambda: then(result))

        threading.Thread(target=run, name="worker", daemon=True).start()

    def report(self, task: str, report: updater.Report) -> None:
        cause = f"{report.reason}: {report.detail}" if report.reason else ""
        self.say(task, f"release {report.release[:12]} {report.state}", cause)
        if self._link:
            self._outbox.put(
                lambda seq: Report(
                    board=self._board.id,
                    seq=seq,
                    task=task,
                    release=report.release,
                    rollout=report.rollout,
                    state=report.state,
                    at=self.clock.now(),
                    reason=report.reason,
                    detail=report.detail,
                )
            )

    def say(self, task: str, what: str, cause: str = "") -> None:
        log.info("%s: %s%s", task, what, f" ({cause})" if cause else "")

    def dropped(self, bundle: Bundle, refusal: Refusal | None) -> None:
        if refusal is None:
            self.say(bundle.task, f"version {bundle.slot.version} runs", f"from {bundle.file}")
            drop_folder.tell(self._folder, bundle.file, f"running: {bundle.task} {bundle.slot.version}\n")
            self._problems.pop(bundle.file, None)
            self._decide()
        else:
            text = f"{bundle.file}: {refusal.reason}: {refusal}"
            self._failed[bundle.file] = bundle.slot.id, text
            self._complain(Complain(bundle.file, text, bundle.task))

    # --- the drop folder ---

    def _look(self, seen: Look) -> None:
        """On the watcher's thread: read what changed."""
        found: dict[str, Bundle | Bad] = {}
        for file in drop_folder.specs_in(self._folder):
            known = self._read.get(file)
            if known is None or known[0] != _part(seen, known[1]):
                item = drop_folder.read(self._folder, file, self._check)
                known = _part(seen, item), item
            self._read[file] = known
            found[file] = known[1]
        self._queue.put(partial(self._see, found))

    def _see(self, found: dict[str, Bundle | Bad]) -> None:
        for file in self._found.keys() - found.keys():
            self._problems.pop(file, None)
            drop_folder.tell(self._folder, file, "")
        self._found = found
        self._decide()

    def _decide(self) -> None:
        taken = {name: task.store.slots.dropped for name, task in self.tasks.items()}
        deeds = drop_folder.decide(self._found, {name: drop for name, drop in taken.items() if drop})
        for task in self.tasks.values():
            task.problem = ""
        self._problems.clear()
        for deed in deeds:
            match deed:
                case Deploy(bundle) if self._failed.get(bundle.file, ("", ""))[0] == bundle.slot.id:
                    self._complain(Complain(bundle.file, self._failed[bundle.file][1], bundle.task))
                case Deploy(bundle):
                    self._task(bundle.task).deploy(bundle)
                case Complain():
                    self._complain(deed)
                case Fine(file, name):
                    version = self.tasks[name].store.slots.current
                    drop_folder.tell(
                        self._folder, file, f"running: {name} {version.version if version else ''}\n"
                    )
                case Dismiss(name, cause):
                    self.tasks[name].dismiss(cause)

    def _complain(self, complaint: Complain) -> None:
        task = self.tasks.get(complaint.task)
        running = task.store.slots.running if task else None
        untouched = f"The running version {running.version} was left untouched.\n" if running else ""
        text = f"bad-spec\n{complaint.text}\n{untouched}"
        self._problems[complaint.file] = complaint.text
        if task:
            task.problem = complaint.text.splitlines()[0]
        log.warning("%s cannot be used:\n%s\n%s", complaint.file, complaint.text, untouched.rstrip())
        drop_folder.tell(self._folder, complaint.file, text)

    # --- the link ---

    def _mqtt(self) -> Link | None:
        if not self._config.mqtt:
            return None
        will = topics.up(self._board.id, "state"), encode(self._presence_message(online=False))
        return MqttLink(self._config.mqtt, f"walle-{self._board.id}", will=will, rng=self.rng)

    def _connected(self) -> None:
        self._presence(online=True)
        self._outbox.reconnected()
        self._told = None
        self.tick()

    def _presence(self, *, online: bool) -> None:
        if self._link:
            message = encode(self._presence_message(online=online))
            self._link.publish(topics.up(self._board.id, "state"), message, retain=True)

    def _presence_message(self, *, online: bool) -> Presence:
        return Presence(board=self._board.id, session=self._board.session, online=online)

    def _delivered(self, seq: int) -> None:
        """On the link's thread."""
        self._queue.put(partial(self._outbox.delivered, seq))

    def _heard(self, topic: str, payload: bytes) -> None:
        """On the link's thread."""
        self._queue.put(partial(self._message, topic, payload))

    def _message(self, topic: str, payload: bytes) -> None:
        address = topics.parse(topic)
        try:
            match address.leaf if address else None:
                case "notice":
                    notice = decode(payload, Notice)
                    self._task(notice.task).notice(notice)
                case "ask":
                    decode(payload, Ask)
                    self._told = None
                case "round":
                    self._round(decode(payload, RoundOpen))
                case _:
                    log.warning("a message on %r is not for boards", topic)
        except WireError as error:
            log.warning("a message on %r is refused (%s): %s", topic, error.reason, error)

    def _round(self, invitation: RoundOpen) -> None:
        if self._on_round is None:
            log.info("round %d of %s: this agent does not train", invitation.round, invitation.plan)
            return
        threading.Thread(target=self._on_round, args=(invitation,), name="round", daemon=True).start()

    def _hello(self, now: float) -> None:
        """The whole profile when it changed or was asked for; its hash with each heartbeat."""
        if self._link is None:
            return
        running = profile.running({name: self._slot(task) for name, task in self.tasks.items()})
        changed = running != self._told
        if not changed and now < self._next_hello:
            return
        evidence = {name: task.picture().evidence for name, task in self.tasks.items()}
        message = profile.hello(self._board, running, evidence, now, whole=changed)
        self._link.publish(topics.up(self._board.id, "hello"), encode(message))
        self._told = running
        self._next_hello = now + self._config.heartbeat

    def _slot(self, task: Managed) -> Slot | None:
        return task.runner.slot or task.store.slots.running

    # --- telling ---

    def _watch_states(self) -> None:
        """One line per change of a task's state; the server hears of it at once."""
        states = {name: task.status() for name, task in self.tasks.items()}
        for name, now in states.items():
            if self._states.get(name) != now.state:
                self.say(name, now.state, now.cause)
                self._next_hello = 0.0
        self._states = {name: state.state for name, state in states.items()}

    def _draw(self) -> None:
        picture = Picture(
            board=self._board.id,
            pid=os.getpid(),
            session=self._board.session,
            agent=self._board.agent,
            at=self.clock.now(),
            connected=self._link.connected if self._link else None,
            outbox=len(self._outbox),
            tasks={name: task.picture() for name, task in self.tasks.items()},
            problems=self._problems,
        )
        intents.replace(self._config.state / "status.json", picture)

    # --- helpers ---

    def _task(self, name: str) -> Managed:
        if name not in self.tasks:
            self.tasks[name] = Managed(name, self._config.state / "tasks" / name, self)
        return self.tasks[name]

    def _end(self) -> None:
        self._ended = True

    def _guarded(self, work: Callable[[], None]) -> None:
        """Nothing that arrives may end the agent."""
        try:
            work()
        except Exception:
            log.exception("something went wrong; going on")


def _part(seen: Look, item: Bundle | Bad) -> Look:
    """What a spec file's meaning depends on: its own files, or while it is bad anything at all."""
    if isinstance(item, Bad):
        return seen
    folder = Path(item.file).parent
    paths = [str(folder / name) for name in item.files]
    return {path: seen[path] for path in paths if path in seen}


def _lock(state: Path) -> IO[bytes]:
    """One agent per state folder. Raises AgentError when there is one already."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = (state / "agent.lock").open("ab")
    except OSError as error:
        raise AgentError(f"{error.filename}: {error.strerror}; choose a state folder to write in") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AgentError(f"another agent works in {state}; stop it, or choose another state folder") from None
    return file
