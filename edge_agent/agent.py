"""The agent: one thread on which everything is decided, fed by the link, the drop folder, the workers and the
clock.

Whatever arrives is put into one queue as a call and done in order; nothing else touches a task, so nothing is
locked. A stop, clean or not, needs no preparation: see `slots`.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import IO, NamedTuple, TypeVar

from cloud_broker.wire.link import Link
from cloud_broker.wire.messages import Ask, Message, Notice, Reason, RoundOpen
from cloud_broker.wire.signing import Trusted
from edge_agent import drop_folder, intents, profile, updater
from edge_agent.clock import Clock
from edge_agent.config import BoardConfig
from edge_agent.drop_folder import Bad, Bundle, Complain, Deploy, Dismiss, Fine
from edge_agent.managed import Managed
from edge_agent.outbox import Outbox
from edge_agent.profile import Board
from edge_agent.releases import Refusal, Tools
from edge_agent.slots import PASSING
from edge_agent.status import Picture
from edge_agent.uplink import Uplink

log = logging.getLogger("walle")
T = TypeVar("T")

TICK = 0.2
"""Seconds between looks at health, timeouts and heartbeats."""
PICTURE = 1.0
"""Seconds between pictures in status.json while nothing changes state."""
PATIENCE = 1.0
"""Seconds after a step of the clock in which nothing is judged."""
RETRY = 30.0
"""Seconds before a dropped file that failed for lack of room, or the like, is tried again."""
STOP_TIMEOUT = 5.0
"""Seconds that all tasks together get to flush their sinks."""

MakeTools = Callable[[str, Link | None], Tools]
"""(task, link) -> what versions of that task are checked and built with."""
MakeLink = Callable[[Board], Link | None]
Train = Callable[[RoundOpen, str, Link], None]
"""Answer an invitation with the data that a task's [federated] names. Blocks; whatever it raises is
logged.
"""


class AgentError(Exception):
    """The agent cannot start: what, where, what to do."""


class Failure(NamedTuple):
    """A dropped spec that did not start."""

    content: str
    why: str
    retry_at: float


class Agent:
    """One board. Nothing runs before `run` (or `start`, for who pumps `work` and `tick` by hand)."""

    def __init__(
        self,
        config: BoardConfig,
        *,
        tools: MakeTools,
        link: MakeLink,
        train: Train,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.clock = clock
        self.rng = rng
        self.trusted: Trusted = config.trust
        self.tasks: dict[str, Managed] = {}
        self._state = config.state
        self._folder = config.specs_folder
        self._make_tools = tools
        self._train = train
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._ended = False
        self._lock = _lock(config.state)
        self._outbox = Outbox(config.state / "outbox.sqlite")
        self._board = Board(config.board, self._outbox.next_session(), config.labels)
        self._link = link(self._board)
        self._uplink = Uplink(self._board, self._link, self._outbox, config.heartbeat, self._queue.put)
        self._watcher = drop_folder.Watcher(self._folder, tools("", None).check, self._looked)
        self._found: Mapping[str, Bundle | Bad] = {}
        self._failed: dict[str, Failure] = {}
        """By dropped file: not tried again before it changes, or its time has come."""
        self._problems: dict[str, str] = {}
        self._states: dict[str, tuple[str, str]] = {}
        """Task -> state and running version."""
        self._training: dict[str, RoundOpen | None] = {}
        """Plan that trains -> the newest invitation that came meanwhile."""
        self._next_picture = 0.0
        self._stepped = clock.stepped
        self._patient_until = 0.0

    # --- life ---

    def run(self) -> None:
        """Until `stop`."""
        self.start()
        print(f"agent ready: {self._board.id}", flush=True)
        due = 0.0
        while not self._ended:
            self._guarded(lambda: self.work(TICK))
            if self.clock.now() >= due:
                self._guarded(self.tick)
                due = self.clock.now() + TICK
        self.close()

    def start(self) -> None:
        """Start every task that should run, then listen. The specs folder is made for the first spec; one
        that is gone later, unmounted perhaps, is waited for."""
        folder = self._state / "tasks"
        for root in sorted(folder.iterdir()) if folder.is_dir() else ():
            try:
                self._task(root.name).boot()
            except ValueError as error:
                log.error("task %s is left alone: %s", root.name, error)
        if not any(task.store.slots.dropped for task in self.tasks.values()):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._uplink.start(self._heard)
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
        self._uplink.stop()
        self._outbox.close()
        (self._state / "status.json").unlink(missing_ok=True)
        self._lock.close()

    def work(self, timeout: float) -> bool:
        """Do one piece of what waits; False when nothing came within `timeout` seconds."""
        with contextlib.suppress(Empty):
            work = self._queue.get(timeout=timeout)
            self._follow_clock()
            work()
            if self.clock.now() >= self._patient_until:
                self._watch_states()
            return True
        return False

    def tick(self) -> None:
        """Health, timeouts, restarts; then tell what changed."""
        self._follow_clock()
        if self.clock.now() < self._patient_until:
            return
        for name, task in list(self.tasks.items()):
            task.tick()
            if task.forgettable:
                del self.tasks[name]
        now = self.clock.now()
        if any(now >= failure.retry_at for failure in self._failed.values()):
            self._failed = {file: failure for file, failure in self._failed.items() if now < failure.retry_at}
            self._decide()
        self._watch_states()
        running = {name: task.running for name, task in self.tasks.items()}
        evidence = {name: task.told for name, task in self.tasks.items()}
        self._uplink.tick(profile.running(running), evidence, now)
        if now >= self._next_picture:
            self._draw()

    def _follow_clock(self) -> None:
        """On a board without a clock of its own, time comes with the network, in one step: no probation has
        passed by it, and no loop is silent before it had the time to give a sign of life."""
        by, self._stepped = self.clock.stepped - self._stepped, self.clock.stepped
        if by:
            log.info("the clock was set forward by %.0f s", by)
            self._patient_until = self.clock.now() + PATIENCE
            for task in self.tasks.values():
                task.clock_stepped(by)

    # --- what a task asks for (see managed.Host) ---

    def tools(self, task: str) -> Tools:
        return self._make_tools(task, self._link)

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
        self._uplink.report(task, report, self.clock.now())

    def say(self, task: str, what: str, cause: str = "") -> None:
        log.info("%s: %s%s", task, what, f" ({cause})" if cause else "")

    def dropped(self, bundle: Bundle, refusal: Refusal | None) -> None:
        if refusal is None:
            self.say(bundle.task, f"version {bundle.slot.version} runs", f"from {bundle.file}")
        else:
            retry_at = self.clock.now() + RETRY if refusal.reason in PASSING else float("inf")
            why = f"{bundle.file}: {refusal.reason}: {refusal}"
            self._failed[bundle.file] = Failure(bundle.slot.id, why, retry_at)
        self._decide()

    # --- the drop folder ---

    def _looked(self, found: Mapping[str, Bundle | Bad]) -> None:
        """On the watcher's thread."""
        self._queue.put(partial(self._see, found))

    def _see(self, found: Mapping[str, Bundle | Bad]) -> None:
        for file in self._found.keys() - found.keys():
            self._failed.pop(file, None)
            drop_folder.tell(self._folder, file, "")
        self._found = found
        self._decide()

    def _decide(self) -> None:
        """Bring the tasks in line with what lies in the folder."""
        taken = {name: task.store.slots.dropped for name, task in self.tasks.items()}
        complaints: list[Complain] = []
        for deed in drop_folder.decide(self._found, {name: drop for name, drop in taken.items() if drop}):
            match deed:
                case Deploy(bundle):
                    failure = self._failed.get(bundle.file)
                    if failure and failure.content == bundle.slot.id:
                        complaints.append(Complain(bundle.file, failure.why, bundle.task))
                    else:
                        self._task(bundle.task).deploy(bundle, self._folder)
                case Complain():
                    complaints.append(deed)
                case Fine(file, name):
                    current = self.tasks[name].store.slots.current
                    version = current.version if current else "none"
                    drop_folder.tell(self._folder, file, f"running: {name} {version}\n")
                case Dismiss(name, cause):
                    self.tasks[name].dismiss(cause)
        self._complain(complaints)

    def _complain(self, complaints: list[Complain]) -> None:
        """Say what is wrong: beside the file, in the status of its task, and once in the log."""
        for task in self.tasks.values():
            task.problem = ""
        for complaint in complaints:
            owner = self.tasks.get(complaint.task)
            running = owner.store.slots.running if owner else None
            untouched = f"\nThe running version {running.version} was left untouched." if running else ""
            if owner:
                owner.problem = complaint.text.splitlines()[0]
            if self._problems.get(complaint.file) != complaint.text:
                log.warning("%s cannot be used:\n%s%s", complaint.file, complaint.text, untouched)
            drop_folder.tell(self._folder, complaint.file, f"bad-spec\n{complaint.text}{untouched}\n")
        self._problems = {complaint.file: complaint.text for complaint in complaints}

    # --- what the server says ---

    def _heard(self, message: Message) -> None:
        match message:
            case Notice():
                self._task(message.task).notice(message)
            case Ask():
                self._uplink.answer()
            case RoundOpen():
                self._invited(message)

    def _invited(self, invitation: RoundOpen) -> None:
        """Train aside, one round of a plan at a time: the newest invitation that comes while at it waits."""
        task = self.tasks.get(invitation.plan)
        data = task.training_data if task else None
        what = f"round {invitation.round}"
        if data is None or self._link is None:
            self.say(invitation.plan, what, "no task of this name trains here")
        elif invitation.plan in self._training:
            self._training[invitation.plan] = invitation
        else:
            self._training[invitation.plan] = None
            self.say(invitation.plan, what, "training")
            train, link = self._train, self._link
            self.aside(
                lambda: train(invitation, data, link), lambda result: self._trained(invitation, result)
            )

    def _trained(self, invitation: RoundOpen, result: Refusal | None) -> None:
        ended = "failed" if result else "done"
        self.say(invitation.plan, f"round {invitation.round} {ended}", str(result or ""))
        following = self._training.pop(invitation.plan)
        if following:
            self._invited(following)

    # --- telling ---

    def _watch_states(self) -> None:
        """A task's change of state is one line; of that and of another version everybody hears at once."""
        before, self._states = self._states, {}
        for name, task in self.tasks.items():
            status, running = task.status(), task.running
            self._states[name] = status.state, running.id if running else ""
            if before.get(name, ("",))[0] != status.state:
                self.say(name, status.state, status.cause)
        if self._states != before:
            self._uplink.say_soon()
            self._draw()

    def _draw(self) -> None:
        self._next_picture = self.clock.now() + PICTURE
        picture = Picture(
            board=self._board.id,
            pid=os.getpid(),
            session=self._board.session,
            agent=self._board.agent,
            at=self.clock.now(),
            connected=self._uplink.connected,
            outbox=len(self._outbox),
            tasks={name: task.picture() for name, task in self.tasks.items()},
            problems=self._problems | self._problem_of_folder(),
        )
        with contextlib.suppress(OSError):  # a full disk: readers see the old picture grow stale
            intents.replace(self._state / "status.json", picture)

    def _problem_of_folder(self) -> dict[str, str]:
        gone = self._watcher.gone
        return {str(self._folder): f"the specs folder is gone; {drop_folder.WAITS}"} if gone else {}

    # --- helpers ---

    def _task(self, name: str) -> Managed:
        if name not in self.tasks:
            self.tasks[name] = Managed(name, self._state / "tasks" / name, self)
        return self.tasks[name]

    def _end(self) -> None:
        self._ended = True

    def _guarded(self, work: Callable[[], object]) -> None:
        """Nothing that arrives may end the agent."""
        try:
            work()
        except Exception:
            log.exception("something went wrong; going on")


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
