"""Tables of a flatbuffer: classes with one accessor per field, made from a line of text.

A field is `name:kind`, or `name:kind=default`. A kind is a letter of `struct` for a number, `s` for a string,
`U` for a union, the name of a table, or `*` and one of these for a vector. Accessors have the names that
flatc gives them: `BlockSize()`, and for vectors also `ScaleLength()` and `ScaleAsNumpy()`. The bytes are not
trusted: what points outside them raises struct.error, IndexError or ValueError.

Format: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtime.graph import Array

_NUMBERS = {letter: struct.Struct(f"<{letter}") for letter in "bBhHiIqQfd?"}
_i32, _u16, _u32 = (_NUMBERS[letter].unpack_from for letter in "iHI")
_SLOTS = [struct.Struct(f"<{n}H").unpack_from for n in range(64)]
"""By the number of fields of a table: reads its offsets in one go."""

Classes = Callable[[str], type["Table"]]


class Table:
    """A table at `position` of `data`. A field that is not there has offset 0."""

    __slots__ = ("data", "offsets", "position")
    FIELDS = 0
    """How many fields the class knows; what a newer writer adds is not looked at."""

    def __init__(self, data: bytes, position: int) -> None:
        vtable = position - _i32(data, position)[0]
        if vtable < 0:
            raise IndexError(f"a table at {position} with its fields at {vtable}")
        there = (_u16(data, vtable)[0] - 3) // 2
        self.data, self.position = data, position
        there = max(0, min(there, self.FIELDS))
        self.offsets: tuple[int, ...] = _SLOTS[there](data, vtable + 4) + (0,) * (self.FIELDS - there)

    @classmethod
    def root(cls, data: bytes) -> Table:
        return cls(data, _u32(data, 0)[0])

    def target(self, slot: int) -> int:
        """Where a field points to, 0 for nowhere."""
        if not (offset := self.offsets[slot]):
            return 0
        at = self.position + offset
        return at + int(_u32(self.data, at)[0])


def table_class(name: str, fields: str, classes: Classes) -> type[Table]:
    """The class of a table; `classes` finds that of another table by its name, when it is needed."""
    accessors, slot = dict[str, Any](), 0
    for field in fields.split():
        title, _, kind = field.partition(":")
        kind, _, default = kind.partition("=")
        title = "".join(word.capitalize() for word in title.split("_"))
        if kind == "U":  # two fields: which table, and where
            accessors[f"{title}Type"] = _number(slot, "B", 0)
            slot, kind = slot + 1, "Table"
        accessors |= _accessors(title, slot, kind, default, classes)
        slot += 1
    return type(name, (Table,), {"__slots__": (), "FIELDS": slot, **accessors})


def _accessors(title: str, slot: int, kind: str, default: str, classes: Classes) -> Mapping[str, Any]:
    if kind.startswith("*"):
        item = _NUMBERS.get(kind[1:])
        several = {f"{title}Length": _length(slot), title: _item(slot, kind[1:], classes)}
        return several | ({} if item is None else {f"{title}AsNumpy": _array(slot, item.format)})
    if kind in _NUMBERS:
        return {title: _number(slot, kind, float(default or 0) if kind in "fd" else int(default or 0))}
    return {title: _text(slot) if kind == "s" else _table(slot, kind, classes)}


def _number(slot: int, kind: str, default: float) -> Callable[[Table], Any]:
    read, missing = _NUMBERS[kind].unpack_from, bool(default) if kind == "?" else default

    def number(self: Table) -> Any:
        offset = self.offsets[slot]
        return read(self.data, self.position + offset)[0] if offset else missing

    return number


def _text(slot: int) -> Callable[[Table], bytes | None]:
    def text(self: Table) -> bytes | None:
        at = self.target(slot)
        return _string(self.data, at) if at else None

    return text


def _string(data: bytes, at: int) -> bytes:
    return bytes(data[at + 4 : at + 4 + _u32(data, at)[0]])


def _table(slot: int, kind: str, classes: Classes) -> Callable[[Table], Table | None]:
    def table(self: Table) -> Table | None:
        at = self.target(slot)
        return classes(kind)(self.data, at) if at else None

    return table


def _length(slot: int) -> Callable[[Table], int]:
    def length(self: Table) -> int:
        at = self.target(slot)
        return int(_u32(self.data, at)[0]) if at else 0

    return length


def _array(slot: int, item: str) -> Callable[[Table], Array]:
    dtype = np.dtype(item)

    def array(self: Table) -> Array:
        """A view of the bytes."""
        at = self.target(slot)
        length = int(_u32(self.data, at)[0]) if at else 0
        return np.frombuffer(self.data, dtype, length, at + 4) if length else np.empty(0, dtype)

    return array


def _item(slot: int, kind: str, classes: Classes) -> Callable[[Table, int], Any]:
    number = _NUMBERS.get(kind)
    size = 4 if number is None else number.size

    def item(self: Table, index: int) -> Any:
        at = self.target(slot)
        if not 0 <= index < (_u32(self.data, at)[0] if at else 0):
            raise IndexError(f"item {index} of a vector")
        at += 4 + size * index
        if number is not None:
            return number.unpack_from(self.data, at)[0]
        at += _u32(self.data, at)[0]
        return _string(self.data, at) if kind == "s" else classes(kind)(self.data, at)

    return item
