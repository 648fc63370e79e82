"""Intent before deed: the few ways in which the agent changes its disk, each of them one operation that can
be cut.

Everything durable goes through a `Disk`, so that a test can pull the plug at any operation. `save` replaces a
small JSON file as a whole: new content is synced under another name, then renamed, then the folder is synced.
What is kept where is `slots`' business.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from cloud_broker.wire.blobs import sync_folder

M = TypeVar("M", bound=BaseModel)


class Disk:
    """The operations themselves. Nothing is durable before `sync` of the file and `sync_folder` of its
    folder.
    """

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)

    def link(self, source: Path, path: Path) -> None:
        """`path` gets the bytes of `source`: shared where the file system can, else copied."""
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)

    def sync(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, folder: Path) -> None:
        sync_folder(folder)

    def rename(self, source: Path, path: Path) -> None:
        source.rename(path)

    def make_folder(self, folder: Path) -> None:
        """With its parents, durably; one that is there is no error."""
        if not folder.is_dir():
            self.make_folder(folder.parent)
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)

    def remove(self, path: Path) -> None:
        """A file, or a folder with all that is in it; one that is not there is no error."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def save(disk: Disk, path: Path, value: BaseModel) -> None:
    """Replace `path` by `value`; a reader, now or after a power cut, sees the old content or the new."""
    temporary = path.with_name(path.name + ".new")
    disk.write(temporary, value.model_dump_json(by_alias=True).encode())
    disk.sync(temporary)
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)


def replace(path: Path, value: BaseModel) -> None:
    """As `save`, for what need not survive a power cut: spares the disk. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(value.model_dump_json(by_alias=True).encode())
    temporary.rename(path)


def load(path: Path, kind: type[M]) -> M | None:
    """What `save` left, or None when nothing was ever saved. Raises ValueError naming the file and what is
    wrong in it.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise ValueError(
            f"{path}: {where}: {first['msg']}; move the file away to start this task anew"
        ) from None
