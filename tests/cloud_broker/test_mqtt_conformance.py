"""What a client may expect of any broker we run on: real paho clients over the embedded one and Mosquitto."""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

V311, V5 = MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5
WAIT = 20.0  # a hang guard, never a measure


def props(kind: int, **values: Any) -> Properties:
    found = Properties(kind)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(found, name, value)
    return found


class Probe:
    """A paho client whose callbacks land in queues."""

    def __init__(self, url: str, version: MQTTProtocolVersion, client_id: str, **options: Any) -> None:
        self.version, self.address = version, urlsplit(url)
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self.events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id, protocol=version, reconnect_on_failure=False, **options
        )
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.events.put(
            ("connect", (flags, reason))
        )
        self.client.on_disconnect = lambda _c, _u, _f, reason, _p: self.events.put(("disconnect", reason))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.events.put(("subscribe", reasons))
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)

    def event(self, name: str) -> Any:
        got, value = self.events.get(timeout=WAIT)
        assert got == name
        return value

    def connect(self, *, clean: bool = True, expiry: int | None = None, keepalive: int = 60) -> Any:
        """Connect and return the CONNACK flags."""
        more: dict[str, Any] = {}
        if self.version == V5:
            more["clean_start"] = clean
            if expiry is not None:
                more["properties"] = props(PacketTypes.CONNECT, SessionExpiryInterval=expiry)
        self.client.connect(self.address.hostname or "", self.address.port or 0, keepalive=keepalive, **more)
        self.client.loop_start()
        flags, reason = self.event("connect")
        assert not reason.is_failure
        return flags

    def subscribe(self, topic: str, qos: int = 0, **options: Any) -> list[int]:
        if self.version == V5:
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.client.subscribe(topic, qos)
        return [reason.value for reason in self.event("subscribe")]

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False, **values: Any) -> None:
        more = {"properties": props(PacketTypes.PUBLISH, **values)} if values else {}
        self.client.publish(topic, payload, qos, retain, **more).wait_for_publish(WAIT)

    def take(self) -> paho.MQTTMessage:
        return self.messages.get(timeout=WAIT)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self) -> None:
        """Lose the connection without a DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None
        sock.close()


Make = Callable[..., Probe]
versions = pytest.mark.parametrize("version", [V311, V5], ids=["v3.1.1", "v5"])


@pytest.fixture
def make(mqtt_url: str, request: pytest.FixtureRequest) -> Iterator[Make]:
    """make(version, name): a client whose id is this test's own."""
    made: list[Probe] = []

    def build(version: MQTTProtocolVersion, name: str, **options: Any) -> Probe:
        made.append(Probe(mqtt_url, version, f"{request.node.name[:40]}/{name}", **options))
        return made[-1]

    yield build
    for probe in made:
        probe.close()


def connected(make: Make, version: MQTTProtocolVersion, name: str) -> Probe:
    probe = make(version, name)
    probe.connect()
    return probe


def payloads(probe: Probe, marker: bytes = b"end") -> list[bytes]:
    """Everything up to a marker message: the way to show that nothing else came."""
    found = []
    while (message := probe.take()).payload != marker:
        found.append(bytes(message.payload))
    return found


@versions
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_subscribe(make: Make, version: MQTTProtocolVersion, qos: int) -> None:
    reader, writer = connected(make, version, "reader"), connected(make, version, "writer")
    assert reader.subscribe(f"qos/{version}/{qos}", qos) == [qos]
    sent = [b"%d" % n for n in range(50)]
    for payload in sent:
        writer.publish(f"qos/{version}/{qos}", payload, qos)
    got = [reader.take() for _ in sent]
    assert [message.payload for message in got] == sent
    assert {(message.qos, message.retain) for message in got} == {(qos, False)}


@versions
def test_delivery_qos_is_the_lower_one(make: Make, version: MQTTProtocolVersion) -> None:
    reader, writer = connected(make, version, "reader"), connected(make, version, "writer")
    assert reader.subscribe(f"low/{version}", 1) == [1]
    for qos in (0, 1, 2):
        writer.publish(f"low/{version}", b"x", qos)
    assert [reader.take().qos for _ in range(3)] == [0, 1, 1]


@versions
def test_one_megabyte(make: Make, version: MQTTProtocolVersion) -> None:
    reader = connected(make, version, "reader")
    reader.subscribe("large", 1)
    body = bytes(range(256)) * 4096
    reader.publish("large", body)
    assert reader.take().payload == body


@versions
def test_wildcards(make: Make, version: MQTTProtocolVersion) -> None:
    reader, writer = connected(make, version, "reader"), connected(make, version, "writer")
    reader.subscribe(f"w{version}/+/temp", 1)
    reader.subscribe(f"w{version}/deep/#", 1)
    reader.subscribe(f"w{version}/end", 1)
    for tail in ("a/temp", "b/temp/c", "deep", "deep/x/y", "a/b/temp", "/temp"):
        writer.publish(f"w{version}/{tail}", tail.encode())
    writer.publish(f"w{version}/end", b"end")
    assert payloads(reader) == [b"a/temp", b"deep", b"deep/x/y", b"/temp"]


@versions
def test_unsubscribe(make: Make, version: MQTTProtocolVersion) -> None:
    reader = connected(make, version, "reader")
    reader.subscribe("un/a", 1)
    reader.subscribe("un/b", 1)
    reader.client.unsubscribe("un/a")
    reader.publish("un/a", b"no")
    reader.publish("un/b", b"end")
    assert payloads(reader) == []


@versions
def test_retained(make: Make, version: MQTTProtocolVersion) -> None:
    writer = connected(make, version, "writer")
    for name in ("a", "b", "c"):
        writer.publish(f"keep{version}/{name}", name.encode(), retain=True)
    writer.publish(f"keep{version}/b", b"", retain=True)
    reader = connected(make, version, "reader")
    reader.subscribe(f"keep{version}/#", 1)
    got = [reader.take() for _ in range(2)]
    assert sorted((message.payload, message.retain) for message in got) == [(b"a", True), (b"c", True)]
    writer.publish(f"keep{version}/a", b"live", retain=True)
    live = reader.take()
    assert (live.payload, live.retain) == (b"live", False)


def test_retain_options(make: Make) -> None:
    writer, reader = connected(make, V5, "writer"), connected(make, V5, "reader")
    writer.publish("rh/a", b"old", retain=True)
    reader.subscribe("rh/a", 1, retainHandling=2)
    reader.subscribe("rh/a", 1, retainHandling=1)  # not new: nothing is sent
    reader.client.unsubscribe("rh/a")
    reader.subscribe("rh/+", 1, retainHandling=2, retainAsPublished=True)
    writer.publish("rh/a", b"new", retain=True)
    message = reader.take()
    assert (message.payload, message.retain) == (b"new", True)


def test_no_local(make: Make) -> None:
    one, two = connected(make, V5, "one"), connected(make, V5, "two")
    one.subscribe("nl", 1, noLocal=True)
    one.publish("nl", b"own")
    two.publish("nl", b"end")
    assert payloads(one) == []


@versions
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "disconnected"])
def test_will(make: Make, version: MQTTProtocolVersion, lost: bool) -> None:
    watcher, board = connected(make, version, "watcher"), make(version, "board")
    watcher.subscribe(f"will{version}/{lost}", 1)
    board.client.will_set(f"will{version}/{lost}", b"gone", 1)
    board.connect()
    if lost:
        board.drop()
        assert watcher.take().payload == b"gone"
    else:
        board.close()
        watcher.publish(f"will{version}/{lost}", b"end")
        assert payloads(watcher) == []


def test_will_delay_is_cancelled_by_a_reconnect(make: Make) -> None:
    watcher, board = connected(make, V5, "watcher"), make(V5, "board")
    watcher.subscribe("willdelay", 1)
    delay = props(PacketTypes.WILLMESSAGE, WillDelayInterval=3600)
    board.client.will_set("willdelay", b"gone", 1, properties=delay)
    board.connect(clean=False, expiry=7200)
    board.drop()
    again = make(V5, "board")
    assert again.connect(clean=False, expiry=0).session_present
    again.close()
    watcher.publish("willdelay", b"end")
    assert payloads(watcher) == []


@versions
def test_offline_queue(make: Make, version: MQTTProtocolVersion) -> None:
    options: dict[str, Any] = {"clean_session": False} if version == V311 else {}
    board, writer = make(version, "board", **options), connected(make, version, "writer")
    assert not board.connect(clean=False, expiry=3600).session_present
    board.subscribe(f"off{version}", 2)
    board.close()
    sent = [(b"%d" % n, n % 3) for n in range(30)]
    for payload, qos in sent:
        writer.publish(f"off{version}", payload, qos)
    again = make(version, "board", **options)
    assert again.connect(clean=False, expiry=3600).session_present
    got = [again.take() for _ in range(20)]
    for qos in (1, 2):  # each in order; paho hands out a QoS 2 message only after its PUBREL
        assert [m.payload for m in got if m.qos == qos] == [payload for payload, q in sent if q == qos]


def test_session_ends_with_its_expiry_or_a_clean_start(make: Make) -> None:
    for clean, expiry in ((True, 3600), (False, 0)):
        board = make(V5, "board")
        board.connect(clean=clean, expiry=expiry)
        board.subscribe("ends", 1)
        board.close()
        again = make(V5, "board")
        assert again.connect(clean=clean, expiry=0).session_present is False
        again.close()


def test_shared_subscription(make: Make) -> None:
    workers = [connected(make, V5, f"worker{n}") for n in range(2)]
    for worker in workers:
        worker.subscribe("$share/pool/jobs/#", 1)
        worker.subscribe("jobs-end", 1)
    writer = connected(make, V5, "writer")
    sent = [b"%d" % n for n in range(20)]
    for payload in sent:
        writer.publish("jobs/x", payload)
    writer.publish("jobs-end", b"end")
    got = [payloads(worker) for worker in workers]
    assert sorted(got[0] + got[1]) == sorted(sent)
    assert [len(part) for part in got] == [10, 10]


def test_message_expiry(make: Make) -> None:
    board, writer = make(V5, "board"), connected(make, V5, "writer")
    board.connect(clean=False, expiry=3600)
    board.subscribe("exp/#", 1)
    board.close()
    writer.publish("exp/short", b"short", MessageExpiryInterval=1)
    writer.publish("exp/long", b"long", MessageExpiryInterval=1000)
    time.sleep(2.5)  # both brokers expire by the real clock
    again = make(V5, "board")
    again.connect(clean=False, expiry=0)
    message = again.take()
    assert message.payload == b"long"
    assert 0 < message.properties.MessageExpiryInterval <= 1000  # type: ignore[union-attr]


def test_request_response_properties(make: Make) -> None:
    reader, writer = connected(make, V5, "reader"), connected(make, V5, "writer")
    reader.subscribe("ask", 1)
    values: dict[str, Any] = {
        "ResponseTopic": "answer/1",
        "CorrelationData": b"\0\xff",
        "ContentType": "application/json",
        "PayloadFormatIndicator": 1,
        "UserProperty": [("a", "1"), ("a", "2"), ("ß", "日本")],
    }
    writer.publish("ask", b"{}", **values)
    got: Any = reader.take().properties
    assert {name: getattr(got, name) for name in values} == values


def test_subscription_identifier(make: Make) -> None:
    reader = connected(make, V5, "reader")
    reader.client.subscribe(
        "ident", 1, properties=props(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300000)
    )
    reader.event("subscribe")
    reader.publish("ident", b"x")
    got: Any = reader.take().properties
    assert got.SubscriptionIdentifier == [300000]


def test_topic_alias(make: Make) -> None:
    reader, writer = connected(make, V5, "reader"), connected(make, V5, "writer")
    reader.subscribe("alias/long/name", 1)
    writer.publish("alias/long/name", b"set", TopicAlias=3)
    writer.publish("", b"used", TopicAlias=3)
    assert [(m.topic, m.payload) for m in (reader.take(), reader.take())] == [
        ("alias/long/name", b"set"),
        ("alias/long/name", b"used"),
    ]


@versions
def test_take_over(make: Make, version: MQTTProtocolVersion) -> None:
    first, second = make(version, "same"), make(version, "same")
    first.connect()
    second.connect()
    assert first.event("disconnect").is_failure
    second.subscribe("still", 1)
    second.publish("still", b"here")
    assert second.take().payload == b"here"


def test_versions_meet(make: Make) -> None:
    old, new = connected(make, V311, "old"), connected(make, V5, "new")
    old.subscribe("meet/old", 1)
    new.subscribe("meet/new", 1)
    new.publish("meet/old", b"to old", UserProperty=[("k", "v")])
    old.publish("meet/new", b"to new")
    assert (old.take().payload, new.take().payload) == (b"to old", b"to new")


def test_two_filters_in_one_subscribe(make: Make) -> None:
    reader = connected(make, V5, "reader")
    reader.client.subscribe([("two/a", SubscribeOptions(qos=1)), ("two/b", SubscribeOptions(qos=2))])
    assert [reason.value for reason in reader.event("subscribe")] == [1, 2]
    reader.publish("two/a", b"a")
    reader.publish("two/b", b"b", 2)
    assert (reader.take().payload, reader.take().payload) == (b"a", b"b")


def test_assigned_client_identifier(mqtt_url: str) -> None:
    probe = Probe(mqtt_url, V5, "")
    probe.connect()
    probe.subscribe("assigned", 1)
    probe.publish("assigned", b"x")
    assert probe.take().payload == b"x"
    probe.close()
