"""The JSON Schema for editors: it takes every worked spec and refuses broken ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli

from edge_agent.spec import json_schema
from edge_agent.spec.model import Spec
from edge_agent.spec.problems import Problem, render
from edge_agent.spec.schema import keys_of

TASKS = sorted((Path(__file__).parents[2] / "specs" / "tasks").glob("*/*.toml"))
BAD = Path(__file__).parent / "bad_specs"
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def accepts(value: Any, rule: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON Schema that ours uses, in full: an unknown keyword is an error."""
    checks: dict[str, Callable[[Any], bool]] = {
        "$ref": lambda x: accepts(value, root["$defs"][x.rsplit("/", 1)[1]], root),
        "type": lambda x: isinstance(value, TYPES[x]) and (x == "boolean" or not isinstance(value, bool)),
        "const": lambda x: value == x,
        "enum": lambda x: value in x,
        "pattern": lambda x: not isinstance(value, str) or re.search(x, value) is not None,
        "minLength": lambda x: len(value) >= x,
        "maxLength": lambda x: len(value) <= x,
        "exclusiveMinimum": lambda x: value > x,
        "minimum": lambda x: value >= x,
        "maximum": lambda x: value <= x,
        "minItems": lambda x: len(value) >= x,
        "maxItems": lambda x: len(value) <= x,
        "items": lambda x: isinstance(value, list) and all(accepts(item, x, root) for item in value),
        "prefixItems": lambda x: all(accepts(item, part, root) for item, part in zip(value, x, strict=True)),
        "oneOf": lambda x: sum(accepts(value, part, root) for part in x) == 1,
        "anyOf": lambda x: any(accepts(value, part, root) for part in x),
        "required": lambda x: isinstance(value, dict) and value.keys() >= set(x),
        "properties": lambda x: all(accepts(value[key], x[key], root) for key in x if key in value),
        "patternProperties": lambda x: all(
            any(re.search(pattern, key) and accepts(inner, part, root) for pattern, part in x.items())
            for key, inner in value.items()
        ),
        "additionalProperties": lambda x: x is not False or value.keys() <= rule["properties"].keys(),
    }  # fmt: skip
    notes = {"$defs", "$schema", "title", "description", "default", "examples", "discriminator"}
    order = sorted(rule.keys() - notes, key=lambda key: (key != "type", key))
    return all(checks[key](rule[key]) for key in order)


def test_it_is_json() -> None:
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"].keys() == set(keys_of(Spec))


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_worked_specs(path: Path) -> None:
    schema = json_schema()
    assert accepts(tomli.loads(path.read_text()), schema, schema)


@pytest.mark.parametrize(
    "name",
    ["array_lengths", "missing_keys", "missing_task", "missing_type", "names", "newer_schema",
     "sub_table_trap", "units", "unknown_key", "unknown_op", "unknown_section", "unknown_type", "version",
     "wrong_choices", "wrong_types"],
)  # fmt: skip
def test_broken_specs(name: str) -> None:
    schema = json_schema()
    assert not accepts(tomli.loads((BAD / f"{name}.toml").read_text()), schema, schema)


def test_the_form_of_a_problem_is_the_designs() -> None:
    problem = Problem(
        "specs/dock.toml", 2, 1, 5, "E031", "unknown key `widow` in streams.level", "did you mean `window`?",
        ("keys here: from, filter, map, key_by, window, aggregate",),
    )  # fmt: skip
    text = '[streams.level]\nwidow = { kind = "sliding", size = "1s" }\n'
    assert render([problem, problem], text).split("\n") == 2 * [
        "specs/dock.toml:2:1: error[E031] unknown key `widow` in streams.level",
        '    2 | widow = { kind = "sliding", size = "1s" }',
        "      | ^^^^^ did you mean `window`?",
        "   keys here: from, filter, map, key_by, window, aggregate",
    ]
