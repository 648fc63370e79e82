"""The drop folder: what a file is, what that means, when the folder stands still."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from cloud_broker.wire.messages import FileEntry, Reason
from edge_agent import drop_folder
from edge_agent.drop_folder import (
    Bad,
    Bundle,
    Complain,
    Deed,
    Deploy,
    Dismiss,
    Fine,
    Found,
    Watcher,
    being_written,
    decide,
    look,
    read,
    specs_in,
    tell,
)
from edge_agent.releases import Refusal
from edge_agent.slots import Dropped, Slot
from edge_agent.spec.model import Spec

GUARD = 20.0
"""Seconds after which a test that waits has hung."""


def bundle(file: str, task: str, content: str = "1") -> Bundle:
    entry = FileEntry(path=Path(file).name, digest="e" * 64, size=1)
    slot = Slot(id=content * 64, version="1.0.0", spec=Path(file).name, files=(entry,), origin="drop")
    return Bundle(file, task, slot)


HOT = bundle("hot.toml", "hot")
TAKEN = {"hot": Dropped(id="1" * 64, file="hot.toml")}
NAMED_COLD = bundle("hot.toml", "cold", "2")
BOTH = {"hot": Dropped(id="1" * 64, file="hot.toml"), "cold": Dropped(id="2" * 64, file="hot.toml")}
USED = "b.toml: the task name `hot` is already used by a.toml; rename one of them"

ROWS: list[tuple[str, list[Bundle | Bad], dict[str, Dropped], list[Deed]]] = [
    ("nothing", [], {}, []),
    ("new", [HOT], {}, [Deploy(HOT)]),
    ("known", [HOT], TAKEN, [Fine("hot.toml", "hot")]),
    ("changed", [bundle("hot.toml", "hot", "2")], TAKEN, [Deploy(bundle("hot.toml", "hot", "2"))]),
    ("bad from the start", [Bad("hot.toml", "E001")], {}, [Complain("hot.toml", "E001", "")]),
    ("became bad", [Bad("hot.toml", "E001")], TAKEN, [Complain("hot.toml", "E001", "hot")]),
    ("deleted", [], TAKEN, [Dismiss("hot", "hot.toml was deleted")]),
    (
        "two with one name",
        [bundle("a.toml", "hot"), bundle("b.toml", "hot", "2")],
        {},
        [Deploy(bundle("a.toml", "hot")), Complain("b.toml", USED, "")],
    ),
    (
        "two with one name: who had it keeps it",
        [bundle("a.toml", "hot", "2"), HOT],
        TAKEN,
        [
            Fine("hot.toml", "hot"),
            Complain("a.toml", USED.replace("a.toml", "hot.toml").replace("b.toml", "a.toml"), ""),
        ],
    ),
    ("moved", [bundle("new.toml", "hot", "3")], TAKEN, [Deploy(bundle("new.toml", "hot", "3"))]),
    ("another task in it, not yet running", [NAMED_COLD], TAKEN, [Deploy(NAMED_COLD)]),
    (
        "another task in it runs",
        [NAMED_COLD],
        BOTH,
        [Fine("hot.toml", "cold"), Dismiss("hot", "hot.toml holds task cold now")],
    ),
]


@pytest.mark.parametrize(("items", "taken", "deeds"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_decide(items: list[Bundle | Bad], taken: dict[str, Dropped], deeds: list[Deed]) -> None:
    assert decide({item.file: item for item in items}, taken) == deeds


# --- reading ---

SPEC = """schema = 1
[task]
name = "hot"
version = "1.2.3"
[sources]
t = { type = "file", path = "t.jsonl" }
[sinks]
out = { type = "file", path = "out.jsonl", from = "t" }
"""


def check(path: Path, name: str) -> Spec:
    from edge_agent.__main__ import check as real

    return real(path, name)


def refuse(_path: Path, name: str) -> Spec:
    raise Refusal(Reason.BAD_SPEC, f"{name}: no")


def test_what_counts_as_a_spec(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml", ".hidden.toml", "x.txt", "d/c.toml", ".git/c.toml", "d/e/f.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert specs_in(look(tmp_path)) == ["a.toml", "b.toml", "d/c.toml", "link/c.toml"]


def test_a_bundle_is_named_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "hot.toml").write_text(SPEC)
    (tmp_path / "t.jsonl").write_text('{"c": 1}\n')
    first = read(tmp_path, "hot.toml", check)
    assert isinstance(first, Bundle)
    assert (first.task, first.slot.version, first.slot.origin) == ("hot", "1.2.3", "drop")
    assert [entry.path for entry in first.slot.files] == ["hot.toml", "t.jsonl"]
    assert drop_folder.contents(tmp_path, first)["t.jsonl"] == b'{"c": 1}\n'
    shutil.copytree(tmp_path, tmp_path / "copy")
    copied = read(tmp_path, "copy/hot.toml", check)
    assert isinstance(copied, Bundle) and copied.slot == first.slot
    (tmp_path / "t.jsonl").write_text('{"c": 2}\n')
    changed = read(tmp_path, "hot.toml", check)
    assert isinstance(changed, Bundle) and changed.slot.id != first.slot.id


def test_a_bad_file_has_all_its_problems(tmp_path: Path) -> None:
    (tmp_path / "hot.toml").write_text(SPEC.replace("path", "pfad"))
    item = read(tmp_path, "hot.toml", check)
    assert isinstance(item, Bad)
    assert item.text.count(f"{tmp_path.name}/hot.toml:") == 4  # two unknown keys, two missing ones


def test_a_file_that_goes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hot.toml").write_text(SPEC)
    (tmp_path / "t.jsonl").write_text("")
    item = read(tmp_path, "hot.toml", check)
    assert isinstance(item, Bundle)
    (tmp_path / "t.jsonl").unlink()
    with pytest.raises(Refusal, match=r"t\.jsonl"):
        drop_folder.contents(tmp_path, item)


# --- telling ---


def test_status_is_written_beside_the_file_once_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "hot.toml.status"
    tell(tmp_path, "hot.toml", "bad-spec\n")
    before = path.stat()
    tell(tmp_path, "hot.toml", "bad-spec\n")
    assert (path.read_text(), path.stat().st_mtime_ns) == ("bad-spec\n", before.st_mtime_ns)
    tell(tmp_path, "hot.toml", "")
    tell(tmp_path, "hot.toml", "")
    assert not path.exists()


def test_a_folder_that_takes_no_status_is_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tell(tmp_path / "gone", "hot.toml", "running")
    assert "cannot write" in caplog.text


# --- standing still ---


def test_a_look_sees_content_but_neither_status_nor_hidden_files(tmp_path: Path) -> None:
    for name in ("a.toml", "a.toml.status", ".a.toml.swp", "d/m.tflite"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    first = look(tmp_path)
    assert sorted(first) == ["a.toml", "d/m.tflite"]
    (tmp_path / "a.toml").write_text("xy")
    assert look(tmp_path) != first


@pytest.fixture
def leases() -> Iterator[None]:
    """As in the agent's process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.mark.usefixtures("leases")
def test_a_file_open_for_writing_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "hot.toml"
    with path.open("w") as file:
        file.write("schema")
        file.flush()
        assert being_written(path)
    assert not being_written(path)
    assert not being_written(tmp_path / "none")


def test_without_leases_nobody_can_say(tmp_path: Path) -> None:
    path = tmp_path / "hot.toml"
    with path.open("w"):
        assert not being_written(path)


@pytest.mark.usefixtures("leases")
def test_a_writer_who_comes_while_we_ask_is_not_harmed_and_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "hot.toml"
    path.touch()

    def write() -> None:
        for n in range(300):
            path.write_text(f"{n}")

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        being_written(path)
    writer.join()
    assert path.read_text() == "299"
    assert not being_written(path)


class Ears:
    """A watcher that puts what it saw into a queue."""

    def __init__(self, root: Path, check: Callable[[Path, str], Spec]) -> None:
        self.seen: SimpleQueue[Found] = SimpleQueue()
        self.watcher = Watcher(root, check, self.seen.put)

    def __enter__(self) -> Ears:
        self.watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()

    def next(self) -> list[str]:
        return sorted(self.seen.get(timeout=GUARD))


def test_the_watcher_tells_at_once_and_on_every_change(tmp_path: Path) -> None:
    (tmp_path / "a.toml").touch()
    with Ears(tmp_path, refuse) as ears:
        assert ears.next() == ["a.toml"]
        (tmp_path / "b.toml").touch()
        assert ears.next() == ["a.toml", "b.toml"]
        (tmp_path / "a.toml").unlink()
        assert ears.next() == ["b.toml"]


def test_a_file_that_comes_and_goes_between_two_glances_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glance = drop_folder.look
    late = tmp_path / "late.toml"

    def look_then_drop(root: Path) -> drop_folder.Look:
        seen = glance(root)
        if not asked:
            late.touch()
        return seen

    asked: list[str] = []

    def once(path: Path, name: str) -> Spec:
        asked.append(path.name)
        late.unlink()
        return refuse(path, name)

    monkeypatch.setattr(drop_folder, "look", look_then_drop)
    with Ears(tmp_path, once) as ears:
        assert [ears.next(), ears.next(), ears.next()] == [[], ["late.toml"], []]


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    asked: list[str] = []

    def counting(path: Path, name: str) -> Spec:
        asked.append(path.name)
        return check(path, name)

    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(SPEC.replace("hot", name).replace("t.jsonl", f"{name}.jsonl"))
        (tmp_path / f"{name}.jsonl").write_text("")
    with Ears(tmp_path, counting) as ears:
        ears.next()
        (tmp_path / "b.jsonl").write_text("{}\n")
        ears.next()
    assert asked == ["a.toml", "b.toml", "b.toml"]


def test_a_folder_that_vanishes_says_nothing_until_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_folder, "RESCAN_MS", 50)
    root = tmp_path / "specs"
    root.mkdir()
    (root / "a.toml").touch()
    with Ears(root, refuse) as ears:
        assert ears.next() == ["a.toml"]
        os.rename(root, tmp_path / "away")
        while not ears.watcher.gone:
            time.sleep(0.01)
        assert ears.seen.empty()
        root.mkdir()
        (root / "b.toml").touch()
        while ears.next() != ["b.toml"]:
            pass
    assert not ears.watcher.gone


def test_a_folder_whose_file_system_is_gone_deletes_nothing(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, refuse, lambda _: None)
    full = {"a.toml": (1, 1, 1)}
    assert [watcher._is_there(now) for now in (full, {}, full)] == [True, True, True]
    watcher._device = tmp_path.stat().st_dev + 1
    assert [watcher._is_there(now) for now in ({}, full, {})] == [False, True, True]
