"""Changes to a `.tflite` file that leave it readable: numbers, the lengths of lists, and which table a table
points to, each in its place. What the schema knows of the bytes is what a fuzzer of bytes does not.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from functools import cache, lru_cache
from random import Random

from runtime.importers import schema

Place = tuple[int, str]
"""(position in the file, kind): a letter of `struct`, "#" for a length, "@" and what an offset points to."""
MOST_ITEMS = 32
"""Of a list that are changed."""
WHOLE = (0, 1, 2, 3, 4, 5, 6, 8, 16, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, 1e-45, 3e38, 1e-7, 1e9, float("inf"), float("-inf"), float("nan"))
UNIONS = {
    "builtin_options": schema.ENUMS["BuiltinOptions"].split(),
    "builtin_options_2": schema.ENUMS["BuiltinOptions2"].split(),
    "details": ["", "CustomQuantization", "BlockwiseQuantization"],
    "array_segments": ["", "Int32Vector", "Uint16Vector", "Uint8Vector"],
    "array_indices": ["", "Int32Vector", "Uint16Vector", "Uint8Vector"],
}


def mutate(data: bytes, rng: Random) -> bytes:
    """One to four changes; the bytes as they are where they are no model."""
    kinds = places_of(data)
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 5) if kinds else 0):
        same = kinds[rng.choice(list(kinds))]
        with contextlib.suppress(struct.error, IndexError):
            change(changed, *rng.choice(same), rng.choice(same)[0], rng)
    return bytes(changed)


def change(data: bytearray, at: int, kind: str, other: int, rng: Random) -> None:
    """One place, `other` is a second of its kind."""
    if kind.startswith("@"):
        (offset,) = struct.unpack_from("<I", data, other)
        if (distance := other + offset - at) > 0:
            struct.pack_into("<I", data, at, distance)
        return
    letter = {"#": "I", "?": "B"}.get(kind, kind)
    (number,) = struct.unpack_from(f"<{letter}", data, at)
    if kind in "fd":
        choices = (rng.choice(REAL), number * 2, -number, *struct.unpack_from(f"<{kind}", data, other))
        with contextlib.suppress(OverflowError):
            struct.pack_into(f"<{kind}", data, at, rng.choice(choices))
        return
    near = number + rng.choice((-1, 1))
    twin = number if kind == "#" else struct.unpack_from(f"<{letter}", data, other)[0]
    chosen = rng.choice((near, near, twin, rng.choice(WHOLE), rng.randrange(256), -rng.randrange(1, 9)))
    size = struct.calcsize(letter)
    data[at : at + size] = (chosen % 256**size).to_bytes(size, "little")


@lru_cache(maxsize=4096)
def places_of(data: bytes) -> dict[str, list[Place]]:
    """Everything in the file that can be changed, by its kind; a fuzzer comes back to what it has kept."""
    kinds: dict[str, list[Place]] = {}
    for place in places(data):
        kinds.setdefault(place[1], []).append(place)
    return kinds


def places(data: bytes) -> Iterator[Place]:
    with contextlib.suppress(struct.error, IndexError, ValueError, KeyError):
        yield from _table(data, "Model", struct.unpack_from("<I", data, 0)[0], 8)


def _table(data: bytes, name: str, position: int, depth: int) -> Iterator[Place]:
    table = getattr(schema, name)(data, position)
    if not depth:
        return
    for slot, kind in enumerate(_kinds(name)):
        if not table.offsets[slot]:
            continue
        at = position + table.offsets[slot]
        if len(kind) == 1 and kind != "s":
            yield at, kind
            continue
        target = at + struct.unpack_from("<I", data, at)[0]
        yield at, f"@{kind}"
        if kind == "s":
            yield target, "#"
        elif kind.startswith("*"):
            yield from _vector(data, kind[1:], target, depth)
        elif kind in UNIONS:
            which = data[position + table.offsets[slot - 1]] if table.offsets[slot - 1] else 0
            if 0 < which < len(UNIONS[kind]):
                yield from _table(data, UNIONS[kind][which], target, depth - 1)
        else:
            yield from _table(data, kind, target, depth - 1)


def _vector(data: bytes, item: str, at: int, depth: int) -> Iterator[Place]:
    yield at, "#"
    plain = len(item) == 1
    size = struct.calcsize(item) if plain else 4
    for i in range(min(struct.unpack_from("<I", data, at)[0], MOST_ITEMS)):
        place = at + 4 + i * size
        yield place, item if plain else f"@{item}"
        if not plain:
            yield from _table(data, item, place + struct.unpack_from("<I", data, place)[0], depth - 1)


@cache
def _kinds(name: str) -> tuple[str, ...]:
    """The kind of each field of a table by its number; a union is a byte and its name in `UNIONS`."""
    line = next(
        line for line in schema.TABLES.replace("\n  ", " ").splitlines() if line.split()[:1] == [name]
    )
    kinds = list[str]()
    for field in line.split()[1:]:
        title, _, kind = field.partition(":")
        kind = kind.partition("=")[0]
        kinds += ["B", title] if kind == "U" else [kind]
    return tuple(kinds)
