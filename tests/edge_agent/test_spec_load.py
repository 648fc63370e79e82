"""Loading: what good text becomes, phases in order, `${NAME}`, secrets; test_spec_golden has broken text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.spec import SecretError, Spec, SpecError, load, reveal
from edge_agent.spec.load import MAX_CHARACTERS, MAX_DEPTH
from edge_agent.spec.references import origin_of

HOT = """\
schema = 1
[task]
name = "hot"
[sources]
t = { type = "mqtt", topic = "site/+/temp" }
[streams.avg]
from = "t"
window = { kind = "tumbling", size = "10s" }
aggregate = { c = "mean(value)" }
[sinks]
alarm = { type = "mqtt", topic = "alarm", from = "avg", when = "c > 60" }
"""
TASKS = sorted((Path(__file__).parents[2] / "specs" / "tasks").glob("*/*.toml"))


def codes(text: str, **options: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        load(text, "x.toml", **options)
    return [problem.code for problem in caught.value.problems]


def test_the_smallest_useful_file() -> None:
    spec = load(HOT, "hot.toml")
    assert spec.task.version == "1.0.0"
    assert spec.streams["avg"].from_ == "t"
    window = spec.streams["avg"].window
    assert window is not None
    assert (window.size, window.out_of_order, window.idle) == (10.0, 0.0, 10.0)
    assert spec.sinks["alarm"].from_ == "avg"


def test_line_ends_of_windows_change_nothing() -> None:
    assert load(HOT.replace("\n", "\r\n"), "hot.toml") == load(HOT, "hot.toml")
    with pytest.raises(SpecError, match=r"x.toml:11:65: error\[E052\]"):
        load(HOT.replace("c > 60", "cc > 60").replace("\n", "\r\n"), "x.toml")


def test_a_later_phase_waits_for_the_earlier() -> None:
    expression = HOT.replace("mean(value)", "men(value)")
    assert codes(expression) == ["E055"]
    reference = expression.replace('from = "avg"', 'from = "avgg"')
    assert codes(reference) == ["E040"]
    schema = reference.replace('"10s"', "10").replace("kind", "kid")
    assert codes(schema) == ["E030", "E031", "E035"]
    variable = schema.replace("site", "${X}")
    assert codes(variable, env={}) == ["E003"]
    assert codes(variable + "x = ", env={}) == ["E001"]


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "a = " + "[" * 5000 + "]" * 5000,
     "a." * 40 + "a = 1", "a = " + "9" * 5000, "#" * (MAX_CHARACTERS + 1)],
)  # fmt: skip
def test_too_large_or_too_deep(text: str) -> None:
    assert codes(text) == ["E002"]


def test_expression_limits() -> None:
    assert codes(HOT.replace("c > 60", "c > " + "9" * 30)) == ["E054"]
    assert codes(HOT.replace("c > 60", "-" * 150 + "c")) == ["E054"]
    assert codes(HOT.replace("c > 60", "c > 1 or " * 60 + "c")) == ["E033"]


# --- ${NAME} and @{store:name} ---


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("${A}/x", {"A": "1"}, "1/x"),
        ("${A}${B}", {"A": "1", "B": "${A}"}, "1${A}"),
        ("${A}", {"A": ""}, ""),
        ("${A:-d}", {}, "d"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}", {}, ""),
        ("${A:?tell}", {"A": "1"}, "1"),
        ("$A {A} $", {"A": "1"}, "$A {A} $"),
        ("${A}", {"A": '", qos = 0, x = "'}, '", qos = 0, x = "'),
    ],
)
def test_variables(text: str, env: dict[str, str], expected: str) -> None:
    spec = load(HOT.replace('"hot"\n', f'"hot"\nabout = "{text}"\n'), "hot.toml", env=env)
    assert spec.task.about == expected


@pytest.mark.parametrize(
    ("text", "env"),
    [("${A}", {}), ("${A:?tell}", {"A": ""}), ("${", {}), ("${1}", {}), ("${A:+x}", {"A": "1"})],
)
def test_variables_that_are_not_there(text: str, env: dict[str, str]) -> None:
    assert codes(HOT.replace("site/+/temp", text), env=env) == ["E003"]


def test_keys_are_not_substituted() -> None:
    assert codes(HOT.replace("alarm = {", '"${A}" = {'), env={"A": "x"}) == ["E037"]


def test_secrets_stay_references_until_they_are_used() -> None:
    text = HOT.replace('topic = "alarm"', 'topic = "a/@{board:hook}/@{env:X}"')
    stores = {"board": {"hook": "s3cr3t"}, "env": {"X": "y"}}
    spec = load(text, "hot.toml", secrets=stores)
    assert spec == load(text, "hot.toml")
    assert "s3cr3t" not in repr(spec)
    topic = spec.sinks["alarm"].topic  # type: ignore[union-attr]
    assert topic == "a/@{board:hook}/@{env:X}"
    assert reveal(topic, stores) == "a/s3cr3t/y"
    with pytest.raises(SecretError, match=r"no secret @\{board:hook\}"):
        reveal(topic, {"env": {"X": "y"}})


def test_unknown_secrets_are_errors_where_the_stores_are_known() -> None:
    text = HOT.replace('topic = "alarm"', 'topic = "@{board:hook}"')
    assert codes(text, secrets={"board": {"hok": "s3cr3t"}}) == ["E004"]


# --- where items come from ---


@pytest.mark.parametrize(
    ("sections", "stage", "expected"),
    [
        ("[sinks]\ns = { type = 'sqlite', table = 's', from = 't' }", "s", "t"),
        ("[sinks]\ns = { type = 'sqlite', table = 's' }", "s", "avg"),
        ("[script]\nfile = 'a.py'\n[sinks]\ns = { type = 'sqlite', table = 's' }", "s", "script"),
        ("[script]\nfile = 'a.py'", "script", "avg"),
        ("[script]\nfile = 'a.py'\n[model]\nfile = 'm'", "script", "model"),
        ("[script]\nfile = 'a.py'\ninput = 't'\n[model]\nfile = 'm'", "script", "t"),
        ("[model]\nfile = 'm'", "model", "avg"),
        ("[model]\nfile = 'm'\n[[trigger]]\non = 'start'", "model", "trigger"),
        ("[script]\nfile = 'a.py'\n[[trigger]]\non = 'start'", "script", "trigger"),
        ("[[trigger]]\non = 'start'\n[sinks]\ns = { type = 'sqlite', table = 's' }", "s", "trigger"),
    ],
)
def test_origins(sections: str, stage: str, expected: str) -> None:
    head = HOT[: HOT.index("[sinks]")]
    assert origin_of(load(head + sections, "x.toml"), stage) == expected


@pytest.mark.parametrize(
    ("sections", "when", "code"),
    [
        ("[[trigger]]\non = 'window'\nstream = 'avg'", "c > n and trigger == 'trigger'", ""),
        ("[[trigger]]\non = 'window'\nstream = 'avg'", "d > 1", "E052"),
        ("[[trigger]]\non = 'window'\nstream = 'avg'\nwhen = 'd > 1'", "c > 1", "E052"),
        ("[[trigger]]\non = 'start'\nwhen = 'anything > 1'", "anything > 1", ""),
        ("[model]\nfile = 'm'\npost = [{ op = 'error' }]", "error > c", ""),
        ("[model]\nfile = 'm'", "len(output) > 1", ""),
        ("[model]\nfile = 'm'", "label == 1", "E052"),
        ("[script]\nfile = 'a.py'", "anything > 1", ""),
    ],
)
def test_columns_in_sight(sections: str, when: str, code: str) -> None:
    sink = f"\n[sinks]\ns = {{ type = 'sqlite', table = 's', when = \"{when}\" }}\n"
    text = HOT[: HOT.index("[sinks]")] + sections + sink
    if code:
        assert codes(text) == [code]
    else:
        assert load(text, "x.toml").sinks["s"].when == when


# --- any text at all ---


def seeds() -> list[bytes]:
    bad = sorted((Path(__file__).parent / "bad_specs").glob("*.toml"))
    return [path.read_bytes() for path in [*TASKS, *bad]]


def fuzz(data: bytes) -> None:
    """Any text becomes a spec or problems that can be told."""
    text = data.decode("utf-8", "replace")
    problems = ""
    try:
        load(text, "x.toml", env={"A": "b"}, secrets={"env": {}})
    except SpecError as error:
        problems = str(error)
    assert all(line.isprintable() for line in problems.split("\n"))


Change = Callable[[str, int, str], str]
CHANGES: tuple[Change, ...] = (
    lambda text, at, _: text[:at] + text[at + 1 :],
    lambda text, at, new: text[:at] + new + text[at:],
    lambda text, at, new: text[:at] + new + text[at + len(new) :],
)
pieces = st.sampled_from(
    [
        "1",
        "-1",
        '"',
        "'",
        "[",
        "]",
        "{}",
        "[[",
        "=",
        ".",
        "x",
        "from",
        "\n",
        "true",
        "inf",
        '"${B}"',
        "1979-05-27",
        "\0",
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(seeds()),
    st.lists(st.tuples(st.sampled_from(CHANGES), st.floats(0, 1), pieces), max_size=3),
)
def test_changed_specs(data: bytes, changes: list[tuple[Change, float, str]]) -> None:
    text = data.decode()
    for change, where, piece in changes:
        text = change(text, int(where * len(text)), piece)
    fuzz(text.encode())  # asserts


values = st.recursive(
    st.sampled_from(["1", "-1.5", "true", '"x"', '"10s"', '"mqtt"', "inf", "1979-05-27"]),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["type", "on", "op", "from", "x"]), inner, max_size=3).map(
            lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
        )
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TASKS), st.data())
def test_any_value_in_any_place(path: Path, data: st.DataObject) -> None:
    """Replace what stands after one `=`: the answer is a spec or problems, each on a line of the text."""
    text = path.read_text()
    place = data.draw(st.sampled_from(list(re.finditer(r"(?m)= (.*)$", text))))
    changed = text[: place.start(1)] + data.draw(values) + text[place.end(1) :]
    lines = changed.count("\n") + 1
    try:
        told: Any = load(changed, "x.toml")
    except SpecError as error:
        told = error.problems
    assert isinstance(told, Spec) or all(1 <= problem.line <= lines for problem in told)
