"""From pydantic's errors to problems: where in the text, in our words, with the keys or values that are
allowed there.

Also the JSON Schema of specs for editors, which comes from the same models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cloud_broker.wire.digest import Digest
from cloud_broker.wire.messages import Name, Version
from edge_agent.spec.model import TOPIC, TOPIC_FILTER, URL, Identifier, Section, Spec
from edge_agent.spec.problems import near
from edge_agent.spec.spans import Path, Span, Spans

Document = dict[str, Any]


class Finding(NamedTuple):
    """A problem before its place has become a line and a column."""

    span: Span
    code: str
    message: str
    hint: str = ""
    notes: tuple[str, ...] = ()


def validate(document: Document, spans: Spans) -> Spec | list[Finding]:
    """The spec, or everything that is wrong with its keys and types. Arrays of the document are tuples."""
    version = document.get("schema")
    if isinstance(version, int) and version != 1:
        message = f"schema {version} is not one that this agent reads"
        hint = "expected schema = 1" if version < 1 else "this agent reads 1: update it, or use an older spec"
        return [Finding(spans.value(("schema",)), "E038", message, hint)]
    try:
        return Spec.model_validate(document, strict=True)
    except ValidationError as error:
        return [_finding(details, document, spans) for details in error.errors(include_url=False)]


def json_schema() -> dict[str, Any]:
    """JSON Schema of a task spec; an editor finds it through a first line `#:schema FILE` of the spec."""
    schema = Spec.model_json_schema(by_alias=True)
    for section in schema["$defs"].values():
        for key in section["properties"].values():
            if key.get("type") == "string" and not isinstance(key.get("default"), str):
                key.pop("default", None)  # a quantity: text in the file, a number in the model
    return schema | {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Walle task spec, schema 1",
        "description": "Checks and completes a spec whose first line is `#:schema FILE`, this file",
    }


# --- where an error is --------------------------------------------------------------------------------------


class Place(NamedTuple):
    path: Path
    shape: Any
    """The annotation there: a model class, a discriminated union, dict[...], Literal[...], ..."""
    owner: Any
    """The annotation around it."""


def follow(location: tuple[str | int, ...]) -> Place:
    """pydantic's location, which also names the members of unions, as a path of the document."""
    place = Place((), Spec, None)
    for part in location:
        tags = variants(place.shape)
        if part in tags:
            place = place._replace(shape=tags[str(part)])
        elif part != "[key]":
            place = Place((*place.path, part), _child(place.shape, part), place.shape)
    return place


def variants(shape: Any) -> dict[str, type[Section]]:
    """Tag -> model of a discriminated union; nothing for anything else."""
    name = discriminator(shape)
    members = get_args(get_args(shape)[0]) if name else ()
    return {get_args(member.model_fields[name].annotation)[0]: member for member in members}


def discriminator(shape: Any) -> str:
    """The key that says which member of the union a table is, or nothing."""
    if get_origin(shape) is not Annotated:
        return ""
    return next(
        (str(m.discriminator) for m in get_args(shape)[1:] if isinstance(m, FieldInfo) and m.discriminator),
        "",
    )


def _bare(shape: Any) -> Any:
    """Without Annotated and without None."""
    if get_origin(shape) is Annotated:
        return _bare(get_args(shape)[0])
    if get_origin(shape) in (Union, UnionType):
        rest = [member for member in get_args(shape) if member is not NoneType]
        return _bare(rest[0]) if len(rest) == 1 else shape
    return shape


def _child(shape: Any, part: str | int) -> Any:
    shape = _bare(shape)
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        fields = {field.alias or name: field for name, field in shape.model_fields.items()}
        return fields[str(part)].annotation if part in fields else None
    arguments = get_args(shape)
    if get_origin(shape) is dict:
        return arguments[1]
    if get_origin(shape) is tuple:
        return arguments[0] if arguments[-1] is Ellipsis else arguments[min(int(part), len(arguments) - 1)]
    return None


def keys_of(shape: Any) -> list[str]:
    """The keys a table of this shape may have: what tells it apart first, then its own, then those of every
    kind."""
    shape = _bare(shape)
    if not (isinstance(shape, type) and issubclass(shape, Section)):
        return []
    base = shape.__mro__[1]
    shared = base.model_fields if issubclass(base, Section) else {}
    names = sorted(shape.model_fields, key=lambda name: name in shared)
    return [shape.model_fields[name].alias or name for name in names]


def label(path: Path) -> str:
    """ "streams.level", "trigger[0].on"; "the top level" for the document itself."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the top level"


# --- what an error is ---------------------------------------------------------------------------------------


def _finding(error: ErrorDetails, document: Document, spans: Spans) -> Finding:
    place = follow(error["loc"])
    row = _ROWS.get(error["type"], _other)
    return row(
        _Case(place, error["loc"], error["input"], error.get("ctx", {}), error["msg"], document, spans)
    )


class _Case(NamedTuple):
    place: Place
    location: tuple[str | int, ...]
    got: Any
    context: Mapping[str, Any]
    message: str
    document: Document
    spans: Spans

    @property
    def path(self) -> Path:
        return self.place.path

    @property
    def span(self) -> Span:
        is_key = self.location[-1:] == ("[key]",)
        return self.spans.key(self.path) if is_key else self.spans.value(self.path)


def _unknown_key(case: _Case) -> Finding:
    *above, key = case.path
    table = tuple(above)
    allowed = keys_of(case.place.owner)
    have = _at(case.document, table)
    free = [name for name in allowed if name not in have]
    message = f"unknown key `{key}` in {label(table)}"
    if not table:
        message = f"unknown {'section' if isinstance(case.got, dict | tuple) else 'key'} `{key}`"
    notes = [f"keys here: {', '.join(allowed)}", *_swallowed(str(key), table, case)]
    return Finding(case.spans.key(case.path), "E031", message, near(str(key), free), tuple(notes))


def _swallowed(key: str, table: Path, case: _Case) -> list[str]:
    """A note for a key that stands under a sub-table's header but belongs to a table above it."""
    if not case.spans.text.startswith("[", case.spans.value(table).start):
        return []
    for depth in range(len(table) - 1, 0, -1):
        around = table[:depth]
        node, shape = _at(case.document, around), _shape_at(around, case.document)
        if isinstance(node, dict) and key in keys_of(shape):
            line = case.spans.value(around).line
            return [
                f"`{key}` is not a key of {label(table)}; it is one of {label(around)} (line {line}): "
                "TOML gives a key to the last header above it"
            ]
    return []


def _shape_at(path: Path, document: Document) -> Any:
    """The model of the table at a path, by the tags that the document itself has."""
    shape: Any = Spec
    node: Any = document
    for part in path:
        shape, node = _child(shape, part), node[part]
        if isinstance(node, dict) and (name := discriminator(shape)):
            shape = variants(shape).get(str(node.get(name)))
    return shape


def _at(document: Any, path: Path) -> Any:
    for part in path:
        document = document[part]
    return document


def _missing(case: _Case) -> Finding:
    *above, key = case.path
    table = tuple(above)
    if isinstance(key, int):
        return _wrong_length(case)
    if not table:
        hint = (
            "write schema = 1 on the first line" if key == "schema" else f"write [{key}] and its keys below"
        )
        return Finding(case.spans.value(()), "E030", f"missing `{key}` at the top level", hint)
    notes = (f"keys here: {', '.join(keys_of(case.place.owner))}",)
    return Finding(
        case.spans.value(table), "E030", f"missing key `{key}` in {label(table)}", f"add {key} = …", notes
    )


def _wrong_length(case: _Case) -> Finding:
    table = case.path[:-1]
    expected, got = len(get_args(_bare(case.place.owner))), len(_at(case.document, table))
    message = f"{label(table)} needs {expected} elements, got {got}"
    return Finding(case.spans.value(table), "E033", message)


def _no_tag(case: _Case) -> Finding:
    name = discriminator(case.place.shape)
    message = f"missing key `{name}` in {label(case.path)}"
    hint = f"add {name} = one of {', '.join(map(_shown, variants(case.place.shape)))}"
    return Finding(case.span, "E030", message, hint)


def _bad_tag(case: _Case) -> Finding:
    name, tags = discriminator(case.place.shape), variants(case.place.shape)
    got = _at(case.document, case.path)[name]
    message = f"unknown {name} {_shown(got)} in {label(case.path)}"
    hint = near(got, tags) if isinstance(got, str) else ""
    notes = (f"{name} here: {', '.join(tags)}",)
    return Finding(case.spans.value((*case.path, name)), "E034", message, hint, notes)


def _not_a_choice(case: _Case) -> Finding:
    choices = get_args(_bare(case.place.shape))
    message = f"{label(case.path)} cannot be {_shown(case.got)}"
    hint = near(case.got, choices) if isinstance(case.got, str) and isinstance(choices[0], str) else ""
    expected = ", ".join(map(_shown, choices))
    notes = (f"expected one of {expected}" if len(choices) > 1 else f"expected {expected}",)
    return Finding(case.span, "E033", message, hint, notes)


def _unit(case: _Case) -> Finding:
    return Finding(case.span, "E035", f"{label(case.path)}: {case.message}", str(case.context["hint"]))


def _of(text: Any) -> str:
    """The pattern of a kind of text."""
    return next(str(part.pattern) for part in get_args(text) if isinstance(part, StringConstraints))


_PATTERNS: dict[str, tuple[str, str]] = {
    _of(Identifier): ("E037", "up to 64 of a-z, 0-9 and _, not starting with a digit"),
    _of(Name): ("E037", "up to 64 of a-z, 0-9, - and _"),
    _of(Version): ("E033", 'up to three numbers, such as "1.4.0"'),
    _of(Digest): ("E033", "64 lower-case hex digits"),
    TOPIC: ("E033", "a topic to publish to: no + or #"),
    TOPIC_FILTER: ("E033", "a topic filter: + and # stand alone between slashes, # only at the end"),
    URL: ("E033", "an address that begins with http:// or https://, or a secret that does"),
}


def _pattern(case: _Case) -> Finding:
    pattern = str(case.context["pattern"])
    code, expected = _PATTERNS.get(pattern, ("E033", f"text like {pattern}"))
    better = re.sub(r"\W+", "_", str(case.got).lower(), flags=re.ASCII).strip("_")
    hint = f"did you mean `{better}`?" if code == "E037" and better and not better[0].isdigit() else ""
    message = f"{label(case.path)}: {_shown(case.got)} is not a name"
    if code == "E033":
        message = f"{label(case.path)} cannot be {_shown(case.got)}"
    return Finding(case.span, code, message, hint, (f"expected {expected}",))


def _refused(case: _Case) -> Finding:
    """By a validator of a shared type; ours is that of paths."""
    if "relative path" not in case.message:
        return _other(case)
    hint = 'write a path inside the spec\'s folder, such as "model.tflite"'
    return Finding(
        case.span, "E036", f"{label(case.path)}: {_shown(case.got)} is not a plain relative path", hint
    )


def _type(expected: str) -> Callable[[_Case], Finding]:
    def finding(case: _Case) -> Finding:
        message = f"{label(case.path)} must be {expected}, got {_kind(case.got)}"
        return Finding(case.span, "E032", message)

    return finding


def _bound(text: str) -> Callable[[_Case], Finding]:
    def finding(case: _Case) -> Finding:
        message = f"{label(case.path)} must {text.format(**case.context)}"
        return Finding(case.span, "E033", message, f"got {_shown(case.got)}" if not _nested(case.got) else "")

    return finding


def _other(case: _Case) -> Finding:
    return Finding(case.span, "E033", f"{label(case.path)}: {case.message}")


def _nested(value: Any) -> bool:
    return isinstance(value, dict | tuple)


def _shown(value: Any) -> str:
    """A value as TOML writes it, shortened."""
    if _nested(value):
        return _kind(value)
    text = (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )
    return text if len(text) <= 60 else f"{text[:59]}…"


def _kind(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "the boolean"), (int, "the integer"), (float, "the number"), (str, "the string"),
    )  # fmt: skip
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, tuple):
        return "an array"
    kind = next((text for type_, text in kinds if isinstance(value, type_)), "the date or time")
    return f"{kind} {_shown(value)}"


_ROWS: dict[str, Callable[[_Case], Finding]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "union_tag_not_found": _no_tag,
    "union_tag_invalid": _bad_tag,
    "literal_error": _not_a_choice,
    "unit": _unit,
    "string_pattern_mismatch": _pattern,
    "value_error": _refused,
    "string_type": _type("a string"),
    "int_type": _type("an integer"),
    "float_type": _type("a number"),
    "bool_type": _type("true or false"),
    "dict_type": _type("a table"),
    "model_type": _type("a table"),
    "model_attributes_type": _type("a table"),
    "tuple_type": _type("an array"),
    "greater_than": _bound("be more than {gt}"),
    "greater_than_equal": _bound("be at least {ge}"),
    "less_than_equal": _bound("be at most {le}"),
    "too_short": _bound("have {min_length} or more elements"),
    "too_long": _bound("have {max_length} or fewer elements"),
    "string_too_short": _bound("have {min_length} or more characters"),
    "string_too_long": _bound("have {max_length} or fewer characters"),
}
"""pydantic's error type -> our words."""
