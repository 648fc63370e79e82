"""Messages over MQTT: the `Link` protocol, `MqttLink` (paho, MQTT 5) and its fake, `MemoryLink`.

Handlers and callbacks of one link run one at a time, in order, on the link's own thread and under no lock, so
they may publish, subscribe and take locks. They must be quick: while one runs, the next waits. An exception
in one is logged and counted; it never stops the link.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from random import Random
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger(__name__)

Handler = Callable[[str, bytes], None]
"""Called with (topic, payload)."""
Callback = Callable[[], None]
Will = tuple[str, bytes]
"""Topic and payload that the broker publishes, retained, when this link is lost without a goodbye."""

SESSION_EXPIRY = 3600
"""Seconds for which the broker keeps what a lost link missed."""
KEEPALIVE = 30
MAX_QUEUED = 1000
"""Messages waiting per direction; beyond, outgoing are dropped and counted, incoming hold up the socket."""
MIN_DELAY, MAX_DELAY = 0.2, 8.0
"""Seconds between attempts to connect: doubling, each between half and all of its step at random."""


class Link(Protocol):
    """One participant's line to the broker. Safe to call from any thread."""

    counters: Counter[str]
    """dropped (outgoing, queue full), handler_errors, connects, bad_topics (not UTF-8), bad_packets."""

    def start(self) -> None:
        """Begin to connect, and keep trying; a broker that is down is no error."""

    def stop(self) -> None:
        """Say goodbye (no will) and end; not from a handler. What is not yet acknowledged is given up."""

    @property
    def connected(self) -> bool: ...

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        on_delivered: Callback | None = None,
    ) -> None:
        """Send, or queue while offline. `on_delivered` (QoS 1 and 2) runs once the broker acknowledged it."""

    def subscribe(self, filter: str, handler: Handler) -> Callback:
        """At QoS 1, now and after every reconnect; several handlers may share a filter. Different filters
        of one link must not overlap. The returned function takes the handler off again.
        """

    def on_connect(self, callback: Callback) -> None:
        """Add a callback for every (re)connect; the subscriptions are on their way before it runs."""

    def on_disconnect(self, callback: Callback) -> None: ...


def matches(filter: str, topic: str) -> bool:
    """MQTT 5 §4.7: `+` is one level, `#` the rest (and its parent); no wildcard matches a leading `$`."""
    if topic.startswith("$") and filter[:1] in ("+", "#"):
        return False
    wanted, levels = filter.split("/"), topic.split("/")
    for index, want in enumerate(wanted):
        if want == "#":
            return True
        if index >= len(levels) or want not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


class _Callbacks:
    """What a link calls back, and the one way to call it."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._handlers: dict[str, list[Handler]] = {}
        self._connect: list[Callback] = []
        self._disconnect: list[Callback] = []

    def on_connect(self, callback: Callback) -> None:
        self._connect.append(callback)

    def on_disconnect(self, callback: Callback) -> None:
        self._disconnect.append(callback)

    def subscribe(self, filter: str, handler: Handler) -> Callback:
        self._handlers.setdefault(filter, []).append(handler)
        self._subscribed(filter)

        def end() -> None:
            handlers = self._handlers.get(filter, [])
            if handler in handlers:
                handlers.remove(handler)
                if not handlers:
                    del self._handlers[filter]
                    self._unsubscribed(filter)

        return end

    def _subscribed(self, filter: str) -> None:
        raise NotImplementedError

    def _unsubscribed(self, filter: str) -> None:
        raise NotImplementedError

    def _dispatch(self, topic: str, payload: bytes) -> None:
        for filter, handlers in list(self._handlers.items()):
            if matches(filter, topic):
                for handler in list(handlers):
                    self._call(handler, topic, payload)

    def _connected_now(self) -> None:
        self.counters["connects"] += 1
        for callback in list(self._connect):
            self._call(callback)

    def _disconnected_now(self) -> None:
        for callback in list(self._disconnect):
            self._call(callback)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(*args)
        except Exception:
            self.counters["handler_errors"] += 1
            log.exception("a link's handler failed")


class _Client(Client):
    """paho, but a packet that it cannot read ends the connection, and not the network thread with it."""

    bad_packet: Callable[[Exception], None]

    def _packet_handle(self) -> MQTTErrorCode:
        try:
            return super()._packet_handle()
        except Exception as error:
            self.bad_packet(error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


class MqttLink(_Callbacks):
    """A link over paho. `url` is mqtt://[user:password@]host[:port]; raises ValueError for anything else.

    paho calls us on its network thread, for acknowledgements under a lock of its own; so everything is handed
    to a thread of the link's.
    """

    def __init__(self, url: str, client_id: str, *, will: Will | None = None, rng: Random) -> None:
        super().__init__()
        self._host, self._port, user, password = parse_url(url)
        self._rng = rng
        self._delay = MIN_DELAY
        self._connected = False
        self._acks = _Acknowledgements()
        self._work: SimpleQueue[Callback | None] = SimpleQueue()
        self._room = threading.Semaphore(MAX_QUEUED)
        self._worker = threading.Thread(target=self._run, name=f"link-{client_id}", daemon=True)
        client = _Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(MAX_QUEUED)
        if user:
            client.username_pw_set(user, password)
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        client.on_connect = self._on_connack
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_lost
        client.on_message = self._on_message
        client.on_publish = self._on_acknowledged
        client.bad_packet = self._on_bad_packet
        self._client = client

    def start(self) -> None:
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = SESSION_EXPIRY
        self._client.connect_async(self._host, self._port, KEEPALIVE, clean_start=False, properties=session)
        self._wait_before_next()
        self._worker.start()
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._work.put(None)
        if self._worker.ident is not None:  # it was started
            self._worker.join()

    @property
    def connected(self) -> bool:
        return self._connected

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        on_delivered: Callback | None = None,
    ) -> None:
        if on_delivered is not None and qos == 0:
            raise ValueError("on_delivered needs qos 1 or 2: nobody acknowledges a QoS 0 message")
        with self._acks.publishing():
            info = self._client.publish(topic, payload, qos, retain)
            if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE or (
                qos == 0 and info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS
            ):
                self.counters["dropped"] += 1
            elif on_delivered is not None and self._acks.expect(info.mid, on_delivered):
                self._work.put(on_delivered)

    def _subscribed(self, filter: str) -> None:
        if self._connected:
            self._client.subscribe(filter, qos=1)

    def _unsubscribed(self, filter: str) -> None:
        if self._connected:
            self._client.unsubscribe(filter)

    # --- on paho's thread: hand over, return ---

    def _on_connack(
        self,
        client: Client,
        _data: Any,
        _flags: ConnectFlags,
        code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if code.is_failure:
            log.warning("broker %s:%d refuses the connection: %s; trying again", self._host, self._port, code)
            return
        self._delay = MIN_DELAY
        self._connected = True
        for filter in list(self._handlers):
            client.subscribe(filter, qos=1)
        self._work.put(self._connected_now)

    def _on_connect_fail(self, _client: Client, _data: Any) -> None:
        log.info("no broker at %s:%d yet; trying again", self._host, self._port)
        self._wait_before_next()

    def _on_lost(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        _code: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._wait_before_next()
        if self._connected:
            self._connected = False
            self._work.put(self._disconnected_now)

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        try:
            topic, payload = message.topic, bytes(message.payload)
        except UnicodeDecodeError:
            self.counters["bad_topics"] += 1
            return
        self._room.acquire()
        self._work.put(lambda: self._take(topic, payload))

    def _on_bad_packet(self, error: Exception) -> None:
        self.counters["bad_packets"] += 1
        log.warning(
            "%s:%d sent a packet that is not MQTT (%r); connecting anew", self._host, self._port, error
        )

    def _on_acknowledged(
        self, _client: Client, _data: Any, mid: int, _code: ReasonCode, _properties: Properties
    ) -> None:
        callback = self._acks.arrived(mid)
        if callback is not None:
            self._work.put(callback)

    def _wait_before_next(self) -> None:
        """paho waits min_delay before the next attempt; setting it each time makes the wait random."""
        wait = self._delay * self._rng.uniform(0.5, 1.0)
        self._client.reconnect_delay_set(wait, wait)  # type: ignore[arg-type]  # floats work
        self._delay = min(self._delay * 2, MAX_DELAY)

    # --- on our own thread ---

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._call(work)

    def _take(self, topic: str, payload: bytes) -> None:
        self._room.release()
        self._dispatch(topic, payload)


class _Acknowledgements:
    """Pairs packet identifiers with callbacks, although the one may arrive before the other is known.

    `early` is kept only while a publish is under way, so identifiers nobody asks about do not pile up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[int, Callback] = {}
        self._early: set[int] = set()
        self._publishing = 0

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Around a publish and the `expect` that follows it."""
        with self._lock:
            self._publishing += 1
        try:
            yield
        finally:
            with self._lock:
                self._publishing -= 1
                if not self._publishing:
                    self._early.clear()

    def expect(self, mid: int, callback: Callback) -> bool:
        """True when the acknowledgement is here already; else `arrived` will return the callback."""
        with self._lock:
            if mid in self._early:
                self._early.discard(mid)
                return True
            self._waiting[mid] = callback
            return False

    def arrived(self, mid: int) -> Callback | None:
        with self._lock:
            callback = self._waiting.pop(mid, None)
            if callback is None and self._publishing:
                self._early.add(mid)
            return callback


def parse_url(url: str) -> tuple[str, int, str, str]:
    """(host, port, user, password) of mqtt://[user:password@]host[:port]. Raises ValueError."""
    wrong = ValueError(f"{url!r} is not a broker's address; expected mqtt://[user:password@]host[:port]")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        raise wrong from None
    if parts.scheme != "mqtt" or not host or port == 0 or parts.path.strip("/"):
        raise wrong
    return host, port or 1883, unquote(parts.username or ""), unquote(parts.password or "")


# --- the fake --------------------------------------------------------------------------------------------


class MemoryHub:
    """A broker in memory: wildcards, retained messages, wills, sessions that outlive a lost connection.

    Deterministic: everything happens inside the call that caused it, in publishing order. A message published
    from a handler is delivered after that handler has returned.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._links: dict[str, MemoryLink] = {}
        self._retained: dict[str, bytes] = {}
        self._todo: deque[Callback] = deque()
        self._running = False

    def link(self, client_id: str, *, will: Will | None = None) -> MemoryLink:
        link = MemoryLink(self, will)
        self._links[client_id] = link
        return link

    def lose(self, client_id: str) -> None:
        """Cut that link's connection without a goodbye: its will is published, its session waits."""
        self._links[client_id]._lose()

    def restore(self, client_id: str) -> None:
        """Let that link connect again: it hears what it missed and sends what it queued."""
        self._links[client_id]._open()

    def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        if retain and payload:
            self._retained[topic] = payload
        elif retain:
            self._retained.pop(topic, None)
        for link in list(self._links.values()):
            link._offer(topic, payload)

    def _retained_for(self, filter: str) -> Iterator[tuple[str, bytes]]:
        return ((topic, payload) for topic, payload in list(self._retained.items()) if matches(filter, topic))

    def _do(self, work: Callback) -> None:
        with self._lock:
            self._todo.append(work)
            if self._running:
                return
            self._running = True
            try:
                while self._todo:
                    self._todo.popleft()()
            finally:
                self._running = False


class MemoryLink(_Callbacks):
    """A `Link` to a `MemoryHub`."""

    def __init__(self, hub: MemoryHub, will: Will | None) -> None:
        super().__init__()
        self._hub = hub
        self._will = will
        self._connected = False
        self._outbox: deque[Callback] = deque()
        self._inbox: deque[tuple[str, bytes]] = deque()

    def start(self) -> None:
        self._open()

    def stop(self) -> None:
        if self._connected:
            self._close()
        self._outbox.clear()

    @property
    def connected(self) -> bool:
        return self._connected

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        on_delivered: Callback | None = None,
    ) -> None:
        def send() -> None:
            self._hub._publish(topic, payload, retain)
            if on_delivered is not None:
                self._call(on_delivered)

        if on_delivered is not None and qos == 0:
            raise ValueError("on_delivered needs qos 1 or 2: nobody acknowledges a QoS 0 message")
        if self._connected:
            self._hub._do(send)
        elif qos == 0 or len(self._outbox) >= MAX_QUEUED:
            self.counters["dropped"] += 1
        else:
            self._outbox.append(send)

    def _subscribed(self, filter: str) -> None:
        if self._connected:
            self._hub._do(lambda: self._hear_retained(filter))

    def _unsubscribed(self, filter: str) -> None:
        pass

    def _open(self) -> None:
        self._connected = True
        self._hub._do(self._resume)

    def _resume(self) -> None:
        while self._outbox:
            self._hub._do(self._outbox.popleft())
        self._connected_now()
        for filter in list(self._handlers):
            self._hear_retained(filter)
        while self._inbox:
            self._dispatch(*self._inbox.popleft())

    def _hear_retained(self, filter: str) -> None:
        for topic, payload in self._hub._retained_for(filter):
            for handler in list(self._handlers.get(filter, ())):
                self._call(handler, topic, payload)

    def _lose(self) -> None:
        self._close()
        if self._will is not None:
            topic, payload = self._will
            self._hub._do(lambda: self._hub._publish(topic, payload, retain=True))

    def _close(self) -> None:
        self._connected = False
        self._hub._do(self._disconnected_now)

    def _offer(self, topic: str, payload: bytes) -> None:
        if self._connected:
            self._dispatch(topic, payload)
        elif any(matches(filter, topic) for filter in self._handlers):
            if len(self._inbox) < MAX_QUEUED:
                self._inbox.append((topic, payload))
            else:
                self.counters["missed"] += 1
