"""cloud_broker/mqtt/server.py: the shell on real sockets, the command, and `kill -9`."""

import asyncio
import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cloud_broker.mqtt.broker import Limits
from cloud_broker.mqtt.packets import (
    V5,
    Connack,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Pubrec,
    Suback,
    Subscribe,
    Subscription,
    encode,
)
from cloud_broker.mqtt.reasons import Reason
from cloud_broker.mqtt.server import Server, main, serve
from cloud_broker.mqtt.store import Store

WAIT = 30.0  # a hang guard, never a measure


class Peer:
    """A blocking client that speaks packets."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT)
        self.decoder = Decoder(V5)
        self.packets: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        self.socket.sendall(b"".join(encode(packet) for packet in packets))

    def take(self) -> Packet | None:
        """The next packet, None at the end of the connection."""
        while not self.packets:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.packets += self.decoder.feed(data)
        return self.packets.pop(0)

    def connect(self, client_id: str, expiry: int = 0) -> Connack:
        self.send(Connect(client_id, clean_start=False, properties={"session_expiry_interval": expiry}))
        packet = self.take()
        assert isinstance(packet, Connack)
        return packet


@contextlib.asynccontextmanager
async def running(state: Path | None = None, **options: object) -> AsyncIterator[Server]:
    server = await serve("127.0.0.1", 0, state, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        await server.close()


@contextlib.contextmanager
def process(state: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    command = [sys.executable, "-m", "cloud_broker.mqtt", "--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line.startswith("broker ready on 127.0.0.1:")
        try:
            yield child, int(line.rsplit(":", 1)[1])
        finally:
            child.kill()


def offline_session(port: int, client_id: str) -> None:
    peer = Peer(port)
    peer.connect(client_id, expiry=3600)
    peer.send(Subscribe(1, (Subscription("data/#", 2),)))
    assert peer.take() == Suback(1, (Reason.GRANTED_QOS_2,))
    peer.socket.close()


@pytest.mark.parametrize("qos", [1, 2])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path, qos: int) -> None:
    """Publish in bursts, kill between two acknowledgements, start again, and read the queue."""
    acknowledged: set[bytes] = set()
    sent = 0
    for kill_after in (1, 150, 400):
        with process(tmp_path) as (child, port):
            if not sent:
                offline_session(port, "reader")
            writer = Peer(port)
            writer.connect("writer")
            burst = {n: b"%d" % (sent + n) for n in range(1, 501)}
            sent += 500
            writer.send(*(Publish("data/x", body, qos, packet_id=n) for n, body in burst.items()))
            for _ in range(kill_after):
                ack = writer.take()
                assert isinstance(ack, Puback | Pubrec) and ack.reason is Reason.SUCCESS
                acknowledged.add(burst[ack.packet_id])
            child.kill()
            child.wait()
    with process(tmp_path) as (_, port):
        reader = Peer(port)
        assert reader.connect("reader", expiry=3600).session_present
        got: set[bytes] = set()
        while not acknowledged <= got:
            packet = reader.take()
            assert isinstance(packet, Publish)
            got.add(packet.payload)
            if qos == 1:
                reader.send(Puback(packet.packet_id))
            else:
                reader.send(Pubrec(packet.packet_id, Reason.UNSPECIFIED_ERROR))  # enough to be done with it
    assert len(acknowledged) == 551


def test_retained_and_subscriptions_survive_kill_9(tmp_path: Path) -> None:
    with process(tmp_path) as (child, port):
        offline_session(port, "reader")
        writer = Peer(port)
        writer.connect("writer")
        writer.send(Publish("data/kept", b"r", 1, retain=True, packet_id=1))
        assert writer.take() == Puback(1)
        child.kill()
    with process(tmp_path) as (_, port):
        writer = Peer(port)
        writer.connect("writer")
        writer.send(Subscribe(1, (Subscription("data/kept"),)), Publish("data/new", b"n", 1, packet_id=2))
        expected: list[Packet] = [
            Suback(1, (Reason.SUCCESS,)),
            Publish("data/kept", b"r", retain=True),
            Puback(2),
        ]
        assert [writer.take() for _ in expected] == expected
        reader = Peer(port)
        assert reader.connect("reader").session_present
        got = [reader.take(), reader.take()]
        assert [p.payload for p in got if isinstance(p, Publish)] == [b"r", b"n"]


def test_the_command_stops_cleanly(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with process(tmp_path) as (child, port):
            peer = Peer(port)
            peer.connect("a")
            child.send_signal(number)
            assert peer.take() == Disconnect(Reason.SERVER_SHUTTING_DOWN)
            assert peer.take() is None
            assert child.wait(WAIT) == 0


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert err.endswith("; choose another --port\n") and err.count("\n") == 1


def test_a_state_folder_in_use_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    assert main(["--port", "0", "--state", str(tmp_path)]) == 1
    store.close()
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        ("ann", b"secret", Reason.SUCCESS),
        ("ann", b"wrong", Reason.BAD_USER_NAME_OR_PASSWORD),
        ("bob", b"secret", Reason.BAD_USER_NAME_OR_PASSWORD),
        (None, None, Reason.BAD_USER_NAME_OR_PASSWORD),
    ],
)
def test_users(username: str | None, password: bytes | None, reason: Reason) -> None:
    async def scenario() -> Packet | None:
        async with running(users={"ann": "secret"}) as server:
            return await asyncio.to_thread(talk, server.port)

    def talk(port: int) -> Packet | None:
        peer = Peer(port)
        peer.send(Connect("a", username=username, password=password))
        return peer.take()

    packet = asyncio.run(scenario())
    assert isinstance(packet, Connack) and packet.reason is reason


def test_malformed_bytes_get_a_reason_and_a_closed_connection() -> None:
    def talk(port: int) -> list[Packet | None]:
        peer = Peer(port)
        peer.connect("a")
        peer.socket.sendall(encode(Pingreq()) + b"\x00\x00" + encode(Pingreq()))
        return [peer.take(), peer.take(), peer.take()]

    async def scenario() -> list[Packet | None]:
        async with running() as server:
            return await asyncio.to_thread(talk, server.port)

    pong, goodbye, end = asyncio.run(scenario())
    assert isinstance(goodbye, Disconnect)
    assert (pong, goodbye.reason, end) == (Pingresp(), Reason.MALFORMED_PACKET, None)


def test_a_client_that_does_not_read_holds_back_only_itself() -> None:
    """Its QoS 1 messages wait in its session and come when it reads again; QoS 0 ones are dropped."""
    body = b"x" * 100_000

    def talk(port: int) -> int:
        slow, writer = Peer(port), Peer(port)
        slow.connect("slow")
        slow.send(Subscribe(1, (Subscription("t", 1),)))
        slow.take()
        writer.connect("writer")
        for n in range(1, 301):
            writer.send(Publish("t", body, 1, packet_id=n))
            assert writer.take() == Puback(n)
            writer.send(Publish("t", body))
        writer.send(Pingreq())
        assert writer.take() == Pingresp()
        count = 0
        while count < 300:
            packet = slow.take()
            assert isinstance(packet, Publish)
            if packet.qos:
                count += 1
                slow.send(Puback(packet.packet_id))
        return count

    async def scenario() -> tuple[int, int]:
        async with running(limits=Limits(inflight=1000)) as server:
            return await asyncio.to_thread(talk, server.port), server.broker.counters.dropped_slow

    count, dropped = asyncio.run(scenario())
    assert count == 300
    assert dropped > 0


def test_a_disk_that_refuses_holds_back_the_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is acknowledged until the disk takes it; then everything is, in order."""
    refusals = iter([True, True])
    commit = Store.commit

    def failing(self: Store) -> None:
        if next(refusals, False):
            self._db.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        commit(self)

    def talk(port: int) -> list[Packet | None]:
        offline_session(port, "reader")
        writer = Peer(port)
        writer.connect("writer")
        monkeypatch.setattr(Store, "commit", failing)
        writer.send(Publish("data/x", b"1", 1, packet_id=1), Publish("data/x", b"2", 1, packet_id=2))
        return [writer.take(), writer.take()]

    async def scenario() -> list[Packet | None]:
        async with running(tmp_path) as server:
            return await asyncio.to_thread(talk, server.port)

    monkeypatch.setattr("cloud_broker.mqtt.server.RETRY", 0.01)
    assert asyncio.run(scenario()) == [Puback(1), Puback(2)]
    assert capsys.readouterr().err.count("disk is full") == 2
