"""What items look like outside: plain JSON, canonical, so that equal items are equal bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.spec.model import Item

MAX_ELEMENTS = 4096
"""Larger arrays (images) have no place in a result."""


def plain(value: Any) -> Any:
    """A JSON value: arrays as nested lists, NaN and infinities as null; what JSON lacks as text."""
    match value:
        case np.ndarray() if value.size > MAX_ELEMENTS:
            return f"<array {'x'.join(map(str, value.shape))}>"
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(key): plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
    return str(value)


def select(item: Item, fields: Sequence[str]) -> Item:
    """Plain values of `fields` in their order, null for one that the item lacks; the whole item when there
    are none."""
    return {name: plain(item.get(name)) for name in fields or item}


def encode(value: Any) -> bytes:
    """One line of JSON without its end; keys of an item in their order."""
    return json.dumps(plain(value), separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
        errors="replace"
    )
