"""The folder where a person drops specs: what lies in it, what that means, and when it has stopped changing.

`read` turns a `*.toml` (there, or one folder below) and the files it names into a `Bundle` or a `Bad`;
`decide` is pure and says what to do about it; `Watcher` calls back once the folder is still. A file that some
process still has open for writing is not read. What became of a file is written beside it, in
`<name>.toml.status`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import watchfiles

from cloud_broker.wire.messages import Reason
from edge_agent.releases import Refusal
from edge_agent.slots import Dropped, Slot, content_id, entries_of
from edge_agent.spec.model import FileSource, Spec

log = logging.getLogger(__name__)

STATUS = ".status"
STEP_MS = 30
"""Changes closer together than this are one."""
SETTLE = 0.05
"""Seconds for which nothing may have changed."""
PATIENCE = 10.0
"""Seconds after which a folder that never stands still is read anyway; whatever was half-written is
checked as such.
"""
WAITS = "nothing that came from it is stopped, and it is looked for every few seconds"
RESCAN_MS = 5000
"""A look even without a notification: some file systems give none."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A spec that passes every check; `slot` lists its files, and `slot.id` names their content."""

    file: str
    task: str
    slot: Slot


@dataclass(frozen=True, slots=True)
class Bad:
    """A file that cannot run: why, in full."""

    file: str
    text: str


Found = Mapping[str, Bundle | Bad]
"""File, relative to the folder -> what it is."""


# --- reading ---


Look = Mapping[str, tuple[int, int, int]]
"""File -> modification time, size, inode."""


def specs_in(seen: Look) -> list[str]:
    """The spec files: `*.toml` and `<folder>/*.toml`, in order."""
    return sorted(file for file in seen if file.endswith(".toml") and file.count("/") <= 1)


def read(root: Path, file: str, check: Callable[[Path, str], Spec]) -> Bundle | Bad:
    """What `file` is now."""
    path = root / file
    try:
        spec = check(path, f"{root.name}/{file}")
        names = {path.name, *named(spec)}
        files = {name: (path.parent / name).read_bytes() for name in names}
    except (Refusal, OSError) as problem:
        return Bad(file, str(problem))
    entries = entries_of(files)
    slot = Slot(
        id=content_id(entries),
        version=spec.task.version,
        spec=path.name,
        files=entries,
        origin="drop",
    )
    return Bundle(file, spec.task.name, slot)


def contents(root: Path, bundle: Bundle) -> dict[str, bytes]:
    """The bytes of a bundle's files as they are now. Raises Refusal when one cannot be read."""
    folder = (root / bundle.file).parent
    try:
        return {entry.path: (folder / entry.path).read_bytes() for entry in bundle.slot.files}
    except OSError as error:
        raise Refusal(Reason.BAD_SPEC, str(error)) from error


def named(spec: Spec) -> Iterator[str]:
    """The files that a spec names, beside it: they belong to its bundle."""
    if spec.model:
        yield spec.model.file
    if spec.script:
        yield spec.script.file
    yield from spec.task.resources
    yield from (test.replay for test in spec.test)
    yield from (source.path for source in spec.sources.values() if isinstance(source, FileSource))


# --- deciding ---


@dataclass(frozen=True, slots=True)
class Deploy:
    """Run this instead of what its task runs now."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Fine:
    """The file is what was taken from it last."""

    file: str
    task: str


@dataclass(frozen=True, slots=True)
class Complain:
    """Say what is wrong with a file; `task` is the one that came from it and goes on."""

    file: str
    text: str
    task: str


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Stop a task whose file is gone."""

    task: str
    cause: str


Deed = Deploy | Fine | Complain | Dismiss


def decide(found: Found, taken: Mapping[str, Dropped]) -> list[Deed]:
    """What to do about the folder, given what was taken from it before (task -> content and file)."""
    owners = {dropped.file: task for task, dropped in taken.items()}
    claims: dict[str, str] = {}
    deeds: list[Deed] = []
    for file in sorted(found, key=lambda file: (not _keeps(found[file], taken), file)):
        item = found[file]
        if isinstance(item, Bad):
            deeds.append(Complain(file, item.text, owners.get(file, "")))
        elif item.task in claims:
            other = claims[item.task]
            text = f"{file}: the task name `{item.task}` is already used by {other}; rename one of them"
            deeds.append(Complain(file, text, owners.get(file, "")))
        else:
            claims[item.task] = file
            dropped = taken.get(item.task)
            same = dropped is not None and dropped.id == item.slot.id
            deeds.append(Fine(file, item.task) if same else Deploy(item))
    complained = {deed.file for deed in deeds if isinstance(deed, Complain)}
    for task, dropped in taken.items():
        if task in claims or dropped.file in complained:
            continue
        now = found.get(dropped.file)
        if now is None:
            deeds.append(Dismiss(task, f"{dropped.file} was deleted"))
        elif isinstance(now, Bundle) and _keeps(now, taken):
            deeds.append(Dismiss(task, f"{dropped.file} holds task {now.task} now"))
    return deeds


def _keeps(item: Bundle | Bad, taken: Mapping[str, Dropped]) -> bool:
    """Whether the file holds the task that was taken from it before: its claim comes first."""
    return isinstance(item, Bundle) and item.task in taken and taken[item.task].file == item.file


# --- telling ---


def tell(root: Path, file: str, text: str) -> None:
    """Write `<file>.status`, if it does not say so already; "" removes it. A folder that cannot be written
    is left alone.
    """
    path = root / f"{file}{STATUS}"
    try:
        if not text:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        log.warning("cannot write %s: %s", path, error)


# --- watching ---


def look(root: Path) -> Look:
    """One glance at everything in the folder that matters; a folder in it may be a link."""
    seen: dict[str, tuple[int, int, int]] = {}
    for path in chain(root.glob("*"), root.glob("*/**/*")):
        with contextlib.suppress(FileNotFoundError):
            if _matters(path, root) and path.is_file():
                stat = path.stat()
                seen[str(path.relative_to(root))] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return seen


def part_of(seen: Look, item: Bundle | Bad) -> Look:
    """What a spec file's meaning depends on: its own files, or while it is bad anything at all."""
    if isinstance(item, Bad):
        return seen
    folder = Path(item.file).parent
    paths = [str(folder / entry.path) for entry in item.slot.files]
    return {path: seen[path] for path in paths if path in seen}


def _matters(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return path.suffix != STATUS and not any(part.startswith(".") for part in parts)


def being_written(path: Path) -> bool:
    """Whether some process has the file open for writing: the kernel refuses a read lease then.

    False where nobody can say: not our file, a file system without leases, or a process that does not ignore
    SIGIO, which announces a writer who comes while the lease is held and would end the process.
    """
    if signal.getsignal(signal.SIGIO) is not signal.SIG_IGN:
        return False
    try:
        with path.open("rb") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


class Watcher:
    """Calls `looked` on its own thread with what lies in the folder: first at once, then whenever it has
    changed and stands still. A folder that is gone or was unmounted says nothing: only one that is there and
    empty means that every file was deleted."""

    def __init__(
        self, root: Path, check: Callable[[Path, str], Spec], looked: Callable[[Found], None]
    ) -> None:
        self._root = root
        self._check = check
        self._looked = looked
        self._read: dict[str, tuple[Look, Bundle | Bad]] = {}
        self._device: int | None = None
        self.gone = False
        """The folder is not there."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drop-folder", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last: Look | None = None
        for _ in self._notifications():
            try:
                now = self._settled(last or {})
                if not self._stop.is_set() and self._is_there(now) and now != last:
                    last = now
                    # Only what this glance saw: the end of anything else would look like no change.
                    found = {file: self._item(file, now) for file in specs_in(now)}
                    self._read = {file: self._read[file] for file in found}
                    self._looked(found)
            except Exception:
                log.exception("%s could not be read; looking again after the next change", self._root)

    def _is_there(self, now: Look) -> bool:
        """An empty folder on another file system than before is the place where it was mounted."""
        device = self._root.stat().st_dev if self._root.is_dir() else None
        gone = device is None or (not now and self._device not in (None, device))
        if gone != self.gone:
            log.warning("%s is %s", self._root, f"gone; {WAITS}" if gone else "back")
        self.gone = gone
        self._device = self._device if gone else device
        return not gone

    def _item(self, file: str, seen: Look) -> Bundle | Bad:
        """What the file is, read again only when something it depends on changed."""
        known = self._read.get(file)
        if known is None or known[0] != part_of(seen, known[1]):
            item = read(self._root, file, self._check)
            known = self._read[file] = part_of(seen, item), item
        return known[1]

    def _notifications(self) -> Iterator[None]:
        """One at once, then one per change; ends with `stop`. Where the system gives none (a folder that is
        not there, too many watches), the folder is looked at all the same."""
        yield
        said = ""
        while not self._stop.is_set():
            try:
                yield from self._changes()
            except (OSError, RuntimeError) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("%s cannot be watched: %s; looking now and then", self._root, said)
                self._stop.wait(RESCAN_MS / 1000)
                yield

    def _changes(self) -> Iterator[None]:
        """Until another folder stands in this one's place: mounted, unmounted, renamed."""
        watched = self._root.stat()
        watch = watchfiles.watch(
            self._root,
            watch_filter=lambda _, path: _matters(Path(path), self._root),
            debounce=400,
            step=STEP_MS,
            stop_event=self._stop,
            rust_timeout=RESCAN_MS,
            yield_on_timeout=True,
        )
        for _ in watch:
            yield
            if not os.path.samestat(watched, self._root.stat()):
                return

    def _settled(self, last: Look) -> Look:
        """The folder, once two glances agree and nobody is writing one of the files that changed."""
        now = look(self._root)
        for _ in range(int(PATIENCE / SETTLE)):
            changed = [file for file, signature in now.items() if last.get(file) != signature]
            if not changed:
                break
            self._stop.wait(SETTLE)
            before, now = now, look(self._root)
            if self._stop.is_set():
                break
            if before == now and not any(being_written(self._root / file) for file in changed):
                break
        return now
