"""board.toml: defaults for everything, and every problem at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker.wire import signing
from cloud_broker.wire.topics import BOARD_ID
from edge_agent import config

KEY = Ed25519PrivateKey.generate().public_key()


def test_an_empty_file_is_a_board_that_works_alone() -> None:
    board = config.load("", "board.toml", {"state": Path("here")})
    assert BOARD_ID.fullmatch(board.board)
    assert (board.mqtt, board.trust, board.heartbeat) == ("", {}, 30.0)
    assert board.specs_folder == Path("here/specs")


def test_everything_said(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(
        f'board = "pi-1"\nmqtt = "mqtt://u:p@h:1884"\ntrusted = ["{signing.public_text(KEY)}"]\n'
        'heartbeat = "5s"\ntoken = "secret"\nspecs = "drop"\n[labels]\nroom = "lab"\n'
    )
    board = config.read(path, {"state": tmp_path})
    assert list(board.trust) == [signing.key_id(KEY)]
    assert (board.labels, board.heartbeat, board.specs_folder) == ({"room": "lab"}, 5.0, Path("drop"))
    assert "secret" not in repr(board)
    assert board.token.get_secret_value() == "secret"


def test_the_command_line_wins() -> None:
    assert config.load('board = "a"', "board.toml", {"board": "b"}).board == "b"


BAD = [
    ('board = "Pi 1"', "b.toml: board: String should match pattern"),
    ('mqtt = "http://h"', "b.toml: mqtt: 'http://h' is not a broker's address; expected mqtt://"),
    ('trusted = ["abc"]', "b.toml: trusted.0: 'abc' is not a public key: expected base64 of 32 bytes"),
    ("heartbeat = 5", 'b.toml: heartbeat: 5 has no unit, expected a duration; did you mean "5s"?'),
    ('spec = "x"', "b.toml: spec: unknown key; keys here: board, mqtt, trusted, labels, state, specs"),
    ("board = ", "b.toml: not TOML: Invalid value (at end of document)"),
    ("board = " + "[" * 5000, "b.toml: not TOML: "),
    ("board = " + "9" * 5000, "b.toml: not TOML: "),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_problem_names_file_key_and_what_to_write(text: str, message: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(text, "b.toml")
    assert message in str(caught.value)


def test_all_problems_at_once() -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load('board = "A"\nheartbeat = 5\nspec = 1', "b.toml")
    assert len(str(caught.value).splitlines()) == 3


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"none\.toml"):
        config.read(tmp_path / "none.toml")
