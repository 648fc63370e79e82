"""The asyncio shell of the broker: sockets, the group commit, the clock, the command line.

One turn of the event loop feeds what has arrived to `broker`; its actions wait in an `Outbox` until the
journal of the same turn is on disk, then go out, one write per connection. A client that does not read its
messages is not read from; while the disk is behind, nobody is.
"""

import argparse
import asyncio
import hashlib
import hmac
import secrets
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from cloud_broker.mqtt.broker import Action, Broker, Limits, Send
from cloud_broker.mqtt.packets import Connect, Decoder, Packet, encode
from cloud_broker.mqtt.reasons import ProtocolError
from cloud_broker.mqtt.records import Writes
from cloud_broker.mqtt.store import Store, StoreError

BACKLOG = 4096  # connections the kernel holds for us in a storm of reconnects
TICK = 1.0  # seconds
BEHIND = 20_000  # actions waiting for the disk beyond which no client is read
RETRY = 1.0  # seconds between two tries to write to a disk that refuses


class Connection(asyncio.Protocol):
    """One TCP connection: bytes to packets, and the two back-pressures."""

    __slots__ = ("_decoder", "_server", "full", "transport")

    transport: asyncio.Transport

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.full = False  # the peer does not read what we write
        self._decoder = Decoder(maximum_packet_size=server.broker.limits.maximum_packet_size)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # asyncio sets TCP_NODELAY itself
        self._server.broker.opened(self, self._server.clock())

    def data_received(self, data: bytes) -> None:
        server, now = self._server, self._server.clock()
        try:
            for packet in self._decoder.feed(data):
                server.outbox.add(server.broker.step(self, packet, now))
        except ProtocolError as error:
            server.outbox.add(server.broker.failed(self, error, now))
        server.outbox.throttle(self)

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """After what was written; a peer that does not read gets no goodbye."""
        if self.full:
            self.transport.abort()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        self.full = True
        self.transport.pause_reading()
        self._server.outbox.add(self._server.broker.writable(self, False, self._server.clock()))

    def resume_writing(self) -> None:
        self.full = False
        self.transport.resume_reading()
        self._server.outbox.add(self._server.broker.writable(self, True, self._server.clock()))

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.outbox.add(self._server.broker.closed(self, self._server.clock()))


class Outbox:
    """Actions in their order, each batch behind the commit of its journal.

        add ... add | flush: write, commit on a thread | add ... add | committed: carry out, flush ...

    While a commit runs the next batch gathers, so the slower the disk, the larger the batches.
    """

    def __init__(self, take_journal: Callable[[], Writes], store: Store | None) -> None:
        self._take_journal = take_journal
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._actions: list[Action[Connection]] = []
        self._scheduled = False  # a flush is on its way
        self._committing: asyncio.Task[None] | None = None
        self._throttled: set[Connection] = set()
        self._closing = False

    def add(self, actions: list[Action[Connection]]) -> None:
        self._actions += actions
        if not self._scheduled and self._committing is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def throttle(self, connection: Connection) -> None:
        """Stop reading from a connection while more waits for the disk than it can soon take."""
        if len(self._actions) > BEHIND and not connection.transport.is_closing():
            connection.transport.pause_reading()
            self._throttled.add(connection)

    async def drain(self) -> None:
        """Before the end: wait until what was added is stored and carried out, or the disk refuses it."""
        self._closing = True
        while self._scheduled or self._committing is not None:
            await (self._committing or asyncio.sleep(0))

    def _flush(self) -> None:
        self._scheduled = False
        batch, self._actions = self._actions, []
        writes = self._take_journal()
        if writes and self._store:
            self._committing = self._loop.create_task(self._commit(self._store, writes, batch), name="commit")
        else:
            _carry_out(batch)

    async def _commit(self, store: Store, writes: Writes, batch: list[Action[Connection]]) -> None:
        while not await self._stored(store, writes):
            if self._closing:
                batch = []  # not stored: not acknowledged
                break
            await asyncio.sleep(RETRY)
        self._committing = None
        _carry_out(batch)
        for connection in self._throttled:
            if not connection.full:
                connection.transport.resume_reading()
        self._throttled.clear()
        self.add([])

    async def _stored(self, store: Store, writes: Writes) -> bool:
        """Group commit. The rows are bound here and only the wait for the disk is on a thread: SQLite takes
        the interpreter lock once per row, and two threads would pass it to and fro."""
        try:
            store.write(writes)
            await self._loop.run_in_executor(None, store.commit)
        except sqlite3.Error as error:
            print(f"{store.path}: cannot store {len(writes)} records, trying again: {error}", file=sys.stderr)
            return False
        return True


def _carry_out(actions: list[Action[Connection]]) -> None:
    """Write each connection's packets at once; a packet that many get is encoded once per version."""
    pending: dict[Connection, list[bytes]] = {}
    last: tuple[Packet, int] | None = None
    data = b""
    for action in actions:
        if isinstance(action, Send):
            if last is None or last[0] is not action.packet or last[1] != action.version:
                last = action.packet, action.version
                data = encode(action.packet, action.version)
            pending.setdefault(action.handle, []).append(data)
        else:
            action.handle.write(b"".join(pending.pop(action.handle, ())))
            action.handle.close()
    for connection, chunks in pending.items():
        connection.write(b"".join(chunks))


class Server:
    """A running broker; made by `serve`."""

    port: int

    def __init__(self, broker: Broker[Connection], store: Store | None, clock: Callable[[], float]) -> None:
        self.broker = broker
        self.clock = clock
        self.outbox = Outbox(broker.journal.take, store)
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        self._listener = await self._loop.create_server(lambda: Connection(self), host, port, backlog=BACKLOG)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._tick()

    async def close(self) -> None:
        """Take no more connections, say goodbye, store what is left."""
        if self._listener is not None:
            self._listener.close()
        if self._timer is not None:
            self._timer.cancel()
        self.outbox.add(self.broker.shutdown(self.clock()))
        await self.outbox.drain()
        if self._store is not None:
            self._store.close()

    def _tick(self) -> None:
        self.outbox.add(self.broker.tick(self.clock()))
        self._timer = self._loop.call_later(TICK, self._tick)


def steady_clock() -> Callable[[], float]:
    """Epoch seconds that never jump: keep alives and expiries survive a step of the wall clock."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


def password_check(users: Mapping[str, str]) -> Callable[[Connect], bool]:
    """Compare in a time that depends neither on the user's existence nor on the password."""
    digests = {name: hashlib.sha256(password.encode()).digest() for name, password in users.items()}
    nobody = secrets.token_bytes(32)

    def check(packet: Connect) -> bool:
        expected = digests.get(packet.username or "", nobody)
        return hmac.compare_digest(expected, hashlib.sha256(packet.password or b"").digest())

    return check


async def serve(
    host: str,
    port: int,
    state_dir: Path | None,
    *,
    users: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> Server:
    """Start a broker on `host`:`port` (0 = any free port, see `Server.port`).

    `state_dir` None keeps everything in memory. `users` None lets everyone in. Raises OSError when the
    address cannot be had and StoreError when the state folder cannot be used.
    """
    clock = steady_clock()
    options: dict[str, Any] = {} if users is None else {"authenticate": password_check(users)}
    broker: Broker[Connection] = Broker(lambda: secrets.token_hex(12), limits=limits, **options)
    store = Store(state_dir) if state_dir else None
    server = Server(broker, store, clock)
    try:
        if store:
            broker.restore(store.load(), clock())
        await server.listen(host, port)
    except (OSError, StoreError):
        await server.close()
        raise
    return server


async def _run(host: str, port: int, state_dir: Path | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        server = await serve(host, port, state_dir)
    except OSError as error:
        print(
            f"error: cannot listen on {host}:{port}: {error.strerror}; choose another --port", file=sys.stderr
        )
        return 1
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"broker ready on {host}:{server.port}", flush=True)
    await stop.wait()
    await server.close()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker until SIGTERM or SIGINT. 0 after a clean stop, 1 when it could not start."""
    parser = argparse.ArgumentParser("python -m cloud_broker.mqtt", description="An MQTT 5 and 3.1.1 broker.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="0 = any free port (default %(default)s)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep sessions and messages here")
    options = parser.parse_args(argv)
    return asyncio.run(_run(options.host, options.port, options.state))
