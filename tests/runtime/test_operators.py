"""The operator table agrees with the schema, its bindings and the rules of every pass."""

from __future__ import annotations

import pytest
import tflite as bindings

from runtime import decompose, shapes
from runtime.importers import schema
from runtime.operators import ACTIVATION, CUSTOM, LINKED, MANY, OPERATORS, PADDING


@pytest.mark.parametrize("name", OPERATORS)
def test_a_row_names_what_the_schema_has(name):
    row = OPERATORS[name]
    assert hasattr(schema.BuiltinOperator, name) == (name not in CUSTOM) == (row.custom is None)
    for (least, most), free in ((row.inputs, LINKED | {"STABLEHLO_IOTA"}), (row.outputs, LINKED)):
        assert (name not in free) <= least <= most <= MANY
    assert bool(row.table) >= bool(row.fields)
    for field in row.fields:
        camel = "".join(word.capitalize() for word in field.split("_"))
        assert hasattr(getattr(schema, row.table), camel)


@pytest.mark.parametrize(
    ("names", "enum"), [(PADDING, bindings.Padding), (ACTIVATION, bindings.ActivationFunctionType)]
)
def test_enums_are_the_schemas(names, enum):
    assert {number: name for name, number in vars(enum).items() if name[0] != "_"} == names


def test_every_operator_has_its_rules():
    assert set(shapes.RULES) == set(decompose.RULES) == set(OPERATORS) - LINKED
