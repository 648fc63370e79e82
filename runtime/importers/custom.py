"""The options of a custom operator, as its kernel in TFLite reads them: by name, each as one type."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from runtime.errors import ModelError
from runtime.importers import flexbuffer
from runtime.importers.flexbuffer import Item
from runtime.operators import Option
from runtime.quantized import I32_MAX, I32_MIN

LARGEST_F32 = float(np.finfo(np.float32).max)


def options(data: bytes, defaults: Mapping[str, Option]) -> dict[str, Option]:
    """The named options of a FlexBuffer, each of the type of its default; others are not looked at.

    Raises ModelError for bytes that are no map, and for an option that is no such number.
    """
    given = flexbuffer.read(data) if data else {}
    if not isinstance(given, Mapping):
        raise ModelError(f"options are {given!r:.40}, expected a map")
    return {name: _option(name, given.get(name), default) for name, default in defaults.items()}


def _option(name: str, given: Item, default: Option) -> Option:
    if given is None:
        return default
    if not isinstance(given, bool | int | float) or abs(given) > LARGEST_F32 or math.isnan(given):
        raise ModelError(f"{name} = {given!r:.40}, expected a finite number")
    if isinstance(default, bool):
        return given != 0
    if isinstance(default, float):
        return float(np.float32(given))
    if given != int(given) or not I32_MIN <= given <= I32_MAX:
        raise ModelError(f"{name} = {given}, expected an integer of 32 bits")
    return int(given)
