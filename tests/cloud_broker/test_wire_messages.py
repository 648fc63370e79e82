"""The two doors of the wire: what `encode` writes, and what `decode` refuses and why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.wire.messages import (
    MAX_MESSAGE,
    Hello,
    Manifest,
    Presence,
    Reason,
    TaskEvidence,
    WireError,
    decode,
    encode,
    profile_hash,
    version_key,
)

HELLO = Hello(
    board="dock-1",
    session=3,
    agent="0.1",
    arch="arm64",
    at=5.5,
    profile_hash=profile_hash({}),
    tasks={"hot": TaskEvidence(state="running", last_event=4.0, events=2)},
    labels={"room": "Küche \x01"},
)
FIELDS = json.loads(encode(HELLO))


def test_what_was_encoded_is_decoded() -> None:
    assert decode(encode(HELLO), Hello) == HELLO
    assert (
        encode(HELLO)
        == json.dumps(FIELDS, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )


def test_a_newer_peer_may_say_more() -> None:
    assert decode(json.dumps({**FIELDS, "mood": "fine"}).encode(), Hello) == HELLO


REFUSED: dict[str, tuple[bytes, Reason]] = {
    "empty": (b"", Reason.NOT_OURS),
    "a list": (b"[]", Reason.NOT_OURS),
    "another kind": (encode(Presence(board="b", session=1, online=True)), Reason.NOT_OURS),
    "another schema": (json.dumps({**FIELDS, "schema": 2}).encode(), Reason.BAD_SCHEMA),
    "too large": (b" " * (MAX_MESSAGE + 1), Reason.TOO_LARGE),
    "too deep": (b"[" * 100_000, Reason.NOT_OURS),
    "not UTF-8": (encode(HELLO).decode().encode("utf-16"), Reason.NOT_OURS),
    "NaN": (b'{"at": NaN}', Reason.NOT_OURS),
    "a number without end": (b'{"at": ' + b"9" * 5000 + b"}", Reason.NOT_OURS),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    payload, reason = REFUSED[name]
    with pytest.raises(WireError) as error:
        decode(payload, Hello)
    assert error.value.reason is reason


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"board": "b\n"}, "hello.board: "),
        ({"board": "../b"}, "hello.board: "),
        ({"session": -1}, "hello.session: "),
        ({"session": 1 << 63}, "hello.session: "),
        ({"at": "NaN"}, "hello.at: "),
        ({"tasks": {"hot": {"state": "x", "last_event": "inf"}}}, "hello.tasks.hot.last_event: "),
        ({"tasks": {"hot": {"state": "x", "events": 10**400}}}, "hello.tasks.hot.events: "),
        ({"tasks": {"Hot": {"state": "x"}}}, "hello.tasks.Hot."),
        ({"labels": {"room": "\ud800"}}, "bytes that are not JSON"),
        ({"profile": {"hot": {"version": "١.٢"}}}, "hello.profile.hot.version: "),
    ],
)
def test_a_field_that_could_not_be_shown_or_stored_again_is_refused(
    changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(WireError) as error:
        decode(json.dumps({**FIELDS, **changes}).encode(), Hello)
    assert error.value.reason is Reason.NOT_OURS
    assert where in str(error.value)


@pytest.mark.parametrize(
    "path", ["", ".", "/a", "../a", "a/../b", "a/..", "a//b", "./a", "a/", "a\\b", "a\0b", "x" * 256]
)
def test_paths_that_could_leave_their_folder(path: str) -> None:
    values = {"task": "t", "version": "1", "created": 0.0, "files": []}
    Manifest.model_validate({**values, "spec": "a/b.toml"})
    with pytest.raises(ValueError, match="spec"):
        Manifest.model_validate({**values, "spec": path})


def test_versions_are_numbers() -> None:
    assert sorted(["1.10", "1.9", "2", "1.9.1"], key=version_key) == ["1.9", "1.9.1", "1.10", "2"]
    assert version_key("1.2") == version_key("1.2.0")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FIELDS, "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(FIELDS)), JSON))
def test_whatever_is_decoded_can_be_encoded_again(changes: dict[str, Any]) -> None:
    payload = json.dumps({**FIELDS, **changes, "kind": "hello", "schema": 1}).encode()
    try:
        hello = decode(payload, Hello)
    except WireError:
        return
    assert decode(encode(hello), Hello) == hello
