"""`board.toml`: who this board is and whom it trusts. Every key has a default, so an agent runs with no file
at all.

    board = "pi-1"                          # [a-z0-9-], the host's name when left out
    mqtt = "mqtt://user:secret@host:1883"   # left out: the agent works alone, with its drop folder
    trusted = ["<base64 of a public key>"]  # releases must be signed by one of these
    heartbeat = "30s"
    server = "http://host:8080"             # where this board's share in federated rounds goes,
    token = "<secret>"                      # with this secret, which goes nowhere else
    [labels]
    room = "lab"
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import tomli
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from cloud_broker.wire import signing
from cloud_broker.wire.link import parse_url
from cloud_broker.wire.topics import BoardId
from edge_agent.spec.units import Duration


class ConfigError(ValueError):
    """What is wrong, one line per problem, each naming the file and the key."""


def _broker(url: str) -> str:
    if url:
        parse_url(url)
    return url


def _key(text: str) -> str:
    signing.load_public(text)
    return text


def this_host() -> str:
    """The host's name as a board id."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().lower()).strip("-")
    return name[:63] or "board"


class BoardConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    board: BoardId = Field(default_factory=this_host)
    mqtt: Annotated[str, AfterValidator(_broker)] = ""
    trusted: tuple[Annotated[str, AfterValidator(_key)], ...] = ()
    labels: dict[str, str] = {}
    state: Path = Path("state")
    specs: Path | None = None
    heartbeat: Duration = 30.0
    server: str = ""
    token: SecretStr = SecretStr("")

    @property
    def specs_folder(self) -> Path:
        return self.specs if self.specs is not None else self.state / "specs"

    @cached_property
    def trust(self) -> dict[str, Ed25519PublicKey]:
        return signing.trust(signing.load_public(text) for text in self.trusted)


def load(text: str, name: str, overrides: Mapping[str, Any] | None = None) -> BoardConfig:
    """The configuration in `text`, with `overrides` (the command line's) on top. Raises ConfigError with
    all problems.
    """
    try:
        fields = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers too long and tables too deep
        raise ConfigError(f"{name}: not TOML: {error}") from None
    try:
        return BoardConfig.model_validate({**fields, **(overrides or {})})
    except ValidationError as error:
        lines = [
            f"{name}: {'.'.join(map(str, problem['loc']))}: {_wording(problem)}" for problem in error.errors()
        ]
        raise ConfigError("\n".join(lines)) from None


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> BoardConfig:
    """The configuration in a file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    return load(text, str(path), overrides)


def secret_in(path: Path) -> str:
    """The secret that is all of a file: a command line can be read by everybody. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _wording(problem: ErrorDetails) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key; keys here: {', '.join(BoardConfig.model_fields)}"
    hint = problem.get("ctx", {}).get("hint", "")
    return problem["msg"].removeprefix("Value error, ") + (f"; {hint}" if hint else "")
