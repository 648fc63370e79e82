"""The tables of the README say what the code has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import operator_table

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("table", [operator_table.operators, operator_table.custom, operator_table.atoms])
def test_the_readme_has_the_table(table):
    assert table() in README.read_text(), "python -m tests.operator_table prints what belongs there"
