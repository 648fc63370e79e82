import io
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge_agent.clock import ManualClock
from edge_agent.events import ItemError
from edge_agent.evidence import Ledger
from edge_agent.inbox import Entry, Inbox, Outlet
from edge_agent.sources import folder as folder_module
from edge_agent.sources.folder import SETTLED, FolderSource, decode


def png(value: int = 7, size: int = 16) -> bytes:
    rng = np.random.default_rng(value)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size, size, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def seeds() -> list[bytes]:
    return [png(), png(1, 3)]


def fuzz(data: bytes) -> None:
    """Any bytes are an image or a told error."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with suppress(ItemError):
            assert decode(Path(file.name)).ndim == 3


@given(st.binary(max_size=50), st.integers(0, 400))
def test_damaged_images_are_errors_and_nothing_worse(patch: bytes, at: int) -> None:
    whole = png(1, 3)
    fuzz(whole[:at] + patch + whole[at + len(patch) :])


class Watched:
    """A folder source looked at by hand."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "drop"
        self.folder.mkdir(exist_ok=True)
        self.clock, self.ledger, self.stop = ManualClock(1000.0), Ledger(0.0), threading.Event()
        self.inbox = Inbox(self.ledger)
        self.outlet = Outlet("cam", self.inbox, self.ledger, self.clock, None, 100, "block")
        self.source = FolderSource(self.folder, "*.png", path / "cam.seen")
        self.source._seen.load()

    def look(self) -> list[Entry]:
        self.source.look(self.outlet, self.stop, self.clock)
        return self.inbox.take(0)

    def names(self) -> list[str]:
        return [entry.row.item["name"] for entry in self.look()]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_each_image_once_in_order_of_name(watched: Watched) -> None:
    for name in ("b.png", "a.png", "c.txt"):
        (watched.folder / name).write_bytes(png())
    (entry, other) = watched.look()
    assert (entry.row.item["name"], other.row.item["name"]) == ("a.png", "b.png")
    assert entry.row.item["path"] == str(watched.folder / "a.png")
    image = entry.row.item["image"]
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    assert watched.names() == []


def test_a_hidden_file_is_taken_under_the_name_it_gets(watched: Watched) -> None:
    (watched.folder / ".a.png").write_bytes(png())
    assert watched.names() == []
    (watched.folder / ".a.png").rename(watched.folder / "a.png")
    assert watched.names() == ["a.png"]


@pytest.mark.parametrize("part", [0, 1, 8, 33, 200])
def test_a_half_written_file_is_not_read(watched: Watched, part: int) -> None:
    whole = png()
    (watched.folder / "slow.png").write_bytes(whole[:part])
    for _ in range(3):
        assert watched.names() == []
        watched.clock.advance(SETTLED / 4)
    (watched.folder / "slow.png").write_bytes(whole)
    assert watched.names() == ["slow.png"]
    assert watched.ledger.evidence().errors == 0


def test_a_bad_image_is_counted_once_with_its_name(watched: Watched) -> None:
    (watched.folder / "bad.png").write_bytes(b"this is no picture")
    (watched.folder / "cut.png").write_bytes(png()[:-30])
    for _ in range(6):
        assert watched.names() == []
        watched.clock.advance(SETTLED / 2)
    assert watched.ledger.evidence().errors == 2
    assert (watched.ledger.evidence().last_error or "").startswith(
        "source cam: cut.png: not an image that can be read"
    )


def test_a_growing_file_is_waited_for(watched: Watched) -> None:
    whole = png(size=64)
    for part in range(0, len(whole), len(whole) // 5):
        (watched.folder / "grow.png").write_bytes(whole[:part])
        assert watched.names() == []
        watched.clock.advance(SETTLED * 2)
    (watched.folder / "grow.png").write_bytes(whole)
    assert watched.names() == ["grow.png"] and watched.ledger.evidence().errors == 0


def test_names_are_remembered_across_restarts_once_results_are_safe(watched: Watched, tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "ü\n.png"):
        (watched.folder / name).write_bytes(png())
    for entry in watched.look():
        if entry.row.item["name"] != "b.png" and entry.done:
            entry.done()  # b.png was still under way when the power went
    (watched.folder / "while-down.png").write_bytes(png())
    assert Watched(tmp_path).names() == ["b.png", "while-down.png"]


def test_a_torn_memory_loses_no_image(watched: Watched, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (watched.folder / name).write_bytes(png())
    for entry in watched.look():
        assert entry.done
        entry.done()
    memory = tmp_path / "cam.seen"
    memory.write_bytes(memory.read_bytes()[:-4])
    again = Watched(tmp_path)
    assert again.names() == ["b.png"]


def test_a_name_that_was_deleted_is_new_when_it_comes_again(watched: Watched, tmp_path: Path) -> None:
    for _ in range(2):
        (watched.folder / "a.png").write_bytes(png())
        (entry,) = watched.look()
        assert entry.done
        entry.done()
        (watched.folder / "a.png").unlink()
        assert watched.names() == []
    assert "a.png" not in (tmp_path / "cam.seen").read_text()


def test_a_picture_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_module, "MAX_PIXELS", 100)
    (tmp_path / "big.png").write_bytes(png(size=16))
    with pytest.raises(ItemError, match="16x16 pixels, at most 100 are read"):
        decode(tmp_path / "big.png")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_mode_becomes_red_green_blue(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png").shape == (4, 5, 3)


def test_the_running_source_finds_what_is_dropped_and_stops(watched: Watched) -> None:
    (watched.folder / "before.png").write_bytes(png())
    thread = threading.Thread(target=watched.source.run, args=(watched.outlet, watched.stop, watched.clock))
    thread.start()
    names = [entry.row.item["name"] for entry in watched.inbox.take(30)]
    (watched.folder / "after.png").write_bytes(png())
    names += [entry.row.item["name"] for entry in watched.inbox.take(30)]
    watched.stop.set()
    thread.join(30)
    assert names == ["before.png", "after.png"] and not thread.is_alive()
