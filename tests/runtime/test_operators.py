"""The operator table agrees with the schema, its bindings and the rules of every pass."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest
import tflite as bindings

from runtime import decompose, shapes
from runtime.families import FAMILIES
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
    assert set(FAMILIES) == set(OPERATORS) - LINKED


@pytest.mark.parametrize("package", [decompose, shapes])
def test_every_rule_is_in_the_file_of_its_family(package):
    """And all of them are found: no file has rules of other operators."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    rules = {op: rule for module in modules for op, rule in vars(module).get("RULES", {}).items()}
    assert rules == dict(package.RULES)


def test_a_family_is_imported_when_it_is_needed():
    code = "import sys; from runtime import shapes; rule = shapes.RULES['SVDF']; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "runtime.shapes.svdf" in done.stdout.split()
    assert "runtime.shapes.lstm" not in done.stdout.split()
