"""What a worker does for the machines: fetch a release, check a version, start it. Blocking, and free of any
state.

Order of the checks on a release: signature first, then whom it is for (task, agent, architecture), then its
version, then the room on disk; digests while the files arrive and once more where they lie; then the spec,
the model and the spec's own tests. Every no is a `Refusal` with a reason code. When to do all this is
`updater`'s to say.
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud_broker.wire import blobs, signing
from cloud_broker.wire import digest as digests
from cloud_broker.wire.blobs import FetchError
from cloud_broker.wire.messages import (
    MAX_MESSAGE,
    Manifest,
    Notice,
    Reason,
    Signed,
    WireError,
    decode,
    version_key,
)
from cloud_broker.wire.signing import Trusted
from edge_agent.evidence import StartError
from edge_agent.profile import agent_version
from edge_agent.slots import Slot, Slots, Store
from edge_agent.spec.model import Spec
from edge_agent.supervisor import Task

TIMEOUT = 30.0
"""Seconds without a byte before a transfer counts as broken."""
SPARE = 8 << 20
"""Bytes of the disk that a release must leave free."""


class Refusal(Exception):
    """A version that is not taken: a code for machines, a sentence for people, and whether another attempt
    may help.
    """

    def __init__(self, reason: Reason, text: str, *, retry: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Tools:
    """The rest of the agent, as far as a version meets it. All raise Refusal or StartError."""

    check: Callable[[Path, str], Spec]
    """A spec file and its name in messages; everything it names is checked too."""
    load: Callable[[Path], Spec]
    """A spec that was checked before."""
    test: Callable[[Spec, Path], None]
    """The spec's own tests, on the files in a folder."""
    build: Callable[[Spec, Path], Task]
    """The task, not yet started."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A version that runs, beside whatever else does."""

    slot: Slot
    spec: Spec
    task: Task


def obtain(notice: Notice, store: Store, trusted: Trusted, wanted: Callable[[], bool] = lambda: True) -> Slot:
    """Fetch and admit the manifest, then every file that is not here already; what is no longer `wanted` is
    broken off. Raises Refusal.
    """

    def progress(_have: int, _size: int) -> None:
        if not wanted():
            raise Refusal(Reason.SUPERSEDED, f"version {notice.version} is no longer wanted")

    try:
        payload = blobs.get(notice.blobs, notice.release, MAX_MESSAGE)
        manifest = signing.open_signed(decode(payload, Signed), Manifest, trusted)
        slot = admit(manifest, notice, store.slots)
        missing = {entry.digest: entry for entry in slot.files if store.find(entry.digest) is None}
        _room_for(sum(entry.size for entry in missing.values()), store.root)
        for entry in missing.values():
            path = store.incoming / entry.digest
            if not (path.is_file() and digests.of_file(path) == entry.digest):
                blobs.fetch(
                    notice.blobs,
                    entry.digest,
                    path,
                    size=entry.size,
                    timeout=TIMEOUT,
                    on_progress=progress,
                )
    except WireError as error:
        raise Refusal(error.reason, str(error)) from None
    except FetchError as error:
        raise Refusal(error.reason, error.text, retry=error.retry) from None
    return slot


def admit(manifest: Manifest, notice: Notice, slots: Slots) -> Slot:
    """The slot for a manifest that is meant for this board and not older than what it has. Raises Refusal."""
    paths = [entry.path for entry in manifest.files]
    if manifest.task != notice.task or manifest.spec not in paths or len(set(paths)) < len(paths):
        text = (
            f"the manifest is for task {manifest.task!r} with spec {manifest.spec!r} among {len(paths)} files"
        )
        raise Refusal(Reason.NOT_OURS, f"{text}; the notice said {notice.task!r}")
    if not _recent_enough(manifest.needs_agent):
        text = f"needs agent {manifest.needs_agent}, this is {agent_version()}; update the agent first"
        raise Refusal(Reason.NEEDS_AGENT, text)
    if manifest.needs_arch and platform.machine() not in manifest.needs_arch:
        text = f"needs {' or '.join(manifest.needs_arch)}, this board is {platform.machine()}"
        raise Refusal(Reason.NEEDS_ARCH, text)
    newest = slots.released
    if newest and version_key(manifest.version) <= version_key(newest.version):
        text = f"version {manifest.version} is not newer than {newest.version}, the last good release here"
        raise Refusal(Reason.TOO_OLD, text)
    return Slot(
        id=notice.release,
        version=manifest.version,
        spec=manifest.spec,
        files=manifest.files,
        origin="release",
    )


def gather(slot: Slot, store: Store) -> dict[str, Path]:
    """Where the bytes of each of the slot's files lie: fetched, or in a version that is here. Raises
    Refusal.
    """
    places: dict[str, Path] = {}
    for entry in slot.files:
        fetched = store.incoming / entry.digest
        place = fetched if fetched.is_file() else store.find(entry.digest)
        if place is None:
            raise Refusal(Reason.FETCH_FAILED, f"{entry.path}: fetched, but not there any more")
        places[entry.path] = place
    return places


def verify(slot: Slot, task: str, folder: Path, tools: Tools) -> Spec:
    """The spec of the version in `folder`, fit to run: digests, spec, model, tests. Raises Refusal."""
    for entry in slot.files:
        got = digests.of_file(folder / entry.path)
        if got != entry.digest:
            raise Refusal(Reason.DIGEST_MISMATCH, f"{entry.path}: expected digest {entry.digest}, got {got}")
    spec = tools.check(folder / slot.spec, slot.spec)
    if (spec.task.name, version_key(spec.task.version)) != (task, version_key(slot.version)):
        said = f"{spec.task.name} {spec.task.version}"
        raise Refusal(Reason.BAD_SPEC, f"{slot.spec} is {said}, the manifest says {task} {slot.version}")
    tools.test(spec, folder)
    return spec


def draft(slot: Slot, task: str, files: Mapping[str, bytes | Path], store: Store, tools: Tools) -> Spec:
    """Write the version as a draft and check it there. Raises Refusal."""
    try:
        return verify(slot, task, store.draw(slot, files), tools)
    except OSError as error:
        raise refusal_of(error) from error


def seal(slot: Slot, store: Store) -> Path:
    """Make a checked draft durable and immutable. Raises Refusal."""
    try:
        return store.seal(slot)
    except OSError as error:
        raise refusal_of(error) from error


def launch(slot: Slot, store: Store, tools: Tools) -> Launched:
    """Start a sealed version. Raises Refusal; then nothing of it is left running."""
    folder = store.path(slot)
    try:
        spec = tools.load(folder / slot.spec)
        task = tools.build(spec, folder)
        task.start()
    except StartError as error:
        raise Refusal(error.reason, str(error)) from error
    except OSError as error:
        raise Refusal(Reason.START_FAILED, str(error)) from error
    return Launched(slot, spec, task)


def refusal_of(error: OSError) -> Refusal:
    """A disk that did not take something; nearly always it is full."""
    return Refusal(Reason.DISK_FULL, f"{error.filename or 'disk'}: {error.strerror or error}")


def _room_for(size: int, folder: Path) -> None:
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if size + SPARE > free:
        text = f"needs {size} bytes, {free} are free on the disk of {folder} and {SPARE} are kept"
        raise Refusal(Reason.DISK_FULL, text)


def _recent_enough(needed: str) -> bool:
    """ "0.2" or ">=0.2": at least that version; anything else is not understood, so it is refused."""
    wanted = needed.removeprefix(">=").strip()
    if not wanted:
        return True
    parts = wanted.split(".")
    if len(parts) > 3 or not all(part.isdigit() for part in parts):
        return False
    return version_key(agent_version()) >= version_key(wanted)
