"""The demo's walk, as a user starts it."""

import json
import subprocess
import sys

import pytest

import walle_demo


@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_every_step_of_the_walk_passes() -> None:
    argv = [sys.executable, "-m", "walle_cli", "demo", "--once", "--json", "--port", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = json.loads(done.stdout)
    assert [outcome["step"] for outcome in outcomes][1:] == [name for name, _ in walle_demo.STEPS]
    assert all(outcome["passed"] for outcome in outcomes)


def test_a_folder_that_is_in_use_is_refused(tmp_path) -> None:
    (tmp_path / "something").touch()
    assert walle_demo.demo(tmp_path, port=0, once=True, as_json=True) == 1
