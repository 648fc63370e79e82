"""The project's own files agree with each other: version and changelog, Makefile and its help, README and
targets.
"""

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_changelog_names_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version


def test_make_help_lists_every_public_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)) - {"venv-version"}
    assert set(re.findall(r"^  make ([a-z-]+)", output("make", "-s", "help"), re.MULTILINE)) == targets


def test_every_make_target_in_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", (ROOT / "README.md").read_text()))
    assert named <= targets


def test_nothing_committed_names_a_path_of_one_machine() -> None:
    names = output("git", "ls-files", "-z").split("\0")
    paths = [ROOT / name for name in names if name and not name.endswith((".tflite", ".png", ".npz"))]
    pattern = re.compile(r"/(?:root|work|home/[a-z]+)/[A-Za-z0-9_.-]+")
    assert not [path for path in paths if path.is_file() and pattern.search(path.read_text(errors="replace"))]
