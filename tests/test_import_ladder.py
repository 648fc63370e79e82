"""Imports point one way: each package may import itself and what stands here beside it, nothing else of
ours.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LADDER = {
    "ckernels": set(),
    "runtime": {"ckernels"},
    "cloud_broker.wire": set(),
    "cloud_broker": {"cloud_broker.wire"},
    "fl": {"runtime", "cloud_broker.wire"},
    "edge_agent": {"runtime", "fl.client", "cloud_broker.wire"},
}
OURS = {"ckernels", "runtime", "fl", "edge_agent", "cloud_broker", "walle_cli", "walle_demo", "tests"}


def package_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return "cloud_broker.wire" if parts[:2] == ("cloud_broker", "wire") else parts[0]


def imported_modules(source: str) -> set[str]:
    """Dotted names of all modules that a file imports; `from a.b import c` counts as a.b.c, as c may be a
    module.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that the ladder can be read"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def may_import(package: str, module: str) -> bool:
    if module.split(".")[0] not in OURS:
        return True
    allowed = {package} | LADDER[package]
    return any(f"{module}.".startswith(f"{name}.") for name in allowed)


FILES = sorted(path for package in LADDER if "." not in package for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_stay_on_the_ladder(path: Path) -> None:
    package = package_of(path)
    wrong = {module for module in imported_modules(path.read_text()) if not may_import(package, module)}
    assert not wrong, f"{package} may import only {sorted(LADDER[package]) or 'nothing of ours'}"


@pytest.mark.parametrize(
    ("package", "module", "allowed"),
    [
        ("edge_agent", "fl.client", True),
        ("edge_agent", "fl.coordinator", False),
        ("cloud_broker", "edge_agent.spec", False),
        ("cloud_broker.wire", "cloud_broker.store", False),
        ("runtime", "numpy", True),
    ],
)
def test_the_rule_itself(package: str, module: str, allowed: bool) -> None:
    assert may_import(package, module) is allowed


def test_specs_are_data_that_nobody_imports() -> None:
    assert not list((ROOT / "specs").rglob("__init__.py"))
