"""Every MQTT topic of the system, built and parsed in one place.

| topic                        | QoS | who -> who     | payload            |
|------------------------------|-----|----------------|--------------------|
| wl/v1/d/{board}/dn/notice    | 1   | server -> board | Notice            |
| wl/v1/d/{board}/dn/ask       | 1   | server -> board | Ask               |
| wl/v1/d/{board}/dn/round     | 1   | server -> board | RoundOpen         |
| wl/v1/d/{board}/up/hello     | 1   | board -> server | Hello             |
| wl/v1/d/{board}/up/report    | 1   | board -> server | Report            |
| wl/v1/d/{board}/up/update    | 1   | board -> server | Update            |
| wl/v1/d/{board}/up/state     | 1, retained, and the will | board -> server | Presence |

Unicast down, so a gray step is exact and an ACL is one pattern per direction (`dn/#` read, `up/#` write).
Seven levels at most, so the topics also fit brokers that stop there.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import StringConstraints

ROOT = "wl/v1/d"
BOARD_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
BoardId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]

Down = Literal["notice", "ask", "round"]
Up = Literal["hello", "report", "update", "state"]


class Address(NamedTuple):
    board: str
    direction: str
    leaf: str


def down(board: str, leaf: Down) -> str:
    return f"{ROOT}/{board}/dn/{leaf}"


def up(board: str, leaf: Up) -> str:
    return f"{ROOT}/{board}/up/{leaf}"


def all_down(board: str) -> str:
    """The one filter a board subscribes to."""
    return f"{ROOT}/{board}/dn/+"


def all_up(leaf: Up | Literal["+"] = "+") -> str:
    """What the server subscribes to: one leaf, or every leaf, of every board."""
    return f"{ROOT}/+/up/{leaf}"


def parse(topic: str) -> Address | None:
    """The address behind a topic, or None when it is not one of ours."""
    match topic.split("/"):
        case ["wl", "v1", "d", board, ("dn" | "up") as direction, leaf] if BOARD_ID.fullmatch(board):
            return Address(board, direction, leaf)
    return None
