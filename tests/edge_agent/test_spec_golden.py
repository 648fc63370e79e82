"""Broken specs and the exact text that their author sees: bad_specs/NAME.toml and NAME.expected beside it.

WALLE_GOLDEN=1 writes the expected files anew (`make golden`); read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edge_agent.spec import CODES, Report, check

FOLDER = Path(__file__).parent / "bad_specs"
SPECS = sorted(FOLDER.glob("*.toml"))


def open_model(data: bytes) -> None:
    raise ValueError(f"no TFL3 at byte 4 of {len(data)}")


def checked(path: Path) -> Report:
    secrets = {"env": {}, "board": {"hook": "s3cr3t"}}
    return check(
        path, name=path.name, open_model=open_model, env={"SITE": "north", "TOPIC": ""}, secrets=secrets
    )


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_what_the_author_sees(path: Path) -> None:
    expected = path.with_suffix(".expected")
    text = f"{checked(path)}\n"
    if os.environ.get("WALLE_GOLDEN"):
        expected.write_text(text)
    assert text == expected.read_text()


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_problem_is_in_the_text_and_in_the_table(path: Path) -> None:
    report = checked(path)
    lines = report.text.split("\n")
    assert not report.ok
    for problem in report.problems:
        assert problem.code in CODES
        assert 1 <= problem.line <= len(lines) and 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.length >= 1
    assert "s3cr3t" not in str(report)
    assert all(line.isprintable() for line in str(report).split("\n"))


def test_every_code_has_a_golden_spec() -> None:
    told = {
        code
        for path in SPECS
        for code in re.findall(r"error\[(E\d{3})\]", path.with_suffix(".expected").read_text())
    }
    elsewhere = {
        "E002",
        "E054",
        "E061",
    }  # need a large file, a long expression, a link: test_spec_load, test_spec_files
    assert told == CODES.keys() - elsewhere


def test_every_expected_file_has_its_spec() -> None:
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in SPECS}
