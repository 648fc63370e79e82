"""A session (section 4.1): subscriptions, messages on their way to the client, QoS 2 identifiers from it.

It outlives connections. Every change that must survive the broker is written to the journal here and nowhere
else, so `broker` can think in deliveries. No packets, no connections, no clock of its own.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from cloud_broker.mqtt.packets import Decoder, Publish, Subscription, Will, encode
from cloud_broker.mqtt.properties import Properties
from cloud_broker.mqtt.records import (
    DeliveryRecord,
    InboundRecord,
    Journal,
    MessageRecord,
    RetainedRecord,
    SessionRecord,
    SubscriptionRecord,
)

NEVER = 0xFFFFFFFF  # the session expiry interval that means "for ever"


@dataclass(slots=True, eq=False)
class Message:
    """One application message, shared by every queue that holds it. Only `holders` changes."""

    number: int
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties  # those that go to the subscribers as they came
    expires_at: float = inf
    holders: int = field(default=0)  # stored deliveries of it; it is on disk while there is one

    def to_bytes(self) -> bytes:
        return encode(Publish(self.topic, self.payload, properties=self.properties))

    def retained_record(self) -> RetainedRecord:
        return RetainedRecord(self.topic, self.to_bytes(), self.qos, self.expires_at)

    @classmethod
    def from_bytes(cls, number: int, data: bytes, qos: int, retain: bool, expires_at: float) -> "Message":
        (packet,) = Decoder().feed(data)
        assert isinstance(packet, Publish)
        return cls(number, packet.topic, packet.payload, qos, retain, packet.properties, expires_at)


@dataclass(slots=True, eq=False)
class Delivery:
    """One QoS 1 or 2 message on its way to one session: waiting (no packet id), sent, or released (QoS 2)."""

    sequence: int
    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    packet_id: int = 0  # kept when it has to be sent again [MQTT-4.4.0-1]
    dup: bool = False  # it was sent before
    released: bool = False


class Session:
    """The state of one client id.

    `queue` waits to be sent, `inflight` waits for the client; both keep the order of arrival. The queue is
    bounded by the caller (`waiting`), inflight by the caller's window. A session with an expiry is `durable`:
    it is in the journal from its first change to its last.
    """

    __slots__ = (
        "_journal", "_last_id", "_queue", "_sequence", "client_id", "durable", "ends_at", "expiry", "inbound",
        "inflight", "subscriptions", "will", "will_at",
    )  # fmt: skip

    def __init__(self, client_id: str, expiry: int, journal: Journal) -> None:
        self.client_id = client_id
        self.expiry = expiry
        self.durable = expiry > 0
        self.ends_at = inf
        self.will: Will | None = None  # to be published at will_at, or when the session ends before
        self.will_at = inf
        self.subscriptions: dict[str, Subscription] = {}
        self.inflight: dict[int, Delivery] = {}
        self.inbound: dict[int, None] = {}  # an ordered set; an empty dict is small
        self._queue: deque[Delivery] | None = None  # an empty deque is not
        self._journal = journal
        self._sequence = 0
        self._last_id = 0

    # -- life

    def connected(self, expiry: int) -> None:
        self.expiry, self.ends_at, self.will, self.will_at = expiry, inf, None, inf
        self.save()

    def disconnected(self, now: float) -> None:
        """Live on for `expiry` seconds; what the client has not confirmed is to be sent again."""
        self.ends_at = inf if self.expiry == NEVER else now + self.expiry
        again = [one for one in self.inflight.values() if not one.released]
        self.inflight = {key: one for key, one in self.inflight.items() if one.released}
        if again:
            self._queue = deque([*again, *(self._queue or ())])
        self.save()

    def save(self) -> None:
        if self.durable:
            self._journal.put(SessionRecord(self.client_id, self.expiry, self.ends_at))

    def end(self) -> None:
        """Forget everything, on disk too."""
        for topic_filter in list(self.subscriptions):
            self.unsubscribe(topic_filter)
        for one in [*self.inflight.values(), *(self._queue or ())]:
            self._forget(one)
        for packet_id in list(self.inbound):
            self.release_inbound(packet_id)
        if self.durable:
            self._journal.drop(SessionRecord, self.client_id)

    # -- subscriptions

    def subscribe(self, wanted: Subscription, identifier: int) -> None:
        self.subscriptions[wanted.filter] = wanted
        if self.durable:
            self._journal.put(
                SubscriptionRecord(
                    self.client_id,
                    wanted.filter,
                    wanted.qos,
                    wanted.no_local,
                    wanted.retain_as_published,
                    wanted.retain_handling,
                    identifier,
                )
            )

    def unsubscribe(self, topic_filter: str) -> bool:
        if self.subscriptions.pop(topic_filter, None) is None:
            return False
        if self.durable:
            self._journal.drop(SubscriptionRecord, self.client_id, topic_filter)
        return True

    # -- messages to the client

    def waiting(self, now: float) -> int:
        """Deliveries in the queue, once the expired ones at its head are gone."""
        while self._queue and self._queue[0].message.expires_at <= now:
            self._forget(self._queue.popleft())
        return len(self._queue or ())

    def offer(self, message: Message, qos: int, retain: bool, identifiers: tuple[int, ...]) -> None:
        """Queue a message with QoS 1 or 2."""
        self._sequence += 1
        one = Delivery(self._sequence, message, qos, retain, identifiers)
        if self._queue is None:
            self._queue = deque()
        self._queue.append(one)
        if self.durable:
            if not message.holders:
                self._journal.put(MessageRecord(message.number, message.to_bytes(), message.expires_at))
            message.holders += 1
            self._save_delivery(one)

    def next(self, now: float) -> Delivery | None:
        """Move the first delivery that has not expired from the queue into flight; it keeps a packet id."""
        while self._queue:
            one = self._queue.popleft()
            if one.message.expires_at > now:
                one.dup = one.packet_id > 0
                one.packet_id = one.packet_id or self._free_id()
                self.inflight[one.packet_id] = one
                self._save_delivery(one)
                return one
            self._forget(one)
        self._queue = None
        return None

    def _free_id(self) -> int:
        """A packet identifier not in flight. Those waiting to be sent again stand first in the queue."""
        while True:
            self._last_id = self._last_id % 0xFFFF + 1
            if self._last_id not in self.inflight:
                return self._last_id

    def release(self, packet_id: int) -> bool:
        """PUBREC: the client has a QoS 2 message, only PUBREL remains. False when there is no such."""
        one = self.inflight.get(packet_id)
        if one is None or one.qos != 2:
            return False
        if not one.released:
            one.released = True
            self._save_delivery(one)
        return True

    def finish(self, packet_id: int, qos: int) -> bool:
        """PUBACK, PUBCOMP, or a refusal: the delivery is done. False when there is no such message."""
        one = self.inflight.get(packet_id)
        if one is None or one.qos != qos:
            return False
        del self.inflight[packet_id]
        self._forget(one)
        return True

    def _save_delivery(self, one: Delivery) -> None:
        if self.durable:
            identifiers = " ".join(map(str, one.identifiers))
            self._journal.put(
                DeliveryRecord(
                    self.client_id,
                    one.sequence,
                    one.message.number,
                    one.qos,
                    one.retain,
                    identifiers,
                    one.packet_id,
                    one.released,
                )
            )

    def _forget(self, one: Delivery) -> None:
        if self.durable:
            self._journal.drop(DeliveryRecord, self.client_id, one.sequence)
            one.message.holders -= 1
            if not one.message.holders:
                self._journal.drop(MessageRecord, one.message.number)

    # -- QoS 2 messages from the client

    def accept_inbound(self, packet_id: int) -> None:
        self.inbound[packet_id] = None
        if self.durable:
            self._journal.put(InboundRecord(self.client_id, packet_id))

    def release_inbound(self, packet_id: int) -> bool:
        if packet_id not in self.inbound:
            return False
        del self.inbound[packet_id]
        if self.durable:
            self._journal.drop(InboundRecord, self.client_id, packet_id)
        return True

    # -- back from disk

    def restore(self, record: DeliveryRecord, message: Message) -> None:
        """Take back one stored delivery; records come in the order of their sequence."""
        identifiers = tuple(map(int, record.identifiers.split()))
        one = Delivery(record.sequence, message, record.qos, bool(record.retain), identifiers)
        one.packet_id, one.released = record.packet_id, bool(record.released)
        message.holders += 1
        self._sequence = record.sequence
        self._last_id = max(self._last_id, one.packet_id)
        if one.released:
            self.inflight[one.packet_id] = one
        else:
            self._queue = self._queue or deque()
            self._queue.append(one)
