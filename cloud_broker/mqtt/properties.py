"""Data types of the MQTT wire (section 1.5) and the table of MQTT 5 properties (section 2.2.2.2).

`Properties` is an ordinary dict with typed, snake-case names from the spec; `PROPERTIES` holds one row per
property. A new property is one key and one row; `packets` decides where a property list stands in a packet.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict, cast

from cloud_broker.mqtt.reasons import ProtocolError, Reason

VARINT_MAX = 268_435_455


def malformed(text: str) -> ProtocolError:
    return ProtocolError(Reason.MALFORMED_PACKET, text)


class Reader:
    """A cursor over the body of one packet; every read checks the bounds."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int, end: int) -> None:
        self.data, self.pos, self.end = data, pos, end

    def left(self) -> int:
        return self.end - self.pos

    def take(self, size: int, what: str) -> int:
        """Move over `size` bytes and return where they begin."""
        start = self.pos
        if start + size > self.end:
            raise malformed(f"[MQTT-4.13.1-1] {what} needs {size} bytes, the packet has {self.left()} left")
        self.pos = start + size
        return start

    def u8(self) -> int:
        return self.data[self.take(1, "a byte")]

    def u16(self) -> int:
        start = self.take(2, "a two byte integer")
        return self.data[start] << 8 | self.data[start + 1]

    def u32(self) -> int:
        return int.from_bytes(self.data[self.take(4, "a four byte integer") : self.pos], "big")

    def varint(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if shift and not byte:
                    raise malformed("[MQTT-1.5.5-1] variable byte integer is not in its shortest form")
                return value
        raise malformed("[MQTT-1.5.5] variable byte integer is longer than four bytes")

    def binary(self) -> bytes:
        size = self.u16()
        return self.data[self.take(size, "binary data") : self.pos]

    def string(self) -> str:
        raw = self.binary()
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise malformed(f"[MQTT-1.5.4-1] not UTF-8 at byte {error.start}: {raw[:40]!r}") from None
        if "\0" in text:
            raise malformed(f"[MQTT-1.5.4-2] string holds U+0000: {text[:40]!r}")
        return text

    def pair(self) -> tuple[str, str]:
        return self.string(), self.string()

    def rest(self) -> bytes:
        start, self.pos = self.pos, self.end
        return self.data[start : self.end]


def put_u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


put_u16: Callable[[int], bytes] = struct.Struct(">H").pack
put_u32: Callable[[int], bytes] = struct.Struct(">I").pack


def put_varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    if value > VARINT_MAX:
        raise ValueError(f"{value} does not fit a variable byte integer (at most {VARINT_MAX})")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put_binary(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError(f"{len(value)} bytes do not fit a length of two bytes (at most 65535)")
    return put_u16(len(value)) + value


def put_string(value: str) -> bytes:
    return put_binary(value.encode())


def put_pair(value: tuple[str, str]) -> bytes:
    return put_string(value[0]) + put_string(value[1])


class Properties(TypedDict, total=False):
    """The keys of `PROPERTIES` with their types; the two that may repeat are lists."""

    payload_format_indicator: int
    message_expiry_interval: int
    content_type: str
    response_topic: str
    correlation_data: bytes
    subscription_identifier: list[int]
    session_expiry_interval: int
    assigned_client_identifier: str
    server_keep_alive: int
    authentication_method: str
    authentication_data: bytes
    request_problem_information: int
    will_delay_interval: int
    request_response_information: int
    response_information: str
    server_reference: str
    reason_string: str
    receive_maximum: int
    topic_alias_maximum: int
    topic_alias: int
    maximum_qos: int
    retain_available: int
    user_property: list[tuple[str, str]]
    maximum_packet_size: int
    wildcard_subscription_available: int
    subscription_identifier_available: int
    shared_subscription_available: int


@dataclass(frozen=True, slots=True)
class Kind:
    """A wire type: how to read it, how to write it."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


BYTE = Kind(Reader.u8, put_u8)
U16 = Kind(Reader.u16, put_u16)
U32 = Kind(Reader.u32, put_u32)
VARINT = Kind(Reader.varint, put_varint)
STRING = Kind(Reader.string, put_string)
BINARY = Kind(Reader.binary, put_binary)
PAIR = Kind(Reader.pair, put_pair)


@dataclass(frozen=True, slots=True)
class Row:
    """One property: where it may stand, whether it may repeat, and the range of an integer."""

    id: int
    name: str
    kind: Kind
    places: frozenset[str]
    low: int = 0
    high: int | None = None
    repeats: frozenset[str] = frozenset()  # the places where it may stand more than once


def _row(
    id: int, name: str, kind: Kind, places: str, low: int = 0, high: int | None = None, repeats: str = ""
) -> Row:
    return Row(id, name, kind, frozenset(places.split()), low, high, frozenset(repeats.split()))


_REPLIES = "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK DISCONNECT AUTH"
_ANYWHERE = f"CONNECT PUBLISH WILL SUBSCRIBE UNSUBSCRIBE {_REPLIES}"

# fmt: off
PROPERTIES = (
    _row(0x01, "payload_format_indicator",          BYTE,   "PUBLISH WILL", high=1),
    _row(0x02, "message_expiry_interval",           U32,    "PUBLISH WILL"),
    _row(0x03, "content_type",                      STRING, "PUBLISH WILL"),
    _row(0x08, "response_topic",                    STRING, "PUBLISH WILL"),
    _row(0x09, "correlation_data",                  BINARY, "PUBLISH WILL"),
    _row(0x0B, "subscription_identifier",           VARINT, "PUBLISH SUBSCRIBE", low=1, repeats="PUBLISH"),
    _row(0x11, "session_expiry_interval",           U32,    "CONNECT CONNACK DISCONNECT"),
    _row(0x12, "assigned_client_identifier",        STRING, "CONNACK"),
    _row(0x13, "server_keep_alive",                 U16,    "CONNACK"),
    _row(0x15, "authentication_method",             STRING, "CONNECT CONNACK AUTH"),
    _row(0x16, "authentication_data",               BINARY, "CONNECT CONNACK AUTH"),
    _row(0x17, "request_problem_information",       BYTE,   "CONNECT", high=1),
    _row(0x18, "will_delay_interval",               U32,    "WILL"),
    _row(0x19, "request_response_information",      BYTE,   "CONNECT", high=1),
    _row(0x1A, "response_information",              STRING, "CONNACK"),
    _row(0x1C, "server_reference",                  STRING, "CONNACK DISCONNECT"),
    _row(0x1F, "reason_string",                     STRING, _REPLIES),
    _row(0x21, "receive_maximum",                   U16,    "CONNECT CONNACK", low=1),
    _row(0x22, "topic_alias_maximum",               U16,    "CONNECT CONNACK"),
    _row(0x23, "topic_alias",                       U16,    "PUBLISH"),  # 0 has a reason code of its own
    _row(0x24, "maximum_qos",                       BYTE,   "CONNACK", high=1),
    _row(0x25, "retain_available",                  BYTE,   "CONNACK", high=1),
    _row(0x26, "user_property",                     PAIR,   _ANYWHERE, repeats=_ANYWHERE),
    _row(0x27, "maximum_packet_size",               U32,    "CONNECT CONNACK", low=1),
    _row(0x28, "wildcard_subscription_available",   BYTE,   "CONNACK", high=1),
    _row(0x29, "subscription_identifier_available", BYTE,   "CONNACK", high=1),
    _row(0x2A, "shared_subscription_available",     BYTE,   "CONNACK", high=1),
)
# fmt: on
_BY_ID = {row.id: row for row in PROPERTIES}
_BY_NAME = {row.name: row for row in PROPERTIES}
_LISTS = frozenset(row.name for row in PROPERTIES if row.repeats)


def read_properties(reader: Reader, place: str) -> Properties:
    """Read one property list that stands in `place`: a packet name, or WILL."""
    size = reader.varint()
    end = reader.take(size, f"the properties of {place}") + size
    inner = Reader(reader.data, end - size, end)
    found: dict[str, Any] = {}
    while inner.pos < inner.end:
        _read_property(inner, place, found)
    return cast(Properties, found)


def _read_property(reader: Reader, place: str, found: dict[str, Any]) -> None:
    number = reader.varint()
    row = _BY_ID.get(number)
    if row is None or place not in row.places:
        raise malformed(f"[MQTT-2.2.2.2] property 0x{number:02X} is not allowed in {place}")
    value = row.kind.read(reader)
    if isinstance(value, int) and (value < row.low or (row.high is not None and value > row.high)):
        raise ProtocolError(
            Reason.PROTOCOL_ERROR,
            f"[MQTT-2.2.2.2] {row.name} in {place}: expected {row.low}..{row.high or 'max'}, got {value}",
        )
    if row.name in found and place not in row.repeats:
        raise ProtocolError(Reason.PROTOCOL_ERROR, f"[MQTT-2.2.2.2] {row.name} stands twice in {place}")
    if row.name in _LISTS:
        found.setdefault(row.name, []).append(value)
    else:
        found[row.name] = value


def write_properties(properties: Properties) -> bytes:
    """The property list with its length; keys keep the order of the dict."""
    if not properties:
        return b"\0"
    body = bytearray()
    for name, value in properties.items():
        row = _BY_NAME[name]
        for item in cast(list[Any], value) if name in _LISTS else (value,):
            body += put_varint(row.id) + row.kind.write(item)
    return put_varint(len(body)) + body
