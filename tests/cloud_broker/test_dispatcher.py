"""The dispatcher between fake boards and a real database: whole gray releases, and every stop in them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker import bundle
from cloud_broker.database import Database
from cloud_broker.dispatcher import Dispatcher, Refused
from cloud_broker.registry import Registry, Release
from cloud_broker.rollout import Phase, Stage, position
from cloud_broker.rollout_spec import Policy, PolicyError
from cloud_broker.store import BlobStore
from cloud_broker.wire import topics
from cloud_broker.wire.link import MemoryHub
from cloud_broker.wire.messages import (
    Hello,
    Notice,
    Presence,
    Reason,
    ReleaseState,
    Report,
    Update,
    encode,
    profile_hash,
)
from cloud_broker.wire.signing import sign, trust

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
POLICY = Policy.model_validate({"steps": ["1 board", "100%"], "hold": "10s"})


class Cloud:
    """A server without its HTTP; `restarted` is the next process on its folder after a kill."""

    def __init__(self, folder: Path, hub: MemoryHub, now: float = 1000.0) -> None:
        self.folder, self.hub, self.now = folder, hub, now
        self.database = Database(folder / "db")
        self.store = BlobStore(folder / "blobs")
        self.registry = Registry(self.database, self.store, trust([KEY.public_key()]))
        self.link = hub.link("server")
        self.dispatcher = Dispatcher(
            self.database, self.registry, self.link, blobs="http://blobs", clock=lambda: self.now
        )
        self.dispatcher.start()

    def release(self, version: str, deploy: str = "") -> Release:
        spec = self.folder / "hot.toml"
        spec.write_text(f'schema = 1\n[task]\nname = "hot"\nversion = "{version}"\n{deploy}')
        manifest, files = bundle.build(spec, 0.0)
        for data in files.values():
            self.store.put(data)
        return self.registry.add_release(encode(sign(manifest, [KEY])), self.now)

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.dispatcher.tick()

    def start(self, version: str, policy: Policy | None = POLICY) -> str:
        return self.dispatcher.start_rollout(self.release(version), policy).id

    def phase(self, rollout: str) -> Phase:
        state = self.dispatcher.rollout(rollout)
        assert state is not None
        return state.phase

    def finish(self, rollout: str) -> None:
        for _ in range(5):
            self.tick(10.0)
        assert self.phase(rollout) is Phase.COMPLETE

    def restarted(self) -> Cloud:
        """Another process on the same folder; the first one was killed and says nothing more."""
        self.hub.lose("server")
        self.database.close()
        return Cloud(self.folder, self.hub, self.now)


@pytest.fixture
def hub() -> MemoryHub:
    return MemoryHub()


@pytest.fixture
def cloud(tmp_path: Path, hub: MemoryHub) -> Cloud:
    return Cloud(tmp_path, hub)


@pytest.fixture
def board(hub: MemoryHub, fake_board: Callable[..., Any]) -> Callable[..., Any]:
    """A connected fake board of this name."""

    def make(name: str, fails: dict[str, Reason | None] | None = None) -> Any:
        will = (topics.up(name, "state"), encode(Presence(board=name, session=1, online=False)))
        link = hub.link(name, will=will)
        made = fake_board(link, name, fails)
        link.start()
        return made

    return make


def test_two_boards_take_a_release_step_by_step(cloud: Cloud, board: Callable[..., Any]) -> None:
    one, two = board("one"), board("two")
    rollout = cloud.start("1.0")
    assert len(one.notices) + len(two.notices) == 1
    cloud.tick(10.0)
    assert len(one.notices) == len(two.notices) == 1
    cloud.finish(rollout)
    release = cloud.registry.newest("hot")
    assert release is not None
    assert one.notices[0] == Notice(
        task="hot",
        version="1.0",
        release=release.release,
        size=release.size,
        blobs="http://blobs",
        rollout="r1",
        issued=one.notices[0].issued,
    )
    assert [event.kind for event in cloud.database.events()] == [
        "released",
        "started",
        "advanced",
        "complete",
    ]


def test_a_bad_release_is_stopped_and_everyone_goes_back(cloud: Cloud, board: Callable[..., Any]) -> None:
    boards = [board(f"b{n}") for n in range(4)]
    cloud.finish(cloud.start("1.0"))
    good = boards[0].running["hot"]
    last = max(boards, key=lambda b: cloud_position(b.name, cloud, "1.1"))
    last.fails["1.1"] = Reason.CRASHED
    bad = cloud.start("1.1")
    cloud.tick(10.0)
    assert cloud.phase(bad) is Phase.ABORTED
    state = cloud.dispatcher.rollout(bad)
    assert state is not None
    assert str(state.cause) == f"board {last.name}: crashed: 1.1 fell over"
    assert all(b.running["hot"] == good for b in boards)
    assert [b.notices[-1].rollback for b in boards] == [b is not last for b in boards]
    assert state.count() == {Stage.RESTORED: 3, Stage.FAILED: 1}


def cloud_position(name: str, cloud: Cloud, version: str) -> float:
    return position(name, cloud.release(version).release)


def test_rollback_by_a_person(cloud: Cloud, board: Callable[..., Any]) -> None:
    one = board("one")
    with pytest.raises(Refused, match="no rollout of 'hot'"):
        cloud.dispatcher.rollback("hot")
    cloud.finish(cloud.start("1.0"))
    with pytest.raises(Refused, match="no earlier good release"):
        cloud.dispatcher.rollback("hot")
    cloud.finish(cloud.start("1.1"))
    back = cloud.dispatcher.rollback("hot")
    assert (one.notices[-1].version, one.notices[-1].rollback) == ("1.0", True)
    cloud.tick(1.0)
    assert cloud.phase(back.id) is Phase.COMPLETE
    third = cloud.start("1.2")
    cloud.finish(third)
    cloud.dispatcher.rollback("hot")
    assert one.notices[-1].version == "1.0"  # 1.1 was withdrawn, so it is not a good one to return to


def test_a_newer_rollout_takes_over(cloud: Cloud, board: Callable[..., Any]) -> None:
    one = board("one", {"1.0": None})
    first = cloud.start("1.0")
    second = cloud.start("1.1")
    assert cloud.phase(first) is Phase.SUPERSEDED
    cloud.finish(second)
    assert one.running["hot"].version == "1.1"


def test_a_board_that_was_away_learns_at_its_hello(
    cloud: Cloud, board: Callable[..., Any], hub: MemoryHub
) -> None:
    one, two = board("one"), board("two")
    hub.lose("two")
    rollout = cloud.start("1.0")
    cloud.finish(rollout)
    assert one.notices and not two.notices
    hub.restore("two")
    assert two.running["hot"].version == "1.0"
    assert board("new").running["hot"].version == "1.0"


def test_an_unknown_profile_is_asked_for_once(
    cloud: Cloud, hub: MemoryHub, fake_board: Callable[..., Any]
) -> None:
    link = hub.link("one")
    one = fake_board(link, "one")
    link._connect.clear()  # this one only sends heartbeats
    link.start()
    one.heartbeat()
    assert one.asked == 1
    one.heartbeat()
    assert one.asked == 1
    assert [b.profile for b in cloud.dispatcher.boards()] == [{}]


def test_a_restart_goes_on_where_it_was(cloud: Cloud, board: Callable[..., Any]) -> None:
    boards = [board("one"), board("two")]
    rollout = cloud.start("1.0")
    after = cloud.restarted()
    assert after.phase(rollout) is Phase.RUNNING
    for each in boards:
        each.heartbeat()
    after.finish(rollout)
    assert all(each.running["hot"].version == "1.0" for each in boards)
    assert [event.kind for event in after.database.events()][-1] == "complete"


def test_after_a_restart_the_retained_presence_is_enough_to_go_on(
    cloud: Cloud, board: Callable[..., Any]
) -> None:
    one = board("one")
    after = cloud.restarted()
    assert [known.online for known in after.dispatcher.boards()] == [True]
    after.finish(after.start("1.0"))
    assert one.running["hot"].version == "1.0"


def test_a_notice_that_was_intended_but_not_sent_is_sent_after_the_restart(
    cloud: Cloud, board: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = board("one")
    monkeypatch.setattr(
        cloud.link, "publish", lambda *_, **__: None
    )  # killed between the intent and the deed
    rollout = cloud.start("1.0")
    assert not one.notices
    after = cloud.restarted()
    assert one.running["hot"].version == "1.0"
    after.finish(rollout)


def test_a_failing_database_changes_nothing(
    cloud: Cloud, board: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = board("one")
    release = cloud.release("1.0")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cloud.database, "put_rollout", full)
        with pytest.raises(OSError, match="No space"):
            cloud.dispatcher.start_rollout(release, POLICY)
    assert cloud.dispatcher.rollouts() == [] and not one.notices and cloud.database.rollouts() == []
    assert cloud.dispatcher.start_rollout(release, POLICY).phase is Phase.RUNNING


def test_heartbeats_that_say_nothing_new_are_not_written(cloud: Cloud, board: Callable[..., Any]) -> None:
    one = board("one")
    cloud.finish(cloud.start("1.0"))
    before = cloud.database._connection.total_changes
    one.heartbeat()
    cloud.tick(1.0)
    assert cloud.database._connection.total_changes == before


def test_a_tick_without_news_wakes_nobody(cloud: Cloud, board: Callable[..., Any]) -> None:
    one = board("one")
    cloud.finish(cloud.start("1.0"))
    woken: list[None] = []
    cloud.dispatcher.on_change(lambda: woken.append(None))
    for _ in range(5):
        cloud.tick(0.2)
    assert woken == []
    one.heartbeat()
    assert len(woken) == 1


def test_a_step_opens_while_a_release_comes_in(
    cloud: Cloud, board: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one holds the database and reads the registry, the other holds that and will want the database."""
    boards = [board("one"), board("two")]
    cloud.start("1.0")
    put = cloud.store.put

    def meanwhile(data: bytes) -> str:
        ticking = threading.Thread(target=cloud.tick, args=(10.0,), daemon=True)
        ticking.start()
        ticking.join(30)
        assert not ticking.is_alive(), "each waits for the other"
        return put(data)

    spec = cloud.folder / "hot.toml"
    spec.write_text(spec.read_text().replace("1.0", "1.1"))
    manifest, files = bundle.build(spec, 0.0)
    put(files["hot.toml"])
    monkeypatch.setattr(cloud.store, "put", meanwhile)
    cloud.registry.add_release(encode(sign(manifest, [KEY])), cloud.now)
    assert [len(one.notices) for one in boards] == [1, 1]


def test_the_policy_of_the_spec_is_the_default(cloud: Cloud, board: Callable[..., Any]) -> None:
    board("one")
    release = cloud.release("1.0", '[deploy]\nsteps = ["2 boards", "100%"]\nhold = "3s"\nprobation = "1s"\n')
    state = cloud.dispatcher.start_rollout(release)
    assert ([step.text for step in state.policy.steps], state.policy.hold.text) == (
        ["2 boards", "100%"],
        "3s",
    )
    wrong = cloud.release("1.1", '[deploy]\nhold = "3"\n')
    with pytest.raises(
        PolicyError, match=r"hot.toml: deploy.hold: '3' has no unit of time; did you mean \"3s\""
    ):
        cloud.dispatcher.start_rollout(wrong)


@pytest.mark.parametrize(
    ("verb", "phase", "then"),
    [("pause", Phase.PAUSED, "resume"), ("abort", Phase.ABORTED, None), ("skip", Phase.RUNNING, "pause")],
)
def test_verbs(cloud: Cloud, board: Callable[..., Any], verb: str, phase: Phase, then: str | None) -> None:
    board("one", {"1.0": None}), board("two", {"1.0": None})
    rollout = cloud.start("1.0")
    assert cloud.dispatcher.act(rollout, verb).phase is phase
    if then is None:
        with pytest.raises(Refused, match="rollout r1 is aborted"):
            cloud.dispatcher.act(rollout, "pause")
    else:
        cloud.dispatcher.act(rollout, then)


@pytest.mark.parametrize(
    ("rollout", "verb"), [("r9", "pause"), ("", "pause"), ("r1", "explode"), ("r\u0661", "pause")]
)
def test_verbs_on_nothing(cloud: Cloud, rollout: str, verb: str) -> None:
    cloud.start("1.0")
    with pytest.raises(Refused, match="there is no"):
        cloud.dispatcher.act(rollout, verb)


def test_the_same_release_twice_is_refused_while_it_is_current(cloud: Cloud) -> None:
    release = cloud.release("1.0")
    cloud.dispatcher.start_rollout(release, POLICY)
    with pytest.raises(Refused, match="is rollout r1 already"):
        cloud.dispatcher.start_rollout(release, POLICY)


def hello(**changes: Any) -> bytes:
    fields = {
        "board": "one",
        "session": 1,
        "agent": "0",
        "arch": "x",
        "at": 0.0,
        "profile_hash": profile_hash({}),
    }
    return encode(Hello.model_validate({**fields, "profile": {}, **changes}))


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("wl/v1/d/one/up/hello", b""),
        ("wl/v1/d/one/up/hello", b"\xff\xfe"),
        ("wl/v1/d/one/up/hello", hello(board="two")),
        ("wl/v1/d/one/up/hello", hello(profile={"hot": {"version": "1.0"}})),  # not the hash that it claims
        ("wl/v1/d/one/up/report", hello()),
        ("wl/v1/d/one/up/nothing", hello()),
        ("wl/v1/d/one/dn/notice", hello()),
        ("wl/v1/d/ONE/up/hello", hello()),
        ("elsewhere", hello()),
        ("wl/v1/d/one/up/state", b'{"kind":"presence","schema":2}'),
        ("wl/v1/d/one/up/update", b"[]"),
        ("wl/v1/d/one/up/hello", b"[" * 100_000),
    ],
)
def test_messages_that_are_not_ours_are_counted(cloud: Cloud, topic: str, payload: bytes) -> None:
    cloud.dispatcher.handle(topic, payload)
    assert cloud.dispatcher.counters["not_ours"] == 1
    assert cloud.dispatcher.boards() == []


def test_other_messages_are_counted_under_their_names(cloud: Cloud) -> None:
    update = Update(board="one", plan="p", round=1, base="a" * 64, num_examples=3, delta="b" * 64, size=1)
    stray = Report(
        board="one", seq=1, task="hot", release="a" * 64, rollout="", state=ReleaseState.GOOD, at=0.0
    )
    cloud.dispatcher.handle("wl/v1/d/one/up/update", encode(update))
    cloud.dispatcher.handle("wl/v1/d/one/up/report", encode(stray))
    assert cloud.dispatcher.counters == {"update": 1, "report": 1, "report_without_rollout": 1}


def test_the_will_of_an_older_session_is_not_believed(cloud: Cloud) -> None:
    cloud.dispatcher.handle("wl/v1/d/one/up/hello", hello(session=2))
    for session, online in ((1, True), (2, False)):
        cloud.dispatcher.handle(
            "wl/v1/d/one/up/state", encode(Presence(board="one", session=session, online=False))
        )
        assert cloud.dispatcher.boards()[0].online is online


@given(st.sampled_from(["hello", "report", "state", "update"]), st.binary(max_size=300))
def test_no_payload_raises(leaf: str, payload: bytes) -> None:
    fuzz(leaf.encode() + b"\n" + payload)


def seeds() -> list[bytes]:
    presence = encode(Presence(board="one", session=1, online=True))
    return [b"hello\n" + hello(), b"state\n" + presence, b"report\n" + hello(), b"update\n{}"]


def fuzz(data: bytes) -> None:
    """The first line is the topic's last level, the rest the payload."""
    leaf, _, payload = data.partition(b"\n")
    sink().handle(f"wl/v1/d/one/up/{leaf.decode(errors='replace')}", payload)


@cache
def sink() -> Dispatcher:
    database = Database(Path(":memory:"))
    registry = Registry(database, BlobStore(Path(tempfile.mkdtemp())), {})
    return Dispatcher(database, registry, MemoryHub().link("s"), blobs="", clock=lambda: 0.0)
