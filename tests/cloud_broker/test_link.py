"""Both links, the real one over both brokers and its fake: the same promises, the same tests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage, topic_matches_sub

from cloud_broker.wire.link import (
    MAX_QUEUED,
    Callback,
    Handler,
    Link,
    MemoryHub,
    MqttLink,
    matches,
    parse_url,
)

WAIT = 30.0
"""Seconds after which a test is called hung."""


class Seen:
    """What a handler heard, for a test to wait for."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()

    def __call__(self, topic: str, payload: bytes) -> None:
        with self._changed:
            self.messages.append((topic, payload))
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[tuple[str, bytes]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.messages) >= count, WAIT), self.messages
            return list(self.messages)


class Net:
    """Makes links of one kind and stops them at the end."""

    def __init__(self, make: Callable[..., Link]) -> None:
        self._make = make
        self._links: list[Link] = []

    def link(self, name: str, will: tuple[str, bytes] | None = None, start: bool = True) -> Link:
        link = self._make(name, will)
        self._links.append(link)
        up = threading.Event()
        link.on_connect(up.set)
        if start:
            link.start()
            assert up.wait(WAIT)
        return link

    def close(self) -> None:
        for link in self._links:
            link.stop()


@pytest.fixture
def memory_net() -> Net:
    hub = MemoryHub()
    return Net(lambda name, will: hub.link(name, will=will))


@pytest.fixture
def mqtt_net(mqtt_url: str) -> Iterator[Net]:
    names = iter(range(1000))
    net = Net(
        lambda name, will: MqttLink(mqtt_url, f"{name}-{id(names)}-{next(names)}", will=will, rng=Random(1))
    )
    yield net
    net.close()


def hear(link: Link, filter: str, handler: Handler) -> Callback:
    """Subscribe, and wait until the broker knows: it answers one link's packets in order."""
    off, known = link.subscribe(filter, handler), threading.Event()
    link.publish("barrier", b"", on_delivered=known.set)
    assert known.wait(WAIT)
    return off


def check_wildcards(net: Net, root: str) -> None:
    seen, other = Seen(), Seen()
    one, two = net.link("one"), net.link("two")
    hear(one, f"{root}/+/c", seen)
    hear(one, f"{root}/deep/#", other)
    for topic in ("b/c", "b/d", "deep/x/y", "b/c/d"):
        two.publish(f"{root}/{topic}", topic.encode())
    two.publish(f"{root}/end/c", b"end")
    assert seen.wait_for(2) == [(f"{root}/b/c", b"b/c"), (f"{root}/end/c", b"end")]
    assert other.messages == [(f"{root}/deep/x/y", b"deep/x/y")]


def check_retained(net: Net, root: str) -> None:
    seen, delivered = Seen(), threading.Event()
    net.link("one").publish(f"{root}/state", b"kept", retain=True, on_delivered=delivered.set)
    assert delivered.wait(WAIT)
    hear(net.link("two"), f"{root}/state", seen)
    assert seen.wait_for(1) == [(f"{root}/state", b"kept")]


def check_queued_before_start(net: Net, root: str) -> None:
    """Offline at first is no error, and order is kept."""
    seen, delivered = Seen(), threading.Event()
    hear(net.link("one"), f"{root}/early", seen)
    two = net.link("two", start=False)
    two.publish(f"{root}/early", b"1")
    two.publish(f"{root}/early", b"2", on_delivered=delivered.set)
    assert not two.connected
    two.start()
    assert [payload for _, payload in seen.wait_for(2)] == [b"1", b"2"]
    assert delivered.wait(WAIT)


def check_handlers_that_fail_or_answer(net: Net, root: str) -> None:
    """An exception does no harm; a handler may publish and subscribe."""
    seen = Seen()
    one, two = net.link("one"), net.link("two")

    def fail(_topic: str, _payload: bytes) -> None:
        raise RuntimeError("a handler's own mistake")

    def answer(_topic: str, payload: bytes) -> None:
        one.subscribe(f"{root}/more", seen)
        one.publish(f"{root}/answer", payload)

    hear(one, f"{root}/fail", fail)
    hear(one, f"{root}/ask", answer)
    hear(two, f"{root}/answer", seen)
    two.publish(f"{root}/fail", b"")
    two.publish(f"{root}/ask", b"hi")
    assert seen.wait_for(1) == [(f"{root}/answer", b"hi")]
    assert one.counters["handler_errors"] == 1


def check_goodbye(net: Net, root: str) -> None:
    """A stop that says goodbye leaves no will, and what was said last arrives."""
    seen = Seen()
    hear(net.link("one"), f"{root}/#", seen)
    two = net.link("two", will=(f"{root}/state", b"lost"))
    two.publish(f"{root}/state", b"bye")
    two.stop()
    net.link("three").publish(f"{root}/end", b"")
    assert seen.wait_for(2) == [(f"{root}/state", b"bye"), (f"{root}/end", b"")]
    assert not two.connected


def check_unsubscribed(net: Net, root: str) -> None:
    seen, end = Seen(), Seen()
    one = net.link("one")
    off = hear(one, f"{root}/x", seen)
    off()
    hear(one, f"{root}/end", end)
    two = net.link("two")
    two.publish(f"{root}/x", b"")
    two.publish(f"{root}/end", b"")
    end.wait_for(1)
    assert seen.messages == []


CHECKS = [
    check_wildcards,
    check_retained,
    check_queued_before_start,
    check_handlers_that_fail_or_answer,
    check_goodbye,
    check_unsubscribed,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_memory(check: Callable[[Net, str], None], memory_net: Net) -> None:
    check(memory_net, check.__name__)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_mqtt(check: Callable[[Net, str], None], mqtt_net: Net) -> None:
    check(mqtt_net, check.__name__)


def test_a_lost_connection_comes_back_by_itself(mqtt_net: Net) -> None:
    """Will to the others, callbacks here, the subscription again, and nothing that was queued is lost."""
    seen, lost = Seen(), threading.Event()
    watcher = mqtt_net.link("watcher")
    hear(watcher, "lost/#", seen)
    link: Any = mqtt_net.link("one", will=("lost/will", b"gone"))
    mine, again = Seen(), threading.Event()
    hear(link, "lost/mine", mine)
    link.on_disconnect(lost.set)
    link.on_connect(again.set)
    link._client.socket().shutdown(2)
    assert lost.wait(WAIT)
    link.publish("lost/queued", b"still here")
    assert again.wait(WAIT)
    hear(link, "lost/barrier", mine)
    watcher.publish("lost/mine", b"for you")
    assert mine.wait_for(1) == [("lost/mine", b"for you")]
    assert {payload for _, payload in seen.wait_for(3)} == {b"gone", b"still here", b"for you"}


def test_the_fake_loses_and_restores() -> None:
    hub, seen, mine = MemoryHub(), Seen(), Seen()
    watcher, link = hub.link("watcher"), hub.link("one", will=("x/will", b"gone"))
    events: list[str] = []
    link.on_connect(lambda: events.append("up"))
    link.on_disconnect(lambda: events.append("down"))
    watcher.subscribe("x/#", seen)
    link.subscribe("y", mine)
    watcher.start()
    link.start()
    hub.lose("one")
    watcher.publish("y", b"missed")
    link.publish("x/queued", b"1")
    assert seen.messages == [("x/will", b"gone")] and mine.messages == []
    hub.restore("one")
    assert events == ["up", "down", "up"]
    assert mine.messages == [("y", b"missed")] and seen.messages[1:] == [("x/queued", b"1")]


@pytest.mark.parametrize("kind", ["memory", "mqtt"])
def test_the_queue_is_bounded_and_drops_are_counted(kind: str) -> None:
    link: Link = MemoryHub().link("one") if kind == "memory" else MqttLink("mqtt://h", "one", rng=Random(1))
    for _ in range(MAX_QUEUED + 5):
        link.publish("t", b"")
    link.publish("t", b"", qos=0)
    assert link.counters["dropped"] == 6


def test_a_topic_that_is_not_text_is_counted() -> None:
    link = MqttLink("mqtt://h", "one", rng=Random(1))
    link._on_message(link._client, None, MQTTMessage(1, b"\xff"))
    assert link.counters["bad_topics"] == 1


def test_qos_0_is_never_acknowledged() -> None:
    for link in (MemoryHub().link("one"), MqttLink("mqtt://h", "one", rng=Random(1))):
        with pytest.raises(ValueError, match="on_delivered needs qos 1 or 2"):
            link.publish("t", b"", qos=0, on_delivered=lambda: None)


MALFORMED = {
    "topic longer than the packet": b"\x30\x05\xff\xff\x00\x00\x00",
    "properties longer than the packet": b"\x30\x04\x00\x01a\x7f",
    "unknown property": b"\x30\x06\x00\x01a\x02\x7e\x00",
    "empty PUBLISH": b"\x30\x00",
    "empty SUBACK": b"\x90\x00",
    "empty PUBACK": b"\x40\x00",
    "SUBACK without properties": b"\x90\x02\x00\x01",
    "reason that does not exist": b"\xe0\x01\x77",
    "empty CONNACK": b"\x20\x00",
    "type 0": b"\x00\x00",
    "length without end": b"\x30\xff\xff\xff\xff\xff",
}
"""What no broker sends, by what is wrong with it."""


def test_a_hostile_broker_does_not_end_the_link() -> None:
    """After each malformed packet the link connects anew, and in the end it works."""
    connack, puback = b"\x20\x03\x00\x00\x00", b"\x40\x02\x00\x01"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)
        link = MqttLink(f"mqtt://127.0.0.1:{listener.getsockname()[1]}", "victim", rng=Random(1))
        link.start()
        try:
            for packet in MALFORMED.values():
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(WAIT)
                    connection.recv(1000)
                    connection.sendall(connack + packet)
                    while connection.recv(1000):
                        pass
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(connack)
                delivered = threading.Event()
                link.publish("t", b"", on_delivered=delivered.set)
                connection.recv(1000)
                connection.sendall(puback)
                assert delivered.wait(WAIT)
        finally:
            link.stop()
    assert link.counters["bad_packets"] > 0


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("mqtt://h", ("h", 1883, "", "")),
        ("mqtt://h:1", ("h", 1, "", "")),
        ("mqtt://u:p%40s@[::1]:2/", ("::1", 2, "u", "p@s")),
    ],
)
def test_urls(url: str, parts: tuple[str, int, str, str]) -> None:
    assert parse_url(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h:1883",
        "http://h",
        "mqtt://",
        "mqtt://h:99999",
        "mqtt://h:0",
        "mqtt://h/x",
        "mqtt://[::1",
        "mqtt://a..b",
    ],
)
def test_urls_that_are_not_brokers(url: str) -> None:
    with pytest.raises(ValueError, match="is not a broker's address"):
        parse_url(url)


FILTERS = [
    "a",
    "a/b",
    "a/+",
    "+/b",
    "a/#",
    "#",
    "+",
    "+/+",
    "a/+/c",
    "/",
    "/+",
    "a//b",
    "a/+/#",
    "$s/#",
    "$s/+",
]
TOPICS = ["a", "a/b", "a/b/c", "/", "/a", "a//b", "b", "a/", "$s/x", "$s", "b/b"]


@pytest.mark.parametrize("filter", FILTERS)
def test_matching_is_as_paho_says(filter: str) -> None:
    assert [topic for topic in TOPICS if matches(filter, topic)] == [
        topic for topic in TOPICS if topic_matches_sub(filter, topic)
    ]
