"""Changes to an `.onnx` file that leave it readable: numbers, names, and which entries its lists have."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from random import Random
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from tests.mutate_tflite import REAL, WHOLE

Place = tuple[Any, Any]
"""(message, descriptor of a field of it that is there)."""


def mutate(data: bytes, rng: Random) -> bytes:
    """One to four changes; the bytes as they are where they are no model."""
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return data
    kinds: dict[str, list[Place]] = {}
    for place in places(model):
        kinds.setdefault(place[1].full_name, []).append(place)
    for _ in range(rng.randrange(1, 5) if kinds else 0):
        same = kinds[rng.choice(list(kinds))]
        with contextlib.suppress(ValueError, TypeError, IndexError):  # a change before may have taken it away
            change(*rng.choice(same), *rng.choice(same), rng)
    changed: bytes = model.SerializeToString()
    return changed


def places(message: Any) -> Iterator[Place]:
    for field, value in message.ListFields():
        yield message, field
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if _is_list(message, field) else [value]:
                yield from places(inner)


def _is_list(message: Any, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "append")


def change(message: Any, field: Any, other: Any, twin: Any, rng: Random) -> None:
    """One field; `other` has a second one of its kind."""
    found, source = getattr(message, field.name), getattr(other, twin.name)
    if _is_list(message, field):
        change_list(found, field, source, rng)
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        if type(found) is type(source):
            found.CopyFrom(type(source).FromString(source.SerializeToString()))
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, changed(found, source, rng))


def change_list(found: Any, field: Any, source: Any, rng: Random) -> None:
    """One entry of a list is left out, put in a second time, changed or taken from another list."""
    i, j, action = rng.randrange(len(found)), rng.randrange(len(source)), rng.randrange(4)
    if action == 0:
        del found[i]
    elif action == 1:
        found.append(found[i])
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        found[i].CopyFrom(type(source[j]).FromString(source[j].SerializeToString()))
    else:
        found[i] = changed(found[i], source[j], rng)


def changed(number: Any, twin: Any, rng: Random) -> Any:
    if isinstance(number, str):
        return twin if rng.random() < 0.9 else ""
    if isinstance(number, bytes):
        data = bytearray(number or b"\0")
        data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 127, 128, 255))
        return bytes(rng.choice((data, data[:-1], data + data, twin)))
    if isinstance(number, float):
        return rng.choice((rng.choice(REAL), -number, number * 2, twin))
    signed = rng.choice((rng.choice(WHOLE), -rng.randrange(1, 9), rng.randrange(64)))
    return rng.choice((number + rng.choice((-1, 1)), twin, signed))
