"""Images that appear in a folder, each once: columns `path`, `name`, `image` (uint8, height x width x 3).

A file is taken when it decodes whole; one that does not may still be written, so it is looked at again until
it has kept its size for `SETTLED` seconds, and only then counted as bad. Which names were taken is
remembered on disk, and noted only when their results are safe: files dropped while the agent was down are
found, and after a power cut an image is rather seen twice than never.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from watchfiles import watch

from edge_agent.clock import Clock
from edge_agent.events import ItemError
from edge_agent.inbox import Outlet

SETTLED = 2.0
LOOK_MS = 500
"""Milliseconds between looks when the system does not tell of a change first."""
HANDOVER = 0.1
"""Seconds between attempts to take over from the version before."""
MAX_PIXELS = 64_000_000
Image.MAX_IMAGE_PIXELS = None  # we check ourselves, before anything is decoded


class FolderSource:
    """`memory`: the file of names already taken. One source at a time may have it: the new version of a task
    waits until the old one has written its last results, so no image is taken by both."""

    def __init__(self, folder: Path, pattern: str, memory: Path) -> None:
        self._folder = folder
        self._pattern = pattern
        self._seen = Seen(memory)
        self._lock_path = memory.with_name(memory.name + ".lock")
        self._lock: IO[bytes] | None = None
        self._unfinished: dict[str, tuple[int, float]] = {}  # name -> size, and since when it has that size

    def run(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:
        if not self._own(stop, clock):
            return
        self._seen.load()
        self.look(outlet, stop, clock)
        for _ in watch(
            self._folder,
            stop_event=stop,
            recursive=False,
            step=20,
            debounce=100,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            self.look(outlet, stop, clock)

    def _own(self, stop: threading.Event, clock: Clock) -> bool:
        """Wait for the memory; False when stopped before."""
        self._lock = self._lock_path.open("wb")
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if clock.wait(stop, HANDOVER):
                    return False

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def look(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:
        """Emit every finished file that is new, in order of name; hidden ones are on their way to another
        name. A name that is gone is new when it comes again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        visible = (path for path in self._folder.iterdir() if not path.name.startswith("."))
        present = sorted(path for path in visible if fnmatch(path.name, self._pattern))
        self._seen.keep({path.name for path in present})
        for path in present:
            if stop.is_set():
                return
            if path.name in self._seen or not path.is_file():
                continue
            try:
                image = decode(path)
            except ItemError as error:
                if self._settled(path, clock.now()):
                    outlet.error(f"{path.name}: {error}")
                    self._seen.take(path.name)()
                continue
            item = {"path": str(path), "name": path.name, "image": image}
            if not outlet.item(item, self._seen.take(path.name)):
                return  # stopping: the next start finds it again

    def _settled(self, path: Path, now: float) -> bool:
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return False
        known, since = self._unfinished.get(path.name, (-1, now))
        if size != known:
            self._unfinished[path.name] = (size, now)
            return False
        return now - since >= SETTLED and self._unfinished.pop(path.name) is not None


def decode(path: Path) -> NDArray[np.uint8]:
    """The whole image as red, green, blue. Raises ItemError when the file is no image, or not yet."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ItemError(f"{image.width}x{image.height} pixels, at most {MAX_PIXELS} are read")
            return np.asarray(image.convert("RGB"))
    except ItemError:
        raise
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        raise ItemError(f"not an image that can be read: {error}") from None


class Seen:
    """Names that were taken: known at once in memory, on disk once their results are safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def load(self) -> None:
        """Read the names; a line torn by a power cut is nobody's name."""
        self._names = set()
        for line in self._path.read_bytes().splitlines() if self._path.exists() else []:
            with suppress(ValueError):
                self._names.add(str(json.loads(line)))

    def keep(self, present: set[str]) -> None:
        """Forget the names of files that are gone."""
        if not self._names <= present:
            self._names &= present
            fresh = self._path.with_name(self._path.name + ".new")
            fresh.write_text("".join(f"{json.dumps(name)}\n" for name in sorted(self._names)))
            fresh.replace(self._path)

    def take(self, name: str) -> Callable[[], None]:
        """Mark it taken; the returned function, called when its results are safe, notes it on disk."""
        self._names.add(name)

        def note() -> None:
            with self._path.open("a") as file:
                file.write(f"\n{json.dumps(name)}\n")

        return note
