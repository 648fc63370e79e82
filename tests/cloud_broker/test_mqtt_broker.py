"""cloud_broker/mqtt/broker.py and session.py: conversations with fake time, names instead of connections."""

from collections import defaultdict
from itertools import count
from typing import Any

import pytest

from cloud_broker.mqtt.broker import Broker, Close, Limits, Send
from cloud_broker.mqtt.packets import (
    V5,
    V311,
    Auth,
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
)
from cloud_broker.mqtt.properties import Properties
from cloud_broker.mqtt.reasons import ProtocolError, Reason
from cloud_broker.mqtt.records import KEYS, Writes

R = Reason
CLOSED = "closed"


class Talk:
    """A broker and named connections; what a connection was sent is taken with `said`."""

    def __init__(self, **limits: Any) -> None:
        numbers = count(1)
        self.limits = Limits(sys_interval=1e9, **limits)
        self.broker: Broker[str] = Broker(lambda: f"assigned-{next(numbers)}", limits=self.limits)
        self.now = 1000.0
        self.sent: dict[str, list[Any]] = defaultdict(list)
        self.broker.tick(self.now)

    def do(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case Send():
                    self.sent[action.handle].append(action.packet)
                case Close():
                    self.sent[action.handle].append(CLOSED)

    def open(self, name: str, *packets: Packet) -> list[Any]:
        self.broker.opened(name, self.now)
        return self.say(name, *packets)

    def say(self, name: str, *packets: Packet) -> list[Any]:
        for packet in packets:
            self.do(self.broker.step(name, packet, self.now))
        return self.said(name)

    def said(self, name: str) -> list[Any]:
        return self.sent.pop(name, [])

    def connect(self, name: str, *, expiry: int = 0, clean: bool = False, **more: Any) -> Connack:
        more.setdefault("properties", {})["session_expiry_interval"] = expiry
        connack, *self.sent[name] = self.open(name, Connect(name.rstrip("'"), clean_start=clean, **more))
        assert isinstance(connack, Connack)
        return connack

    def subscribe(self, name: str, topic_filter: str, qos: int = 1, **more: Any) -> list[Any]:
        """What comes after the SUBACK."""
        suback, *rest = self.say(name, Subscribe(1, (Subscription(topic_filter, qos, **more),)))
        assert suback == Suback(1, (Reason(qos),))
        return rest

    def lose(self, name: str) -> None:
        self.do(self.broker.closed(name, self.now))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.broker.tick(self.now))

    def payloads(self, name: str) -> list[bytes]:
        return [packet.payload for packet in self.said(name) if isinstance(packet, Publish)]


# (packets of one connection, everything it is answered); each begins with no state
CONVERSATIONS: dict[str, tuple[list[Packet], list[Any]]] = {
    "first packet is not connect": ([Pingreq()], [CLOSED]),
    "packets behind the end are ignored": ([Pingreq(), Connect("a")], [CLOSED]),
    "authentication method": (
        [Connect("a", properties={"authentication_method": "SCRAM"})],
        [Connack(False, R.BAD_AUTHENTICATION_METHOD), CLOSED],
    ),
    "3.1.1 empty id needs clean": (
        [Connect("", V311, False)],
        [Connack(False, R.CLIENT_IDENTIFIER_NOT_VALID), CLOSED],
    ),
    "will topic": (
        [Connect("a", will=Will("a/#", b""))],
        [Connack(False, R.TOPIC_NAME_INVALID), CLOSED],
    ),
    "3.1.1 clean": ([Connect("a", V311), Pingreq()], [Connack(), Pingresp()]),
    "second connect": ([Connect("a"), Connect("a")], [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED]),
    "server packet": ([Connect("a"), Connack()], [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED]),
    "auth": ([Connect("a"), Auth()], [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED]),
    "auth 3.1.1 style close": ([Connect("a", V311), Suback(1, ())], [Connack(), CLOSED]),
    "disconnect": ([Connect("a"), Disconnect()], [Connack(), CLOSED]),
    "disconnect may not add an expiry": (
        [Connect("a"), Disconnect(properties={"session_expiry_interval": 1})],
        [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED],
    ),
    "qos 0": ([Connect("a"), Publish("t", b"x")], [Connack()]),
    "qos 1": (
        [Connect("a"), Publish("t", b"x", 1, packet_id=7)],
        [Connack(), Puback(7, R.NO_MATCHING_SUBSCRIBERS)],
    ),
    "qos 2, repeated, released twice": (
        [Connect("a"), Publish("t", b"x", 2, packet_id=7), Publish("t", b"x", 2, dup=True, packet_id=7),
         Pubrel(7), Pubrel(7)],
        [Connack(), Pubrec(7, R.NO_MATCHING_SUBSCRIBERS), Pubrec(7), Pubcomp(7),
         Pubcomp(7, R.PACKET_IDENTIFIER_NOT_FOUND)],
    ),
    "publish to a wildcard": (
        [Connect("a"), Publish("a/#", b"")],
        [Connack(), Disconnect(R.TOPIC_NAME_INVALID), CLOSED],
    ),
    "publish to $SYS": (
        [Connect("a"), Publish("$SYS/x", b"", 1, packet_id=1)],
        [Connack(), Puback(1, R.NOT_AUTHORIZED)],
    ),
    "publish to $SYS 3.1.1": (
        [Connect("a", V311), Publish("$SYS/x", b"", 1, packet_id=1)],
        [Connack(), CLOSED],
    ),
    "no topic": ([Connect("a"), Publish("", b"")], [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED]),
    "alias 0": (
        [Connect("a"), Publish("t", b"", properties={"topic_alias": 0})],
        [Connack(), Disconnect(R.TOPIC_ALIAS_INVALID), CLOSED],
    ),
    "alias beyond the maximum": (
        [Connect("a"), Publish("t", b"", properties={"topic_alias": 65})],
        [Connack(), Disconnect(R.TOPIC_ALIAS_INVALID), CLOSED],
    ),
    "alias never set": (
        [Connect("a"), Publish("", b"", properties={"topic_alias": 1})],
        [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED],
    ),
    "subscribe, good and bad": (
        [Connect("a"), Subscribe(3, tuple(Subscription(one, 2) for one in ("a/+", "a/#/b", "$share//x")))],
        [Connack(), Suback(3, (R.GRANTED_QOS_2, R.TOPIC_FILTER_INVALID, R.TOPIC_FILTER_INVALID))],
    ),
    "no local on a shared subscription": (
        [Connect("a"), Subscribe(3, (Subscription("$share/g/a", no_local=True),))],
        [Connack(), Disconnect(R.PROTOCOL_ERROR), CLOSED],
    ),
    "unsubscribe": (
        [Connect("a"), Subscribe(3, (Subscription("a"),)), Unsubscribe(4, ("a", "a"))],
        [Connack(), Suback(3, (R.SUCCESS,)), Unsuback(4, (R.SUCCESS, R.NO_SUBSCRIPTION_EXISTED))],
    ),
    "acknowledgements of nothing": (
        [Connect("a"), Puback(1), Pubcomp(1), Pubrec(1, R.UNSPECIFIED_ERROR), Pubrec(1)],
        [Connack(), Pubrel(1, R.PACKET_IDENTIFIER_NOT_FOUND)],
    ),
    "overlapping subscriptions give one copy with both identifiers and the higher QoS": (
        [
            Connect("a"),
            Subscribe(1, (Subscription("a/+", 0),), {"subscription_identifier": [5]}),
            Subscribe(2, (Subscription("a/#", 1),), {"subscription_identifier": [6]}),
            Publish("a/b", b"x", 2, packet_id=9),
        ],
        [
            Connack(),
            Suback(1, (R.SUCCESS,)),
            Suback(2, (R.GRANTED_QOS_1,)),
            Publish("a/b", b"x", 1, packet_id=1, properties={"subscription_identifier": [6, 5]}),
            Pubrec(9),
        ],
    ),
}  # fmt: skip


def bare(answer: Any) -> Any:
    """Without the properties of CONNACK and DISCONNECT, which other tests look at."""
    match answer:
        case Connack():
            return Connack(answer.session_present, answer.reason)
        case Disconnect():
            return Disconnect(answer.reason)
    return answer


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversation(name: str) -> None:
    packets, expected = CONVERSATIONS[name]
    assert [bare(answer) for answer in Talk().open("c", *packets)] == expected


def test_connack_says_what_is_offered() -> None:
    (connack,) = Talk().open("c", Connect(""))
    assert connack.properties == {
        "receive_maximum": 1000,
        "topic_alias_maximum": 64,
        "maximum_packet_size": 4 * 1024 * 1024,
        "server_keep_alive": 3600,
        "assigned_client_identifier": "assigned-1",
    }


def test_errors_tell_the_clause() -> None:
    *_, goodbye, _closed = Talk().open("c", Connect("a"), Publish("a+", b""))
    assert goodbye.properties == {"reason_string": "[MQTT-3.3.2-2] topic name holds a wildcard: 'a+'"}


@pytest.mark.parametrize(
    ("password", "reason"), [(b"good", R.SUCCESS), (b"bad", R.BAD_USER_NAME_OR_PASSWORD)]
)
def test_authenticate_sees_the_connect(password: bytes, reason: Reason) -> None:
    talk = Talk()
    talk.broker = Broker(lambda: "x", authenticate=lambda connect: connect.password == b"good")
    connack, *_ = talk.open("c", Connect("a", username="u", password=password))
    assert connack.reason is reason


def test_a_version_nobody_knows_is_told_so_in_3_1_1() -> None:
    talk = Talk()
    talk.open("c")
    talk.do(talk.broker.failed("c", ProtocolError(R.UNSUPPORTED_PROTOCOL_VERSION, ""), 0))
    assert talk.said("c") == [Connack(False, R.UNSUPPORTED_PROTOCOL_VERSION), CLOSED]


def test_silent_connections_are_closed() -> None:
    talk = Talk()
    talk.open("mute")
    talk.connect("a", keep_alive=10)
    talk.connect("b", keep_alive=100)
    talk.wait(10)
    talk.say("b", Pingreq())
    talk.wait(5.5)
    assert talk.said("mute") == [CLOSED]
    assert [bare(answer) for answer in talk.said("a")] == [Disconnect(R.KEEP_ALIVE_TIMEOUT), CLOSED]
    assert talk.said("b") == []


def test_take_over_ends_the_first_connection_and_goes_on_with_the_session() -> None:
    talk = Talk()
    talk.connect("a", expiry=60)
    talk.subscribe("a", "t")
    assert talk.connect("a'", expiry=60).session_present
    assert talk.said("a") == [Disconnect(R.SESSION_TAKEN_OVER), CLOSED]
    talk.lose("a")  # the shell reports the old socket late
    talk.connect("w")
    talk.say("w", Publish("t", b"x"))
    assert talk.payloads("a'") == [b"x"]


@pytest.mark.parametrize(
    ("expiry", "away", "present"), [(0, 0, False), (10, 9, True), (10, 11, False), (0xFFFFFFFF, 1e9, True)]
)
def test_session_expiry(expiry: int, away: float, present: bool) -> None:
    talk = Talk()
    talk.connect("a", expiry=expiry)
    talk.lose("a")
    talk.now += away  # without a tick: what has expired is not there, swept or not
    assert talk.connect("a", expiry=0).session_present is present


def test_disconnect_may_change_the_expiry() -> None:
    talk = Talk()
    talk.connect("a", expiry=1000)
    talk.say("a", Disconnect(properties={"session_expiry_interval": 0}))
    assert not talk.connect("a").session_present


@pytest.mark.parametrize("qos", [1, 2])
def test_unconfirmed_messages_come_again_first_and_with_their_identifier(qos: int) -> None:
    talk = Talk()
    talk.connect("a", expiry=60, properties={"receive_maximum": 2})
    talk.subscribe("a", "t", qos=2)
    talk.connect("w")
    talk.say("w", *(Publish("t", b"%d" % n, qos, packet_id=n + 1) for n in range(4)))
    first = [Publish("t", b"0", qos, packet_id=1), Publish("t", b"1", qos, packet_id=2)]
    assert [p for p in talk.said("a") if isinstance(p, Publish)] == first  # two: its receive maximum
    talk.lose("a")
    talk.connect("a", expiry=60, properties={"receive_maximum": 1})
    assert talk.said("a") == [Publish("t", b"0", qos, dup=True, packet_id=1)]
    done = [Puback(1)] if qos == 1 else [Pubrec(1), Pubcomp(1)]
    assert talk.say("a", *done)[-1] == Publish("t", b"1", qos, dup=True, packet_id=2)


def test_a_released_message_is_not_sent_again() -> None:
    talk = Talk()
    talk.connect("a", expiry=60)
    talk.subscribe("a", "t", qos=2)
    talk.connect("w")
    talk.say("w", Publish("t", b"x", 2, packet_id=1))
    talk.said("a")
    assert talk.say("a", Pubrec(1)) == [Pubrel(1)]
    talk.lose("a")
    talk.connect("a", expiry=60)
    assert talk.said("a") == [Pubrel(1)]
    assert talk.say("a", Pubcomp(1)) == []


def test_a_refused_message_is_done() -> None:
    talk = Talk()
    talk.connect("a", expiry=60, properties={"receive_maximum": 1})
    talk.subscribe("a", "t", qos=2)
    talk.connect("w")
    talk.say("w", Publish("t", b"x", 2, packet_id=1), Publish("t", b"y", 2, packet_id=2))
    talk.said("a")
    assert talk.say("a", Pubrec(1, R.QUOTA_EXCEEDED)) == [Publish("t", b"y", 2, packet_id=2)]


def test_a_full_queue_refuses_the_publish_for_everyone() -> None:
    talk = Talk(queue=2)
    for name in ("full", "free"):
        talk.connect(name, expiry=60)
        talk.subscribe(name, "t")
    talk.lose("full")
    talk.connect("w")
    sent = [Publish("t", b"%d" % n, 1, packet_id=n + 1) for n in range(3)]
    assert talk.say("w", *sent) == [Puback(1), Puback(2), Puback(3, R.QUOTA_EXCEEDED)]
    assert talk.payloads("free") == [b"0", b"1"]
    assert talk.broker.counters.refused == 1
    old = talk.open("old", Connect("old", V311), sent[2])
    assert [bare(answer) for answer in old] == [Connack(), CLOSED]
    talk.connect("full", expiry=60)
    assert talk.payloads("full") == [b"0", b"1"]


def test_expired_messages_make_room_and_are_not_sent() -> None:
    talk = Talk(queue=2)
    talk.connect("a", expiry=600)
    talk.subscribe("a", "t")
    talk.lose("a")
    talk.connect("w")
    short: Properties = {"message_expiry_interval": 10}
    long: Properties = {"message_expiry_interval": 100}
    talk.say("w", Publish("t", b"s", 1, packet_id=1, properties=short))
    talk.say("w", Publish("t", b"l", 1, packet_id=2, properties=long))
    talk.now += 11
    assert talk.say("w", Publish("t", b"n", 1, packet_id=3)) == [Puback(3)]
    talk.connect("a", expiry=600)
    assert talk.said("a") == [
        Publish("t", b"l", 1, packet_id=1, properties={"message_expiry_interval": 89}),
        Publish("t", b"n", 1, packet_id=2),
    ]


def test_expired_retained_messages_are_gone() -> None:
    talk = Talk()
    talk.connect("w")
    talk.say("w", Publish("t", b"x", retain=True, properties={"message_expiry_interval": 10}))
    talk.now += 4
    kept = Publish("t", b"x", retain=True, properties={"message_expiry_interval": 6})
    assert talk.subscribe("w", "t") == [kept]
    talk.now += 7
    assert talk.subscribe("w", "t") == []


WILL = Will("will", b"gone", 0, False)
DELAYED = Will("will", b"gone", 0, False, {"will_delay_interval": 20})


@pytest.mark.parametrize(
    ("will", "expiry", "leave", "waits"),
    [
        (WILL, 0, None, [True]),
        (WILL, 60, None, [True]),
        (WILL, 60, Disconnect(), [False, False]),
        (WILL, 60, Disconnect(R.DISCONNECT_WITH_WILL), [True]),
        (WILL, 60, Pubrel(0), [True]),  # unknown identifier: answered, then lost
        (DELAYED, 60, None, [False, False, True]),  # at 0, 15, 30 seconds
        (DELAYED, 10, None, [False, True]),  # the session ends before
        (DELAYED, 0, None, [True]),
    ],
)
def test_will(will: Will, expiry: int, leave: Packet | None, waits: list[bool]) -> None:
    talk = Talk()
    talk.connect("watch")
    talk.subscribe("watch", "will")
    talk.connect("a", expiry=expiry, will=will)
    if leave:
        talk.say("a", leave)
    talk.lose("a")
    seen: list[bool] = []
    for _ in waits:
        seen.append(b"gone" in talk.payloads("watch") or any(seen))
        talk.wait(15)
    assert seen == waits


def test_take_over_cancels_a_delayed_will_and_publishes_another() -> None:
    for will, expected in ((WILL, [b"gone"]), (DELAYED, [])):
        talk = Talk()
        talk.connect("watch")
        talk.subscribe("watch", "will")
        talk.connect("a", expiry=60, will=will)
        talk.connect("a'", expiry=60)
        talk.wait(30)
        assert talk.payloads("watch") == expected


def test_no_local_and_retain_as_published() -> None:
    talk = Talk()
    talk.connect("a")
    talk.subscribe("a", "t", no_local=True)
    talk.subscribe("a", "u", qos=0, retain_as_published=True)
    talk.said("a")
    assert talk.say("a", Publish("t", b"x", retain=True)) == []
    assert talk.say("a", Publish("u", b"x", retain=True)) == [Publish("u", b"x", retain=True)]


@pytest.mark.parametrize(("handling", "first", "second"), [(0, [b"x"], [b"x"]), (1, [b"x"], []), (2, [], [])])
def test_retain_handling(handling: int, first: list[bytes], second: list[bytes]) -> None:
    talk = Talk()
    talk.connect("a")
    talk.say("a", Publish("t", b"x", retain=True))
    wanted = Subscribe(1, (Subscription("t", 0, retain_handling=handling),))
    for expected in (first, second):
        suback, *rest = talk.say("a", wanted)
        assert suback == Suback(1, (R.SUCCESS,))
        assert rest == [Publish("t", payload, retain=True) for payload in expected]


def test_a_client_that_does_not_read_is_spared() -> None:
    talk = Talk()
    talk.connect("slow")
    talk.subscribe("slow", "t")
    talk.said("slow")
    talk.do(talk.broker.writable("slow", False, talk.now))
    talk.connect("w")
    talk.say("w", Publish("t", b"lost"), Publish("t", b"kept", 1, packet_id=1))
    assert talk.said("slow") == []
    talk.do(talk.broker.writable("slow", True, talk.now))
    assert talk.payloads("slow") == [b"kept"]
    assert talk.broker.counters.dropped_slow == 1


def test_packets_beyond_the_clients_maximum_are_not_sent_and_done() -> None:
    talk = Talk()
    talk.connect("small", properties={"maximum_packet_size": 40, "receive_maximum": 1})
    talk.subscribe("small", "t")
    talk.connect("w")
    talk.say("w", Publish("t", b"x" * 100, 1, packet_id=1), Publish("t", b"ok", 1, packet_id=2))
    assert talk.payloads("small") == [b"ok"]
    assert talk.broker.counters.dropped_large == 1


def test_receive_maximum_of_the_server() -> None:
    talk = Talk(receive_maximum=2)
    talk.connect("w")
    *_, goodbye, closed = talk.say("w", *(Publish("t", b"", 2, packet_id=n) for n in (1, 2, 3)))
    assert (goodbye.reason, closed) == (R.RECEIVE_MAXIMUM_EXCEEDED, CLOSED)


def test_shared_subscriptions_prefer_members_that_are_here() -> None:
    talk = Talk()
    for name in ("a", "b"):
        talk.connect(name, expiry=60)
        talk.subscribe(name, "$share/g/t")
        talk.said(name)
    talk.lose("a")
    talk.connect("w")
    talk.say("w", *(Publish("t", b"%d" % n, 1, packet_id=n + 1) for n in range(4)))
    assert talk.payloads("b") == [b"0", b"1", b"2", b"3"]


def test_properties_pass_through_and_hop_properties_do_not() -> None:
    talk = Talk()
    talk.connect("a")
    talk.subscribe("a", "t", qos=0)
    passed: Properties = {
        "payload_format_indicator": 1,
        "content_type": "c",
        "response_topic": "r",
        "correlation_data": b"d",
        "user_property": [("k", "1"), ("k", "2")],
    }
    properties: Properties = {**passed, "topic_alias": 1}
    assert talk.say("a", Publish("t", b"x", properties=properties))[-1] == Publish(
        "t", b"x", properties=passed
    )


def test_sys_counts() -> None:
    talk = Talk()
    talk.connect("a")
    talk.subscribe("a", "$SYS/broker/#")
    talk.now += 2e9
    talk.say("a", Pingreq())
    talk.wait(0)
    sys = {p.topic: p.payload for p in talk.said("a") if isinstance(p, Publish)}
    assert sys["$SYS/broker/clients/connected"] == b"1"
    assert sys["$SYS/broker/subscriptions/count"] == b"1"
    assert sys["$SYS/broker/messages/refused"] == b"0"


def test_sys_is_closed_to_wills() -> None:
    talk = Talk()
    talk.connect("a", will=Will("$SYS/broker/version", b"mine", 0, True))
    talk.lose("a")
    talk.connect("watch")
    assert talk.subscribe("watch", "$SYS/broker/version") == []


def test_shutdown_says_goodbye() -> None:
    talk = Talk()
    talk.open("mute")
    talk.connect("a")
    talk.do(talk.broker.shutdown(talk.now))
    assert talk.said("a") == [Disconnect(R.SERVER_SHUTTING_DOWN), CLOSED]
    assert talk.said("mute") == [CLOSED]


def test_restore_gives_back_what_the_journal_held() -> None:
    """Kill the broker in the middle of everything; a second one goes on from the journal alone."""
    talk = Talk()
    disk: Writes = {}
    talk.connect("a", expiry=60)
    talk.subscribe("a", "t/#", qos=2)
    talk.connect("gone")  # expiry 0: nothing of it is kept
    talk.subscribe("gone", "t/#")
    talk.connect("w", expiry=60)
    talk.say("w", *(Publish(f"t/{n}", b"%d" % n, 2, n == 3, packet_id=n) for n in (1, 2, 3)))
    talk.say("a", Pubrec(1), Pubrec(2), Pubcomp(2))
    disk.update(talk.broker.journal.take())
    talk.lose("a")
    talk.say("w", Publish("t/4", b"4", 1, packet_id=4, properties={"message_expiry_interval": 100}))
    disk.update(talk.broker.journal.take())

    after = Talk()
    assert {kind for kind, _ in disk} == set(KEYS)
    records = [r for kind in KEYS for (k, _), r in disk.items() if k is kind and r is not None]
    after.broker.restore(records, after.now)
    assert after.connect("a", expiry=60).session_present
    assert after.said("a") == [
        Pubrel(1),
        Publish("t/3", b"3", 2, dup=True, packet_id=3),
        Publish("t/4", b"4", 1, packet_id=4, properties={"message_expiry_interval": 100}),
    ]
    assert after.connect("w", expiry=60).session_present
    assert after.say("w", Publish("t/1", b"1", 2, dup=True, packet_id=1)) == [Pubrec(1)]  # known: a duplicate
    assert not after.connect("gone").session_present
    assert after.subscribe("gone", "t/+", qos=0) == [Publish("t/3", b"3", retain=True)]


@pytest.mark.parametrize("version", [V311, V5])
def test_nothing_is_left_of_a_finished_delivery(version: int) -> None:
    talk = Talk()
    expiry: Properties = {"session_expiry_interval": 60} if version == V5 else {}
    talk.open("a", Connect("a", version, False, properties=expiry))
    talk.subscribe("a", "t", qos=2)
    talk.connect("w")
    talk.say("w", Publish("t", b"1", 1, packet_id=1), Publish("t", b"2", 2, packet_id=2))
    talk.say("a", Puback(1), Pubrec(2), Pubcomp(2))
    names = {
        k.__name__: r
        for (k, _), r in talk.broker.journal.take().items()
        if k.__name__ in ("MessageRecord", "DeliveryRecord")
    }
    assert names == {"MessageRecord": None, "DeliveryRecord": None}
