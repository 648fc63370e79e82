"""Our reader of flatbuffers against the generated bindings: the same tables, fields, numbers and defaults."""

from __future__ import annotations

import inspect
import struct
from typing import Any

import flatbuffers
import pytest
import tflite as bindings
from hypothesis import given
from hypothesis import strategies as st

from runtime.importers import schema
from runtime.importers.flatbuffer import Table, table_class

TABLES = [line.split()[0] for line in schema.TABLES.strip().splitlines() if not line.startswith("  ")]
KNOWN = [name for name in TABLES if hasattr(bindings, name)]
NEITHER = ("GetRootAs", "Init")
"""What bindings have beside accessors, by the start of the name."""


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(kind) if name[0].isupper()}


def accessors(kind: type) -> set[str]:
    return {
        name
        for name in public(kind)
        if not name.startswith(NEITHER) and not name.endswith(("IsNone", "BufferHasIdentifier"))
    }


def built(name: str, fields: dict[str, Any]) -> bytes:
    """A file whose root is a table with these numbers, written by the bindings."""
    builder = flatbuffers.Builder(64)
    builder.ForceDefaults(True)
    getattr(bindings, f"{name}Start")(builder)
    for field, number in fields.items():
        getattr(bindings, f"{name}Add{field}")(builder, number)
    builder.Finish(getattr(bindings, f"{name}End")(builder))
    return bytes(builder.Output())


def scalars(name: str) -> dict[str, Any]:
    """The numbers of a table: accessor -> what the bindings read from an empty one."""
    empty = getattr(bindings, name).GetRootAs(built(name, {}), 0)
    read = {}
    for field in accessors(getattr(bindings, name)):
        if not hasattr(bindings, f"{name}Add{field}"):
            continue  # the length or the array of a vector
        if len(inspect.signature(getattr(empty, field)).parameters) == 0:
            value = getattr(empty, field)()
            if isinstance(value, int | float):
                read[field] = value
    return read


def test_most_tables_are_known_to_both() -> None:
    assert len(KNOWN) > 140


@pytest.mark.parametrize("name", KNOWN)
def test_a_table_has_the_accessors_of_the_bindings(name: str) -> None:
    ours = accessors(getattr(schema, name)) - {"FIELDS"}
    theirs = accessors(getattr(bindings, name))
    assert theirs <= ours


@pytest.mark.parametrize("name", KNOWN)
def test_numbers_and_their_defaults(name: str) -> None:
    defaults = scalars(name)
    empty = getattr(schema, name).root(built(name, {}))
    ours = {field: getattr(empty, field)() for field in defaults}
    if name == "OperatorCode":
        defaults["BuiltinCode"] = 0
    assert ours == defaults
    for number, field in enumerate(sorted(defaults)):
        value = type(defaults[field])(number % 100 + 1)
        table = getattr(schema, name).root(built(name, {field: value}))
        assert getattr(table, field)() == value
        others = {other: getattr(table, other)() for other in defaults if other != field}
        assert others == {other: default for other, default in defaults.items() if other != field}


@pytest.mark.parametrize("name", sorted(schema.ENUMS))
def test_enumerations(name: str) -> None:
    theirs = {key: number for key, number in vars(getattr(bindings, name)).items() if key[0] != "_"}
    assert theirs.items() <= vars(getattr(schema, name)).items()


def test_what_is_not_in_the_schema_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no Tensors"):
        _ = schema.Tensors


VECTORS = table_class("Vectors", "numbers:*h texts:*s parts:*Vectors word:s part:Vectors", lambda _: VECTORS)


def vectors(numbers: list[int], texts: list[str]) -> bytes:
    builder = flatbuffers.Builder(64)
    places = [builder.CreateString(text) for text in texts]
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    text_vector = builder.EndVector()
    builder.StartVector(2, len(numbers), 2)
    for number in reversed(numbers):
        builder.PrependInt16(number)
    number_vector = builder.EndVector()
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, number_vector, 0)
    builder.PrependUOffsetTRelativeSlot(1, text_vector, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


@given(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=9), st.lists(st.text(max_size=5), max_size=4))
def test_vectors(numbers: list[int], texts: list[str]) -> None:
    table: Any = VECTORS.root(vectors(numbers, texts))
    assert table.NumbersAsNumpy().tolist() == numbers
    assert [table.Numbers(i) for i in range(table.NumbersLength())] == numbers
    assert [table.Texts(i).decode() for i in range(table.TextsLength())] == texts
    assert (table.PartsLength(), table.Word(), table.Part()) == (0, None, None)
    with pytest.raises(IndexError):
        table.Parts(0)


@given(st.binary(max_size=80))
def test_garbage_is_an_error_of_a_few_kinds(data: bytes) -> None:
    try:
        table: Any = VECTORS.root(data)
        table.NumbersAsNumpy(), table.Word(), table.Part()
        [table.Texts(i) for i in range(min(table.TextsLength(), 3))]
        [table.Parts(i) for i in range(min(table.PartsLength(), 3))]
    except (struct.error, IndexError, ValueError):
        pass


def test_fields_in_front_of_the_bytes_are_not_read() -> None:
    """Python's own reading counts negative offsets from the end."""
    with pytest.raises(IndexError, match="its fields at -"):
        Table(struct.pack("<i", 100) + bytes(200), 0)
