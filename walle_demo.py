"""`walle demo`: a broker, a server and three boards as five real processes on this machine, and a walk.

`System` starts, watches and restarts the processes (the subject of the kill -9 test, too); `STEPS` is the
walk, each step a function that does one thing a user does and checks what came of it. Nothing here knows the
insides of a package: it uses command lines, files and the server's HTTP interface, as a user would.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

SPECS = Path(__file__).parent / "specs"
BOARDS = ("board-1", "board-2", "board-3")
RESTART = 1.0
"""Seconds between two starts of a process at least."""


class StepFailed(Exception):
    """A step of the walk did not come out as it must: what was expected and what was seen."""


@dataclass(slots=True)
class Process:
    """One of the five: how to start it, and the running process once it was."""

    name: str
    argv: list[str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    restarts: int = 0

    def start(self) -> None:
        self.started = time.monotonic()
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(self.argv, stdout=log, stderr=log, start_new_session=True)

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None


def free_port(preferred: int = 0) -> int:
    """A TCP port of the loopback that nobody listens on: the preferred one if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class System:
    """Five processes with their state under one folder; whichever dies is started again on the same state."""

    def __init__(self, folder: Path, *, port: int = 8080, boards: tuple[str, ...] = BOARDS) -> None:
        self.folder, self.boards = folder, boards
        self.http = f"http://127.0.0.1:{free_port(port)}"
        self.mqtt = f"mqtt://127.0.0.1:{free_port()}"
        self.processes: dict[str, Process] = {}
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="watch-processes", daemon=True)

    def start(self) -> None:
        """Start all five; returns when the server answers and every board has said hello."""
        for board in self.boards:
            self.specs(board).mkdir(parents=True, exist_ok=True)
        self._add("broker", "cloud_broker.mqtt", "--port", self.mqtt.rsplit(":", 1)[1])
        self._add("server", "cloud_broker.server", "--port", self.http.rsplit(":", 1)[1], "--mqtt", self.mqtt)
        wait_for("the server to answer", lambda: self.get("/healthz"), 30)
        key = self.walle("key").strip()
        for board in self.boards:
            self._add(board, "edge_agent", "--specs", str(self.specs(board)), "--board", board,
                      "--mqtt", self.mqtt, "--trust", key, "--heartbeat", "2s")  # fmt: skip
        self._watcher.start()
        wait_for("every board to say hello", lambda: len(self.status()["boards"]) == len(self.boards), 30)

    def _add(self, name: str, module: str, *arguments: str) -> None:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", module, "--state", str(self.state(name)), *arguments]
        self.processes[name] = Process(name, argv, log)
        self.processes[name].start()

    def _watch(self) -> None:
        while not self._stopping.wait(0.1):
            for process in self.processes.values():
                old_enough = time.monotonic() - process.started > RESTART
                if not process.alive and old_enough and not self._stopping.is_set():
                    process.restarts += 1
                    process.start()

    def kill(self, name: str) -> None:
        """SIGKILL; the watcher starts the process again."""
        popen = self.processes[name].popen
        assert popen is not None
        popen.kill()
        popen.wait()

    def stop(self) -> None:
        """SIGTERM to all, boards first; SIGKILL to what is still there after ten seconds."""
        self._stopping.set()
        for process in reversed(self.processes.values()):
            if process.popen is not None:
                process.popen.send_signal(signal.SIGTERM)
        for process in reversed(self.processes.values()):
            if process.popen is not None:
                try:
                    process.popen.wait(10)
                except subprocess.TimeoutExpired:
                    process.popen.kill()
                    process.popen.wait()

    # --- where things are -----------------------------------------------------------------------------------

    def state(self, name: str) -> Path:
        return self.folder / name

    def specs(self, board: str) -> Path:
        return self.folder / board / "specs"

    def inbox(self, board: str) -> Path:
        return self.folder / board / "inbox"

    # --- what a user sees and does --------------------------------------------------------------------------
    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.http + path, timeout=5) as response:
            body = response.read()
        return json.loads(body) if response.headers.get_content_type() == "application/json" else body

    def status(self) -> dict[str, Any]:
        return dict(self.get("/api/status"))

    def board_status(self, board: str) -> dict[str, Any]:
        """What the board says of itself, from its own folder."""
        return dict(json.loads((self.state(board) / "status.json").read_text()))

    def task(self, board: str, name: str) -> dict[str, Any] | None:
        """One task of a board, or None as long as it has none of that name."""
        try:
            task = self.board_status(board)["tasks"].get(name)
        except FileNotFoundError:
            return None
        return None if task is None else dict(task)

    def drop(self, board: str, task: str, change: Callable[[str], str] = lambda text: text) -> Path:
        """Put a worked spec, its TOML text changed, into a board's spec folder; returns the TOML file."""
        target = self.specs(board) / task
        if not target.exists():
            shutil.copytree(SPECS / "tasks" / task, target)
        spec = target / f"{task}.toml"
        spec.write_text(change((SPECS / "tasks" / task / spec.name).read_text()))
        return spec

    def walle(self, *arguments: str) -> str:
        """Output of the `walle` command; raises StepFailed with what it said when it failed."""
        environment = {**os.environ, "WALLE_SERVER": self.http, "WALLE_KEYS": str(self.state("server"))}
        argv = [sys.executable, "-m", "walle_cli", *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = done.stdout + done.stderr
            raise StepFailed(f"walle {' '.join(arguments)} ended with {done.returncode}:\n{said}")
        return done.stdout

    def release(self, folder: Path) -> dict[str, Any]:
        """Publish the task in `folder` and start its rollout; returns the rollout."""
        spec = next(folder.glob("*.toml"))
        release = json.loads(self.walle("release", str(spec), "--json"))[0]
        return dict(json.loads(self.walle("rollout", release["task"], "--json"))[0])

    def rollout(self, id: str) -> dict[str, Any]:
        return dict(self.get(f"/api/rollouts/{id}"))


# --- waiting ---------------------------------------------------------------------------------------------

NOT_YET = (OSError, ValueError, KeyError, urllib.error.URLError)
"""What looking too early may raise."""


def wait_for(what: str, look: Callable[[], Any], seconds: float) -> Any:
    """What `look` returns as soon as that is true; raises StepFailed when it never was."""
    end, problem = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            if found := look():
                return found
        except NOT_YET as error:
            problem = f" ({type(error).__name__}: {error})"
        time.sleep(0.02)
    raise StepFailed(f"waited {seconds:.0f} s in vain for {what}{problem}")


# --- the walk --------------------------------------------------------------------------------------------

DEPLOY = """
[deploy]
steps = ["1 board", "100%"]
hold = "1s"
probation = "3s"
"""


def telemetry(number: str) -> Callable[[str], str]:
    """The worked spec as another version: it looks more often, and says how to spread it."""

    def change(text: str) -> str:
        named = text.replace('name = "telemetry"', f'name = "telemetry"\nversion = "{number}"')
        return named.replace('every = "250ms"', 'every = "200ms"').replace(
            "[sources]", f"{DEPLOY}\n[sources]"
        )

    return change


def untested(text: str) -> str:
    """The spec as a careless author releases it: quicker windows, and no tests that would stop it at once."""
    return text[: text.index("[[test]]")].replace('size = "2s"', 'size = "500ms"')


def specs_run(system: System) -> str:
    """Drop a spec into a folder: it runs."""
    for board in system.boards:
        system.drop(board, "telemetry")
    system.drop(system.boards[0], "digits")
    for board in system.boards:
        wait_for(f"windows on {board}", partial(has_results, system, board, "telemetry"), 30)
    row = rows(system, system.boards[0], "telemetry", "SELECT cpu_mean, mem, error FROM windows")[-1]
    return "CPU {:.0%}, memory {:.0%}: reconstruction error {:.4f}".format(*row)


def digits_are_read(system: System) -> str:
    """Drop pictures into the watched folder: they become rows of a table."""
    board = system.boards[0]
    pictures = sorted((SPECS / "models" / "digits").glob("*.png"))
    for picture in pictures:
        shutil.copy(picture, system.inbox(board))
    query = "SELECT name, label FROM digits"
    wait_for(
        f"{len(pictures)} rows",
        lambda: len(rows(system, board, "digits", query)) == len(pictures),
        30,
    )
    right = sum(f"_is_{label}." in name for name, label in rows(system, board, "digits", query))
    if right < 0.9 * len(pictures):
        raise StepFailed(f"expected at least 90 % of {len(pictures)} digits to be right, got {right}")
    return f"{right} of {len(pictures)} digits right"


def edit_is_swapped_in(system: System) -> str:
    """Edit a running spec: the new version takes over."""
    board = system.boards[0]
    began = time.monotonic()
    system.drop(board, "telemetry", telemetry("1.0.1"))
    wait_for("version 1.0.1", lambda: version(system, board, "telemetry") == "1.0.1", 30)
    took = time.monotonic() - began
    wait_for("its first window", lambda: runs(system, board, "telemetry", "1.0.1"), 30)
    return f"{board} runs 1.0.1, {took * 1000:.0f} ms after the file was written"


def typo_is_explained(system: System) -> str:
    """Make a typo: it is pointed at, and the old version goes on."""
    board = system.boards[0]
    spec = system.drop(
        board, "telemetry", lambda text: telemetry("1.0.2")(text).replace("window =", "widow =")
    )
    said = str(
        wait_for("the error", lambda: "did you mean `window`?" in status_file(spec) and status_file(spec), 30)
    )
    before = results(system, board, "telemetry")
    wait_for("the old version's next window", lambda: results(system, board, "telemetry") > before, 30)
    if not runs(system, board, "telemetry", "1.0.1"):
        raise StepFailed(f"expected 1.0.1 to go on, the board says {system.task(board, 'telemetry')}")
    system.drop(board, "telemetry", telemetry("1.0.1"))
    wait_for("the mended file", lambda: "did you mean" not in status_file(spec), 30)
    return said.strip()


def release_reaches_all(system: System) -> str:
    """Release a version: it goes to one board, then to all."""
    rollout = system.release(bundle(system, "1.1.0"))
    done = wait_for("the rollout's end", lambda: finished(system, rollout["id"]), 60)
    if done["phase"] != "complete":
        raise StepFailed(f"expected the rollout to be complete, it is {done['phase']}: {done['why']}")
    for board in system.boards:
        wait_for(f"1.1.0 on {board}", partial(runs, system, board, "telemetry", "1.1.0"), 30)
    return f"steps {' -> '.join(done['steps'])}; {len(system.boards)} boards run 1.1.0"


def bad_release_is_rolled_back(system: System) -> str:
    """Release a version whose script fails: one board tries it, goes back, and nobody else gets it."""
    folder = bundle(system, "1.2.0", untested)
    script = folder / "anomaly.py"
    script.write_text(script.read_text().replace("variance**0.5", "variance / 0"))
    rollout = system.release(folder)
    done = wait_for("the rollout's end", lambda: finished(system, rollout["id"]), 60)
    if done["phase"] != "aborted":
        raise StepFailed(f"expected the rollout to be aborted, it is {done['phase']}")
    for board in system.boards:
        wait_for(f"1.1.0 on {board}", partial(runs, system, board, "telemetry", "1.1.0"), 30)
    return f"aborted, every board runs 1.1.0: {done['why']}"


STEPS: tuple[tuple[str, Callable[[System], str]], ...] = (
    ("specs are dropped, tasks run", specs_run),
    ("digits are read", digits_are_read),
    ("an edit is swapped in", edit_is_swapped_in),
    ("a typo is explained", typo_is_explained),
    ("a release reaches all boards", release_reaches_all),
    ("a bad release is rolled back", bad_release_is_rolled_back),
)


def results(system: System, board: str, task: str) -> int:
    found = system.task(board, task)
    return 0 if found is None else int(found["evidence"]["results"])


def has_results(system: System, board: str, task: str) -> bool:
    return results(system, board, task) > 0


def version(system: System, board: str, task: str) -> str:
    found = system.task(board, task)
    return "" if found is None else str(found["version"])


def runs(system: System, board: str, task: str, version: str) -> bool:
    """The task is this very version and has shown a result."""
    found = system.task(board, task)
    return found is not None and found["version"] == version and found["evidence"]["results"] > 0


def rows(system: System, board: str, task: str, query: str) -> list[tuple[Any, ...]]:
    """Of the task's results on that board; none before there is a table."""
    database = system.state(board) / "tasks" / task / "data" / "results.sqlite"
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def status_file(spec: Path) -> str:
    """What the agent wrote beside a spec file."""
    path = spec.with_name(spec.name + ".status")
    return path.read_text() if path.exists() else ""


def finished(system: System, id: str) -> dict[str, Any] | None:
    """The rollout once nothing more will happen in it."""
    rollout = system.rollout(id)
    over = rollout["phase"] in ("complete", "aborted") and not rollout["boards"].get("restoring")
    return rollout if over else None


def bundle(system: System, number: str, change: Callable[[str], str] = lambda text: text) -> Path:
    """A folder with the telemetry task as another version, its text changed, ready to release."""
    folder = system.folder / "releases" / number
    shutil.copytree(SPECS / "tasks" / "telemetry", folder)
    spec = folder / "telemetry.toml"
    spec.write_text(change(telemetry(number)(spec.read_text())))
    return folder


# --- the demo --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step of the walk: how long it took, and what was seen or what went wrong."""

    step: str
    passed: bool
    seconds: float
    detail: str


def walk(system: System, tell: Callable[[str], None]) -> list[Outcome]:
    """All steps in order, up to the first that fails."""
    outcomes = [attempt("five processes are up", system, lambda system: start(system))]
    tell(told(outcomes[0]))
    for name, step in STEPS:
        if not outcomes[-1].passed:
            break
        outcomes.append(attempt(name, system, step))
        tell(told(outcomes[-1]))
    return outcomes


def start(system: System) -> str:
    system.start()
    return f"broker, server, {', '.join(system.boards)}; page {system.http}/"


def attempt(name: str, system: System, step: Callable[[System], str]) -> Outcome:
    began = time.monotonic()
    try:
        detail, passed = step(system), True
    except StepFailed as failure:
        detail, passed = str(failure), False
    return Outcome(name, passed, round(time.monotonic() - began, 3), detail)


def told(outcome: Outcome) -> str:
    mark = "ok  " if outcome.passed else "FAIL"
    lines = outcome.detail.splitlines() or [""]
    first, rest = (lines[0], []) if len(lines) == 1 else ("", lines)
    return "\n".join(
        [f"{mark} {outcome.seconds:6.2f} s  {outcome.step}: {first}", *(f"      {line}" for line in rest)]
    )


def demo(state: Path | None, *, port: int, once: bool, as_json: bool) -> int:
    """Start everything, walk, then stay up (unless `once`); the exit code says whether every step passed."""
    if state is not None and state.exists() and any(state.iterdir()):
        print(f"error: {state} is not empty; the demo wants a folder of its own", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="walle-demo-")) if state is None else state.resolve()
    system, outcomes = System(folder, port=port), list[Outcome]()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with live_table(system, quiet=as_json) as tell:
            outcomes = walk(system, tell)
            while not once and passed(outcomes):
                time.sleep(1)
    except KeyboardInterrupt:
        pass
    finally:
        system.stop()
        if state is None and passed(outcomes):
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps([asdict(one) for one in outcomes], indent=2) if as_json else summary(outcomes))
    if not passed(outcomes):
        print(f"logs and state are kept in {folder}", file=sys.stderr)
    return 0 if passed(outcomes) else 1


def passed(outcomes: list[Outcome]) -> bool:
    return all(one.passed for one in outcomes)


def summary(outcomes: list[Outcome]) -> str:
    count, seconds = sum(one.passed for one in outcomes), sum(one.seconds for one in outcomes)
    return f"{count} of {1 + len(STEPS)} steps passed in {seconds:.1f} s"


@contextmanager
def live_table(system: System, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A table of all tasks stays below what is told; yields how to tell. Plain lines without a terminal."""
    from rich.console import Console
    from rich.live import Live

    console = Console(quiet=quiet, soft_wrap=True, highlight=False)
    with contextlib.ExitStack() as stack:
        if console.is_terminal:
            stack.enter_context(
                Live(get_renderable=lambda: picture(system), console=console, refresh_per_second=2)
            )
        yield lambda text: console.print(text, markup=False)


def picture(system: System) -> Any:
    """What the demo shows at any time: every task of every board, and where to look and what to try."""
    from rich.console import Group

    first = system.boards[0]
    hints = {
        "page": f"{system.http}/",
        "pictures": system.inbox(first),
        "specs": system.specs(first),
        "end": "Ctrl-C",
    }
    return Group("", table(system), "", *(f"{name:9} {hint}" for name, hint in hints.items()))


def table(system: System) -> Any:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    for name in ("board", "task", "version", "state", "results", "errors", "cause"):
        shown.add_column(name, overflow="fold")
    for board in system.boards:
        try:
            tasks = system.board_status(board)["tasks"]
        except FileNotFoundError:
            continue
        for name, task in tasks.items():
            evidence = task["evidence"]
            shown.add_row(
                board,
                name,
                task["version"],
                evidence["state"],
                str(evidence["results"]),
                str(evidence["errors"]),
                evidence["cause"],
            )
    return shown
