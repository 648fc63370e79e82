"""Durations and sizes as people write them: "500ms", "10s", "2h", "96MiB". A bare number is refused with the fix."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def _quantity(text: Any, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    if isinstance(text, int | float) and not isinstance(text, bool):
        raise ValueError(f"{text!r} has no unit: write a {what} as a string such as {example!r}")
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        raise ValueError(
            f"{text!r} is not a {what}: expected a number and one of {', '.join(units)}, such as {example!r}"
        )
    return float(match[1]) * units[match[2]]


def duration(text: Any) -> float:
    """Seconds. Raises ValueError for anything but a number with a unit of time."""
    return _quantity(text, DURATIONS, "duration", "10s")


def size(text: Any) -> int:
    """Bytes. Raises ValueError for anything but a number with a unit of size."""
    return int(_quantity(text, SIZES, "size", "64MiB"))


Duration = Annotated[float, BeforeValidator(duration)]
Size = Annotated[int, BeforeValidator(size)]
