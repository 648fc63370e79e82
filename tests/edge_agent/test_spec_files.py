"""The files a spec names: there, inside the folder, the right bytes, scripts and models that open."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edge_agent.spec import check, check_files, load

SPEC = """\
schema = 1
[task]
name = "t"
[sources]
s = { type = "file", path = "data/in.csv", format = "csv" }
[model]
file = "m.tflite"
sha256 = "DIGEST"
[script]
file = "a.py"
[sinks]
out = { type = "sqlite", table = "out" }
[[test]]
name = "replay"
replay = "data/in.csv"
expect = [{ sink = "out", count = 1 }]
""".replace("DIGEST", hashlib.sha256(b"model").hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a spec whose files are all right."""
    folder = tmp_path / "bundle"
    (folder / "data").mkdir(parents=True)
    (folder / "t.toml").write_text(SPEC)
    (folder / "m.tflite").write_bytes(b"model")
    (folder / "a.py").write_text("def on_result(item, state=None, *, debug=False):\n    return item\n")
    (folder / "data" / "in.csv").write_text("# measured\ntime,x\n1,2\n")
    return folder


def told(folder: Path) -> list[tuple[str, int, str]]:
    report = check(folder / "t.toml", name="t.toml")
    return [(problem.code, problem.line, problem.message) for problem in report.problems]


def test_all_is_well(folder: Path) -> None:
    opened: list[bytes] = []
    report = check(folder / "t.toml", open_model=opened.append)
    assert report.ok and report.spec is not None and str(report) == ""
    assert opened == [b"model"]


def test_name_in_messages(folder: Path) -> None:
    (folder / "a.py").unlink()
    assert str(check(folder / "t.toml")).startswith(f"{folder / 't.toml'}:10:8: error[E060]")
    assert str(check(folder / "t.toml", name="t.toml")).startswith("t.toml:10:8: error[E060]")


@pytest.mark.parametrize(
    ("file", "content", "code", "line", "message"),
    [
        ("m.tflite", b"modem", "E062", 8, "m.tflite has other bytes"),
        ("m.tflite", None, "E060", 7, "there is no file m.tflite"),
        ("a.py", None, "E060", 10, "there is no file a.py"),
        ("a.py", b"def on_result(:\n", "E063", 10, "a.py:1:15: invalid syntax"),
        ("a.py", b"x = '\xff'\n", "E063", 10, "a.py:1:"),
        ("a.py", b"\0", "E063", 10, "a.py"),
        ("a.py", b"on_result = 1\n", "E064", 10, "a.py has no function `on_result`"),
        ("a.py", b"def f():\n    def on_result(a, b): ...\n", "E064", 10, "a.py has no function `on_result`"),
        ("a.py", b"def on_result(a, b, c): ...\n", "E064", 10, "must take two arguments"),
        ("a.py", b"def on_result(a, b, *, c): ...\n", "E064", 10, "must take two arguments"),
        ("a.py", b"def on_result(): ...\n", "E064", 10, "must take two arguments"),
        ("data/in.csv", b"# nothing\n", "E066", 5, "there is no line of column names"),
        ("data/in.csv", b"a,\xff\n", "E066", 5, "byte 2 is not UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right(
    folder: Path, file: str, content: bytes | None, code: str, line: int, message: str
) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    first = told(folder)[0]
    assert first[:2] == (code, line)
    assert message in first[2]


def test_arguments_that_two_values_fit(folder: Path) -> None:
    for arguments in ("a, b", "a, b=1", "*a", "a, *b", "a, b, c=1", "a, /, b"):
        (folder / "a.py").write_text(f"def on_result({arguments}): ...\n")
        assert told(folder) == [], arguments


def test_links_do_not_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.py").write_text("def on_result(a, b): ...\n")
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(tmp_path / "outside" / "a.py")
    assert [problem[0] for problem in told(folder)] == ["E061"]
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(folder / "a.py")
    assert [problem[0] for problem in told(folder)] == ["E060"]


def test_resources_are_files_of_the_bundle(folder: Path) -> None:
    text = SPEC.replace('name = "t"', 'name = "t"\nresources = ["data/in.csv", "labels.txt"]', 1)
    (folder / "t.toml").write_text(text)
    assert told(folder) == [("E060", 4, "task.resources[1]: there is no file labels.txt")]


def test_a_folder_where_a_file_should_be(folder: Path) -> None:
    (folder / "a.py").unlink()
    (folder / "a.py").mkdir()
    assert told(folder) == [("E060", 10, "script.file: cannot read a.py: Is a directory")]


def test_jsonl_records(folder: Path) -> None:
    text = SPEC.replace('data/in.csv", format = "csv"', 'in.jsonl"').replace("data/in.csv", "in.jsonl")
    (folder / "t.toml").write_text(text)
    for content, message in [
        ('{"a": 1}\n\n{"b": 2}', None),
        ("{}\n[1]\n", "in.jsonl:2: not a JSON object"),
        ("{}\n{\n", "in.jsonl:2: Expecting property name"),
        ("[" * 100_000, "in.jsonl:1: "),
    ]:
        (folder / "in.jsonl").write_text(content)
        problems = told(folder)
        assert len(problems) == (0 if message is None else 2)
        assert all(message in problem[2] for problem in problems if message)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "t.toml: error[E060] cannot read it: No such file or directory"),
        (b"a = '\xff'", "t.toml: error[E001] byte 5 is not UTF-8; save the file as UTF-8"),
        (b"#" * 300_000, "t.toml: error[E002] 300000 characters; a spec has at most 262144"),
    ],
)
def test_specs_that_cannot_be_read(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "t.toml").write_bytes(content)
    report = check(tmp_path / "t.toml", name="t.toml")
    assert report.spec is None
    assert str(report) == told


def test_a_byte_order_mark_is_no_error(folder: Path) -> None:
    (folder / "t.toml").write_bytes(b"\xef\xbb\xbf" + SPEC.encode())
    assert told(folder) == []


def test_the_second_step_alone(folder: Path) -> None:
    (folder / "a.py").unlink()
    problems = check_files(load(SPEC, "t.toml"), folder, text=SPEC, name="t.toml")
    assert [(problem.code, problem.line) for problem in problems] == [("E060", 10)]
    assert [problem.line for problem in check_files(load(SPEC, "t.toml"), folder)] == [1]
