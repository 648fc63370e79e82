import threading

from cloud_broker.wire.link import MemoryHub
from edge_agent.clock import ManualClock
from edge_agent.evidence import Ledger
from edge_agent.inbox import Inbox, Outlet
from edge_agent.sources import mqtt as mqtt_module
from edge_agent.sources.mqtt import MqttSource


class Listening:
    """An MQTT source that runs until `end`."""

    def __init__(self, hub: MemoryHub, topic: str) -> None:
        self.link = hub.link("board")
        self.link.start()
        self.listen(topic)

    def listen(self, topic: str) -> None:
        self.ledger, self.stop = Ledger(0.0), threading.Event()
        self.inbox = Inbox(self.ledger)
        clock = ManualClock(5.0)
        outlet = Outlet("s", self.inbox, self.ledger, clock, None, 100, "drop-oldest")
        before = {filter: len(handlers) for filter, handlers in self.link._handlers.items()}
        self.thread = threading.Thread(
            target=MqttSource(topic, self.link).run, args=(outlet, self.stop, clock)
        )
        self.thread.start()
        while {filter: len(handlers) for filter, handlers in self.link._handlers.items()} == before:
            self.stop.wait(0.001)

    def end(self) -> None:
        self.stop.set()
        self.thread.join(20)


def test_messages_become_items_with_their_topic_and_bad_ones_are_counted() -> None:
    hub = MemoryHub()
    sender = hub.link("sender")
    sender.start()
    source = Listening(hub, "site/+/temp")
    for payload in (b'{"v": 1}', b"not json", b"[1]", b"\xff", b"", b'{"v": 2}', b"[" * 100_000):
        sender.publish("site/a/temp", payload)
    sender.publish("site/a/other", b'{"v": 3}')
    items = [entry.row.item for entry in source.inbox.take(0)]
    assert items == [{"v": 1, "topic": "site/a/temp"}, {"v": 2, "topic": "site/a/temp"}]
    assert source.ledger.evidence().errors == 5
    assert (source.ledger.evidence().last_error or "").startswith("source s: site/a/temp: not JSON")
    source.end()


def test_a_huge_message_is_refused_unread() -> None:
    hub = MemoryHub()
    source = Listening(hub, "t")
    source.link.publish("t", b" " * (mqtt_module.MAX_PAYLOAD + 1))
    assert source.inbox.take(0) == []
    assert source.ledger.evidence().last_error == "source s: t: 1048577 bytes, at most 1048576 are taken"
    source.end()


def test_two_tasks_share_a_topic_and_leave_it_separately() -> None:
    hub = MemoryHub()
    first = Listening(hub, "t")
    old_inbox, old_stop, old_thread = first.inbox, first.stop, first.thread
    first.listen("t")  # the new version of a task starts beside the old one
    first.link.publish("t", b'{"v": 1}')
    assert len(old_inbox.take(0)) == len(first.inbox.take(0)) == 1
    old_stop.set()
    old_thread.join(20)
    first.link.publish("t", b'{"v": 2}')
    assert (len(old_inbox.take(0)), len(first.inbox.take(0))) == (0, 1)
    first.end()
    assert first.link._handlers == {}
