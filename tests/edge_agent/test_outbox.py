"""Reports wait on disk until they are acknowledged, in order, across restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud_broker.wire.link import MemoryHub
from cloud_broker.wire.messages import ReleaseState, Report, decode
from edge_agent import outbox
from edge_agent.outbox import Outbox


def report(seq: int) -> Report:
    return Report(
        board="pi-1",
        seq=seq,
        task="hot",
        release="a" * 64,
        rollout="r",
        state=ReleaseState.TRIAL,
        at=1.0,
    )


def seqs(box: Outbox) -> list[int]:
    return [seq for seq, _ in box.waiting()]


def test_numbers_go_on_after_a_restart_even_when_all_was_delivered(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    for _ in range(3):
        box.put(report)
    assert [decode(payload, Report).seq for _, payload in box.waiting()] == [1, 2, 3]
    for seq in (1, 2, 3):
        box.delivered(seq)
    box.close()
    box = Outbox(tmp_path / "outbox.sqlite")
    box.put(report)
    assert seqs(box) == [4]


def test_what_was_not_acknowledged_survives_a_restart(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    box.put(report)
    box.put(report)
    box.delivered(1)
    again = Outbox(tmp_path / "outbox.sqlite")
    assert (seqs(again), len(again)) == ([2], 1)


def test_sessions_grow(tmp_path: Path) -> None:
    assert [Outbox(tmp_path / "outbox.sqlite").next_session() for _ in range(3)] == [1, 2, 3]


def test_each_report_is_sent_once_per_connection_and_deleted_when_acknowledged(tmp_path: Path) -> None:
    hub, box, heard = MemoryHub(), Outbox(tmp_path / "outbox.sqlite"), list[int]()
    server = hub.link("server")
    server.subscribe("wl/v1/d/+/up/report", lambda _, payload: heard.append(decode(payload, Report).seq))
    server.start()
    link = hub.link("pi-1")
    box.put(report)
    acknowledged: list[int] = []
    box.send(link, "pi-1", acknowledged.append)  # offline: the link keeps it
    box.send(link, "pi-1", acknowledged.append)
    assert (heard, acknowledged, len(box)) == ([], [], 1)
    link.start()
    assert (heard, acknowledged) == ([1], [1])
    box.delivered(1)
    assert len(box) == 0


def test_a_reconnect_sends_again_what_was_under_way(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")
    box.put(report)
    link = MemoryHub().link("pi-1")
    box.send(link, "pi-1", lambda _: None)
    assert seqs(box) == []
    box.reconnected()
    assert seqs(box) == [1]


def test_the_oldest_go_first_when_too_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LIMIT", 3)
    box = Outbox(tmp_path / "outbox.sqlite")
    for _ in range(5):
        box.put(report)
    assert (seqs(box), box.counters["dropped"]) == ([3, 4, 5], 2)


def test_a_report_that_cannot_be_built_leaves_no_trace(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.sqlite")

    def broken(seq: int) -> Report:
        raise RuntimeError(str(seq))

    with pytest.raises(RuntimeError):
        box.put(broken)
    assert len(box) == 0
