import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import runtime
from cloud_broker.wire.link import MemoryHub, MemoryLink
from cloud_broker.wire.messages import Reason
from edge_agent.clock import SystemClock
from edge_agent.evidence import StartError
from edge_agent.replay import replay
from edge_agent.sources.mqtt import MqttSource
from edge_agent.spec.load import load
from edge_agent.task import Task
from edge_agent.topology import Context, build

ROOT = Path(__file__).parents[2]
GUARD = 30.0


class Board:
    """A board whose tasks run for real, on threads, with a broker in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = MemoryHub()
        self.link: MemoryLink = self.hub.link("board")
        self.outside: MemoryLink = self.hub.link("outside")
        self.link.start()
        self.outside.start()
        self.tasks: list[Task] = []

    def task(self, text: str, folder: Path | None = None) -> Task:
        spec = load(text if "schema = 1" in text else f"schema = 1\n{text}", "t.toml")
        state = self.folder / spec.task.name
        state.mkdir(exist_ok=True)
        context = Context("b", self.folder, state, self.link, SystemClock(), runtime.load)
        task = build(spec, folder or self.folder, context)
        self.tasks.append(task)
        return task

    def run(self, text: str, folder: Path | None = None) -> Task:
        task = self.task(text, folder)
        task.start()
        return task

    def send(self, topic: str, *items: Any) -> None:
        for item in items:
            self.outside.publish(topic, json.dumps(item).encode())


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    board = Board(tmp_path)
    yield board
    for task in board.tasks:
        task.stop(GUARD)


def wait(condition: Callable[[], Any]) -> None:
    """Until it holds; the guard only ends a test that hangs."""
    end = time.monotonic() + GUARD
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)


def listening(board: Board, *topics: str) -> None:
    wait(lambda: set(topics) <= set(board.link._handlers))


HOT = """
task = { name = "hot" }
[sources]
t = { type = "mqtt", topic = "site/+/temp", time = { field = "ts" } }
[streams.avg]
from = "t"
window = { kind = "tumbling", size = "10s", idle = "200ms" }
aggregate = { c = "mean(value)" }
[sinks]
alarm = { type = "mqtt", topic = "al/{board}/{task}", from = "avg", when = "c > 60", fields = ["end", "c"] }
log = { type = "sqlite", table = "log", from = "avg" }
all = { type = "file", path = "all.jsonl", from = "t", fields = ["value"] }
"""


def test_messages_become_windows_become_alarms_rows_and_lines(board: Board) -> None:
    heard: list[Any] = []
    board.outside.subscribe("al/#", lambda topic, payload: heard.append((topic, json.loads(payload))))
    task = board.run(HOT)
    listening(board, "site/+/temp")
    board.send(
        "site/a/temp", *({"ts": ts, "value": value} for ts, value in [(1, 50), (2, 60), (11, 70), (12, 80)])
    )
    board.send("site/a/temp", {"ts": 29.9, "value": 10})
    wait(lambda: task.evidence().results >= 5 + 3)  # silence closes the last window
    assert heard == [("al/b/hot", {"end": 20.0, "c": 75.0})]
    assert task.stop()
    database = sqlite3.connect(board.folder / "hot" / "results.sqlite")
    rows = database.execute("SELECT at, start, n, c FROM log ORDER BY at").fetchall()
    database.close()
    assert rows == [(10.0, 0.0, 2, 55.0), (20.0, 10.0, 2, 75.0), (30.0, 20.0, 1, 10.0)]
    assert (board.folder / "hot" / "all.jsonl").read_text().split() == [
        f'{{"value":{value}}}' for value in (50, 60, 70, 80, 10)
    ]
    evidence = task.evidence()
    assert (evidence.events, evidence.errors, evidence.dropped, evidence.failed) == (5, 0, 0, None)
    assert evidence.last_event is not None and evidence.last_result is not None
    assert evidence.started <= evidence.last_event <= evidence.last_result <= evidence.heartbeat
    assert task.recent_results(1)[0][:2] == ("log", 30.0)


def test_hostile_messages_are_counted_and_the_task_goes_on(board: Board) -> None:
    task = board.run(HOT)
    listening(board, "site/+/temp")
    for payload in (
        b"\xff\x00",
        b"[]",
        b'{"value": 1}',
        b'{"ts": "x"}',
        b'{"ts": 1e300}',
        b'{"ts": -1}',
        b"[" * 9999,
    ):
        board.outside.publish("site/a/temp", payload)
    board.send("site/a/temp", {"ts": 1, "value": "warm"}, {"ts": 1}, {"ts": 9.9, "value": 61})
    wait(lambda: task.evidence().results >= 3 + 1)
    evidence = task.evidence()
    assert (evidence.errors, evidence.failed) == (9, None)
    assert evidence.last_error == "avg: no column `value` in this event; columns here: ts, topic"
    assert task.recent_results(1)[0][2]["c"] == 61.0


def test_late_events_and_near_misses_are_in_the_evidence(board: Board) -> None:
    task = board.run(
        HOT.replace(
            "[sinks]", '[[trigger]]\nid = "x"\non = "event"\npattern = ["t"]\nwhen = "value > 99"\n[sinks]'
        )
    )
    listening(board, "site/+/temp")
    board.send("site/a/temp", {"ts": 100, "value": 1}, {"ts": 3, "value": 1})
    wait(lambda: task.evidence().counts[:2] == (1, 2))


SCRIPTED = """
task = { name = "scripted" }
script = { file = "x.py", timeout = "20s" }
[sources]
q = { type = "mqtt", topic = "q", buffer = 3, overflow = "OVERFLOW" }
[sinks]
a = { type = "mqtt", topic = "a" }
"""
CODE = """
import os, time
def on_result(item, state):
    if item["do"] == "exit": os._exit(3)
    if item["do"] == "fail": raise ValueError("as told")
    while item["do"] == "wait" and not os.path.exists("go"): time.sleep(0.005)
    state["n"] = state.get("n", 0) + 1
    return {"n": state["n"], "do": item["do"]}
"""


def test_a_script_that_fails_or_dies_costs_one_item_each(board: Board) -> None:
    (board.folder / "x.py").write_text(CODE)
    task = board.run(SCRIPTED.replace("OVERFLOW", "block"))
    listening(board, "q")
    for do in ("one", "fail", "two", "exit", "three"):
        board.send("q", {"do": do})
    wait(lambda: task.evidence().results == 3)
    results = [item for _, _, item in reversed(task.recent_results())]
    assert results == [{"n": 1, "do": "one"}, {"n": 2, "do": "two"}, {"n": 1, "do": "three"}]
    assert (task.evidence().errors, task.evidence().failed) == (2, None)
    assert task.evidence().last_error == "script: x.py: its process ended (exit code 3); its state is lost"


@pytest.mark.parametrize(
    ("overflow", "kept"), [("drop-oldest", ["5", "6", "7"]), ("drop-newest", ["1", "2", "3"])]
)
def test_a_flood_is_bounded_by_the_sources_policy(board: Board, overflow: str, kept: list[str]) -> None:
    (board.folder / "x.py").write_text(CODE)
    task = board.run(SCRIPTED.replace("OVERFLOW", overflow))
    listening(board, "q")
    board.send("q", {"do": "wait"})
    wait(lambda: not task._pipeline.idle or task.evidence().events == 1)
    wait(lambda: task._pipeline.idle)  # the script has it now
    board.send("q", *({"do": str(i)} for i in range(1, 8)))
    wait(lambda: task.evidence().dropped == 4)
    (board.folder / "go").write_text("")
    wait(lambda: task.evidence().results == 4)
    assert [item["do"] for _, _, item in reversed(task.recent_results())] == ["wait", *kept]


def test_stopping_kills_a_script_that_does_not_end(board: Board) -> None:
    (board.folder / "x.py").write_text(CODE)
    task = board.run(SCRIPTED.replace("OVERFLOW", "block"))
    listening(board, "q")
    board.send("q", {"do": "wait"})
    wait(lambda: task.evidence().events == 1)
    assert task.stop(0.2)
    assert task.evidence().failed is None
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith(("task-scripted", "scripted-"))
    ]


def test_on_breach_stop_is_told_in_the_evidence(board: Board) -> None:
    (board.folder / "x.py").write_text(CODE)
    task = board.run('limits = { on_breach = "stop" }\n' + SCRIPTED.replace("OVERFLOW", "block"))
    listening(board, "q")
    board.send("q", {"do": "exit"})
    wait(lambda: task.evidence().failed)
    assert task.evidence().failed == (
        "stopped by limits.on_breach: x.py: its process ended (exit code 3); its state is lost"
    )


def test_a_loop_that_dies_says_so(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    task = board.task(HOT)

    def broken(_: float) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(task._pipeline, "tick", broken)
    task.start()
    wait(lambda: task.evidence().failed)
    assert task.evidence().failed == "RuntimeError: a defect of ours"


def test_what_was_accepted_is_finished_before_a_stop(board: Board) -> None:
    (board.folder / "x.py").write_text(CODE)
    task = board.run(SCRIPTED.replace("OVERFLOW", "block").replace("buffer = 3", "buffer = 100"))
    listening(board, "q")
    board.send("q", *({"do": str(i)} for i in range(50)))
    assert task.stop(GUARD)
    assert task.evidence().results == 50


def test_a_sink_that_cannot_open_leaves_nothing_running(board: Board) -> None:
    (board.folder / "hot").mkdir()
    (board.folder / "hot" / "results.sqlite").write_text(
        "this is no database, whatever its name may say" * 100
    )
    task = board.task(HOT)
    with pytest.raises(StartError, match="sink log: DatabaseError: file is not a database") as raised:
        task.start()
    assert raised.value.reason == Reason.START_FAILED
    assert not [thread for thread in threading.enumerate() if "hot" in thread.name]


def test_a_sink_that_fails_later_keeps_its_rows(board: Board) -> None:
    task = board.run(HOT)
    listening(board, "site/+/temp")
    folder = board.folder / "hot"
    wait(lambda: (folder / "all.jsonl").exists())
    moved = folder.rename(board.folder / "away")
    board.send("site/a/temp", {"ts": 1, "value": 5})
    wait(lambda: task.evidence().errors >= 1)
    assert "FileNotFoundError" in (task.evidence().last_error or "")
    moved.rename(folder)
    assert task.stop()
    assert (folder / "all.jsonl").read_text() == '{"value":5}\n'


def test_live_equals_replay_byte_for_byte(board: Board) -> None:
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.exponential(1.0, 300)) + rng.normal(0, 1.0, 300) + 1000
    records = [{"ts": round(float(t), 3), "value": float(rng.normal(60, 9))} for t in times]
    records.append({"ts": 1399.9, "value": 1.0})  # soon closed by silence
    recording = board.folder / "in.jsonl"
    recording.write_text("".join(json.dumps(record) + "\n" for record in records))
    text = HOT.replace('"10s", idle', '"10s", lateness = "3s", out_of_order = "1s", idle')
    text = text.replace('{ type = "mqtt", topic = "site/+/temp"', '{ type = "file", path = "in.jsonl"')
    text += 'windows = { type = "file", path = "windows.jsonl", from = "avg" }\n'
    task = board.run(text)
    expected = replay(load(f"schema = 1\n{text}", "t"), board.folder, recording, open_model=runtime.load)
    wait(lambda: task.evidence().results == len(expected["windows"]) + len(expected["all"]))
    assert task.stop()
    for sink in ("windows", "all"):
        lines = (board.folder / "hot" / f"{sink}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == expected[sink]
    assert any(item["revision"] for item in expected["windows"])


def test_pictures_dropped_into_a_folder_are_read_by_the_worked_spec(board: Board) -> None:
    folder = ROOT / "specs" / "tasks" / "digits"
    task = board.run((folder / "digits.toml").read_text(), folder)
    for picture in sorted((folder / "pictures").iterdir()):
        (board.folder / "inbox").mkdir(exist_ok=True)
        (board.folder / "inbox" / picture.name).write_bytes(picture.read_bytes())
    Image.new("RGB", (8, 8)).save(board.folder / "inbox" / "black.png")
    wait(lambda: task.evidence().results == 5)
    assert task.stop()
    database = sqlite3.connect(board.folder / "digits" / "results.sqlite")
    rows = database.execute("SELECT name, label FROM digits WHERE name != 'black.png'").fetchall()
    database.close()
    assert len(rows) == 4 and all(f"_is_{label}.png" in name for name, label in rows)
    again = board.run((folder / "digits.toml").read_text(), folder)
    Image.new("RGB", (8, 8)).save(board.folder / "inbox" / "later.png")
    wait(lambda: again.evidence().results == 1)
    assert again.recent_results(1)[0][2]["name"] == "later.png"  # the others are remembered


def pictures(folder: Path, names: Iterable[str]) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (8, 8)).save(folder / f".{name}", "PNG")
        (folder / f".{name}").rename(folder / name)


def read_names(board: Board) -> list[str]:
    database = sqlite3.connect(board.folder / "digits" / "results.sqlite")
    names = [name for (name,) in database.execute("SELECT name FROM digits")]
    database.close()
    return sorted(names)


def test_a_backlog_longer_than_every_queue_loses_no_picture(board: Board) -> None:
    folder = ROOT / "specs" / "tasks" / "digits"
    names = [f"{i:03d}.png" for i in range(40)]
    pictures(board.folder / "inbox", names)
    task = board.run(
        (folder / "digits.toml").read_text().replace("[sources]", "[run]\nmax = 3\n[sources]"), folder
    )
    wait(lambda: task.evidence().results == 40)
    assert task.stop()
    assert read_names(board) == names and task.evidence().dropped == 0


def test_a_swap_reads_every_picture_once(board: Board) -> None:
    folder = ROOT / "specs" / "tasks" / "digits"
    text = (folder / "digits.toml").read_text()
    names = [f"{i:03d}.png" for i in range(60)]
    running = board.run(text, folder)
    for part in (names[:20], names[20:40], names[40:]):
        pictures(board.folder / "inbox", part)
        new = board.run(text, folder)  # beside the old one, which stops only now
        assert running.stop()
        running = new
    wait(lambda: sum(task.evidence().results for task in board.tasks) >= 60)
    assert running.stop()
    assert [task.evidence().last_error for task in board.tasks] == [None] * 4
    assert read_names(board) == names


AGENT = """
import sys, time, runtime
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.sources.mqtt import MqttSource
from edge_agent.spec.load import load
from edge_agent.topology import Context, build
state, spec = Path(sys.argv[1]), Path(sys.argv[2])
context = Context("b", state, state / "digits", None, SystemClock(), runtime.load)
task = build(load(spec.read_text(), "digits.toml"), spec.parent, context)
task.start()
print("running", flush=True)
while task.evidence().results < int(sys.argv[3]):
    time.sleep(0.005)
task.stop()
"""


def test_killed_at_any_time_every_picture_is_in_the_table(board: Board) -> None:
    spec = ROOT / "specs" / "tasks" / "digits" / "digits.toml"
    names = [f"{i:04d}.png" for i in range(1500)]
    (board.folder / "digits").mkdir()
    pictures(board.folder / "inbox", names)
    rng = random.Random(5)

    def agent(results: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", AGENT, str(board.folder), str(spec), str(results)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None and process.stdout.readline() == "running\n"
        return process

    for _ in range(4):
        process = agent(10_000)
        time.sleep(rng.uniform(0.3, 1.0))
        process.kill()
        process.wait()
    seen = {line for line in (board.folder / "digits" / "inbox.seen").read_text().splitlines() if line}
    assert agent(len(names) - len(seen)).wait(GUARD) == 0
    assert sorted(set(read_names(board))) == names


def test_this_machine_watches_itself_by_the_worked_spec(board: Board) -> None:
    folder = ROOT / "specs" / "tasks" / "telemetry"
    text = (folder / "telemetry.toml").read_text().replace("250ms", "20ms").replace('"2s"', '"100ms"')
    task = board.run(text, folder)
    wait(lambda: task.evidence().results >= 3)
    assert (task.evidence().errors, task.evidence().failed) == (0, None), task.evidence().last_error
    item = next(item for name, _, item in task.recent_results() if name == "windows")
    assert 0 <= item["cpu_mean"] <= 1 and item["procs"] > 1 and item["error"] >= 0


def test_a_thread_that_does_not_end_is_said(
    board: Board, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    monkeypatch.setattr(MqttSource, "run", lambda *_: free.wait(GUARD))
    task = board.run(HOT)
    assert not task.stop(0.05)
    assert "task hot: hot-t did not end" in caplog.text
    free.set()
    assert task.stop(GUARD)
