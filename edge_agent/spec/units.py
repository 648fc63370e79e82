"""Durations and sizes as people write them: "500ms", "10s", "2h", "96MiB". A bare number is refused with the
fix."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_WORDS = {
    "sec": "s",
    "second": "s",
    "min": "m",
    "minute": "m",
    "hour": "h",
    "hr": "h",
    "day": "d",
    "byte": "B",
}


def _quantity(text: Any, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is not None and match[2] in units:
        return float(match[1]) * units[match[2]]
    context = {"what": what, "units": ", ".join(units), "hint": _fix(text, match, units, example)}
    bare = isinstance(text, int | float) and not isinstance(text, bool)
    if bare or (match is not None and not match[2]):
        raise PydanticCustomError(
            "unit", "{got} has no unit, expected a {what}", {"got": str(text), **context}
        )
    message = "{got} is not a {what}, expected a number and one of {units}"
    raise PydanticCustomError(
        "unit", message, {"got": f'"{text}"' if isinstance(text, str) else str(text), **context}
    )


def _fix(
    text: Any, match: re.Match[str] | None, units: dict[str, float] | dict[str, int], example: str
) -> str:
    """A hint that says what was probably meant."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return f'did you mean "{text}{example.lstrip("0123456789")}"?'
    if match is not None:
        same = (unit for unit in units if unit.lower() == match[2].lower())
        unit = _WORDS.get(match[2].rstrip("s").lower(), "") or next(same, "")
        unit = unit if match[2] else example.lstrip("0123456789")
        if unit in units:
            return f'did you mean "{match[1]}{unit}"?'
    return f'such as "{example}"'


def duration(text: Any) -> float:
    """Seconds. Raises ValueError for anything but a number with a unit of time."""
    return _quantity(text, DURATIONS, "duration", "10s")


def size(text: Any) -> int:
    """Bytes. Raises ValueError for anything but a number with a unit of size."""
    return int(_quantity(text, SIZES, "size", "64MiB"))


def _written(units: dict[str, float] | dict[str, int], example: str) -> WithJsonSchema:
    """What an editor may accept: text, though the value is a number."""
    pattern = rf"^\s*\d{{1,15}}(\.\d{{1,9}})?\s*({'|'.join(units)})\s*$"
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[float, BeforeValidator(duration), _written(DURATIONS, "10s")]
Period = Annotated[float, BeforeValidator(duration), Field(gt=0), _written(DURATIONS, "10s")]
"""A duration above zero."""
Size = Annotated[int, BeforeValidator(size), _written(SIZES, "64MiB")]
