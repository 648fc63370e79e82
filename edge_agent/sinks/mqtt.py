"""One JSON object per item, published; while the broker is away the link keeps a bounded queue."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_broker.wire.link import Link
from edge_agent.events import Row
from edge_agent.results import encode
from edge_agent.spec.model import MqttSink as Spec


class MqttSink:
    def __init__(self, spec: Spec, topic: str, link: Link) -> None:
        self._topic = topic
        self._qos = spec.qos
        self._retain = spec.retain
        self._link = link

    def open(self) -> None:
        pass

    def write(self, rows: Sequence[Row]) -> None:
        for payload in [encode(row.item) for row in rows]:
            self._link.publish(self._topic, payload, qos=self._qos, retain=self._retain)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
