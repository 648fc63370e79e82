"""JSON files of what was measured. One that is absent, damaged, of another schema or not ours counts as
empty, and is replaced in one step.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WRONG = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a file of someone else, or taking it apart, may raise."""


def read(path: Path, schema: int) -> dict[str, Any]:
    """The document; of what is in it nothing is known."""
    with contextlib.suppress(*WRONG):
        document = json.loads(path.read_bytes())
        if document["schema"] == schema:
            return dict(document)
    return {}


def write(path: Path, schema: int, document: Mapping[str, Any]) -> None:
    """A disk that refuses costs the next start a measurement, and nothing else."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w") as file:
            json.dump({"schema": schema, **document}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
