"""The versions of one task on disk, and the one pointer that says which of them is good.

    <root>/slots.json            the pointer; replaced as a whole, see `intents`
    <root>/versions/<id>/...     one version's files, immutable once they stand here
    <root>/versions/<id>.new/    a version being written: never looked at by anybody else
    <root>/incoming/<digest>     files on their way from the network, kept over retries

Order of a change: intent (`pending` names the versions under way), files under `.new`, sync, rename, then
`trial` (with the number of starts left) or at once `current`; `commit` makes the trial current. A power cut
at any point leaves `current` what it was or what it becomes, and `recover` tidies up what was under way. Who
decides is `updater`; who runs it, `supervisor`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_broker.wire import digest as digests
from cloud_broker.wire.digest import Digest
from cloud_broker.wire.messages import FileEntry, Reason, RelativePath, ReleaseState, Version
from edge_agent import intents
from edge_agent.intents import Disk

log = logging.getLogger(__name__)

TRIES = 5
"""Starts that a version on trial gets, the first one included; an agent that dies more often goes back to the
good one.
"""
REMEMBERED = 32
"""Refusals kept, newest last."""
PASSING = frozenset({Reason.DISK_FULL, Reason.FETCH_FAILED, Reason.SUPERSEDED, Reason.OPERATOR})
"""Reasons that say nothing about the release itself: not remembered, so it may be tried again."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Slot(Frozen):
    """One version: `id` is the release's digest, or for a dropped spec the digest of its content."""

    id: Digest
    version: Version
    spec: RelativePath
    files: tuple[FileEntry, ...]
    origin: Literal["release", "drop"]

    @property
    def release(self) -> str:
        """The digest of the signed release, or "" for a spec dropped by hand."""
        return self.id if self.origin == "release" else ""


class Trial(Frozen):
    slot: Slot
    rollout: str
    since: float
    probation: float
    tries_left: int


class Outcome(Frozen):
    """How a release that was not taken ended, so that the same notice gets the same answer again."""

    release: Digest
    rollout: str
    state: ReleaseState
    reason: Reason
    detail: str


class Released(Frozen):
    """The release that was last found good here; older ones are refused."""

    id: Digest
    version: Version


class Dropped(Frozen):
    """The last content taken from the specs folder, whether it still runs or a release came after it."""

    id: Digest
    file: str


class Slots(Frozen):
    """The pointer file."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    current: Slot | None = None
    previous: Slot | None = None
    trial: Trial | None = None
    pending: tuple[Slot, ...] = ()
    released: Released | None = None
    dropped: Dropped | None = None
    refused: tuple[Outcome, ...] = ()

    @property
    def running(self) -> Slot | None:
        """The version that should run now."""
        return self.trial.slot if self.trial else self.current

    def outcome(self, release: str, rollout: str) -> Outcome | None:
        """The answer already given to this release in this rollout."""
        return next(
            (o for o in reversed(self.refused) if o.release == release and o.rollout == rollout), None
        )


class Recovery(StrEnum):
    """What `recover` found."""

    CLEAN = "clean"
    DISCARDED = "discarded"  # a version was being written
    RETRY = "retry"  # a trial goes on, with one start less
    GAVE_UP = "gave_up"  # a trial had no start left and was rolled back


class Store:
    """The slots of one task. Safe to call from any thread; one agent per folder."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk or Disk()
        self._lock = threading.RLock()
        self._slots = intents.load(root / "slots.json", Slots) or Slots()

    @property
    def slots(self) -> Slots:
        return self._slots

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    def path(self, slot: Slot) -> Path:
        """The folder of a sealed version."""
        return self.root / "versions" / slot.id

    def draft(self, slot: Slot) -> Path:
        """The folder of a version that is being written."""
        return self.root / "versions" / f"{slot.id}.new"

    def find(self, digest: str) -> Path | None:
        """A file of these bytes in a version kept here (the bytes are looked at, not only the name)."""
        with self._lock:
            for slot in self._kept():
                for entry in slot.files:
                    path = self.path(slot) / entry.path
                    if entry.digest == digest and path.is_file() and digests.of_file(path) == digest:
                        return path
        return None

    # --- a new version, step by step ---

    def draw(self, slot: Slot, files: Mapping[str, bytes | Path]) -> Path:
        """Write the intent, then the files (path -> bytes, or a file with them); returns the draft's folder.
        Raises OSError.
        """
        with self._lock:
            self._disk.make_folder(self.root / "versions")
            self._save(pending=(*self._others(slot), slot))
            draft = self.draft(slot)
            self._disk.remove(draft)
            for name, content in files.items():
                path = draft / name
                self._disk.make_folder(path.parent)
                if isinstance(content, Path):
                    self._disk.link(content, path)
                else:
                    self._disk.write(path, content)
            return draft

    def seal(self, slot: Slot) -> Path:
        """Make the draft durable and immutable: its folder appears as a whole, or not at all. Raises
        OSError.
        """
        with self._lock:
            draft, path = self.draft(slot), self.path(slot)
            folders = {draft}
            for entry in slot.files:
                self._disk.sync(draft / entry.path)
                folders |= {draft / parent for parent in Path(entry.path).parents}
            for folder in folders:
                self._disk.sync_folder(folder)
            if path not in {self.path(kept) for kept in self._kept()}:
                self._disk.remove(path)
                self._disk.rename(draft, path)
                self._disk.sync_folder(path.parent)
            return path

    def stage(self, slot: Slot, files: Mapping[str, bytes | Path]) -> Path:
        """`draw` and `seal` in one."""
        self.draw(slot, files)
        return self.seal(slot)

    def discard(self, id: str) -> None:
        """Forget a version under way; its space is freed before anything is written, for a disk that is
        full.
        """
        with self._lock:
            for slot in self._slots.pending:
                if slot.id == id:
                    self._disk.remove(self.draft(slot))
                    self._note(pending=self._others(slot))
            self.collect()

    # --- the pointer ---

    def begin_trial(self, slot: Slot, now: float, probation: float, rollout: str) -> None:
        with self._lock:
            trial = Trial(slot=slot, rollout=rollout, since=now, probation=probation, tries_left=TRIES - 1)
            self._save(trial=trial, pending=self._others(slot))

    def commit(self) -> None:
        """The version on trial is good: it becomes current, and what was current is kept as previous."""
        with self._lock:
            trial = self._slots.trial
            if trial is None:
                raise RuntimeError("commit without a trial")
            good = trial.slot
            self._note(
                current=good,
                previous=self._older(good),
                trial=None,
                released=Released(id=good.id, version=good.version),
            )
            self._disk.remove(self.incoming)
            self.collect()

    def adopt(self, slot: Slot, file: str) -> None:
        """A dropped spec runs: it becomes current at once. Ends a trial that was under way."""
        with self._lock:
            self._save(
                current=slot,
                previous=self._older(slot),
                trial=None,
                pending=self._others(slot),
                dropped=Dropped(id=slot.id, file=file),
            )
            self.collect()

    def roll_back(self, outcome: Outcome) -> None:
        """End the trial, remember why; `current` was never touched."""
        with self._lock:
            self._note(trial=None, refused=self._with(outcome))
            self._disk.remove(self.incoming)
            self.discard(outcome.release)

    def refuse(self, outcome: Outcome) -> None:
        """Remember the answer to a release that never ran here."""
        with self._lock:
            self._disk.remove(self.incoming)
            self.discard(outcome.release)
            if self._with(outcome) != self._slots.refused:
                self._note(refused=self._with(outcome))

    def dismiss(self) -> None:
        """The dropped file is gone: what came from it stops; a release that came after it stays."""
        with self._lock:
            current = self._slots.current
            if current and current.origin == "drop":
                self._note(current=None, previous=current, dropped=None)
            else:
                self._note(dropped=None)
            self.collect()

    # --- after a power cut ---

    def recover(self) -> Recovery:
        """Read the intent and end what was under way: exactly one version, `slots.running`, is to be started
        after it.
        """
        with self._lock:
            slots = self._slots
            found = Recovery.CLEAN
            if slots.pending:
                found = Recovery.DISCARDED
                self._note(pending=())
            if slots.trial and slots.trial.tries_left > 0:
                found = Recovery.RETRY
                self._note(trial=slots.trial.model_copy(update={"tries_left": slots.trial.tries_left - 1}))
            elif slots.trial:
                found = Recovery.GAVE_UP
                detail = (
                    f"the agent stopped {TRIES} times while version {slots.trial.slot.version} was on trial"
                )
                self._note(trial=None, refused=self._with(ended(slots.trial, Reason.CRASHED, detail)))
            self.collect()
            return found

    def collect(self) -> None:
        """Free the versions and drafts that nothing points at."""
        kept = {slot.id for slot in self._kept()}
        for slot in self._slots.pending:
            kept |= {slot.id, f"{slot.id}.new"}
        for folder in _entries(self.root / "versions"):
            if folder.name not in kept:
                self._disk.remove(folder)

    # --- helpers ---

    def _save(self, **changes: object) -> None:
        """Raises OSError; then nothing has changed here, and `recover` copes with what has on disk."""
        slots = self._slots.model_copy(update=changes)
        self._disk.make_folder(self.root)
        intents.save(self._disk, self.root / "slots.json", slots)
        self._slots = slots

    def _note(self, **changes: object) -> None:
        """For what must not fail, such as going back: if the disk does, what it still says leads to the same
        place after a restart.
        """
        try:
            self._save(**changes)
        except OSError as error:
            log.error("%s: %s; going on without", self.root, error)
            self._slots = self._slots.model_copy(update=changes)

    def _others(self, slot: Slot) -> tuple[Slot, ...]:
        """The versions under way besides this one."""
        return tuple(other for other in self._slots.pending if other.id != slot.id)

    def _kept(self) -> list[Slot]:
        slots = self._slots
        return [slot for slot in (slots.running, slots.current, slots.previous) if slot]

    def _older(self, good: Slot) -> Slot | None:
        """What is kept behind `good`: the current version, unless it is the same one."""
        slots = self._slots
        return slots.current if slots.current and slots.current.id != good.id else slots.previous

    def _with(self, outcome: Outcome) -> tuple[Outcome, ...]:
        if outcome.reason in PASSING:
            return self._slots.refused
        return (*self._slots.refused, outcome)[-REMEMBERED:]


def ended(trial: Trial, reason: Reason, detail: str) -> Outcome:
    """The outcome of a trial that went wrong."""
    state = ReleaseState.ROLLED_BACK
    return Outcome(
        release=trial.slot.id, rollout=trial.rollout, state=state, reason=reason, detail=detail[:2000]
    )


def entries_of(files: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    """The table of contents of files in memory, in the order of their paths."""
    return tuple(
        FileEntry(path=path, digest=digests.of_bytes(data), size=len(data))
        for path, data in sorted(files.items())
    )


def content_id(entries: Iterable[FileEntry]) -> str:
    """One digest for a set of files: over their paths and digests, so equal content has an equal name."""
    lines = sorted(f"{entry.digest} {entry.path}\n" for entry in entries)
    return digests.of_bytes("".join(lines).encode())


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
