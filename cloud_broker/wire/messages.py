"""Every message of the system: frozen, with a schema number, encoded as canonical JSON.

`encode(message)` and `decode(payload, Kind)` are the only doors. Canonical means sorted keys, no spaces,
UTF-8: equal messages are equal bytes, so they can be hashed and signed. Unknown keys of the same schema are
ignored (a newer peer may say more); another schema number is refused. Refusals between machines are stable
`Reason` codes, never text to search.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from cloud_broker.wire import digest
from cloud_broker.wire.digest import Digest
from cloud_broker.wire.topics import BoardId

SCHEMA = 1
MAX_MESSAGE = 256 * 1024
"""Bytes; larger payloads travel as blobs."""


class Reason(StrEnum):
    """Why something was refused, stopped or rolled back; codes are never renamed or reused."""

    NOT_OURS = "not_ours"  # not a message, or not one for this receiver
    BAD_SCHEMA = "bad_schema"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    DIGEST_MISMATCH = "digest_mismatch"
    TOO_LARGE = "too_large"
    TOO_OLD = "too_old"  # a version that is not newer, and not this board's own last good one
    NEEDS_AGENT = "needs_agent"
    NEEDS_ARCH = "needs_arch"
    BAD_SPEC = "bad_spec"
    BAD_MODEL = "bad_model"
    TEST_FAILED = "test_failed"  # a [[test]] of the bundle
    START_FAILED = "start_failed"
    CRASHED = "crashed"
    FAILURE_RATE = "failure_rate"
    TIMEOUT = "timeout"
    DISK_FULL = "disk_full"
    FETCH_FAILED = "fetch_failed"
    SUPERSEDED = "superseded"  # a newer release came in between
    OPERATOR = "operator"  # a person said so


class WireError(ValueError):
    """A payload that is not the expected message: a reason code for machines, a sentence for people."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Record(BaseModel):
    """A frozen part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Record):
    """A frozen message; `KIND` is its name on the wire."""

    KIND: ClassVar[str]


def _safe_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if (
        not parts
        or path != "/".join(parts)
        or ".." in parts
        or parts[0] == "/"
        or "\\" in path
        or "\0" in path
    ):
        raise ValueError(f"{path!r} is not a plain relative path")
    return path


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
"""Names of tasks and plans."""
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9}){0,2}$")]
"""Up to three numbers, compared as numbers."""
RelativePath = Annotated[str, StringConstraints(max_length=255), AfterValidator(_safe_path)]
Size = Annotated[int, Field(ge=0, le=1 << 34)]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Time = Annotated[float, Field(allow_inf_nan=False)]
"""Seconds since the epoch."""


def version_key(version: str) -> tuple[int, int, int]:
    """Numeric order of versions: "1.10" is newer than "1.9", "1.2" equals "1.2.0"."""
    numbers = [int(part) for part in version.split(".")] + [0, 0]
    return numbers[0], numbers[1], numbers[2]


# --- delivery --------------------------------------------------------------------------------------------


class FileEntry(Record):
    path: RelativePath
    digest: Digest
    size: Size


class Manifest(Message):
    """What a release consists of; the signed thing. `spec` names the task spec among `files`."""

    KIND: ClassVar[str] = "manifest"
    task: Name
    version: Version
    spec: RelativePath
    files: tuple[FileEntry, ...]
    created: Time
    needs_agent: str = ""
    needs_arch: tuple[str, ...] = ()


class SignatureEntry(Record):
    key: str
    """Identifier of the public key: its own digest's first 16 digits."""
    signature: str
    """Base64 of the 64 Ed25519 bytes over the payload's UTF-8 bytes."""


class Signed(Message):
    """An encoded message and signatures over exactly those bytes; its digest is the name of a release."""

    KIND: ClassVar[str] = "signed"
    payload: str
    signatures: tuple[SignatureEntry, ...]


class Running(Record):
    """One task of a board's profile: its version, and its release ("" for a spec dropped by hand)."""

    version: Version
    release: Digest | Literal[""] = ""


class TaskEvidence(Record):
    """What is known of a task, from which its state was computed."""

    state: str
    cause: str = ""
    last_event: Time | None = None
    last_result: Time | None = None
    events: Count = 0
    results: Count = 0
    errors: Count = 0


class Hello(Message):
    """On connect, on change and as the heartbeat: who I am and what I run, or just the hash of that."""

    KIND: ClassVar[str] = "hello"
    board: BoardId
    session: Count
    """Grows with every start of the agent; a will of an older session is ignored."""
    agent: str
    arch: str
    at: Time
    profile_hash: Digest
    profile: Mapping[Name, Running] | None = None
    tasks: Mapping[Name, TaskEvidence] = {}
    labels: Mapping[str, str] = {}


def profile_hash(profile: Mapping[str, Running]) -> str:
    """One digest for everything a board runs."""
    return digest.of_bytes(_canonical({name: running.model_dump() for name, running in profile.items()}))


class Presence(Message):
    """Retained; online=False is the will. Believed only when `session` is the board's latest."""

    KIND: ClassVar[str] = "presence"
    board: BoardId
    session: Count
    online: bool


class Ask(Message):
    """The server does not know this profile hash: say hello with the whole profile."""

    KIND: ClassVar[str] = "ask"
    profile_hash: Digest


class Notice(Message):
    """A hint, unsigned and without secrets: there is a release for you; pull and verify it yourself."""

    KIND: ClassVar[str] = "notice"
    task: Name
    version: Version
    release: Digest
    size: Size
    blobs: str
    """Base URL of the blob store."""
    rollout: str
    issued: Time
    rollback: bool = False
    """The release to run may be an earlier one; a board goes back only to its own last good one."""


class ReleaseState(StrEnum):
    """Where a board stands with one release. The last three are final."""

    FETCHING = "fetching"
    VERIFYING = "verifying"
    STAGED = "staged"
    TRIAL = "trial"
    GOOD = "good"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


FINAL = frozenset({ReleaseState.GOOD, ReleaseState.ROLLED_BACK, ReleaseState.REFUSED})


class Report(Message):
    """A board's word on one release; kept in its outbox until acknowledged. `seq` orders reports of one
    board.
    """

    KIND: ClassVar[str] = "report"
    board: BoardId
    seq: Count
    task: Name
    release: Digest
    rollout: str
    state: ReleaseState
    at: Time
    reason: Reason | None = None
    detail: Annotated[str, StringConstraints(max_length=2000)] = ""


# --- federated learning ----------------------------------------------------------------------------------


class RoundOpen(Message):
    """An invitation to train: fetch `base` (named weights), train by `config`, put the update, then say
    Update.
    """

    KIND: ClassVar[str] = "round_open"
    plan: Name
    round: Count
    base: Digest
    size: Size
    blobs: str
    deadline: Time
    config: Mapping[str, float | int | str | bool] = {}


class Update(Message):
    """A board's contribution to a round: the digest of its encoded delta, and how many examples stand
    behind it.
    """

    KIND: ClassVar[str] = "update"
    board: BoardId
    plan: Name
    round: Count
    base: Digest
    num_examples: Annotated[int, Field(gt=0)]
    delta: Digest
    size: Size
    metrics: Mapping[str, float] = {}


# --- the two doors ---------------------------------------------------------------------------------------

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """Canonical JSON with the schema number and the kind. Raises WireError (TOO_LARGE) past MAX_MESSAGE."""
    payload = _canonical({**message.model_dump(mode="json"), "kind": message.KIND, "schema": SCHEMA})
    if len(payload) > MAX_MESSAGE:
        raise WireError(
            Reason.TOO_LARGE, f"{message.KIND} of {len(payload)} bytes, at most {MAX_MESSAGE} allowed"
        )
    return payload


def decode(payload: bytes, kind: type[M]) -> M:
    """The message in `payload`. Raises WireError: TOO_LARGE, NOT_OURS (not JSON, another kind, wrong
    fields), BAD_SCHEMA.
    """
    if len(payload) > MAX_MESSAGE:
        raise WireError(Reason.TOO_LARGE, f"{len(payload)} bytes, at most {MAX_MESSAGE} allowed")
    try:
        text = payload.decode()
        fields = json.loads(text, parse_constant=_no_constant)
        if "\\u" in text:  # perhaps half a surrogate pair, which could be read, but never written again
            _canonical(fields)
    except (ValueError, RecursionError) as error:
        raise WireError(
            Reason.NOT_OURS, f"expected a {kind.KIND} message, got bytes that are not JSON: {error}"
        ) from None
    if not isinstance(fields, dict) or fields.get("kind") != kind.KIND:
        got = fields.get("kind") if isinstance(fields, dict) else type(fields).__name__
        raise WireError(Reason.NOT_OURS, f"expected a {kind.KIND} message, got {got!r}")
    if fields.get("schema") != SCHEMA:
        raise WireError(
            Reason.BAD_SCHEMA, f"{kind.KIND} of schema {fields.get('schema')!r}, this side speaks {SCHEMA}"
        )
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WireError(Reason.NOT_OURS, f"{kind.KIND}.{where}: {first['msg']}") from None


def _canonical(value: Any) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
