"""The fuzz target of the MQTT parser: bytes into the codec and, behind it, into a whole broker."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from cloud_broker.mqtt.broker import Broker, Send
from cloud_broker.mqtt.packets import (
    V5,
    V311,
    Connect,
    Decoder,
    Disconnect,
    Packet,
    Puback,
    Publish,
    Pubrel,
    Subscribe,
    Subscription,
    Unsubscribe,
    Will,
    encode,
)
from cloud_broker.mqtt.reasons import ProtocolError


def fuzz(data: bytes) -> None:
    """The first byte chooses how the rest is fed. Only ProtocolError may come out of the decoder.

    What decodes must encode again to something that decodes to the same packet; the broker must take any
    packet in any order, and everything it answers must encode.
    """
    choice, stream = data[:1] or b"\0", data[1:]
    version, size = (V5, V311)[choice[0] & 1], (choice[0] >> 1) + 1
    decoder = Decoder(version, maximum_packet_size=65536)
    broker: Broker[str] = Broker(lambda: "assigned")
    broker.opened("c", 0.0)
    try:
        for now, at in enumerate(range(0, len(stream), size)):
            for packet in decoder.feed(stream[at : at + size]):
                assert list(Decoder(decoder.version).feed(encode(packet, decoder.version))) == [packet]
                answers = [a for a in broker.step("c", packet, float(now)) if isinstance(a, Send)]
                assert all(encode(answer.packet, answer.version) for answer in answers)
    except ProtocolError as error:
        broker.failed("c", error, 0.0)
    broker.closed("c", 0.0)
    broker.tick(1e9)


def seeds() -> list[bytes]:
    """Whole conversations of both versions."""
    found = []
    for choice, version in ((254, V5), (255, V311)):
        packets: list[Packet] = [
            Connect("a", version, True, 9, Will("w", b"x", 1), "u", b"p"),
            Subscribe(1, (Subscription("t/#", 2), Subscription("$share/g/+", 1))),
            Publish("t/x", b"payload", 2, True, False, 5),
            Pubrel(5),
            Publish("t/y", b"", 1, packet_id=6, properties={"topic_alias": 2, "user_property": [("k", "v")]}),
            Puback(1),
            Unsubscribe(2, ("t/#",)),
            Disconnect(),
        ]
        found.append(bytes((choice,)) + b"".join(encode(packet, version) for packet in packets))
    return found


_CONNECTED = bytes((254,)) + encode(Connect("a", V5))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(seeds()[0])
@example(seeds()[1])
def test_fuzz(data: bytes) -> None:
    fuzz(data)
    fuzz(_CONNECTED + data)


def test_seeds_reach_the_broker() -> None:
    """The corpus is worth its place: it passes the decoder to its end."""
    for seed, version in zip(seeds(), (V5, V311), strict=True):
        assert len(list(Decoder(version).feed(seed[1:]))) == 8
