"""The whole agent in one process: real folders, a real blob server, a broker in memory, a clock moved by hand
and tasks that do what a test says. What is real is the control plane."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker.wire import digest, signing, topics
from cloud_broker.wire.link import Link, MemoryHub
from cloud_broker.wire.messages import (
    Ask,
    FileEntry,
    Hello,
    Manifest,
    Message,
    Notice,
    Presence,
    Reason,
    Report,
    RoundOpen,
    Running,
    decode,
    encode,
)
from edge_agent import __main__ as wiring
from edge_agent import uplink
from edge_agent.agent import RETRY, Agent, AgentError
from edge_agent.clock import Clock, ManualClock
from edge_agent.config import BoardConfig
from edge_agent.evidence import Counts, Evidence, NearMiss, StartError
from edge_agent.outbox import Outbox
from edge_agent.profile import Board
from edge_agent.releases import Refusal, Tools
from edge_agent.slots import Store
from edge_agent.spec import Spec
from edge_agent.status import Picture, read

KEY, STRANGER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
Caplog = pytest.LogCaptureFixture
GUARD = 20.0
"""Seconds after which a test that waits has hung."""


def spec_text(version: str = "1.0.0", task: str = "hot", more: str = "") -> str:
    return f"""schema = 1
[task]
name = "{task}"
version = "{version}"
[sources]
t = {{ type = "mqtt", topic = "site/temp" }}
[sinks]
out = {{ type = "file", path = "out.jsonl", from = "t" }}
{more}"""


class FakeTask:
    """Runs when told to, and shows what it is told to show."""

    def __init__(self, spec: Spec, clock: Clock) -> None:
        self.version = spec.task.version
        self.running = False
        self.clock = clock
        self.shown = Evidence(started=clock.now(), heartbeat=clock.now())

    def start(self) -> None:
        if self.version.endswith(".13"):
            raise StartError(Reason.START_FAILED, "sink out: Permission denied")
        self.running = True

    def stop(self, timeout: float) -> None:
        assert timeout > 0
        self.running = False

    def evidence(self) -> Evidence:
        return replace(self.shown, heartbeat=self.clock.now())

    def show(self, **counts: object) -> None:
        self.shown = replace(self.shown, **counts)  # type: ignore[arg-type]


@dataclass
class World:
    """A board, its server's ears, and the blobs."""

    folder: Path
    blobs: dict[str, bytes]
    base: str
    hub: MemoryHub = field(default_factory=MemoryHub)
    clock: ManualClock = field(default_factory=lambda: ManualClock(1000.0))
    built: list[FakeTask] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)
    rounds: list[tuple[int, str]] = field(default_factory=list)
    agent: Agent | None = None
    issued: int = 0

    def __post_init__(self) -> None:
        server = self.hub.link("server")
        for leaf, kind in (("hello", Hello), ("report", Report), ("state", Presence)):
            server.subscribe(
                f"wl/v1/d/+/up/{leaf}",
                lambda _, payload, kind=kind: self.heard.append(decode(payload, kind)),  # type: ignore[misc]
            )
        server.start()
        self.server = server
        self.config = BoardConfig(
            board="pi-1",
            trusted=(signing.public_text(KEY.public_key()),),
            state=self.folder / "state",
            specs=self.folder / "specs",
        )
        self.config.specs_folder.mkdir()

    def tools(self, task: str, link: Link | None) -> Tools:
        def build(spec: Spec, _folder: Path) -> FakeTask:
            self.built.append(FakeTask(spec, self.clock))
            return self.built[-1]

        return replace(wiring.tools(self.config, self.clock, task, link), build=build)

    def link(self, board: Board) -> Link:
        return self.hub.link("board", will=uplink.will(board))

    def train(self, invitation: RoundOpen, data: str, _link: Link) -> None:
        self.rounds.append((invitation.round, data))
        if invitation.round > 1:
            raise Refusal(Reason.NOT_OURS, "round 2 ended 3 s ago")

    def boot(self) -> None:
        self.agent = Agent(
            self.config,
            tools=self.tools,
            link=self.link,
            train=self.train,
            clock=self.clock,
            rng=Random(7),
        )
        self.agent.start()

    def crash(self) -> None:
        """The process is gone: nothing is told, nothing is flushed; the lock is the kernel's to take back."""
        assert self.agent is not None
        self.agent._watcher.stop()
        self.hub.lose("board")
        self.agent._lock.close()
        self.agent._outbox.close()
        for task in self.built:
            task.running = False
        self.agent = None

    def until(self, condition: Callable[[], object]) -> None:
        assert self.agent is not None
        end = time.monotonic() + GUARD
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"never came true; running {self.running}, heard {self.heard[-3:]}")
            while self.agent.work(timeout=0.02):
                pass
            self.agent.tick()

    def settle(self) -> None:
        """Until nothing has happened for a while: for what must not happen."""
        assert self.agent is not None
        while self.agent.work(timeout=0.4):
            pass

    @property
    def running(self) -> list[str]:
        return [task.version for task in self.built if task.running]

    @property
    def states(self) -> list[str]:
        """The states reported so far, in order, with their reasons."""
        reports = [message for message in self.heard if isinstance(message, Report)]
        return [f"{report.state}" + (f"/{report.reason}" if report.reason else "") for report in reports]

    @property
    def last_report(self) -> Report:
        return [message for message in self.heard if isinstance(message, Report)][-1]

    @property
    def hellos(self) -> list[Hello]:
        return [message for message in self.heard if isinstance(message, Hello)]

    @property
    def profile(self) -> dict[str, Running]:
        whole = [hello.profile for hello in self.hellos if hello.profile is not None]
        return dict(whole[-1])

    @property
    def store(self) -> Store:
        return Store(self.config.state / "tasks" / "hot")

    def status(self, task: str = "hot") -> str:
        assert self.agent is not None
        return self.agent.tasks[task].status().state

    @property
    def picture(self) -> Picture:
        return read(self.config.state, self.clock.now())

    @property
    def problems(self) -> list[str]:
        return list(self.picture.problems.values())

    def drop(self, name: str, text: str) -> None:
        path = self.config.specs_folder / name
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".part").write_text(text)
        path.with_suffix(".part").rename(path)

    def told(self, name: str) -> str:
        path = self.config.specs_folder / f"{name}.status"
        return path.read_text() if path.exists() else ""

    # --- the server's side ---

    def put(self, data: bytes) -> str:
        self.blobs[digest.of_bytes(data)] = data
        return digest.of_bytes(data)

    def release(
        self,
        version: str,
        files: dict[str, bytes] | None = None,
        key: Ed25519PrivateKey = KEY,
        **more: object,
    ) -> str:
        """Store a signed release; returns its digest."""
        content = {"hot.toml": spec_text(version).encode()} if files is None else files
        entries = [
            FileEntry(path=path, digest=self.put(data), size=len(data)) for path, data in content.items()
        ]
        fields = {
            "task": "hot",
            "version": version,
            "spec": "hot.toml",
            "files": entries,
            "created": 1.0,
            **more,
        }
        return self.put(encode(signing.sign(Manifest.model_validate(fields), [key])))

    def notice(self, release: str, version: str, **more: object) -> Notice:
        self.issued += 1
        fields = {
            "task": "hot",
            "version": version,
            "release": release,
            "size": 1,
            "blobs": self.base,
            "rollout": "r1",
            "issued": 1000.0 + self.issued,
            **more,
        }
        return Notice.model_validate(fields)

    def send(self, message: Message | bytes, leaf: topics.Down = "notice") -> None:
        payload = message if isinstance(message, bytes) else encode(message)
        self.server.publish(topics.down("pi-1", leaf), payload)

    def announce(self, version: str, release: str | None = None, **more: object) -> str:
        release = release or self.release(version)
        self.send(self.notice(release, version, **more))
        return release

    def make_good(self, version: str) -> str:
        release = self.announce(version)
        self.until(lambda: self.states[-1:] == ["trial"])
        self.clock.advance(3.5)
        self.until(lambda: self.states[-1:] == ["good"])
        return release


@pytest.fixture(autouse=True)
def leases() -> Iterator[None]:
    """As in the agent's process: see drop_folder.being_written."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    blobs: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = blobs.get(self.path.rpartition("/")[2])
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made = World(tmp_path, blobs, f"http://127.0.0.1:{server.server_port}")
    yield made
    if made.agent:
        made.agent.close()
    server.shutdown()
    server.server_close()
    thread.join()


# --- the drop folder ---


def test_a_dropped_spec_runs_changes_breaks_and_goes(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"] and "running: hot 1.0.0" in world.told("hot.toml"))

    world.drop("hot.toml", spec_text("1.1.0"))
    world.until(lambda: world.running == ["1.1.0"])
    assert world.store.slots.previous is not None and world.store.slots.previous.version == "1.0.0"

    world.drop("hot.toml", spec_text("1.2.0").replace("topic", "topik"))
    world.until(lambda: "topik" in world.told("hot.toml"))
    assert "did you mean `topic`?" in world.told("hot.toml")
    assert world.told("hot.toml").endswith("The running version 1.1.0 was left untouched.\n")
    assert world.running == ["1.1.0"]

    world.drop("hot.toml", spec_text("1.1.0"))
    world.until(lambda: "running: hot 1.1.0" in world.told("hot.toml"))
    assert len(world.built) == 2

    (world.config.specs_folder / "hot.toml").unlink()
    world.until(lambda: world.running == [] and world.status() == "stopped")
    assert world.told("hot.toml") == ""


def test_a_spec_in_a_folder_runs_again_when_only_its_model_changes(world: World) -> None:
    world.boot()
    model = Path("specs/models/digits_int8.tflite").read_bytes()
    folder = world.config.specs_folder / "digits"
    folder.mkdir()
    (folder / "m.tflite").write_bytes(model)
    world.drop("digits/d.toml", spec_text("1.0.0", "hot", '[model]\nfile = "m.tflite"\n'))
    world.until(lambda: world.running == ["1.0.0"])
    first = world.store.slots.current
    (folder / "m.tflite").write_bytes(model[: len(model) // 2])
    world.until(lambda: "E065" in world.told("digits/d.toml"))
    assert world.running == ["1.0.0"]
    (folder / "m.tflite").write_bytes(Path("specs/models/telemetry_ae_f32.tflite").read_bytes())
    world.until(lambda: len(world.built) == 2 and world.running == ["1.0.0"])
    assert world.store.slots.previous == first


def test_a_second_file_with_the_same_task_is_told_so(world: World) -> None:
    world.boot()
    world.drop("b.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    world.drop("a.toml", spec_text("2.0.0"))
    world.until(lambda: "already used by b.toml" in world.told("a.toml"))
    assert world.running == ["1.0.0"]
    (world.config.specs_folder / "b.toml").unlink()
    world.until(lambda: world.running == ["2.0.0"])


def test_a_drop_that_cannot_start_leaves_the_old_version_alone(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    world.drop("hot.toml", spec_text("1.0.13"))
    world.until(lambda: "start_failed: sink out: Permission denied" in world.told("hot.toml"))
    assert world.running == ["1.0.0"]
    assert len(list((world.store.root / "versions").iterdir())) == 1


def test_a_drop_without_room_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_disk: object, path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.intents.Disk.write", full)
        world.drop("hot.toml", spec_text("1.0.0"))
        world.until(lambda: "disk_full: " in world.told("hot.toml"))
        world.settle()
        assert world.built == []
    world.clock.advance(RETRY)
    world.until(lambda: world.running == ["1.0.0"] and "running: hot 1.0.0" in world.told("hot.toml"))


def test_a_drop_that_failed_is_tried_again_when_it_is_dropped_again(world: World) -> None:
    world.boot()
    for attempt in (1, 2):
        world.drop("hot.toml", spec_text("1.0.13"))
        world.until(lambda: "start_failed" in world.told("hot.toml"))
        (world.config.specs_folder / "hot.toml").unlink()
        world.until(lambda: world.told("hot.toml") == "")
        assert len(world.built) == attempt


def test_a_specs_folder_that_is_gone_stops_nothing(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    world.crash()
    away = world.folder / "away"
    world.config.specs_folder.rename(away)
    world.boot()
    world.until(lambda: world.clock.advance(1.0) or (world.running == ["1.0.0"] and world.problems))
    assert "the specs folder is gone; nothing that came from it is stopped" in world.problems[0]
    away.rename(world.config.specs_folder)
    world.until(lambda: world.clock.advance(1.0) or not world.problems)
    world.settle()
    assert world.running == ["1.0.0"]


def test_a_change_of_state_or_version_is_in_the_picture_at_once(world: World) -> None:
    """The clock stands still, so no picture is due by time."""
    world.boot()
    for version in ("1.0.0", "1.1.0"):
        world.drop("hot.toml", spec_text(version))
        world.until(lambda: version in world.told("hot.toml"))  # noqa: B023
        task = world.picture.tasks["hot"]
        assert (task.version, task.evidence.state) == (version, "running")
    (world.config.specs_folder / "hot.toml").unlink()
    world.until(lambda: not world.running)
    assert world.picture.tasks["hot"].evidence.state == "stopped"


def test_near_misses_can_be_read_in_the_picture(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    miss = NearMiss("door", 1000.0, "pir.high came too late (29 s > 20 s)")
    world.built[0].show(counts=Counts(late=1, near_misses=2, missed=(miss,)))
    world.clock.advance(1.0)
    world.until(lambda: world.picture.tasks["hot"].near_misses == 2)
    task = world.picture.tasks["hot"]
    assert (task.late, task.missed) == (
        1,
        ("1970-01-01T00:16:40.000+00:00 door: pir.high came too late (29 s > 20 s)",),
    )


def test_a_half_written_file_is_not_loaded(world: World) -> None:
    world.boot()
    path = world.config.specs_folder / "hot.toml"
    text = spec_text("1.0.0", more='[sinks.more]\ntype = "file"\npath = "more.jsonl"\nfrom = "t"\n')
    with path.open("w") as file:
        file.write(text[:-80])  # a valid spec, but not the whole one
        file.flush()
        world.settle()
        assert world.built == []
        file.write(text[-80:])
    world.until(lambda: world.running == ["1.0.0"])
    assert world.store.slots.current is not None
    assert world.store.slots.current.files[0].size == len(text)


def test_the_folder_is_caught_up_with_after_a_restart(world: World) -> None:
    world.drop("hot.toml", spec_text("1.0.0"))
    world.drop("cold.toml", spec_text("1.0.0", "cold"))
    world.boot()
    world.until(lambda: world.running == ["1.0.0", "1.0.0"])
    world.crash()
    world.drop("hot.toml", spec_text("1.1.0"))
    (world.config.specs_folder / "cold.toml").unlink()
    world.boot()
    world.until(lambda: world.running == ["1.1.0"])
    assert world.status("cold") == "stopped"
    assert world.agent is not None and world.agent.tasks["cold"].runner.life.cause == "cold.toml was deleted"


def test_a_task_whose_loop_ends_is_started_again(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    world.built[0].show(failed="MemoryError: cannot allocate")
    world.until(lambda: world.status() == "restarting")
    world.clock.advance(1.0)
    world.until(lambda: len(world.built) == 2 and world.status() == "running")
    assert world.running == ["1.0.0"]


# --- releases ---


def test_a_release_from_notice_to_good(world: World) -> None:
    world.boot()
    release = world.make_good("1.0.0")
    assert world.states == ["fetching", "trial", "good"]
    assert world.running == ["1.0.0"]
    assert world.profile == {"hot": Running(version="1.0.0", release=release)}
    assert [r.seq for r in world.heard if isinstance(r, Report)] == [1, 2, 3]
    second = world.make_good("1.1.0")
    assert world.running == ["1.1.0"]
    assert world.profile["hot"].release == second


def test_a_failing_release_is_rolled_back_with_its_cause(world: World) -> None:
    world.boot()
    old = world.make_good("1.0.0")
    bad = world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    text = "script error: ZeroDivisionError at anomaly.py:14"
    world.built[-1].show(events=12, errors=12, last_error=text)
    world.until(lambda: world.running == ["1.0.0"])
    assert world.states[-1] == "rolled_back/failure_rate"
    assert world.last_report.detail == f"12 of 12 items failed: {text}"
    assert world.store.slots.current is not None and world.store.slots.current.id == old
    world.until(lambda: world.profile["hot"].release == old)
    world.announce("1.1.0", bad)  # the same rollout again: the same answer, nothing is tried
    world.until(lambda: world.states[-2:] == ["rolled_back/failure_rate"] * 2)
    assert world.running == ["1.0.0"]


def test_a_clock_that_is_set_ends_no_trial(world: World) -> None:
    world.boot()
    world.announce("1.0.0")
    world.until(lambda: world.states[-1:] == ["trial"])
    world.clock.advance(1.0)
    world.clock.step(30 * 86400.0)
    for _ in range(4):
        world.clock.advance(0.4)
        world.until(lambda: True)
        assert world.agent is not None
        world.agent.tick()
        assert (world.states[-1], world.status()) == ("trial", "trial")
    world.clock.advance(0.5)
    world.until(lambda: world.states[-1] == "good")


def test_a_release_that_dies_is_rolled_back(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    world.built[-1].show(failed="the script's process was killed by signal 11")
    world.until(lambda: world.states[-1] == "rolled_back/crashed")
    world.until(lambda: world.running == ["1.0.0"])
    assert "signal 11" in world.last_report.detail


def test_a_rollback_notice_goes_back_without_the_network(world: World) -> None:
    world.boot()
    old = world.make_good("1.0.0")
    world.make_good("1.1.0")
    world.blobs.clear()
    world.announce("1.0.0", old, rollback=True, rollout="r2")
    world.until(lambda: world.states[-1] == "good")
    world.until(lambda: world.running == ["1.0.0"])
    assert world.profile["hot"].release == old


def test_a_newer_release_pre_empts_the_one_on_trial(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    world.announce("1.2.0")
    world.until(lambda: world.states[-1] == "trial" and "rolled_back/superseded" in world.states)
    world.clock.advance(4)
    world.until(lambda: world.running == ["1.2.0"] and world.states[-1] == "good")


def test_a_drop_wins_until_the_next_release(world: World) -> None:
    world.boot()
    release = world.make_good("1.0.0")
    world.drop("hot.toml", spec_text("1.0.1"))
    world.until(lambda: world.running == ["1.0.1"])
    world.until(lambda: world.profile["hot"] == Running(version="1.0.1", release=""))
    world.announce("1.0.0", release)
    world.until(lambda: world.states[-1] == "refused/operator")
    world.make_good("1.1.0")
    assert world.running == ["1.1.0"]
    world.crash()
    world.boot()
    world.until(lambda: world.running == ["1.1.0"])
    world.settle()
    assert world.running == ["1.1.0"]  # the file is what it was; it does not win again
    (world.config.specs_folder / "hot.toml").unlink()
    world.until(lambda: world.store.slots.dropped is None)
    assert world.running == ["1.1.0"]


def test_files_that_are_here_are_not_fetched_again(world: World) -> None:
    world.boot()
    big = b"{}\n" * 5000
    text = spec_text("1.0.0").replace(
        'type = "mqtt", topic = "site/temp"', 'type = "file", path = "old.jsonl"'
    )
    release = world.release("1.0.0", {"hot.toml": text.encode(), "old.jsonl": big})
    world.announce("1.0.0", release)
    world.until(lambda: world.states[-1:] == ["trial"])
    world.clock.advance(4)
    world.until(lambda: world.states[-1] == "good")
    text = text.replace("1.0.0", "1.1.0")
    release = world.release("1.1.0", {"hot.toml": text.encode(), "old.jsonl": big})
    del world.blobs[digest.of_bytes(big)]
    world.announce("1.1.0", release)
    world.until(lambda: world.running == ["1.1.0"])


# --- bad input: each is refused with its code, and what ran goes on ---

MODEL = Path("specs/models/digits_int8.tflite").read_bytes()
WITH_MODEL = '[model]\nfile = "m.tflite"\n'
WITH_TEST = '[[test]]\nname = "one"\nreplay = "r.jsonl"\nexpect = [{ sink = "out", count = 5 }]\n'


def with_files(more: str, **files: bytes) -> dict[str, bytes]:
    named = {name.replace("_", "."): data for name, data in files.items()}
    return {"hot.toml": spec_text("1.1.0", more=more).encode(), **named}


def tampered(world: World) -> str:
    envelope = json.loads(world.blobs[world.release("1.1.0")])
    envelope["payload"] = envelope["payload"].replace("1.1.0", "1.1.1")
    return world.put(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode())


def unsigned(world: World) -> str:
    envelope = json.loads(world.blobs[world.release("1.1.0")])
    envelope["signatures"] = []
    return world.put(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode())


def missing_file(world: World) -> str:
    release = world.release("1.1.0", with_files("", x_bin=b"gone"))
    del world.blobs[digest.of_bytes(b"gone")]
    return release


def swapped_file(world: World) -> str:
    release = world.release("1.1.0", with_files("", x_bin=b"right"))
    world.blobs[digest.of_bytes(b"right")] = b"wrong"
    return release


def wrong_model(world: World) -> str:
    text = WITH_MODEL + f'sha256 = "{"0" * 64}"\n'
    return world.release("1.1.0", with_files(text, m_tflite=MODEL))


BAD: list[tuple[str, Callable[[World], str], Reason, str]] = [
    ("unsigned", unsigned, Reason.UNKNOWN_KEY, "signed by nobody"),
    ("by a stranger", lambda w: w.release("1.1.0", key=STRANGER), Reason.UNKNOWN_KEY, "trusted here"),
    ("tampered", tampered, Reason.BAD_SIGNATURE, "does not match the payload"),
    ("no manifest", lambda w: w.put(b"hello"), Reason.NOT_OURS, "not JSON"),
    ("not there", lambda _: "9" * 64, Reason.FETCH_FAILED, "HTTP 404"),
    ("another task", lambda w: w.release("1.1.0", task="cold"), Reason.NOT_OURS, "the notice said 'hot'"),
    ("older", lambda w: w.release("0.9.0"), Reason.TOO_OLD, "not newer than 1.0.0"),
    ("as old", lambda w: w.release("1.0"), Reason.TOO_OLD, "not newer than 1.0.0"),
    ("agent", lambda w: w.release("1.1.0", needs_agent="99.0"), Reason.NEEDS_AGENT, "needs agent 99.0"),
    ("arch", lambda w: w.release("1.1.0", needs_arch=("z80",)), Reason.NEEDS_ARCH, "needs z80"),
    ("a file is missing", missing_file, Reason.FETCH_FAILED, "HTTP 404"),
    ("a file is another", swapped_file, Reason.DIGEST_MISMATCH, "the bytes have digest"),
    (
        "broken spec",
        lambda w: w.release("1.1.0", {"hot.toml": b"schema = 1\n[task"}),
        Reason.BAD_SPEC,
        "E001",
    ),
    (
        "another version inside",
        lambda w: w.release("1.1.0", {"hot.toml": spec_text("1.1.1").encode()}),
        Reason.BAD_SPEC,
        "hot.toml is hot 1.1.1, the manifest says hot 1.1.0",
    ),
    ("model of another digest", wrong_model, Reason.BAD_MODEL, "E062"),
    (
        "truncated model",
        lambda w: w.release("1.1.0", with_files(WITH_MODEL, m_tflite=MODEL[: len(MODEL) // 2])),
        Reason.BAD_MODEL,
        "E065",
    ),
    (
        "its own test fails",
        lambda w: w.release("1.1.0", with_files(WITH_TEST, r_jsonl=b'{"c": 1}\n')),
        Reason.TEST_FAILED,
        "test 'one': expected out: 5, got out: 1",
    ),
]


@pytest.mark.parametrize(("make", "reason", "text"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_release_is_refused(
    world: World, make: Callable[[World], str], reason: Reason, text: str
) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0", make(world))
    world.until(lambda: world.states[-1].startswith("refused"))
    assert world.last_report.reason is reason
    assert text in world.last_report.detail
    assert world.running == ["1.0.0"]
    assert [folder.name for folder in (world.store.root / "versions").iterdir()] == [
        world.store.slots.current.id if world.store.slots.current else ""
    ]
    assert not world.store.incoming.exists()


def test_a_release_that_cannot_start_is_rolled_back(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.0.13")
    world.until(lambda: world.states[-1] == "rolled_back/start_failed")
    assert "Permission denied" in world.last_report.detail
    assert world.running == ["1.0.0"]
    assert len(world.built) == 2  # the old one was never touched


def test_a_disk_that_fills_up_while_staging(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.boot()
    world.make_good("1.0.0")

    def full(_disk: object, _source: Path, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.intents.Disk.link", full)
        release = world.announce("1.1.0")
        world.until(lambda: world.states[-1] == "refused/disk_full")
    assert "No space left on device" in world.last_report.detail
    assert world.running == ["1.0.0"]
    assert not world.store.incoming.exists()
    assert len(list((world.store.root / "versions").iterdir())) == 1
    world.announce("1.1.0", release)  # the same rollout, once there is room
    world.until(lambda: world.running == ["1.1.0"])


def test_a_disk_without_room_is_not_even_tried(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.boot()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    world.announce("1.1.0")
    world.until(lambda: world.states[-1:] == ["refused/disk_full"])
    assert world.last_report.detail.startswith("needs ")


NOT_OURS = [
    b"",
    b"\xff\x00",
    b"{}",
    b'{"kind":"notice","schema":1}',
    b'{"kind":"notice","schema":9}',
    b"[" * 9999,
]


@pytest.mark.parametrize("leaf", ["notice", "ask", "round", "other"])
@pytest.mark.parametrize("payload", NOT_OURS)
def test_what_is_not_ours_changes_nothing(world: World, leaf: topics.Down, payload: bytes) -> None:
    world.boot()
    world.send(payload, leaf)
    world.until(lambda: world.heard)
    assert world.agent is not None and world.agent.tasks == {}
    assert world.states == []


def test_notices_that_come_to_nothing_leave_nothing(world: World) -> None:
    world.boot()
    for n in range(20):
        world.send(world.notice("8" * 64, "1.0.0", task=f"task-{n}"))
    world.until(lambda: world.states.count("refused/fetch_failed") == 20)
    world.until(lambda: world.agent is not None and not world.agent.tasks)
    assert (
        not list((world.config.state / "tasks").glob("*"))
        if (world.config.state / "tasks").exists()
        else True
    )


# --- broker, restarts, hello ---


def test_a_broker_that_goes_away_in_the_middle(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    before = len(world.heard)
    world.hub.lose("board")
    world.clock.advance(4)
    world.until(lambda: world.agent is not None and world.agent.tasks["hot"].update.phase == "good")
    assert world.running == ["1.1.0"]
    assert [m for m in world.heard[before:] if not isinstance(m, Presence)] == []
    world.hub.restore("board")
    world.until(lambda: world.states[-1] == "good")


def test_reports_wait_in_memory_while_the_disk_takes_none(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_box: Outbox, _make: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    world.boot()
    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "put", full)
        world.announce("1.0.0")
        world.until(lambda: world.running == ["1.0.0"])
        assert world.states == []
    world.until(lambda: world.states == ["fetching", "trial"])


def test_reports_survive_a_crash_while_offline(world: World) -> None:
    world.boot()
    world.announce("1.0.0")
    world.until(lambda: world.states[-1:] == ["trial"])
    world.hub.lose("board")
    world.clock.advance(4)
    world.until(lambda: world.agent is not None and world.agent.tasks["hot"].update.phase == "good")
    world.crash()
    world.boot()
    world.until(lambda: world.states[-1:] == ["good"])


def test_a_crash_during_a_trial_starts_the_trial_again(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    world.crash()
    world.boot()
    world.until(lambda: world.running == ["1.1.0"] and world.status() == "trial")
    world.clock.advance(4)
    world.until(lambda: world.states[-1] == "good")


def test_a_release_that_takes_the_agent_down_is_given_up(world: World) -> None:
    world.boot()
    world.make_good("1.0.0")
    world.announce("1.1.0")
    world.until(lambda: world.states[-1] == "trial")
    for _ in range(5):
        world.crash()
        world.boot()
    world.until(lambda: world.states[-1] == "rolled_back/crashed")
    world.until(lambda: world.running == ["1.0.0"])


def test_hello_on_connect_on_change_when_asked_and_as_the_heartbeat(world: World) -> None:
    world.boot()
    world.until(lambda: world.hellos)
    assert [hello.profile for hello in world.hellos] == [{}]
    assert Presence(board="pi-1", session=1, online=True) in world.heard
    world.clock.advance(31)
    world.until(lambda: len(world.hellos) == 2)
    assert world.hellos[1].profile is None
    world.send(Ask(profile_hash=world.hellos[0].profile_hash), "ask")
    world.until(lambda: len(world.hellos) == 3)
    assert world.hellos[2].profile == {}
    world.crash()
    assert world.heard[-1] == Presence(board="pi-1", session=1, online=False)
    world.boot()
    world.until(lambda: Presence(board="pi-1", session=2, online=True) in world.heard)


def test_an_invitation_to_train_goes_to_the_task_of_that_name(world: World, caplog: Caplog) -> None:
    caplog.set_level("INFO")
    world.boot()

    def invite(round: int) -> None:
        world.send(
            RoundOpen(plan="hot", round=round, base="a" * 64, size=10, blobs=world.base, deadline=2000.0),
            "round",
        )

    invite(0)
    world.until(lambda: "no task of this name trains here" in caplog.text)
    world.drop("hot.toml", spec_text(more='[federated]\ndata = "{state}/d.npz"\n'))
    world.until(lambda: world.running)
    invite(1)
    world.until(lambda: "round 1 done" in caplog.text)
    invite(2)
    world.until(lambda: "round 2 failed (round 2 ended 3 s ago)" in caplog.text)
    assert world.rounds == [(1, "{state}/d.npz"), (2, "{state}/d.npz")]


def test_the_newest_invitation_that_comes_while_training_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Semaphore(0)

    def slow(invitation: RoundOpen, _data: str, _link: Link) -> None:
        world.rounds.append((invitation.round, ""))
        assert done.acquire(timeout=GUARD)

    monkeypatch.setattr(world, "train", slow)
    world.boot()
    world.drop("hot.toml", spec_text(more='[federated]\ndata = "d.npz"\n'))
    world.until(lambda: world.running)
    for round in (1, 2, 3):
        invitation = RoundOpen(
            plan="hot", round=round, base="a" * 64, size=10, blobs=world.base, deadline=2000.0
        )
        world.send(invitation, "round")
    world.until(lambda: world.rounds == [(1, "")])
    done.release(2)
    world.until(lambda: world.rounds == [(1, ""), (3, "")])


def test_one_agent_per_state_folder(world: World) -> None:
    world.boot()
    with pytest.raises(AgentError, match="another agent works in"):
        world.boot()


def test_a_task_whose_pointer_is_broken_does_not_harm_the_others(world: World) -> None:
    world.boot()
    world.drop("hot.toml", spec_text("1.0.0"))
    world.until(lambda: world.running == ["1.0.0"])
    world.crash()
    broken = world.config.state / "tasks" / "cold"
    broken.mkdir()
    (broken / "slots.json").write_text("{")
    world.boot()
    world.until(lambda: world.running == ["1.0.0"])
    assert world.agent is not None and list(world.agent.tasks) == ["hot"]
