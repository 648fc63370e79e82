"""The MQTT codec, sans I/O: one frozen dataclass per packet, `encode`, and an incremental `Decoder`.

Both MQTT 5 and MQTT 3.1.1 pass through the same classes; what 3.1.1 lacks is left out on the wire. The codec
checks what one packet alone can show. What depends on the conversation (topics, aliases, who may send what)
is left to `broker`. Clause numbers in errors are those of the MQTT 5 text unless "3.1.1" stands before them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any

from cloud_broker.mqtt.properties import (
    VARINT_MAX,
    Properties,
    Reader,
    malformed,
    put_binary,
    put_string,
    put_u8,
    put_u16,
    put_varint,
    read_properties,
    write_properties,
)
from cloud_broker.mqtt.reasons import ProtocolError, Reason

V311, V5 = 4, 5  # the protocol level byte of CONNECT


class PacketType(IntEnum):
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


# --- the packets -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Will:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class Connect:
    client_id: str = ""
    version: int = V5
    clean_start: bool = True  # "clean session" in 3.1.1
    keep_alive: int = 0  # seconds, 0 = off
    will: Will | None = None
    username: str | None = None
    password: bytes | None = None
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class Connack:
    session_present: bool = False
    reason: Reason = Reason.SUCCESS
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class Publish:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    dup: bool = False
    packet_id: int = 0  # 0 exactly when qos is 0
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class _Ack:
    packet_id: int
    reason: Reason = Reason.SUCCESS
    properties: Properties = field(default_factory=Properties)


class Puback(_Ack):
    __slots__ = ()


class Pubrec(_Ack):
    __slots__ = ()


class Pubrel(_Ack):
    __slots__ = ()


class Pubcomp(_Ack):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Subscription:
    """One filter of a SUBSCRIBE with its options (section 3.8.3.1); 3.1.1 has the QoS only."""

    filter: str
    qos: int = 0
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0  # 0 always send retained messages, 1 for a new subscription only, 2 never


@dataclass(frozen=True, slots=True)
class Subscribe:
    packet_id: int
    subscriptions: tuple[Subscription, ...]
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    packet_id: int
    filters: tuple[str, ...]
    properties: Properties = field(default_factory=Properties)


@dataclass(frozen=True, slots=True)
class _Results:
    packet_id: int
    reasons: tuple[Reason, ...]
    properties: Properties = field(default_factory=Properties)


class Suback(_Results):
    __slots__ = ()


class Unsuback(_Results):
    """3.1.1 carries no reasons: they decode to an empty tuple."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Pingreq:
    pass


@dataclass(frozen=True, slots=True)
class Pingresp:
    pass


@dataclass(frozen=True, slots=True)
class _Closing:
    reason: Reason = Reason.SUCCESS
    properties: Properties = field(default_factory=Properties)


class Disconnect(_Closing):
    __slots__ = ()


class Auth(_Closing):
    __slots__ = ()


Packet = (
    Connect | Connack | Publish | Puback | Pubrec | Pubrel | Pubcomp | Subscribe | Suback
    | Unsubscribe | Unsuback | Pingreq | Pingresp | Disconnect | Auth
)  # fmt: skip

# --- reason codes per packet (the columns of section 2.4) --------------------------------------------------

_R = Reason
_PUBLISH_REPLY = frozenset(
    (
        _R.SUCCESS,
        _R.NO_MATCHING_SUBSCRIBERS,
        _R.UNSPECIFIED_ERROR,
        _R.IMPLEMENTATION_SPECIFIC_ERROR,
        _R.NOT_AUTHORIZED,
        _R.TOPIC_NAME_INVALID,
        _R.PACKET_IDENTIFIER_IN_USE,
        _R.QUOTA_EXCEEDED,
        _R.PAYLOAD_FORMAT_INVALID,
    )
)
_RELEASE_REPLY = frozenset((_R.SUCCESS, _R.PACKET_IDENTIFIER_NOT_FOUND))
_LEGAL: dict[PacketType, frozenset[Reason]] = {
    PacketType.CONNACK: frozenset(
        (
            _R.SUCCESS,
            *map(Reason, range(0x80, 0x8B)),
            _R.BAD_AUTHENTICATION_METHOD,
            _R.TOPIC_NAME_INVALID,
            _R.PACKET_TOO_LARGE,
            _R.QUOTA_EXCEEDED,
            *map(Reason, range(0x99, 0x9E)),
            _R.CONNECTION_RATE_EXCEEDED,
        )
    ),
    PacketType.PUBACK: _PUBLISH_REPLY,
    PacketType.PUBREC: _PUBLISH_REPLY,
    PacketType.PUBREL: _RELEASE_REPLY,
    PacketType.PUBCOMP: _RELEASE_REPLY,
    PacketType.SUBACK: frozenset(
        (
            _R.SUCCESS,
            _R.GRANTED_QOS_1,
            _R.GRANTED_QOS_2,
            _R.UNSPECIFIED_ERROR,
            _R.IMPLEMENTATION_SPECIFIC_ERROR,
            _R.NOT_AUTHORIZED,
            _R.TOPIC_FILTER_INVALID,
            _R.PACKET_IDENTIFIER_IN_USE,
            _R.QUOTA_EXCEEDED,
            _R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            _R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            _R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
        )
    ),
    PacketType.UNSUBACK: frozenset(
        (
            _R.SUCCESS,
            _R.NO_SUBSCRIPTION_EXISTED,
            _R.UNSPECIFIED_ERROR,
            _R.IMPLEMENTATION_SPECIFIC_ERROR,
            _R.NOT_AUTHORIZED,
            _R.TOPIC_FILTER_INVALID,
            _R.PACKET_IDENTIFIER_IN_USE,
        )
    ),
    PacketType.DISCONNECT: frozenset(
        (_R.SUCCESS, _R.DISCONNECT_WITH_WILL, *(code for code in Reason if code >= 0x80))
    )
    - {
        _R.UNSUPPORTED_PROTOCOL_VERSION,
        _R.CLIENT_IDENTIFIER_NOT_VALID,
        _R.BAD_USER_NAME_OR_PASSWORD,
        _R.SERVER_UNAVAILABLE,
        _R.BANNED,
        _R.PACKET_IDENTIFIER_IN_USE,
        _R.PACKET_IDENTIFIER_NOT_FOUND,
    },
    PacketType.AUTH: frozenset((_R.SUCCESS, _R.CONTINUE_AUTHENTICATION, _R.REAUTHENTICATE)),
}

# CONNACK return codes of 3.1.1 (its section 3.2.2.3); every other refusal is "server unavailable".
_CONNACK_311 = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Reason.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Reason.SERVER_UNAVAILABLE: 3,
    Reason.BAD_USER_NAME_OR_PASSWORD: 4,
    Reason.NOT_AUTHORIZED: 5,
}
_CONNACK_FROM_311 = {code: reason for reason, code in _CONNACK_311.items()}


def _reason(code: int, kind: PacketType) -> Reason:
    if code in _LEGAL[kind]:
        return Reason(code)
    raise ProtocolError(Reason.PROTOCOL_ERROR, f"[MQTT-2.4] {kind.name} has no reason code 0x{code:02X}")


# --- reading and writing, one pair of functions per layout -------------------------------------------------


def _packet_id(reader: Reader, kind: PacketType) -> int:
    packet_id = reader.u16()
    if not packet_id:
        raise ProtocolError(Reason.PROTOCOL_ERROR, f"[MQTT-2.2.1-3] packet identifier of {kind.name} is 0")
    return packet_id


def _qos(value: int, clause: str, reason: Reason) -> int:
    if value > 2:
        raise ProtocolError(reason, f"[{clause}] expected QoS 0..2, got {value}")
    return value


def _props(reader: Reader, version: int, place: str) -> Properties:
    return read_properties(reader, place) if version == V5 else Properties()


def _put_props(properties: Properties, version: int) -> bytes:
    return write_properties(properties) if version == V5 else b""


def _read_connect(reader: Reader, _flags: int, _version: int) -> Connect:
    name, version = reader.string(), reader.u8()
    if name != "MQTT" or version not in (V311, V5):
        raise ProtocolError(
            Reason.UNSUPPORTED_PROTOCOL_VERSION,
            f"[MQTT-3.1.2-2] expected protocol 'MQTT' level 4 or 5, got {name[:10]!r} level {version}",
        )
    flags, keep_alive = reader.u8(), reader.u16()
    _check_connect_flags(flags, version)
    properties = _props(reader, version, "CONNECT")
    return Connect(
        client_id=reader.string(),
        version=version,
        clean_start=bool(flags & 0x02),
        keep_alive=keep_alive,
        will=_read_will(reader, flags, version) if flags & 0x04 else None,
        username=reader.string() if flags & 0x80 else None,
        password=reader.binary() if flags & 0x40 else None,
        properties=properties,
    )


def _check_connect_flags(flags: int, version: int) -> None:
    if flags & 0x01:
        raise malformed("[MQTT-3.1.2-3] the reserved CONNECT flag is set")
    if not flags & 0x04 and flags & 0x38:
        raise malformed("[MQTT-3.1.2-11] will QoS or will retain is set without a will")
    if version == V311 and flags & 0xC0 == 0x40:
        raise malformed("3.1.1 [MQTT-3.1.2-22] a password without a user name")


def _read_will(reader: Reader, flags: int, version: int) -> Will:
    qos = _qos(flags >> 3 & 3, "MQTT-3.1.2-12", Reason.MALFORMED_PACKET)
    properties = _props(reader, version, "WILL")
    return Will(reader.string(), reader.binary(), qos, bool(flags & 0x20), properties)


def _put_connect(packet: Connect, _version: int) -> bytes:
    version, will = packet.version, packet.will
    flags = packet.clean_start << 1 | (packet.password is not None) << 6 | (packet.username is not None) << 7
    tail = put_string(packet.client_id)
    if will:
        flags |= 0x04 | will.qos << 3 | will.retain << 5
        tail += _put_props(will.properties, version) + put_string(will.topic) + put_binary(will.payload)
    if packet.username is not None:
        tail += put_string(packet.username)
    if packet.password is not None:
        tail += put_binary(packet.password)
    head = put_string("MQTT") + bytes((version, flags)) + put_u16(packet.keep_alive)
    return head + _put_props(packet.properties, version) + tail


def _read_connack(reader: Reader, _flags: int, version: int) -> Connack:
    present, code = reader.u8(), reader.u8()
    if present > 1:
        raise malformed(f"[MQTT-3.2.2-1] reserved bits of the CONNACK flags are set: 0x{present:02X}")
    if version == V5:
        return Connack(bool(present), _reason(code, PacketType.CONNACK), read_properties(reader, "CONNACK"))
    if code not in _CONNACK_FROM_311:
        raise malformed(f"3.1.1 [MQTT-3.2.2-6] unknown CONNACK return code {code}")
    return Connack(bool(present), _CONNACK_FROM_311[code])


def _put_connack(packet: Connack, version: int) -> bytes:
    code = int(packet.reason) if version == V5 else _CONNACK_311.get(packet.reason, 3)
    return bytes((packet.session_present, code)) + _put_props(packet.properties, version)


def _read_publish(reader: Reader, flags: int, version: int) -> Publish:
    qos = _qos(flags >> 1 & 3, "MQTT-3.3.1-4", Reason.MALFORMED_PACKET)
    dup = bool(flags & 8)
    if dup and not qos:
        raise malformed("[MQTT-3.3.1-2] DUP is set on a QoS 0 PUBLISH")
    topic = reader.string()
    packet_id = _packet_id(reader, PacketType.PUBLISH) if qos else 0
    properties = _props(reader, version, "PUBLISH")
    return Publish(topic, reader.rest(), qos, bool(flags & 1), dup, packet_id, properties)


def _put_publish(packet: Publish, version: int) -> bytes:
    packet_id = put_u16(packet.packet_id) if packet.qos else b""
    return put_string(packet.topic) + packet_id + _put_props(packet.properties, version) + packet.payload


def _read_ack(
    make: Callable[[int, Reason, Properties], Packet], reader: Reader, _flags: int, version: int
) -> Packet:
    kind = _ROW_OF[make].kind
    packet_id = _packet_id(reader, kind)
    reason = _reason(reader.u8(), kind) if version == V5 and reader.left() else Reason.SUCCESS
    properties = read_properties(reader, kind.name) if version == V5 and reader.left() else Properties()
    return make(packet_id, reason, properties)


def _put_tail(reason: Reason, properties: Properties, version: int) -> bytes:
    """Reason and properties where MQTT 5 lets both be left out when they say nothing."""
    if version == V311 or (not reason and not properties):
        return b""
    return put_u8(reason) + (write_properties(properties) if properties else b"")


def _put_ack(packet: _Ack, version: int) -> bytes:
    return put_u16(packet.packet_id) + _put_tail(packet.reason, packet.properties, version)


def _read_subscribe(reader: Reader, _flags: int, version: int) -> Subscribe:
    packet_id = _packet_id(reader, PacketType.SUBSCRIBE)
    properties = _props(reader, version, "SUBSCRIBE")
    found = []
    while reader.left():
        found.append(_read_subscription(reader, version))
    if not found:
        raise ProtocolError(Reason.PROTOCOL_ERROR, "[MQTT-3.8.3-2] SUBSCRIBE without a topic filter")
    return Subscribe(packet_id, tuple(found), properties)


def _read_subscription(reader: Reader, version: int) -> Subscription:
    topic_filter, options = reader.string(), reader.u8()
    if options & (0xC0 if version == V5 else 0xFC):
        raise malformed(f"[MQTT-3.8.3-5] reserved bits of the subscription options are set: 0x{options:02X}")
    qos = _qos(options & 3, "MQTT-3.8.3.1", Reason.PROTOCOL_ERROR)
    handling = options >> 4
    if handling > 2:
        raise ProtocolError(Reason.PROTOCOL_ERROR, "[MQTT-3.8.3.1] expected retain handling 0..2, got 3")
    return Subscription(topic_filter, qos, bool(options & 4), bool(options & 8), handling)


def _put_subscribe(packet: Subscribe, version: int) -> bytes:
    body = put_u16(packet.packet_id) + _put_props(packet.properties, version)
    for one in packet.subscriptions:
        options = one.qos
        if version == V5:
            options |= one.no_local << 2 | one.retain_as_published << 3 | one.retain_handling << 4
        body += put_string(one.filter) + put_u8(options)
    return body


def _read_unsubscribe(reader: Reader, _flags: int, version: int) -> Unsubscribe:
    packet_id = _packet_id(reader, PacketType.UNSUBSCRIBE)
    properties = _props(reader, version, "UNSUBSCRIBE")
    filters = []
    while reader.left():
        filters.append(reader.string())
    if not filters:
        raise ProtocolError(Reason.PROTOCOL_ERROR, "[MQTT-3.10.3-2] UNSUBSCRIBE without a topic filter")
    return Unsubscribe(packet_id, tuple(filters), properties)


def _put_unsubscribe(packet: Unsubscribe, version: int) -> bytes:
    head = put_u16(packet.packet_id) + _put_props(packet.properties, version)
    return head + b"".join(map(put_string, packet.filters))


def _read_results(
    make: Callable[[int, tuple[Reason, ...], Properties], Packet], reader: Reader, _flags: int, version: int
) -> Packet:
    kind = _ROW_OF[make].kind
    packet_id = _packet_id(reader, kind)
    properties = _props(reader, version, kind.name)
    return make(packet_id, tuple(_reason(code, kind) for code in reader.rest()), properties)


def _put_results(packet: _Results, version: int) -> bytes:
    head = put_u16(packet.packet_id) + _put_props(packet.properties, version)
    if version == V5:
        return head + bytes(packet.reasons)
    if isinstance(packet, Unsuback):
        return head
    return head + bytes(min(code, 0x80) for code in packet.reasons)


def _read_closing(
    make: Callable[[Reason, Properties], Packet], reader: Reader, _flags: int, version: int
) -> Packet:
    kind = _ROW_OF[make].kind
    if version == V311 and kind is PacketType.AUTH:
        raise malformed("3.1.1 [MQTT-2.2.2-2] packet type 15 is reserved")
    reason = _reason(reader.u8(), kind) if version == V5 and reader.left() else Reason.SUCCESS
    properties = read_properties(reader, kind.name) if version == V5 and reader.left() else Properties()
    return make(reason, properties)


def _put_closing(packet: _Closing, version: int) -> bytes:
    if version == V311 and isinstance(packet, Auth):
        raise ValueError("AUTH does not exist in MQTT 3.1.1")
    return _put_tail(packet.reason, packet.properties, version)


def _read_empty(make: Callable[[], Packet], _reader: Reader, _flags: int, _version: int) -> Packet:
    return make()


def _put_empty(_packet: Packet, _version: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class PacketRow:
    """One packet type: its class, its fixed flags (None: they carry data) and its layout."""

    kind: PacketType
    cls: type[Any]
    flags: int | None
    read: Callable[[Reader, int, int], Packet]  # (body, flags of the fixed header, version)
    write: Callable[[Any, int], bytes]  # (packet, version) -> body


_T = PacketType
# fmt: off
PACKETS = (
    PacketRow(_T.CONNECT,     Connect,     0,    _read_connect,                     _put_connect),
    PacketRow(_T.CONNACK,     Connack,     0,    _read_connack,                     _put_connack),
    PacketRow(_T.PUBLISH,     Publish,     None, _read_publish,                     _put_publish),
    PacketRow(_T.PUBACK,      Puback,      0,    partial(_read_ack, Puback),        _put_ack),
    PacketRow(_T.PUBREC,      Pubrec,      0,    partial(_read_ack, Pubrec),        _put_ack),
    PacketRow(_T.PUBREL,      Pubrel,      2,    partial(_read_ack, Pubrel),        _put_ack),
    PacketRow(_T.PUBCOMP,     Pubcomp,     0,    partial(_read_ack, Pubcomp),       _put_ack),
    PacketRow(_T.SUBSCRIBE,   Subscribe,   2,    _read_subscribe,                   _put_subscribe),
    PacketRow(_T.SUBACK,      Suback,      0,    partial(_read_results, Suback),    _put_results),
    PacketRow(_T.UNSUBSCRIBE, Unsubscribe, 2,    _read_unsubscribe,                 _put_unsubscribe),
    PacketRow(_T.UNSUBACK,    Unsuback,    0,    partial(_read_results, Unsuback),  _put_results),
    PacketRow(_T.PINGREQ,     Pingreq,     0,    partial(_read_empty, Pingreq),     _put_empty),
    PacketRow(_T.PINGRESP,    Pingresp,    0,    partial(_read_empty, Pingresp),    _put_empty),
    PacketRow(_T.DISCONNECT,  Disconnect,  0,    partial(_read_closing, Disconnect), _put_closing),
    PacketRow(_T.AUTH,        Auth,        0,    partial(_read_closing, Auth),      _put_closing),
)
# fmt: on
_ROW_OF: dict[Any, PacketRow] = {row.cls: row for row in PACKETS}
_ROWS: tuple[PacketRow | None, ...] = (None, *PACKETS)  # indexed by packet type; type 0 is forbidden


def encode(packet: Packet, version: int = V5) -> bytes:
    """The bytes of one packet in the given protocol version (a CONNECT names its own).

    Raises ValueError when a field does not fit the wire (a string over 65,535 bytes, AUTH in 3.1.1).
    """
    row = _ROW_OF[type(packet)]
    flags = row.flags
    if flags is None:
        assert isinstance(packet, Publish)
        flags = packet.dup << 3 | packet.qos << 1 | packet.retain
    body = row.write(packet, version)
    return bytes((row.kind << 4 | flags,)) + put_varint(len(body)) + body


class Decoder:
    """Bytes in, packets out; one decoder per connection, in the order of the stream.

    `version` is the protocol of the connection; a CONNECT that passes sets it. After a ProtocolError the
    stream has no known boundary any more and the decoder must not be fed again.
    """

    __slots__ = ("_buffer", "_need", "maximum_packet_size", "version")

    def __init__(self, version: int = V5, maximum_packet_size: int = VARINT_MAX + 5) -> None:
        self.version = version
        self.maximum_packet_size = maximum_packet_size
        self._buffer = bytearray()  # the beginning of one packet
        self._need = 0  # bytes of it that must be there before it is worth looking again

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Yield the packets that `data` completes; packets before a fault come out before it is raised."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        pos = 0
        body, end = self._frame(data, pos)
        while end <= len(data):
            yield self._decode(data, pos, body, end)
            pos = end
            body, end = self._frame(data, pos)
        self._need = end - pos
        self._buffer += data[pos:]

    def _frame(self, data: bytes, pos: int) -> tuple[int, int]:
        """Where the body of the packet at `pos` begins and where the packet ends, as far as that is known.

        The end lies behind `data` while the packet is incomplete.
        """
        if pos < len(data):
            self._check_header(data[pos])
        size = shift = 0
        for index in range(pos + 1, min(pos + 5, len(data))):
            byte = data[index]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                if shift > 7 and not byte:
                    raise malformed("[MQTT-1.5.5-1] the remaining length is not in its shortest form")
                end = index + 1 + size
                self._check_size(end - pos)
                return index + 1, end
        if len(data) >= pos + 5:
            raise malformed("[MQTT-1.5.5] the remaining length is longer than four bytes")
        return pos, len(data) + 1

    def _check_header(self, first: int) -> None:
        row = _ROWS[first >> 4]
        if row is None:
            raise malformed("[MQTT-2.1.2] packet type 0 is reserved")
        if row.flags is not None and row.flags != first & 15:
            raise malformed(f"[MQTT-2.1.3-1] {row.kind.name}: expected flags {row.flags}, got {first & 15}")

    def _check_size(self, size: int) -> None:
        if size > self.maximum_packet_size:
            text = f"[MQTT-3.2.2-15] packet of {size} bytes; at most {self.maximum_packet_size} are taken"
            raise ProtocolError(Reason.PACKET_TOO_LARGE, text)

    def _decode(self, data: bytes, pos: int, body: int, end: int) -> Packet:
        row = _ROWS[data[pos] >> 4]
        assert row is not None
        reader = Reader(data, body, end)
        packet = row.read(reader, data[pos] & 15, self.version)
        if reader.pos != end:
            raise malformed(f"[MQTT-4.13.1-1] {reader.left()} bytes left over in {row.kind.name}")
        if isinstance(packet, Connect):
            self.version = packet.version
        return packet
