"""The `walle` command as a process: exit codes, tables, JSON, and what goes to stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "specs" / "tasks"


def walle(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a plain environment of 80 columns."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WALLE_")}
    return subprocess.run(
        [sys.executable, "-m", "walle_cli", *arguments],
        env={**clean, "COLUMNS": "80", "TERM": "dumb", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture
def typo(tmp_path: Path) -> Path:
    path = tmp_path / "hot.toml"
    path.write_text((TASKS / "hot" / "hot.toml").read_text().replace("window =", "widow ="))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--help"], 0, "rollout"),
        (["broker", "--help"], 0, "--port"),
        (["server", "--help"], 0, "--mqtt"),
        (["agent", "--help"], 0, "--trust"),
        (["check", "specs/tasks/hot/hot.toml"], 0, "ok"),
        (["check", "nowhere.toml"], 2, "nowhere.toml"),
        (["no-such-command"], 2, "no-such-command"),
        (["status", "--state", "nowhere"], 1, "agent not running"),
        (["status", "--server", "http://127.0.0.1:1"], 1, "is the server running?"),
        (["release", "specs/tasks/hot/hot.toml"], 1, "WALLE_KEYS"),
    ],
)
def test_exit_codes_and_what_is_said(arguments: list[str], code: int, says: str) -> None:
    done = walle(*arguments)
    assert (done.returncode, says in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check", "test", "run"])
def test_a_bad_spec_is_pointed_at_and_ends_with_78(command: str, typo: Path) -> None:
    done = walle(command, str(typo))
    assert done.returncode == 78
    assert f"{typo}:8:1: error[E031] unknown key `widow` in streams.avg" in done.stdout + done.stderr
    assert "^^^^^ did you mean `window`?" in done.stdout + done.stderr


def test_problems_as_json(typo: Path) -> None:
    done = walle("check", str(typo), "--json")
    (problem,) = json.loads(done.stdout)
    assert (problem["line"], problem["column"], problem["code"]) == (8, 1, "E031")


def test_the_tests_of_worked_tasks_pass() -> None:
    done = walle("test", *map(str, sorted(TASKS.glob("*/*.toml"))), "--json")
    results = json.loads(done.stdout)
    assert done.returncode == 0
    assert {result["task"] for result in results} >= {"digits", "door", "telemetry"}
    assert all(result["passed"] for result in results)


def test_run_prints_what_sinks_would_get() -> None:
    spec = TASKS / "digits" / "digits.toml"
    done = walle("run", str(spec), "--replay", str(spec.with_name("pictures.jsonl")))
    items = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["sink"] for item in items] == ["digits"] * 4
    assert all(f"_is_{item['label']}.png" in item["name"] for item in items)


def test_explain_accounts_for_the_copies() -> None:
    done = walle("explain", "specs/models/digits_int8.tflite", "--json")
    told = json.loads(done.stdout)
    passes, copies = {stage["pass"]: stage for stage in told["passes"]}, told["copies"]
    assert copies["nbytes"] == passes["decompose"]["copied_bytes"] > 0
    assert sum(row["nbytes"] for row in copies["kept"]) == passes["place"]["copied_bytes"]
    assert copies["nbytes"] == sum(row["nbytes"] for row in (*copies["removed"], *copies["kept"]))


def test_a_board_never_loads_the_server() -> None:
    code = "import edge_agent.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"starlette", "uvicorn", "typer"} & set(done.stdout.split())
