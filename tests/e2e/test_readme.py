"""The README's commands, run as printed (but for the ports, which another process may hold)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import walle_demo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    """The one code block of that language with that text in it."""
    blocks = [
        text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text
    ]
    assert len(blocks) == 1
    return blocks[0]


def shell(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run as in a checkout with the environment's commands on the path; what is left running is ended."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (folder / "specs").symlink_to(ROOT / "specs")
    ended = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", ended + script],
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.mark.e2e
def test_a_fleet_of_one(tmp_path: Path) -> None:
    script = block("sh", "walle rollout telemetry")
    for port in ("1883", "8080"):
        script = script.replace(port, str(walle_demo.free_port()))
    done = shell(script, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"dock-1 +yes +telemetry +1\.0\.0 +running", done.stdout), done.stdout


def test_specs_are_checked_tested_and_run(tmp_path: Path) -> None:
    done = shell(block("sh", "walle run specs/tasks/digits"), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "telemetry.toml: ok" in done.stdout
    assert '"label": "5"' in done.stdout


def test_the_engine_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python", "runtime.load")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<Program on" in done.stdout


def test_the_first_task_is_the_worked_one() -> None:
    assert block("toml", 'name = "hot"') in (ROOT / "specs" / "tasks" / "hot" / "hot.toml").read_text()
