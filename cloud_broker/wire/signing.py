"""Ed25519 signatures over exact bytes: a release is trusted because of its signature, never because of its
channel.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloud_broker.wire import digest
from cloud_broker.wire.blobs import sync_folder
from cloud_broker.wire.messages import M, Message, Reason, SignatureEntry, Signed, WireError, decode, encode

Trusted = Mapping[str, Ed25519PublicKey]
"""Key identifier -> public key, as pinned on a board or server."""


def key_id(public: Ed25519PublicKey) -> str:
    return digest.of_bytes(public.public_bytes_raw())[:16]


def sign(message: Message, keys: Iterable[Ed25519PrivateKey]) -> Signed:
    """The envelope around `message`, signed by each key."""
    payload = encode(message)
    entries = tuple(
        SignatureEntry(key=key_id(key.public_key()), signature=base64.b64encode(key.sign(payload)).decode())
        for key in keys
    )
    return Signed(payload=payload.decode(), signatures=entries)


def open_signed(envelope: Signed, kind: type[M], trusted: Trusted) -> M:
    """The message inside, once one trusted key has signed it. Raises WireError: UNKNOWN_KEY, BAD_SIGNATURE,
    or of `decode`.
    """
    known = [entry for entry in envelope.signatures if entry.key in trusted]
    if not known:
        keys = ", ".join(entry.key for entry in envelope.signatures) or "nobody"
        raise WireError(Reason.UNKNOWN_KEY, f"signed by {keys}; trusted here: {', '.join(trusted) or 'none'}")
    payload = envelope.payload.encode()
    if not any(_valid(trusted[entry.key], entry, payload) for entry in known):
        raise WireError(
            Reason.BAD_SIGNATURE, f"the signature of key {known[0].key} does not match the payload"
        )
    return decode(payload, kind)


def _valid(key: Ed25519PublicKey, entry: SignatureEntry, payload: bytes) -> bool:
    try:
        key.verify(base64.b64decode(entry.signature, validate=True), payload)
    except (InvalidSignature, ValueError):
        return False
    return True


def load_or_create_private(path: Path) -> Ed25519PrivateKey:
    """The key in `path` (32 raw bytes, mode 0600), made there on first use. Raises ValueError for another
    content.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(path.read_bytes())
    except FileNotFoundError:
        key = Ed25519PrivateKey.generate()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.private_bytes_raw())
            file.flush()
            os.fsync(descriptor)
        temporary.rename(path)
        sync_folder(path.parent)
        return key
    except ValueError as error:
        raise ValueError(f"{path}: not a signing key ({error}); expected 32 raw bytes") from None


def public_text(public: Ed25519PublicKey) -> str:
    """One line for a board's configuration."""
    return base64.b64encode(public.public_bytes_raw()).decode()


def load_public(text: str) -> Ed25519PublicKey:
    """The key in `public_text` form. Raises ValueError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a public key: expected base64 of 32 bytes ({error})") from None


def trust(publics: Iterable[Ed25519PublicKey]) -> dict[str, Ed25519PublicKey]:
    return {key_id(public): public for public in publics}
