"""`@{store:name}`: secrets stay references in the spec and become text only where a sink needs it, so they
never print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from edge_agent.spec.problems import near

Stores = Mapping[str, Mapping[str, str]]
"""Store ("env", "board") -> name -> value."""
STORES = ("env", "board")
KEYS = ("url", "topic")
"""Keys of sinks whose secrets are filled in."""
_SECRET = re.compile(r"@\{(?P<store>[a-z]+):(?P<name>[A-Za-z0-9_.-]+)\}|@\{")


class SecretError(ValueError):
    """A secret is not in its store; names the reference, never a value."""


def reveal(text: str, stores: Stores) -> str:
    """The text with its secrets filled in: for the moment of use, never to be kept or printed. Raises
    SecretError."""

    def value(match: re.Match[str]) -> str:
        found = stores.get(match["store"] or "", {}).get(match["name"] or "")
        if found is None:
            raise SecretError(f"no secret {match[0]} on this board")
        return found

    return _SECRET.sub(value, text)


def problems(text: str, path: tuple[str | int, ...], stores: Stores | None) -> Iterator[tuple[str, str]]:
    """(message, hint) for everything wrong with the references in a spec's string; without `stores`, whether
    they exist is not asked."""
    for match in _SECRET.finditer(text):
        store, name = match["store"], match["name"]
        if store is None:
            yield "`@{` without a store, a name and `}`", "write @{env:NAME} or @{board:name}"
        elif store not in STORES:
            yield f"unknown secret store `{store}`", near(store, STORES) or f"stores: {', '.join(STORES)}"
        elif path[:1] != ("sinks",) or path[-1] not in KEYS:
            yield f"secrets are not read here: {match[0]}", f"they are in {' and '.join(KEYS)} of sinks"
        elif stores is not None and name not in stores.get(store, {}):
            yield f"no secret `{name}` in the store `{store}`", near(name, stores.get(store, {}))
