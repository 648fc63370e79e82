"""One task of the board: its slots, its release machine and what runs, kept in step with each other.

Everything here happens on the agent's thread; whatever may take long is handed to `Host.aside` and comes back
as a call. What should run is always `store.slots.running`: a version that comes up too late is put away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Protocol, TypeVar

from cloud_broker.wire.messages import Notice, TaskEvidence
from cloud_broker.wire.signing import Trusted
from edge_agent import drop_folder, health, releases, status, updater
from edge_agent.clock import Clock
from edge_agent.drop_folder import Bundle
from edge_agent.evidence import NOTHING
from edge_agent.health import Probation
from edge_agent.releases import Launched, Refusal, Tools
from edge_agent.slots import Recovery, Slot, Store
from edge_agent.spec.model import Spec
from edge_agent.status import Status, TaskPicture, View
from edge_agent.supervisor import Runner
from edge_agent.updater import Phase

T = TypeVar("T")


class Host(Protocol):
    """What a task asks of the agent around it."""

    clock: Clock
    rng: Random
    trusted: Trusted

    def tools(self, task: str) -> Tools: ...

    def aside(self, work: Callable[[], T], then: Callable[[T | Refusal], None]) -> None:
        """Do `work` on another thread, then `then` on the agent's, with what it returned or refused."""

    def report(self, task: str, report: updater.Report) -> None: ...

    def say(self, task: str, what: str, cause: str = "") -> None:
        """One line for people."""

    def dropped(self, bundle: Bundle, refusal: Refusal | None) -> None:
        """A dropped spec runs, or does not."""


class Managed:
    """A task by name; its folder is `root`."""

    def __init__(self, name: str, root: Path, host: Host) -> None:
        self.name = name
        self.store = Store(root)
        self.runner = Runner()
        self.update = updater.State()
        self.problem = ""
        """What is wrong with its dropped file, if something is."""
        self._host = host
        self._tools = host.tools(name)
        self._spec: Spec | None = None
        """Of what runs, or ran last."""
        self._fetching = threading.Lock()
        self._launching: str | None = None
        self._dropping: str | None = None

    # --- from the agent ---

    def boot(self) -> None:
        """End what a power cut left half-done, then start what should run."""
        found = self.store.recover()
        slots = self.store.slots
        outcome = slots.refused[-1] if found is Recovery.GAVE_UP else None
        if found is not Recovery.CLEAN:
            self._host.say(self.name, f"recovered: {found}", outcome.detail if outcome else "")
        self._feed(updater.Restarted(self.name, slots.trial, outcome))
        self._settle("")

    def notice(self, notice: Notice) -> None:
        self._feed(updater.NoticeReceived(notice, self.store.slots))

    def deploy(self, bundle: Bundle, folder: Path) -> None:
        """Check a dropped spec as a version of its own, start it beside the old one, and take it."""
        slot, tools = bundle.slot, self._tools
        if self._dropping == slot.id:
            return
        self._dropping = slot.id

        def work() -> Launched:
            files = drop_folder.contents(folder, bundle)
            releases.draft(slot, self.name, files, self.store, tools)
            releases.seal(slot, self.store)
            return releases.launch(slot, self.store, tools)

        self._host.aside(work, lambda result: self._deployed(bundle, result))

    def dismiss(self, cause: str) -> None:
        """The dropped file is gone: stop what came from it."""
        self.store.dismiss()
        self._host.say(self.name, "file gone", cause)
        self._settle(cause)

    def tick(self) -> None:
        now = self._host.clock.now()
        if self.runner.poll(now):
            self._launch(self.store.slots.running)
        self._judge(now)
        self._feed(updater.Tick())

    def clock_stepped(self, by: float) -> None:
        """The clock was set forward: nothing has lasted longer for it."""
        now, update, runner = self._host.clock.now(), self.update, self.runner
        self.update = replace(update, since=min(update.since + by, now))
        runner.life = replace(runner.life, since=min(runner.life.since + by, now))

    def stop(self) -> None:
        """The agent ends; the slots stay as they are."""
        self.runner.stop("the agent stopped", self._host.clock.now())

    # --- what is known ---

    @property
    def forgettable(self) -> bool:
        """Nothing runs, nothing is kept, nothing is under way: a notice that came to nothing."""
        slots = self.store.slots
        kept = slots.running or slots.previous or slots.dropped or slots.refused or slots.pending
        return not (kept or self.problem or self._dropping or self.update.phase in updater.BUSY)

    @property
    def running(self) -> Slot | None:
        """The version that runs, or is about to."""
        return self.runner.slot or self.store.slots.running

    def status(self) -> Status:
        now = self._host.clock.now()
        update, slot = self.update, self.runner.slot
        on_trial = update.phase is Phase.TRIAL and slot is not None and slot == update.slot
        return status.of(
            View(
                life=self.runner.life,
                now=now,
                evidence=self.runner.evidence,
                version=slot.version if slot else "",
                trial_left=update.since + update.probation - now if on_trial else None,
                starting=bool(self._launching or self._dropping),
                deadline=self._spec.limits.deadline if self._spec else 0.0,
                problem=self.problem,
            )
        )

    @property
    def training_data(self) -> str | None:
        """Where the data lies with which this task trains, as its spec says it; None when it does not."""
        federated = self._spec.federated if self._spec and self.runner.slot else None
        return federated.data if federated else None

    def picture(self) -> TaskPicture:
        slots, evidence = self.store.slots, self.runner.evidence
        running, counts = self.running, evidence.counts if evidence else NOTHING
        return TaskPicture(
            version=running.version if running else "",
            release=running.release if running else "",
            file=slots.dropped.file if slots.dropped else "",
            previous=slots.previous.version if slots.previous else "",
            update=self.update.phase,
            dropped=evidence.dropped if evidence else 0,
            late=counts.late,
            near_misses=counts.near_misses,
            missed=tuple(map(status.missed, counts.missed)),
            evidence=self.told,
        )

    @property
    def told(self) -> TaskEvidence:
        """What the server hears of it."""
        return status.for_wire(self.status(), self.runner.evidence)

    # --- the release machine ---

    def _feed(self, event: updater.Event) -> None:
        self.update, actions = updater.step(self.update, event, self._host.clock.now())
        for action in actions:
            self._do(action)

    def _do(self, action: updater.Action) -> None:
        match action:
            case updater.Fetch(notice):
                self._fetch(notice)
            case updater.Verify(slot):
                self._verify(slot)
            case updater.Stage(slot):
                self._after(
                    lambda: releases.seal(slot, self.store), slot.id, lambda _: updater.Staged(slot.id)
                )
            case updater.Start():
                self._begin_trial(action)
            case updater.Commit():
                self.store.commit()
            case updater.RollBack(outcome):
                self.store.roll_back(outcome)
                self._settle(outcome.detail)
            case updater.Refuse(outcome):
                self.store.refuse(outcome)
            case updater.Report():
                self._host.report(self.name, action)

    def _fetch(self, notice: Notice) -> None:
        host, store = self._host, self.store

        def answer(result: Slot | Refusal) -> None:
            if not isinstance(result, Refusal):
                self._feed(updater.FetchDone(notice.release, result))
            elif result.retry:
                self._feed(updater.FetchFailed(notice.release, str(result), host.rng.random()))
            else:
                self._feed(updater.Refused(notice.release, result.reason, str(result)))

        def work() -> Slot:
            with self._fetching:  # a transfer that was pre-empted ends first
                return releases.obtain(notice, store, host.trusted, wanted)

        def wanted() -> bool:
            at_work = self.update.notice
            return at_work is not None and at_work.release == notice.release

        host.aside(work, answer)

    def _verify(self, slot: Slot) -> None:
        store, tools = self.store, self._tools
        self._after(
            lambda: releases.draft(slot, self.name, releases.gather(slot, store), store, tools),
            slot.id,
            lambda spec: updater.Verified(slot.id, spec.deploy.probation),
        )

    def _after(self, work: Callable[[], T], release: str, event: Callable[[T], updater.Event]) -> None:
        """Do `work` aside, then feed what came of it; a release that is no longer at work leaves nothing
        behind.
        """

        def answer(result: T | Refusal) -> None:
            if isinstance(result, Refusal):
                self._feed(updater.Refused(release, result.reason, str(result)))
            else:
                self._feed(event(result))
            at_work = self.update.notice if self.update.phase in updater.BUSY else None
            if at_work is None or at_work.release != release:
                self.store.discard(release)

        self._host.aside(work, answer)

    def _begin_trial(self, start: updater.Start) -> None:
        """The intent is on disk before the version runs for the first time."""
        try:
            self.store.begin_trial(start.slot, self._host.clock.now(), start.probation, start.rollout)
        except OSError as error:
            refusal = releases.refusal_of(error)
            self._feed(updater.StartFailed(start.slot.id, refusal.reason, str(refusal)))
        else:
            self._launch(start.slot)

    def _judge(self, now: float) -> None:
        """Health of the version on trial, once it runs."""
        update, runner = self.update, self.runner
        evidence = runner.evidence
        if update.phase is not Phase.TRIAL or runner.slot != update.slot or evidence is None:
            return
        life = runner.life
        began = max(update.since, life.since)  # after a restart of the agent, starting may take a while
        trial = Probation(began, update.probation, now, evidence, runner.before, life.deaths, life.cause)
        verdict = health.judge(trial)
        if verdict and update.notice:
            self._feed(updater.HealthVerdict(update.notice.release, verdict.reason, verdict.detail))

    # --- what runs ---

    def _settle(self, cause: str) -> None:
        """Make what runs what should run."""
        wanted, slot = self.store.slots.running, self.runner.slot
        if wanted is None:
            if slot is not None:
                self.runner.stop(cause, self._host.clock.now())
        elif slot is None or slot.id != wanted.id:
            self._launch(wanted)

    def _launch(self, slot: Slot | None) -> None:
        if slot is None or self._launching == slot.id:
            return
        self._launching = slot.id
        store, tools = self.store, self._tools
        self._host.aside(
            lambda: releases.launch(slot, store, tools), lambda result: self._launched(slot, result)
        )

    def _launched(self, slot: Slot, result: Launched | Refusal) -> None:
        if self._launching == slot.id:
            self._launching = None
        wanted = self.store.slots.running
        is_wanted = wanted is not None and wanted.id == slot.id
        if isinstance(result, Launched):
            if is_wanted:
                self._take(result)
                self._feed(updater.Started(slot.id))
            else:
                self.runner.put_away(result.task)
        elif is_wanted:
            self._feed(updater.StartFailed(slot.id, result.reason, str(result)))
            if self.store.slots.running == wanted:  # not a trial, so there is nothing to go back to
                self.runner.died(str(result), self._host.clock.now())

    def _deployed(self, bundle: Bundle, result: Launched | Refusal) -> None:
        latest = self._dropping == bundle.slot.id
        if latest:
            self._dropping = None
        if isinstance(result, Launched) and latest:
            self._feed(updater.Overridden(f"{bundle.file} was dropped by hand"))
            try:
                self.store.adopt(bundle.slot, bundle.file)
            except OSError as error:
                self.runner.put_away(result.task)
                result = releases.refusal_of(error)
            else:
                self._take(result)
        elif isinstance(result, Launched):
            self.runner.put_away(result.task)
        if isinstance(result, Refusal) or not latest:
            self.store.discard(bundle.slot.id)
        if latest:
            self._host.dropped(bundle, result if isinstance(result, Refusal) else None)

    def _take(self, launched: Launched) -> None:
        self._spec = launched.spec
        self.runner.hand_over(launched.task, launched.slot, self._host.clock.now())
