"""JSON objects from a topic filter, with the topic in column `topic`; what is no JSON object is counted,
never fatal."""

from __future__ import annotations

import threading

from cloud_broker.wire.link import Link
from edge_agent.clock import Clock
from edge_agent.events import ItemError
from edge_agent.inbox import Outlet
from edge_agent.sources.base import SourceBase
from edge_agent.sources.file import json_object

MAX_PAYLOAD = 1 << 20


class MqttSource(SourceBase):
    def __init__(self, topic: str, link: Link) -> None:
        self._topic = topic
        self._link = link

    def run(self, outlet: Outlet, stop: threading.Event, clock: Clock) -> None:  # noqa: ARG002  # a message's own pace
        def hear(topic: str, payload: bytes) -> None:
            try:
                if len(payload) > MAX_PAYLOAD:
                    raise ItemError(f"{len(payload)} bytes, at most {MAX_PAYLOAD} are taken")
                outlet.item({**json_object(payload), "topic": topic})
            except ItemError as error:
                outlet.error(f"{topic}: {error}")

        end = self._link.subscribe(self._topic, hear)
        stop.wait()
        end()
