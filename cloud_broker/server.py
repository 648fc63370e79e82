"""The server as a process: one HTTP server, one link to the broker, one ticking thread, one state folder.

    python -m cloud_broker.server --mqtt mqtt://127.0.0.1:1883 --state DIR [--host H] [--port N]

Stops cleanly on SIGTERM and SIGINT; after any other end it goes on where the state folder says it was.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import signal
import socket
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import uvicorn

from cloud_broker import keys
from cloud_broker.database import Database, DatabaseError
from cloud_broker.dispatcher import Dispatcher
from cloud_broker.http import Live, Site, application
from cloud_broker.registry import Registry
from cloud_broker.store import BlobStore
from cloud_broker.wire import digest
from cloud_broker.wire.link import MqttLink

log = logging.getLogger(__name__)

TICK = 0.2
"""Seconds between looks at the clock."""
GOODBYE = 5
"""Seconds that transfers under way get when the server stops."""


class ServerError(Exception):
    """Why the server cannot start, and what to do about it."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """`public_url`: how boards reach this server, else its host and port; `trusted`: public keys as text."""

    state: Path
    mqtt: str
    host: str = "127.0.0.1"
    port: int = 8080
    public_url: str = ""
    trusted: tuple[str, ...] = ()


def serve(config: ServerConfig) -> None:
    """Serve until SIGTERM or SIGINT. Prints one line once requests are answered. Raises ServerError."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_only_one(config.state))
        listener = stack.enter_context(_listen(config.host, config.port))
        port = listener.getsockname()[1]
        address = f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{port}"
        site, link = _assemble(config, config.public_url or _reachable(config.host, port))
        stack.callback(site.database.close)
        stop = threading.Event()
        ticking = threading.Thread(target=_tick, args=(site.dispatcher, stop), name="tick")
        site.dispatcher.start()
        ticking.start()
        try:
            _Server(site, lambda: print(f"server ready on {address}", flush=True)).run(sockets=[listener])
        finally:
            stop.set()
            ticking.join()
            link.stop()


def _assemble(config: ServerConfig, public_url: str) -> tuple[Site, MqttLink]:
    try:
        token = keys.load_or_create_token(config.state)
        trusted = keys.trusted_keys(config.state, config.trusted)
        link = MqttLink(config.mqtt, f"server-{digest.of_bytes(token.encode())[:12]}", rng=Random())
        database = Database(config.state / "server.sqlite")
        store = BlobStore(config.state / "blobs")
    except (ValueError, DatabaseError, OSError) as error:
        raise ServerError(str(error)) from None
    try:
        registry = Registry(database, store, trusted)
        dispatcher = Dispatcher(database, registry, link, blobs=public_url, clock=time.time)
    except (ValueError, sqlite3.Error) as error:
        database.close()
        text = f"{config.state / 'server.sqlite'} holds what this server cannot read: {error}"
        raise ServerError(f"{text}; put a copy of it back, or move it away to begin anew") from None
    return Site(database, store, registry, dispatcher, token, time.time), link


def _tick(dispatcher: Dispatcher, stop: threading.Event) -> None:
    while not stop.wait(TICK):
        try:
            dispatcher.tick()
        except Exception:
            dispatcher.counters["tick_errors"] += 1
            log.exception("a tick failed; the next one tries again")


class _Server(uvicorn.Server):
    """uvicorn with our own say on readiness, signals and the end of live connections."""

    def __init__(self, site: Site, ready: Callable[[], None]) -> None:
        config = uvicorn.Config(
            application(site),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GOODBYE,
            server_header=False,
        )
        super().__init__(config)
        self._live: Live = site.live
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._live.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """A signal ends the server, not the process: who called `serve` cleans up."""
        handlers = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Two servers on one state folder would undo each other."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        file = (state / "lock").open("w")
    except OSError as error:
        raise ServerError(f"cannot use {state} as the state folder: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServerError(f"another server runs on {state}; stop it, or choose another --state") from None
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        text = f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port or --host"
        raise ServerError(text) from None


def _reachable(host: str, port: int) -> str:
    """The address for boards; a server on every interface is found by the machine's name."""
    name = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="cloud_broker.server", description="Delivers releases to boards.")
    parser.add_argument("--state", type=Path, required=True, help="folder for everything the server keeps")
    parser.add_argument("--mqtt", required=True, metavar="URL", help="mqtt://[user:password@]host[:port]")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8080, help="0 lets the system choose")
    parser.add_argument("--public-url", default="", metavar="URL", help="how boards reach this server")
    parser.add_argument(
        "--trust", action="append", default=[], metavar="KEY", help="a public key; may be repeated"
    )
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = ServerConfig(
        given.state, given.mqtt, given.host, given.port, given.public_url, tuple(given.trust)
    )
    try:
        serve(config)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
