"""The broker as a state machine, sans I/O: packets in, actions out; connections are opaque handles.

    step(handle, packet, now)    opened / closed / failed / writable    tick(now), about once a second

Each returns the actions to carry out in their order. What must be stored lies in `journal`; the shell takes
it and carries out no action before the entries of the same call are on disk: acknowledged means stored.

Overflow policy: a session queues `Limits.queue` QoS 1 and 2 messages. A publish that meets a full queue is
*refused* for all its subscribers (MQTT 5: reason Quota exceeded; 3.1.1: the publisher's connection is
closed), so nothing is acknowledged and then dropped. QoS 0 messages to a client that does not read are
*dropped*. Both are counted.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Generic, TypeVar

from cloud_broker.mqtt.packets import (
    V5,
    V311,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
    Will,
    encode,
)
from cloud_broker.mqtt.properties import Properties
from cloud_broker.mqtt.reasons import ProtocolError, Reason
from cloud_broker.mqtt.records import (
    DeliveryRecord,
    InboundRecord,
    Journal,
    MessageRecord,
    Record,
    RetainedRecord,
    SessionRecord,
    SubscriptionRecord,
)
from cloud_broker.mqtt.session import NEVER, Message, Session
from cloud_broker.mqtt.topics import (
    TopicMap,
    Trie,
    check_filter,
    check_topic,
    split_share,
)

C = TypeVar("C")  # the shell's handle of a connection, hashable

_NOT_FORWARDED = ("topic_alias", "message_expiry_interval", "subscription_identifier", "will_delay_interval")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the broker offers and where it stops. Times in seconds, sizes in bytes."""

    queue: int = 100_000  # QoS 1 and 2 messages waiting in one session
    inflight: int = 256  # sent to one client and not confirmed; its own receive maximum may be lower
    receive_maximum: int = 1000  # QoS 2 messages from one client between PUBLISH and PUBREL
    topic_alias_maximum: int = 64
    maximum_packet_size: int = 4 * 1024 * 1024
    keep_alive: int = 3600  # a longer one, or none, is replaced by this one (MQTT 5 only)
    connect_timeout: float = 10.0  # from the connection to its CONNECT
    sys_interval: float = 10.0  # between two rounds of $SYS


@dataclass(frozen=True, slots=True)
class Send(Generic[C]):
    """Write a packet. The same packet object may stand in many actions: encode it once."""

    handle: C
    packet: Packet
    version: int


@dataclass(frozen=True, slots=True)
class Close(Generic[C]):
    """Close the connection after what was sent; the handle is not used again."""

    handle: C


Action = Send[C] | Close[C]


@dataclass(slots=True)
class Counters:
    """What has happened since the start; published below $SYS/broker/messages/."""

    received: int = 0  # PUBLISH from clients
    sent: int = 0  # PUBLISH to clients
    dropped_slow: int = 0  # QoS 0, the client did not read
    dropped_large: int = 0  # beyond the client's maximum packet size
    dropped_full: int = 0  # wills and retained messages that met a full queue
    refused: int = 0  # publishes refused because a queue was full


@dataclass(slots=True, eq=False)
class Client(Generic[C]):
    """One connection after its CONNECT."""

    handle: C
    session: Session
    version: int
    timeout: float  # seconds of silence that end it: 1.5 times the keep alive
    seen: float
    window: int  # most deliveries in flight
    maximum_packet_size: float
    will: Will | None
    writable: bool = True
    aliases: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Grant:
    """A subscription as the trie holds it."""

    session: Session
    options: Subscription
    identifier: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where one message goes: one per session and ordinary match, one per share group."""

    session: Session
    qos: int
    retain: bool
    identifiers: tuple[int, ...]


class Broker(Generic[C]):
    def __init__(
        self,
        new_id: Callable[[], str],
        authenticate: Callable[[Connect], bool] = lambda _connect: True,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.counters = Counters()
        self.journal = Journal()
        self._new_id = new_id
        self._authenticate = authenticate
        self._waiting: dict[C, float] = {}  # connections without a CONNECT yet -> deadline
        self._clients: dict[C, Client[C]] = {}
        self._online: dict[str, Client[C]] = {}  # client id -> its connection
        self._sessions: dict[str, Session] = {}
        self._trie: Trie[Grant] = Trie()
        self._retained: TopicMap[Message] = TopicMap()
        self._message_number = 0
        self._sys_at = 0.0
        self._actions: list[Action[C]] = []

    # -- what the shell calls

    def opened(self, handle: C, now: float) -> None:
        self._waiting[handle] = now + self.limits.connect_timeout

    def step(self, handle: C, packet: Packet, now: float) -> list[Action[C]]:
        """One packet from a connection. Packets behind the one that ended it are ignored."""
        try:
            client = self._clients.get(handle)
            if client is not None:
                client.seen = now
                _HANDLERS.get(type(packet), Broker._unexpected)(self, client, packet, now)
            elif handle in self._waiting:
                self._first(handle, packet, now)
        except ProtocolError as error:
            self._fail(handle, error, now)
        return self._take()

    def failed(self, handle: C, error: ProtocolError, now: float) -> list[Action[C]]:
        """The decoder could not read the connection."""
        self._fail(handle, error, now)
        return self._take()

    def closed(self, handle: C, now: float) -> list[Action[C]]:
        """The network connection is gone."""
        self._waiting.pop(handle, None)
        client = self._clients.get(handle)
        if client is not None:
            self._detach(client, now, lost=True)
        return self._take()

    def writable(self, handle: C, yes: bool, now: float) -> list[Action[C]]:
        """The peer has stopped reading, or reads again. Until then it is sent no messages."""
        client = self._clients.get(handle)
        if client is not None:
            client.writable = yes
            self._pump(client, now)
        return self._take()

    def tick(self, now: float) -> list[Action[C]]:
        """Keep alive, wills, session expiry, connect timeout, $SYS."""
        for session in list(self._sessions.values()):
            client = self._online.get(session.client_id)
            if client is None:
                self._lapse(session, now)
            elif now > client.seen + client.timeout:
                text = f"[MQTT-3.1.2-22] nothing came for {client.timeout} s, 1.5 times the keep alive"
                self._fail(client.handle, ProtocolError(Reason.KEEP_ALIVE_TIMEOUT, text), now)
        for handle in [handle for handle, deadline in self._waiting.items() if now > deadline]:
            self._close(handle)
        if now >= self._sys_at:
            self._sys_at = now + self.limits.sys_interval
            self._publish_sys(now)
        return self._take()

    def shutdown(self, now: float) -> list[Action[C]]:
        """Say goodbye to everyone; sessions live on, wills are published."""
        for client in list(self._clients.values()):
            if client.version == V5:
                self._send(client, Disconnect(Reason.SERVER_SHUTTING_DOWN))
            self._close(client.handle)
            self._detach(client, now, lost=True)
        for handle in list(self._waiting):
            self._close(handle)
        return self._take()

    def _take(self) -> list[Action[C]]:
        actions, self._actions = self._actions, []
        return actions

    # -- sending

    def _send(self, client: Client[C], packet: Packet) -> bool:
        """False when the packet is larger than the client takes [MQTT-3.1.2-24]: then it is not sent."""
        limit = client.maximum_packet_size
        if limit < inf and len(encode(packet, client.version)) > limit:
            self.counters.dropped_large += isinstance(packet, Publish)
            return False
        self._actions.append(Send(client.handle, packet, client.version))
        return True

    def _close(self, handle: C) -> None:
        self._waiting.pop(handle, None)
        self._actions.append(Close(handle))

    def _fail(self, handle: C, error: ProtocolError, now: float) -> None:
        client = self._clients.get(handle)
        if client is not None:
            if client.version == V5:
                self._send(client, Disconnect(error.reason, {"reason_string": error.text}))
            self._close(handle)
            self._detach(client, now, lost=True)
        elif handle in self._waiting:
            if error.reason is Reason.UNSUPPORTED_PROTOCOL_VERSION:  # the answer that every version knows
                self._actions.append(Send(handle, Connack(reason=error.reason), V311))
            self._close(handle)

    # -- CONNECT and the end of a connection

    def _first(self, handle: C, packet: Packet, now: float) -> None:
        if not isinstance(packet, Connect):
            text = f"[MQTT-3.1.0-1] the first packet must be CONNECT, got {type(packet).__name__.upper()}"
            raise ProtocolError(Reason.PROTOCOL_ERROR, text)
        refusal = self._refusal(packet)
        if refusal is None:
            self._connect(handle, packet, now)
            return
        properties: Properties = {"reason_string": refusal.text} if packet.version == V5 else {}
        self._actions.append(Send(handle, Connack(False, refusal.reason, properties), packet.version))
        self._close(handle)

    def _refusal(self, packet: Connect) -> ProtocolError | None:
        if "authentication_method" in packet.properties:
            method = packet.properties["authentication_method"][:40]
            text = f"[MQTT-4.12.0-1] no authentication method is supported, got {method!r}"
            return ProtocolError(Reason.BAD_AUTHENTICATION_METHOD, text)
        if packet.version == V311 and not packet.client_id and not packet.clean_start:
            text = "3.1.1 [MQTT-3.1.3-8] an empty client identifier needs a clean session"
            return ProtocolError(Reason.CLIENT_IDENTIFIER_NOT_VALID, text)
        if not self._authenticate(packet):
            return ProtocolError(Reason.BAD_USER_NAME_OR_PASSWORD, "[MQTT-3.1.4-2] unknown user or password")
        try:
            if packet.will:
                check_topic(packet.will.topic)
        except ProtocolError as error:
            return error
        return None

    def _connect(self, handle: C, packet: Connect, now: float) -> None:
        del self._waiting[handle]
        client_id = packet.client_id or self._new_id()
        self._take_over(client_id, now)
        session, present = self._open_session(client_id, packet, now)
        keep_alive, properties = self._offer(packet)
        if not packet.client_id:
            properties["assigned_client_identifier"] = client_id
        client = Client(
            handle,
            session,
            packet.version,
            timeout=keep_alive * 1.5 if keep_alive else inf,
            seen=now,
            window=min(packet.properties.get("receive_maximum", 0xFFFF), self.limits.inflight),
            maximum_packet_size=packet.properties.get("maximum_packet_size", inf),
            will=packet.will,
        )
        self._clients[handle] = self._online[client_id] = client
        self._send(client, Connack(present, Reason.SUCCESS, properties if packet.version == V5 else {}))
        for packet_id in session.inflight:  # only released ones are in flight here
            self._send(client, Pubrel(packet_id))
        self._pump(client, now)

    def _offer(self, packet: Connect) -> tuple[int, Properties]:
        """(keep alive, CONNACK properties); 3.1.1 cannot be told, so its keep alive stands."""
        limits = self.limits
        properties: Properties = {
            "receive_maximum": limits.receive_maximum,
            "topic_alias_maximum": limits.topic_alias_maximum,
            "maximum_packet_size": limits.maximum_packet_size,
        }
        if packet.version == V311 or 0 < packet.keep_alive <= limits.keep_alive:
            return packet.keep_alive, properties
        properties["server_keep_alive"] = limits.keep_alive
        return limits.keep_alive, properties

    def _take_over(self, client_id: str, now: float) -> None:
        """[MQTT-3.1.4-3] a second connection with the same client identifier ends the first."""
        old = self._online.get(client_id)
        if old is None:
            return
        if old.version == V5:
            self._send(old, Disconnect(Reason.SESSION_TAKEN_OVER))
        self._close(old.handle)
        self._detach(old, now, lost=True)

    def _open_session(self, client_id: str, packet: Connect, now: float) -> tuple[Session, bool]:
        """(session, was it there before); going on with it cancels a will that still waits."""
        if packet.version == V5:
            expiry = packet.properties.get("session_expiry_interval", 0)
        else:
            expiry = 0 if packet.clean_start else NEVER
        session = self._sessions.get(client_id)
        if session is not None and (packet.clean_start or session.ends_at <= now):
            self._end(session, now)
            session = None
        present = session is not None
        if session is None:
            session = self._sessions[client_id] = Session(client_id, expiry, self.journal)
        session.connected(expiry)
        return session, present

    def _detach(self, client: Client[C], now: float, lost: bool) -> None:
        """The connection is over; `lost` means without a DISCONNECT that discards the will."""
        session = client.session
        del self._clients[client.handle], self._online[session.client_id]
        session.disconnected(now)
        if lost and client.will:
            session.will = client.will
            session.will_at = now + client.will.properties.get("will_delay_interval", 0)
        self._lapse(session, now)

    def _lapse(self, session: Session, now: float) -> None:
        """Do what is due in a session without a connection."""
        if session.will_at <= now:
            self._publish_will(session, now)
        if session.ends_at <= now:
            self._end(session, now)

    def _end(self, session: Session, now: float) -> None:
        self._publish_will(session, now)  # [MQTT-3.1.2-8] at the latest when the session ends
        for topic_filter in session.subscriptions:
            self._trie.pop(topic_filter, session.client_id)
        session.end()
        del self._sessions[session.client_id]

    def _publish_will(self, session: Session, now: float) -> None:
        will, session.will, session.will_at = session.will, None, inf
        if will:
            message = self._message(will.topic, will.payload, will.qos, will.retain, will.properties, now)
            self.counters.dropped_full += self._accept(message, session, now) is Reason.QUOTA_EXCEEDED

    def _disconnect(self, client: Client[C], packet: Disconnect, now: float) -> None:
        expiry = packet.properties.get("session_expiry_interval", client.session.expiry)
        if expiry and not client.session.expiry:
            text = f"[MQTT-3.1.2-23] session expiry was 0 in CONNECT, got {expiry} in DISCONNECT"
            raise ProtocolError(Reason.PROTOCOL_ERROR, text)
        client.session.expiry = expiry
        self._close(client.handle)
        self._detach(client, now, lost=packet.reason is not Reason.SUCCESS)

    def _unexpected(self, _client: Client[C], packet: Packet, _now: float) -> None:
        clause = "3.1.0-2" if isinstance(packet, Connect) else "4.13.1-1"
        text = f"[MQTT-{clause}] a connected client must not send {type(packet).__name__.upper()}"
        raise ProtocolError(Reason.PROTOCOL_ERROR, text)

    def _ping(self, client: Client[C], _packet: Pingreq, _now: float) -> None:
        self._send(client, Pingresp())

    # -- messages in

    def _publish(self, client: Client[C], packet: Publish, now: float) -> None:
        self.counters.received += 1
        session = client.session
        topic = self._resolve(client, packet)
        if packet.qos == 2 and packet.packet_id in session.inbound:
            self._send(client, Pubrec(packet.packet_id))  # a duplicate: it is here already
            return
        if packet.qos == 2 and len(session.inbound) >= self.limits.receive_maximum and client.version == V5:
            text = (
                f"[MQTT-3.3.4-7] more than {self.limits.receive_maximum} QoS 2 messages before their PUBREL"
            )
            raise ProtocolError(Reason.RECEIVE_MAXIMUM_EXCEEDED, text)
        message = self._message(topic, packet.payload, packet.qos, packet.retain, packet.properties, now)
        reason = self._accept(message, session, now)
        if reason >= 0x80 and client.version == V311:
            # 3.1.1 [MQTT-3.3.5-2] knows no refusal but closing the connection
            raise ProtocolError(reason, f"publish to {topic[:80]!r} refused")
        if packet.qos == 1:
            self._send(client, Puback(packet.packet_id, reason))
        elif packet.qos == 2:
            if reason < 0x80:
                session.accept_inbound(packet.packet_id)
            self._send(client, Pubrec(packet.packet_id, reason))

    def _resolve(self, client: Client[C], packet: Publish) -> str:
        """The topic, by name or by alias; a name with an alias sets the alias."""
        alias = packet.properties.get("topic_alias")
        if packet.topic:
            check_topic(packet.topic)
        if alias is None:
            if not packet.topic:
                raise ProtocolError(Reason.PROTOCOL_ERROR, "[MQTT-3.3.2-6] neither topic name nor alias")
            return packet.topic
        if not 0 < alias <= self.limits.topic_alias_maximum:
            text = f"[MQTT-3.3.2-8] expected a topic alias 1..{self.limits.topic_alias_maximum}, got {alias}"
            raise ProtocolError(Reason.TOPIC_ALIAS_INVALID, text)
        if packet.topic:
            client.aliases[alias] = packet.topic
        elif alias not in client.aliases:
            raise ProtocolError(Reason.PROTOCOL_ERROR, f"[MQTT-3.3.2-7] topic alias {alias} was never set")
        return client.aliases[alias]

    def _message(
        self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties, now: float
    ) -> Message:
        self._message_number += 1
        expires_at = now + properties.get("message_expiry_interval", inf)
        if properties:
            kept: Any = {name: value for name, value in properties.items() if name not in _NOT_FORWARDED}
            properties = kept
        return Message(self._message_number, topic, payload, qos, retain, properties, expires_at)

    def _accept(self, message: Message, publisher: Session | None, now: float) -> Reason:
        """Retain and route a client's message or will, to all of its subscribers or, when one cannot take it,
        to none. $SYS is the broker's own."""
        if message.topic.startswith("$SYS/"):
            return Reason.NOT_AUTHORIZED
        targets = self._targets(message, publisher)
        if message.qos and any(t.qos and t.session.waiting(now) >= self.limits.queue for t in targets):
            self.counters.refused += 1
            return Reason.QUOTA_EXCEEDED
        if message.retain:
            self._retain(message)
        once: dict[tuple[bool, tuple[int, ...]], Publish] = {}
        for target in targets:
            if target.qos:
                self._queue(target, message, now)
            else:
                self._deliver_now(target, message, once, now)
        return Reason.SUCCESS if targets else Reason.NO_MATCHING_SUBSCRIBERS

    def _targets(self, message: Message, publisher: Session | None) -> list[Target]:
        plain, shared = self._trie.lookup(message.topic, self._is_online)
        merged: dict[str, list[Grant]] = {}
        for grant in plain:
            if not (grant.options.no_local and grant.session is publisher):
                merged.setdefault(grant.session.client_id, []).append(grant)
        return [_target(message, grants) for grants in (*merged.values(), *([one] for one in shared))]

    def _is_online(self, grant: Grant) -> bool:
        return grant.session.client_id in self._online

    def _retain(self, message: Message) -> None:
        if message.payload:
            self._retained.put(message.topic, message)
            self.journal.put(message.retained_record())
        else:
            self._unretain(message.topic)

    def _unretain(self, topic: str) -> None:
        if self._retained.pop(topic) is not None:
            self.journal.drop(RetainedRecord, topic)

    def _pubrel(self, client: Client[C], packet: Pubrel, _now: float) -> None:
        known = client.session.release_inbound(packet.packet_id)
        self._send(client, Pubcomp(packet.packet_id, Reason.SUCCESS if known else _NOT_FOUND))

    # -- messages out

    def _deliver_now(
        self,
        target: Target,
        message: Message,
        once: dict[tuple[bool, tuple[int, ...]], Publish],
        now: float,
    ) -> None:
        """QoS 0: now or never. `once` shares one packet among all who get the same bytes."""
        client = self._online.get(target.session.client_id)
        if client is None:
            return
        if not client.writable:
            self.counters.dropped_slow += 1
            return
        key = (target.retain, target.identifiers)
        packet = once.get(key)
        if packet is None:
            packet = once[key] = _publish_packet(message, 0, target.retain, target.identifiers, now)
        self.counters.sent += self._send(client, packet)

    def _queue(self, target: Target, message: Message, now: float) -> None:
        target.session.offer(message, target.qos, target.retain, target.identifiers)
        client = self._online.get(target.session.client_id)
        if client is not None:
            self._pump(client, now)

    def _pump(self, client: Client[C], now: float) -> None:
        """Send from the queue while the client reads and its window is open."""
        session = client.session
        while client.writable and len(session.inflight) < client.window:
            one = session.next(now)
            if one is None:
                return
            packet = _publish_packet(
                one.message, one.qos, one.retain, one.identifiers, now, one.packet_id, one.dup
            )
            if self._send(client, packet):
                self.counters.sent += 1
            else:
                session.finish(one.packet_id, one.qos)

    def _puback(self, client: Client[C], packet: Puback, now: float) -> None:
        if client.session.finish(packet.packet_id, 1):
            self._pump(client, now)

    def _pubrec(self, client: Client[C], packet: Pubrec, now: float) -> None:
        if packet.reason >= 0x80:
            if client.session.finish(packet.packet_id, 2):
                self._pump(client, now)
            return
        known = client.session.release(packet.packet_id)
        self._send(client, Pubrel(packet.packet_id, Reason.SUCCESS if known else _NOT_FOUND))

    def _pubcomp(self, client: Client[C], packet: Pubcomp, now: float) -> None:
        if client.session.finish(packet.packet_id, 2):
            self._pump(client, now)

    # -- subscriptions

    def _subscribe(self, client: Client[C], packet: Subscribe, now: float) -> None:
        (identifier,) = packet.properties.get("subscription_identifier", [0])
        reasons, replay = [], []
        for wanted in packet.subscriptions:
            try:
                check_filter(wanted.filter)
            except ProtocolError as error:
                reasons.append(error.reason)
                continue
            grant = Grant(client.session, wanted, identifier)
            existed = self._grant(grant)
            reasons.append(Reason(wanted.qos))
            shared = split_share(wanted.filter)[0] is not None
            if not shared and wanted.retain_handling in ((0,) if existed else (0, 1)):
                replay.append(grant)
        self._send(client, Suback(packet.packet_id, tuple(reasons)))
        for grant in replay:
            self._replay(grant, now)

    def _grant(self, grant: Grant) -> bool:
        session, wanted = grant.session, grant.options
        if wanted.no_local and split_share(wanted.filter)[0] is not None:
            text = f"[MQTT-3.8.3-4] no local on a shared subscription: {wanted.filter[:80]!r}"
            raise ProtocolError(Reason.PROTOCOL_ERROR, text)
        session.subscribe(wanted, grant.identifier)
        return self._trie.put(wanted.filter, session.client_id, grant)

    def _replay(self, grant: Grant, now: float) -> None:
        """Send the retained messages that a new subscription matches."""
        session, wanted = grant.session, grant.options
        identifiers = (grant.identifier,) if grant.identifier else ()
        for message in self._retained.match(wanted.filter):
            if message.expires_at <= now:
                self._unretain(message.topic)
                continue
            target = Target(session, min(message.qos, wanted.qos), True, identifiers)
            if not target.qos:
                self._deliver_now(target, message, {}, now)
            elif session.waiting(now) < self.limits.queue:
                self._queue(target, message, now)
            else:
                self.counters.dropped_full += 1

    def _unsubscribe(self, client: Client[C], packet: Unsubscribe, _now: float) -> None:
        reasons = []
        for topic_filter in packet.filters:
            existed = client.session.unsubscribe(topic_filter)
            if existed:
                self._trie.pop(topic_filter, client.session.client_id)
            reasons.append(Reason.SUCCESS if existed else Reason.NO_SUBSCRIPTION_EXISTED)
        self._send(client, Unsuback(packet.packet_id, tuple(reasons)))

    # -- $SYS and the way back from disk

    def statistics(self) -> dict[str, int]:
        """The rows of $SYS/broker/."""
        counters = self.counters
        return {
            "clients/connected": len(self._clients),
            "clients/total": len(self._sessions),
            "subscriptions/count": self._trie.count,
            "retained messages/count": len(self._retained),
            **{f"messages/{name}": getattr(counters, name) for name in Counters.__slots__},
        }

    def _publish_sys(self, now: float) -> None:
        """Retained in memory only: the next start counts from zero."""
        for name, value in self.statistics().items():
            message = self._message(f"$SYS/broker/{name}", b"%d" % value, 0, True, {}, now)
            self._retained.put(message.topic, message)
            for target in self._targets(message, None):
                self._deliver_now(target, message, {}, now)

    def restore(self, records: Iterable[Record], now: float) -> None:
        """Take back what a journal once held, in the order of the tables in `records.KEYS`.

        A session that was connected when the broker stopped begins its expiry now.
        """
        messages: dict[int, Message] = {}
        for record in records:
            match record:
                case SessionRecord():
                    session = Session(record.client_id, record.expiry, self.journal)
                    session.durable, session.ends_at = True, record.ends_at
                    if record.ends_at == inf:
                        session.disconnected(now)
                    self._sessions[record.client_id] = session
                case SubscriptionRecord():
                    wanted = Subscription(
                        record.filter,
                        record.qos,
                        bool(record.no_local),
                        bool(record.retain_as_published),
                        record.retain_handling,
                    )
                    self._grant(Grant(self._sessions[record.client_id], wanted, record.identifier))
                case MessageRecord():
                    messages[record.number] = Message.from_bytes(
                        record.number, record.publish, 0, False, record.expires_at
                    )
                case DeliveryRecord():
                    self._sessions[record.client_id].restore(record, messages[record.message])
                case InboundRecord():
                    self._sessions[record.client_id].accept_inbound(record.packet_id)
                case RetainedRecord():
                    message = Message.from_bytes(0, record.publish, record.qos, True, record.expires_at)
                    self._retained.put(record.topic, message)
        self._message_number = max(messages, default=0)


_NOT_FOUND = Reason.PACKET_IDENTIFIER_NOT_FOUND

_HANDLERS: dict[type[Any], Callable[[Broker[Any], Client[Any], Any, float], None]] = {
    Publish: Broker._publish,
    Puback: Broker._puback,
    Pubrec: Broker._pubrec,
    Pubrel: Broker._pubrel,
    Pubcomp: Broker._pubcomp,
    Subscribe: Broker._subscribe,
    Unsubscribe: Broker._unsubscribe,
    Pingreq: Broker._ping,
    Disconnect: Broker._disconnect,
}


def _target(message: Message, grants: list[Grant]) -> Target:
    """One delivery for all matching subscriptions of a session: the highest QoS, every identifier."""
    return Target(
        grants[0].session,
        min(message.qos, max(grant.options.qos for grant in grants)),
        message.retain and any(grant.options.retain_as_published for grant in grants),
        tuple(grant.identifier for grant in grants if grant.identifier),
    )


def _publish_packet(
    message: Message,
    qos: int,
    retain: bool,
    identifiers: tuple[int, ...],
    now: float,
    packet_id: int = 0,
    dup: bool = False,
) -> Publish:
    properties = message.properties
    if identifiers or message.expires_at < inf:
        properties = {**properties}
        if message.expires_at < inf:  # [MQTT-3.3.2-6] what is left of it
            properties["message_expiry_interval"] = max(0, ceil(message.expires_at - now))
        if identifiers:
            properties["subscription_identifier"] = list(identifiers)
    return Publish(message.topic, message.payload, qos, retain, dup, packet_id, properties)
