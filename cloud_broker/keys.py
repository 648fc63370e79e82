"""The secrets of a server's state folder: the token for changing anything, and the keys whose releases
are trusted.

`token` is what people and boards send as a bearer token; `signing.key` is the key of whoever releases
from this very machine, made on first use; `trusted_keys` lists further public keys, one per line.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker.wire.blobs import sync_folder
from cloud_broker.wire.signing import Trusted, load_or_create_private, load_public, trust


def load_or_create_token(state: Path) -> str:
    """The token in `state/token` (mode 0600), made on first use. Raises ValueError when it is empty."""
    path = state / "token"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True)
        temporary = state / "token.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(state)
    token = path.read_text().strip()
    if not token:
        raise ValueError(f"{path} is empty; remove it and a new token is made")
    return token


def signing_key(state: Path) -> Ed25519PrivateKey:
    """The key that releases from this machine are signed with. Raises ValueError."""
    return load_or_create_private(state / "signing.key")


def trusted_keys(state: Path, more: Iterable[str] = ()) -> Trusted:
    """This machine's own key, those of `state/trusted_keys`, and `more`. Raises ValueError."""
    path = state / "trusted_keys"
    lines = path.read_text().splitlines() if path.exists() else []
    publics = [signing_key(state).public_key(), *(load_public(text) for text in more)]
    for number, line in enumerate(lines, start=1):
        if line.strip() and not line.startswith("#"):
            try:
                publics.append(load_public(line.strip()))
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from None
    return trust(publics)
