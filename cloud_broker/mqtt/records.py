"""What the broker keeps on disk, one record class per table, and the journal of changes to it.

The state machine only writes down *what* is to be stored; `store` does it, and `server` holds back every
answer until it is done. The last change of a record wins, so a journal never holds two entries for one key.
Not kept: the wills of clients that were connected when the broker died.
"""

from typing import Any, NamedTuple


class SessionRecord(NamedTuple):
    client_id: str
    expiry: int  # seconds after the connection, NEVER for ever
    ends_at: float  # epoch seconds, infinite while the client is connected


class SubscriptionRecord(NamedTuple):
    client_id: str
    filter: str
    qos: int
    no_local: bool
    retain_as_published: bool
    retain_handling: int
    identifier: int  # 0 = none


class MessageRecord(NamedTuple):
    """A message that at least one delivery waits for; the publish is an MQTT 5 PUBLISH of QoS 0."""

    number: int
    publish: bytes
    expires_at: float


class DeliveryRecord(NamedTuple):
    """One message on its way to one session."""

    client_id: str
    sequence: int
    message: int
    qos: int
    retain: bool
    identifiers: str  # subscription identifiers, joined by spaces
    packet_id: int  # 0 = not sent yet
    released: bool  # QoS 2: PUBREC has come, PUBREL is what remains


class InboundRecord(NamedTuple):
    """A QoS 2 packet identifier between PUBLISH and PUBREL: the message is here, another is a duplicate."""

    client_id: str
    packet_id: int


class RetainedRecord(NamedTuple):
    topic: str
    publish: bytes
    qos: int
    expires_at: float


Record = SessionRecord | SubscriptionRecord | MessageRecord | DeliveryRecord | InboundRecord | RetainedRecord

KEYS: dict[type[Any], int] = {  # record class -> how many of its first fields are the key
    SessionRecord: 1,
    SubscriptionRecord: 2,
    MessageRecord: 1,
    DeliveryRecord: 2,
    InboundRecord: 2,
    RetainedRecord: 1,
}

Writes = dict[tuple[type[Any], tuple[Any, ...]], Record | None]  # None: delete the record of that key


class Journal:
    """The changes since the last `take`."""

    def __init__(self) -> None:
        self._writes: Writes = {}

    def put(self, record: Record) -> None:
        kind = type(record)
        self._writes[kind, record[: KEYS[kind]]] = record

    def drop(self, kind: type[Any], *key: str | int) -> None:
        self._writes[kind, key] = None

    def take(self) -> Writes:
        writes, self._writes = self._writes, {}
        return writes
