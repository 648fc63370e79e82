"""The slots survive a power cut at every operation, with and without the loss of what was never synced."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud_broker.wire import digest
from cloud_broker.wire.messages import Reason, ReleaseState
from edge_agent.intents import Disk, load
from edge_agent.slots import TRIES, Outcome, Recovery, Slot, Slots, Store, content_id, entries_of


class PowerCutError(BaseException):
    """Not an Exception: nothing in the agent may catch it."""


class CutDisk(Disk):
    """Pulls the plug at the n-th operation; `lossy`: all that was never synced is then gone or torn."""

    def __init__(self, cut_at: int | None = None, lossy: bool = False) -> None:
        self.operations = 0
        self.cut_at = cut_at
        self.lossy = lossy
        self.undo: list[tuple[Path, str, Callable[[], object]]] = []

    def step(self, torn: Callable[[], object] = lambda: None) -> None:
        self.operations += 1
        if self.operations == self.cut_at:
            torn()
            if self.lossy:
                for _, _, undo in reversed(self.undo):
                    undo()
            raise PowerCutError(self.operations)

    def write(self, path: Path, data: bytes) -> None:
        self.step(torn=lambda: path.write_bytes(data[: len(data) // 2]))
        super().write(path, data)
        self.undo.append(
            (path, "content", lambda: path.exists() and path.write_bytes(data[: len(data) // 2]))
        )

    def link(self, source: Path, path: Path) -> None:
        self.step()
        super().link(source, path)
        self.undo.append((path.parent, "name", lambda: path.unlink(missing_ok=True)))

    def sync(self, path: Path) -> None:
        self.step()
        self.undo = [entry for entry in self.undo if entry[:2] != (path, "content")]

    def sync_folder(self, folder: Path) -> None:
        self.step()
        self.undo = [entry for entry in self.undo if entry[:2] != (folder, "name")]

    def rename(self, source: Path, path: Path) -> None:
        self.step()
        before = path.read_bytes() if path.is_file() else None
        super().rename(source, path)

        def back() -> None:
            path.rename(source)
            if before is not None:
                path.write_bytes(before)

        self.undo.append((path.parent, "name", back))

    def make_folder(self, folder: Path) -> None:
        self.step()
        super().make_folder(folder)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)


def make_slot(version: str, origin: str = "release", **files: bytes) -> tuple[Slot, dict[str, bytes]]:
    content = {
        "task.toml": version.encode(),
        **{name.replace("_", "/"): data for name, data in files.items()},
    }
    entries = entries_of(content)
    slot = Slot.model_validate(
        {
            "id": content_id(entries),
            "version": version,
            "spec": "task.toml",
            "files": entries,
            "origin": origin,
        }
    )
    return slot, content


A, A_FILES = make_slot("1.0.0", model_a=b"weights" * 100)
B, B_FILES = make_slot("1.1.0", model_a=b"weights" * 100, model_b=b"more" * 50)
C, C_FILES = make_slot("1.2.0")
D, D_FILES = make_slot("1.3.0", origin="drop")
REFUSAL = Outcome(
    release=C.id,
    rollout="r3",
    state=ReleaseState.ROLLED_BACK,
    reason=Reason.FAILURE_RATE,
    detail="12 of 12",
)

WALK: tuple[Callable[[Store], object], ...] = (
    lambda store: store.stage(A, dict(A_FILES)),
    lambda store: store.begin_trial(A, 1.0, 3.0, "r1"),
    lambda store: store.commit(),
    lambda store: store.stage(
        B, {**B_FILES, "model/a": store.find(digest.of_bytes(b"weights" * 100)) or b""}
    ),
    lambda store: store.begin_trial(B, 2.0, 3.0, "r2"),
    lambda store: store.commit(),
    lambda store: store.stage(C, dict(C_FILES)),
    lambda store: store.begin_trial(C, 3.0, 3.0, "r3"),
    lambda store: store.roll_back(REFUSAL),
    lambda store: store.draw(C, dict(C_FILES)),
    lambda store: store.discard(C.id),
    lambda store: store.stage(D, dict(D_FILES)),
    lambda store: store.adopt(D, "hot.toml"),
    lambda store: store.dismiss(),
)
"""Three releases (good, good, bad), one given up half-way, and a dropped spec that comes and goes."""


def good_after(steps: int) -> str | None:
    """The version that must be current after that many steps of the walk."""
    return {0: None, 3: A.id, 6: B.id, 13: D.id, 14: None}[max(n for n in (0, 3, 6, 13, 14) if n <= steps)]


def assert_sound(store: Store) -> None:
    """Every version pointed at is whole; nothing else is there."""
    slots = store.slots
    kept = [slot for slot in (slots.running, slots.current, slots.previous) if slot]
    for slot in kept:
        for entry in slot.files:
            assert digest.of_file(store.path(slot) / entry.path) == entry.digest
    versions = store.root / "versions"
    there = {folder.name for folder in versions.iterdir()} if versions.exists() else set()
    assert there == {slot.id for slot in kept}
    assert load(store.root / "slots.json", Slots) in (slots, None)


def walk(store: Store, done: list[int]) -> None:
    for step in WALK:
        step(store)
        done.append(1)


def operations_of_the_walk(root: Path) -> int:
    disk = CutDisk()
    walk(Store(root, disk), [])
    return disk.operations


def test_the_walk_without_a_cut(tmp_path: Path) -> None:
    store = Store(tmp_path)
    walk(store, [])
    assert_sound(store)
    assert store.slots.current is None
    assert store.slots.previous == D
    assert store.slots.outcome(C.id, "r3") == REFUSAL
    assert store.slots.released is not None and store.slots.released.id == B.id


@pytest.mark.parametrize("lossy", [False, True], ids=["torn", "unsynced lost"])
def test_a_power_cut_at_every_operation(tmp_path: Path, lossy: bool) -> None:
    total = operations_of_the_walk(tmp_path / "count")
    assert total > 100
    for n in range(1, total + 1):
        root = tmp_path / str(n)
        done: list[int] = []
        with pytest.raises(PowerCutError):
            walk(Store(root, CutDisk(n, lossy)), done)
        store = Store(root)
        store.recover()
        assert_sound(store)
        current = store.slots.current.id if store.slots.current else None
        assert current in {good_after(len(done)), good_after(len(done) + 1)}, f"cut at operation {n}"


def test_a_power_cut_during_recovery_is_recovered_too(tmp_path: Path) -> None:
    for n in range(1, 30):
        root = tmp_path / str(n)
        store = Store(root)
        for step in WALK[:5]:
            step(store)
        store.draw(C, dict(C_FILES))
        try:
            Store(root, CutDisk(n)).recover()
        except PowerCutError:
            again = Store(root)
            again.recover()
            assert_sound(again)
            assert again.slots.current == A and again.slots.trial is not None
        else:
            assert n > 5
            return
    pytest.fail("recovery never ended")


def test_a_trial_gets_its_tries_and_then_the_good_version_is_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in WALK[:5]:
        step(store)
    found = []
    while Store(tmp_path).slots.trial:
        store = Store(tmp_path)
        found.append(store.recover())
    assert found == [Recovery.RETRY] * (TRIES - 1) + [Recovery.GAVE_UP]
    assert store.slots.running == A
    outcome = store.slots.outcome(B.id, "r2")
    assert outcome is not None and outcome.reason is Reason.CRASHED
    assert_sound(store)


def test_two_versions_may_be_under_way_and_one_given_up(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.draw(A, dict(A_FILES))
    store.draw(B, dict(B_FILES))
    store.discard(A.id)
    assert not store.draft(A).exists()
    store.seal(B)
    store.begin_trial(B, 1.0, 3.0, "r")
    assert store.slots.pending == ()
    assert_sound(store)


def test_going_back_works_on_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    class Dead(Disk):
        dead = False

        def write(self, path: Path, data: bytes) -> None:
            if self.dead:
                raise OSError(errno.EIO, "Input/output error", str(path))
            super().write(path, data)

    disk = Dead()
    store = Store(tmp_path, disk)
    for step in WALK[:8]:
        step(store)
    disk.dead = True
    store.roll_back(REFUSAL)
    assert store.slots.running == B
    again = Store(tmp_path)
    while again.slots.trial:
        again.recover()
    assert again.slots.running == B


def test_nothing_to_recover(tmp_path: Path) -> None:
    assert Store(tmp_path / "new").recover() is Recovery.CLEAN


def test_a_draft_is_discarded(tmp_path: Path) -> None:
    Store(tmp_path).draw(A, dict(A_FILES))
    store = Store(tmp_path)
    assert store.recover() is Recovery.DISCARDED
    assert_sound(store)


def test_a_full_disk_changes_nothing_and_its_space_comes_back(tmp_path: Path) -> None:
    class Full(Disk):
        def write(self, path: Path, data: bytes) -> None:
            if path.name == "b":
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            super().write(path, data)

    store = Store(tmp_path, Full())
    for step in WALK[:3]:
        step(store)
    with pytest.raises(OSError, match="No space left"):
        store.stage(B, dict(B_FILES))
    assert store.draft(B).exists()
    store.discard(B.id)
    assert_sound(store)
    assert store.slots.running == A


def test_a_passing_refusal_is_not_remembered_and_a_lasting_one_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for reason in Reason:
        store.refuse(
            Outcome(release=B.id, rollout=reason, state=ReleaseState.REFUSED, reason=reason, detail="")
        )
    forgotten = {reason for reason in Reason if store.slots.outcome(B.id, reason) is None}
    assert forgotten == {Reason.DISK_FULL, Reason.FETCH_FAILED, Reason.SUPERSEDED, Reason.OPERATOR}


def test_equal_files_are_kept_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in WALK[:6]:
        step(store)
    shared = [store.path(slot) / "model" / "a" for slot in (A, B)]
    assert shared[0].stat().st_ino == shared[1].stat().st_ino


def test_a_file_that_rotted_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in WALK[:3]:
        step(store)
    wanted = digest.of_bytes(b"weights" * 100)
    assert store.find(wanted) == store.path(A) / "model" / "a"
    (store.path(A) / "model" / "a").write_bytes(b"rotten")
    assert store.find(wanted) is None


def test_a_release_over_a_drop_keeps_the_memory_of_the_drop(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.stage(D, dict(D_FILES))
    store.adopt(D, "hot.toml")
    store.stage(A, dict(A_FILES))
    store.begin_trial(A, 1.0, 3.0, "r1")
    store.commit()
    assert store.slots.dropped is not None and store.slots.dropped.id == D.id
    store.dismiss()
    assert store.slots.current == A
    assert store.slots.dropped is None


def test_an_unreadable_pointer_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "slots.json").write_text('{"current": 7}')
    with pytest.raises(ValueError, match=r"slots\.json: current.*move the file away"):
        Store(tmp_path)
