"""Content addresses: the SHA-256 of the bytes, 64 lower-case hex digits, everywhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

DIGEST = re.compile(r"[0-9a-f]{64}")
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
CHUNK = 1 << 20


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Digest of a file's bytes, read in chunks; raises OSError as `open` does."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
