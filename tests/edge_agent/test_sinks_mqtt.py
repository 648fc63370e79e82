from cloud_broker.wire.link import MemoryHub
from edge_agent.events import Row
from edge_agent.sinks.mqtt import MqttSink
from edge_agent.spec.model import MqttSink as Spec


def test_items_are_published_also_after_a_lost_connection() -> None:
    hub = MemoryHub()
    board, listener = hub.link("board"), hub.link("listener")
    heard: list[tuple[str, bytes]] = []
    listener.subscribe("alarm/#", lambda topic, payload: heard.append((topic, payload)))
    board.start()
    listener.start()
    sink = MqttSink(Spec(type="mqtt", topic="unused"), "alarm/dock", board)
    sink.open()
    sink.write([Row(1.0, {"c": 61.5, "bad": float("nan")})])
    hub.lose("board")
    sink.write([Row(2.0, {"c": 62})])
    sink.flush()
    hub.restore("board")
    sink.close()
    assert heard == [("alarm/dock", b'{"c":61.5,"bad":null}'), ("alarm/dock", b'{"c":62}')]


def test_retained_items_reach_those_who_come_later() -> None:
    hub = MemoryHub()
    board, late = hub.link("board"), hub.link("late")
    board.start()
    MqttSink(Spec(type="mqtt", topic="unused", retain=True), "state", board).write([Row(1.0, {"on": True})])
    heard: list[bytes] = []
    late.subscribe("state", lambda _, payload: heard.append(payload))
    late.start()
    assert heard == [b'{"on":true}']
