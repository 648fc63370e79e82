"""cloud_broker/mqtt/packets.py and properties.py: golden bytes, malformed input, round trips, every split."""

from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_broker.mqtt.packets import (
    PACKETS,
    V5,
    V311,
    Auth,
    Connack,
    Connect,
    Decoder,
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
from cloud_broker.mqtt.properties import BINARY, PAIR, PROPERTIES, STRING, U16, U32, VARINT, Properties
from cloud_broker.mqtt.reasons import ProtocolError, Reason

R = Reason

# (version, packet, its bytes in hex; written by hand from the layout tables of the two specifications)
GOLDEN: list[tuple[int, Packet, str]] = [
    (V311, Connect("a", V311, keep_alive=60), "10 0d 0004 4d515454 04 02 003c 0001 61"),
    (V5, Connect("a", V5, keep_alive=60), "10 0e 0004 4d515454 05 02 003c 00 0001 61"),
    (
        V311,
        Connect("c", V311, False, 1, Will("w", b"x", 1, True), "u", b"p"),
        "10 19 0004 4d515454 04 ec 0001 0001 63 0001 77 0001 78 0001 75 0001 70",
    ),
    (
        V5,
        Connect("", V5, True, 0, Will("w", b"", 2, False, {"will_delay_interval": 5}), None, b"p",
                {"session_expiry_interval": 16, "receive_maximum": 20}),
        "10 23 0004 4d515454 05 56 0000 08 11 00000010 21 0014 0000 05 18 00000005 0001 77 0000 0001 70",
    ),
    (V311, Connack(True), "20 02 01 00"),
    (V311, Connack(False, R.BAD_USER_NAME_OR_PASSWORD), "20 02 00 04"),
    (V5, Connack(False, R.NOT_AUTHORIZED), "20 03 00 87 00"),
    (V5, Connack(False, R.SUCCESS, {"assigned_client_identifier": "z"}), "20 07 00 00 04 12 0001 7a"),
    (V311, Publish("a/b", b"hi"), "30 07 0003 612f62 6869"),
    (V5, Publish("a/b", b"hi", 1, True, True, 10), "3b 0a 0003 612f62 000a 00 6869"),
    (
        V5,
        Publish("t", b"", 0, properties={"topic_alias": 1, "user_property": [("k", "v"), ("k", "w")]}),
        "30 15 0001 74 11 23 0001 26 0001 6b 0001 76 26 0001 6b 0001 77",
    ),
    (
        V5,
        Publish("t", b"", properties={"subscription_identifier": [1, 200]}),
        "30 09 0001 74 05 0b 01 0b c801",
    ),
    (V311, Puback(1), "40 02 0001"),
    (V5, Puback(1), "40 02 0001"),
    (V5, Puback(1, R.NO_MATCHING_SUBSCRIBERS), "40 03 0001 10"),
    (V5, Pubrec(1, R.QUOTA_EXCEEDED, {"reason_string": "x"}), "50 08 0001 97 04 1f 0001 78"),
    (V5, Pubrel(0x1234), "62 02 1234"),
    (V5, Pubcomp(1, R.PACKET_IDENTIFIER_NOT_FOUND), "70 03 0001 92"),
    (V311, Subscribe(2, (Subscription("a", 1), Subscription("#", 2))), "82 0a 0002 0001 61 01 0001 23 02"),
    (
        V5,
        Subscribe(2, (Subscription("a", 1, True, True, 2),), {"subscription_identifier": [7]}),
        "82 09 0002 02 0b07 0001 61 2d",
    ),
    (V311, Suback(2, (R.SUCCESS, R.GRANTED_QOS_2, R.UNSPECIFIED_ERROR)), "90 05 0002 00 02 80"),
    (V5, Suback(2, (R.GRANTED_QOS_1, R.TOPIC_FILTER_INVALID)), "90 05 0002 00 01 8f"),
    (V311, Unsubscribe(3, ("a", "b")), "a2 08 0003 0001 61 0001 62"),
    (V5, Unsubscribe(3, ("a",)), "a2 06 0003 00 0001 61"),
    (V311, Unsuback(3, ()), "b0 02 0003"),
    (V5, Unsuback(3, (R.SUCCESS, R.NO_SUBSCRIPTION_EXISTED)), "b0 05 0003 00 00 11"),
    (V311, Pingreq(), "c0 00"),
    (V5, Pingresp(), "d0 00"),
    (V311, Disconnect(), "e0 00"),
    (V5, Disconnect(), "e0 00"),
    (V5, Disconnect(R.DISCONNECT_WITH_WILL), "e0 01 04"),
    (V5, Disconnect(R.SUCCESS, {"session_expiry_interval": 0}), "e0 07 00 05 11 00000000"),
    (V5, Auth(R.CONTINUE_AUTHENTICATION, {"authentication_method": "m"}), "f0 06 18 04 15 0001 6d"),
]  # fmt: skip

# (version, bytes in hex, reason, clause)
MALFORMED = [
    (V5, "00 00", R.MALFORMED_PACKET, "2.1.2"),
    (V5, "c1 00", R.MALFORMED_PACKET, "2.1.3-1"),
    (V5, "60 02 0001", R.MALFORMED_PACKET, "2.1.3-1"),
    (V5, "80 00", R.MALFORMED_PACKET, "2.1.3-1"),
    (V5, "c0 80808080 01", R.MALFORMED_PACKET, "1.5.5"),
    (V5, "c0 8000", R.MALFORMED_PACKET, "1.5.5-1"),
    (V5, "c0 01 00", R.MALFORMED_PACKET, "4.13.1-1"),
    (V5, "30 ffffff7f", R.PACKET_TOO_LARGE, "3.2.2-15"),
    (V5, "10 0d 0004 4d515458 04 02 003c 0001 61", R.UNSUPPORTED_PROTOCOL_VERSION, "3.1.2-2"),
    (V5, "10 0d 0004 4d515454 03 02 003c 0001 61", R.UNSUPPORTED_PROTOCOL_VERSION, "3.1.2-2"),
    (V5, "10 0d 0004 4d515454 04 03 003c 0001 61", R.MALFORMED_PACKET, "3.1.2-3"),
    (V5, "10 0d 0004 4d515454 04 22 003c 0001 61", R.MALFORMED_PACKET, "3.1.2-11"),
    (V5, "10 13 0004 4d515454 04 1e 003c 0001 61 0001 77 0001 78", R.MALFORMED_PACKET, "3.1.2-12"),
    (V5, "10 10 0004 4d515454 04 42 003c 0001 61 0001 70", R.MALFORMED_PACKET, "3.1.2-22"),
    (V5, "10 11 0004 4d515454 05 02 003c 03 21 0000 0001 61", R.PROTOCOL_ERROR, "2.2.2.2"),
    (V5, "10 14 0004 4d515454 05 02 003c 06 21 0001 21 0002 0001 61", R.PROTOCOL_ERROR, "2.2.2.2"),
    (V5, "10 11 0004 4d515454 05 02 003c 03 23 0001 0001 61", R.MALFORMED_PACKET, "2.2.2.2"),
    (V5, "10 10 0004 4d515454 05 02 003c 02 7f 01 0001 61", R.MALFORMED_PACKET, "2.2.2.2"),
    (V5, "20 03 02 00 00", R.MALFORMED_PACKET, "3.2.2-1"),
    (V5, "20 03 00 01 00", R.PROTOCOL_ERROR, "2.4"),
    (V311, "20 02 00 06", R.MALFORMED_PACKET, "3.2.2-6"),
    (V5, "36 07 0001 61 0001 00 78", R.MALFORMED_PACKET, "3.3.1-4"),
    (V5, "38 05 0001 61 00 78", R.MALFORMED_PACKET, "3.3.1-2"),
    (V5, "32 07 0001 61 0000 00 78", R.PROTOCOL_ERROR, "2.2.1-3"),
    (V5, "30 03 0001 ff", R.MALFORMED_PACKET, "1.5.4-1"),
    (V5, "30 06 0003 eda080 00", R.MALFORMED_PACKET, "1.5.4-1"),
    (V5, "30 04 0001 00 00", R.MALFORMED_PACKET, "1.5.4-2"),
    (V5, "30 03 0005 61", R.MALFORMED_PACKET, "4.13.1-1"),
    (V5, "30 06 0001 61 02 01 02", R.PROTOCOL_ERROR, "2.2.2.2"),
    (V5, "30 04 0001 61 09", R.MALFORMED_PACKET, "4.13.1-1"),
    (V5, "40 01 00", R.MALFORMED_PACKET, "4.13.1-1"),
    (V5, "40 02 0000", R.PROTOCOL_ERROR, "2.2.1-3"),
    (V5, "40 03 0001 01", R.PROTOCOL_ERROR, "2.4"),
    (V311, "40 03 0001 00", R.MALFORMED_PACKET, "4.13.1-1"),
    (V5, "82 03 0001 00", R.PROTOCOL_ERROR, "3.8.3-2"),
    (V5, "82 07 0001 00 0001 61 40", R.MALFORMED_PACKET, "3.8.3-5"),
    (V311, "82 06 0001 0001 61 04", R.MALFORMED_PACKET, "3.8.3-5"),
    (V5, "82 07 0001 00 0001 61 03", R.PROTOCOL_ERROR, "3.8.3.1"),
    (V5, "82 07 0001 00 0001 61 30", R.PROTOCOL_ERROR, "3.8.3.1"),
    (V5, "82 09 0001 02 0b00 0001 61 00", R.PROTOCOL_ERROR, "2.2.2.2"),
    (V5, "a2 03 0001 00", R.PROTOCOL_ERROR, "3.10.3-2"),
    (V5, "e0 01 01", R.PROTOCOL_ERROR, "2.4"),
    (V311, "e0 01 00", R.MALFORMED_PACKET, "4.13.1-1"),
    (V311, "f0 00", R.MALFORMED_PACKET, "2.2.2-2"),
]


def decode(data: bytes, version: int) -> list[Packet]:
    return list(Decoder(version).feed(data))


@pytest.mark.parametrize(("version", "packet", "text"), GOLDEN, ids=str)
def test_golden(version: int, packet: Packet, text: str) -> None:
    data = bytes.fromhex(text)
    assert encode(packet, version).hex() == data.hex()
    assert decode(data, version) == [packet]


@pytest.mark.parametrize(("version", "text", "reason", "clause"), MALFORMED)
def test_malformed(version: int, text: str, reason: Reason, clause: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        list(Decoder(version, maximum_packet_size=1000).feed(bytes.fromhex(text)))
    assert (caught.value.reason, f"[MQTT-{clause}]" in caught.value.text) == (reason, True), caught.value


@pytest.mark.parametrize("version", [V311, V5])
def test_every_split_of_the_stream_gives_the_same_packets(version: int) -> None:
    packets = [packet for its_version, packet, _ in GOLDEN if its_version == version]
    data = b"".join(encode(packet, version) for packet in packets)
    for cut in range(len(data) + 1):
        decoder = Decoder(version)
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:])] == packets
    decoder = Decoder(version)
    assert [packet for byte in data for packet in decoder.feed(bytes((byte,)))] == packets


def test_packets_before_a_fault_come_out() -> None:
    stream = Decoder().feed(encode(Pingreq()) + encode(Puback(1)) + b"\0\0")
    assert [next(stream), next(stream)] == [Pingreq(), Puback(1)]
    with pytest.raises(ProtocolError):
        next(stream)


def test_connect_sets_the_version() -> None:
    decoder = Decoder(V5)
    (_, packet) = decoder.feed(encode(Connect("a", V311)) + encode(Publish("t", b"x"), V311))
    assert packet == Publish("t", b"x")
    assert decoder.version == V311


@pytest.mark.parametrize(
    ("packet", "version"),
    [
        (Publish("x" * 65536, b""), V5),
        (Auth(), V311),
        (Publish("t", b"", properties={"content_type": "x" * 65536}), V5),
    ],
    ids=["long topic", "auth", "long property"],
)
def test_encode_refuses_what_does_not_fit(packet: Packet, version: int) -> None:
    with pytest.raises(ValueError):
        encode(packet, version)


def test_properties_table_and_type_agree() -> None:
    hints = get_type_hints(Properties)
    kinds: dict[Any, Any] = {STRING: str, BINARY: bytes, PAIR: list[tuple[str, str]], VARINT: list[int]}
    assert {row.name: kinds.get(row.kind, int) for row in PROPERTIES} == hints
    assert len({row.id for row in PROPERTIES}) == len(PROPERTIES) == 27
    assert [row.kind for row in PACKETS] == list(range(1, 16))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
blobs = st.binary(max_size=8)
ids = st.integers(1, 0xFFFF)
_VALUES: dict[Any, Any] = {STRING: texts, BINARY: blobs, PAIR: st.tuples(texts, texts)}
_HIGHEST = {U16: 2**16 - 1, U32: 2**32 - 1, VARINT: 2**28 - 1}


def properties(place: str) -> st.SearchStrategy[Any]:
    rows = {}
    for row in PROPERTIES:
        if place not in row.places:
            continue
        high = row.high if row.high is not None else _HIGHEST.get(row.kind, 0)
        value = _VALUES.get(row.kind, st.integers(row.low, max(row.low, high)))
        many = row.kind in (PAIR, VARINT)
        limit = 3 if place in row.repeats else 1
        rows[row.name] = st.lists(value, min_size=1, max_size=limit) if many else value
    return st.fixed_dictionaries({}, optional=rows)


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, min_size=1, max_size=3).map(tuple)


flags = st.booleans()
qos = st.integers(0, 2)
wills = st.builds(Will, texts, blobs, qos, st.booleans(), properties("WILL"))
subscriptions = st.builds(Subscription, texts, qos, st.booleans(), st.booleans(), qos)
five = st.one_of(
    st.builds(
        Connect, texts, st.just(V5), st.booleans(), st.integers(0, 0xFFFF), st.none() | wills,
        st.none() | texts, st.none() | blobs, properties("CONNECT"),
    ),
    st.builds(Connack, st.booleans(), st.sampled_from([R.SUCCESS, R.BANNED]), properties("CONNACK")),
    st.builds(Publish, texts, blobs, retain=flags, properties=properties("PUBLISH")),
    st.builds(Publish, texts, blobs, st.integers(1, 2), flags, flags, ids, properties("PUBLISH")),
    st.builds(Puback, ids, st.sampled_from([R.SUCCESS, R.QUOTA_EXCEEDED]), properties("PUBACK")),
    st.builds(Pubrel, ids, st.just(R.PACKET_IDENTIFIER_NOT_FOUND), properties("PUBREL")),
    st.builds(Subscribe, ids, some(subscriptions), properties("SUBSCRIBE")),
    st.builds(Suback, ids, some(st.just(R.NOT_AUTHORIZED)), properties("SUBACK")),
    st.builds(Unsubscribe, ids, some(texts), properties("UNSUBSCRIBE")),
    st.builds(Disconnect, st.just(R.SERVER_BUSY), properties("DISCONNECT")),
    st.builds(Auth, st.just(R.REAUTHENTICATE), properties("AUTH")),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(five, max_size=4), st.integers(1, 40))
def test_round_trip(packets: list[Packet], size: int) -> None:
    data = b"".join(encode(packet) for packet in packets)
    decoder = Decoder(V5)
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert [packet for chunk in chunks for packet in decoder.feed(chunk)] == packets
