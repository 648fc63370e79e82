"""Read a FlexBuffer, in which custom operators keep their options: `read(data) -> Item`.

A value is a number, or an offset back to what lies before it: the last byte is the width of the root, the one
before it the root's type. The bytes are not trusted: every offset, size, width and type is checked, and so is
what the whole adds up to, for values may share what they point to. Maps have their keys in order, by which
TFLite finds them. Format: https://flatbuffers.dev/internals.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise
from typing import TypeAlias

from runtime.errors import ModelError

Item: TypeAlias = "bool | int | float | str | bytes | tuple[Item, ...] | Mapping[str, Item] | None"

MAX_DEPTH = 8
"""Of vectors and maps inside each other."""
MAX_SIZE = 65_536
"""Elements, keys and bytes of text of all values together."""

NULL, INT, UINT, FLOAT, KEY, STRING = range(6)
INDIRECT = {6: INT, 7: UINT, 8: FLOAT}
MAP, VECTOR, BLOB, BOOL = 9, 10, 25, 26
TYPED = {11: INT, 12: UINT, 13: FLOAT, 14: KEY, 36: BOOL}
FIXED = {16 + i: (2 + i // 3, (INT, UINT, FLOAT)[i % 3]) for i in range(9)}
"""(length, element type)."""
_LETTERS = {INT: "bhiq", UINT: "BHIQ", BOOL: "BHIQ", FLOAT: " efd"}
"""By the logarithm of the width; there is no float of one byte."""


def read(data: bytes) -> Item:
    """The root value; raises ModelError for bytes that contradict themselves."""
    if len(data) < 3:
        raise ModelError(f"flexbuffer: {len(data)} bytes, expected at least 3")
    reader = _Reader(data)
    width = reader.width(data[-1], len(data) - 1)
    return reader.item(len(data) - 2 - width, width, data[-2], 0)


class _Reader:
    """`at` is a place in the bytes, `width` how many of them a number or an offset has."""

    def __init__(self, data: bytes) -> None:
        self.data, self.left = data, MAX_SIZE

    def bad(self, at: int, what: str) -> ModelError:
        return ModelError(f"flexbuffer: at byte {at}: {what}")

    def width(self, width: int, at: int) -> int:
        if width not in (1, 2, 4, 8):
            raise self.bad(at, f"width {width}, expected 1, 2, 4 or 8")
        return width

    def number(self, kind: int, at: int, width: int) -> int | float:
        if not 0 <= at <= len(self.data) - width:
            raise self.bad(at, f"{width} bytes of {len(self.data)}")
        letter = _LETTERS[kind][width.bit_length() - 1]
        if letter == " ":
            raise self.bad(at, "a float of one byte")
        number: int | float = struct.unpack_from(f"<{letter}", self.data, at)[0]
        return number

    def size(self, at: int, width: int) -> int:
        """A count of the file, charged to the budget."""
        return self.charged(int(self.number(UINT, at, width)), at)

    def charged(self, size: int, at: int) -> int:
        self.left -= size
        if self.left < 0:
            raise self.bad(at, f"size {size}, all values together may have {MAX_SIZE}")
        return size

    def target(self, at: int, width: int) -> int:
        offset = int(self.number(UINT, at, width))
        if offset > at:
            raise self.bad(at, f"offset {offset} back, before the start")
        return at - offset

    # ---------------------------------------------------------------- values

    def item(self, at: int, width: int, packed: int, depth: int) -> Item:
        """A value by its type and, packed with that, the width of what it points to."""
        kind, inner = packed >> 2, 1 << (packed & 3)
        if kind == NULL:
            return None
        if kind in _LETTERS:
            number = self.number(kind, at, width)
            return number != 0 if kind == BOOL else number
        if depth > MAX_DEPTH:
            raise self.bad(at, f"more than {MAX_DEPTH} values inside each other")
        return self.pointed(self.target(at, width), inner, kind, depth)

    def pointed(self, to: int, inner: int, kind: int, depth: int) -> Item:
        if kind in INDIRECT:
            return self.number(INDIRECT[kind], to, inner)
        if kind == KEY:
            return self.key(to)
        if kind in (STRING, BLOB):
            return self.text(to, inner, kind)
        if kind == MAP:
            return dict(zip(self.keys(to, inner), self.items(to, inner, depth), strict=True))
        if kind == VECTOR:
            return self.items(to, inner, depth)
        if kind in TYPED:
            return self.typed(to, inner, self.size(to - inner, inner), TYPED[kind])
        if kind in FIXED:
            return self.typed(to, inner, *FIXED[kind])
        raise self.bad(to, f"type {kind} is not known")

    def key(self, at: int) -> str:
        end = self.data.find(0, at)
        if end < 0:
            raise self.bad(at, "a key without an end")
        self.charged(end - at, at)
        return self.decoded(self.data[at:end], at)

    def text(self, at: int, width: int, kind: int) -> str | bytes:
        size = self.size(at - width, width)
        stored = self.data[at : at + size]
        if len(stored) < size:
            raise self.bad(at, f"{size} bytes of {len(self.data)}")
        return self.decoded(stored, at) if kind == STRING else stored

    def decoded(self, stored: bytes, at: int) -> str:
        try:
            return stored.decode()
        except UnicodeDecodeError:
            raise self.bad(at, "a text that is not UTF-8") from None

    def items(self, at: int, width: int, depth: int) -> tuple[Item, ...]:
        """Of a vector or a map: the values, after them their types, one byte each."""
        size = self.size(at - width, width)
        types = at + size * width
        return tuple(
            self.item(at + i * width, width, int(self.number(UINT, types + i, 1)), depth + 1)
            for i in range(size)
        )

    def typed(self, at: int, width: int, size: int, kind: int) -> tuple[Item, ...]:
        return tuple(self.item(at + i * width, width, kind << 2, MAX_DEPTH) for i in range(size))

    def keys(self, at: int, width: int) -> tuple[str, ...]:
        """Of a map: before its size stand where its keys are, which maps may share, and their width."""
        to = self.target(at - 3 * width, width)
        inner = self.width(int(self.number(UINT, at - 2 * width, width)), at - 2 * width)
        size, values = self.size(to - inner, inner), int(self.number(UINT, at - width, width))
        if size != values:
            raise self.bad(at, f"{size} keys for {values} values")
        keys = tuple(self.key(self.target(to + i * inner, inner)) for i in range(size))
        stored = [key.encode() for key in keys]
        if any(a >= b for a, b in pairwise(stored)):
            raise self.bad(to, "keys that are not in order")
        return keys
