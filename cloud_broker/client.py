"""A person's side of the HTTP interface: publish releases, start and steer rollouts, look."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker import bundle
from cloud_broker.wire import blobs
from cloud_broker.wire.messages import encode
from cloud_broker.wire.signing import sign

TIMEOUT = 30.0
View = dict[str, Any]
"""As `cloud_broker.views` makes them."""


class ServerError(Exception):
    """What the server refused or why it could not be reached, in words for people, with what to do next."""


@dataclass(frozen=True, slots=True)
class ReleaseInfo:
    task: str
    version: str
    release: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Client:
    """One server and the token for it; every method raises ServerError. `url` is http://host:port."""

    url: str
    token: str = ""

    def publish_release(self, spec_path: Path, key: Ed25519PrivateKey, created: float) -> ReleaseInfo:
        """Bundle the spec with its files, upload what the server lacks, sign, publish. Raises also
        BundleError.

        Publishing the same content again is no error and makes no new release.
        """
        manifest, files = bundle.build(spec_path, created)
        for entry in manifest.files:
            if not self._has(entry.digest):
                try:
                    blobs.put(self.url, files[entry.path], self.token)
                except blobs.FetchError as error:
                    raise ServerError(f"cannot upload {entry.path}: {error.text}") from None
        view = self._call("POST", "/api/releases", encode(sign(manifest, [key])))
        return ReleaseInfo(view["task"], view["version"], view["release"], len(view["files"]), view["bytes"])

    def start_rollout(
        self, *, task: str = "", release: str = "", policy: Mapping[str, Any] | None = None
    ) -> View:
        """Spread a task's newest release, or the release named, as `policy` or its spec's [deploy] says."""
        wish: dict[str, Any] = {"release": release} if release else {"task": task}
        if policy is not None:
            wish["policy"] = dict(policy)
        return dict(self._call("POST", "/api/rollouts", json.dumps(wish).encode()))

    def rollback(self, task: str) -> View:
        """A rollout to the release that was good before."""
        return dict(self._call("POST", f"/api/tasks/{quote(task, safe='')}/rollback"))

    def act(self, rollout: str, verb: str) -> View:
        """pause, resume, skip or abort."""
        return dict(self._call("POST", f"/api/rollouts/{quote(rollout, safe='')}/{quote(verb, safe='')}"))

    def rollouts(self) -> list[View]:
        """Newest first, without members."""
        return list(self._call("GET", "/api/rollouts"))

    def rollout(self, rollout: str) -> View:
        return dict(self._call("GET", f"/api/rollouts/{quote(rollout, safe='')}"))

    def releases(self) -> list[View]:
        """Newest first."""
        return list(self._call("GET", "/api/releases"))

    def status(self) -> View:
        return dict(self._call("GET", "/api/status"))

    def _has(self, digest: str) -> bool:
        status, _ = self._request("HEAD", f"/blobs/sha256/{digest}", b"")
        return status == 200

    def _call(self, method: str, path: str, body: bytes = b"") -> Any:
        status, answer = self._request(method, path, body)
        try:
            fields = json.loads(answer)
        except ValueError:
            raise ServerError(
                f"{self.url}{path} answered {status} without JSON; is this a Walle server?"
            ) from None
        if status >= 400:
            raise ServerError(
                f"{fields.get('error', status)}\n  next: {fields.get('next', 'see the server log')}"
            )
        return fields

    def _request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            connection, base = blobs.connection_to(self.url, TIMEOUT)
        except blobs.FetchError as error:
            raise ServerError(error.text) from None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request(method, base.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or error
            raise ServerError(f"no answer from {self.url}: {why}; is the server running?") from None
        except ValueError as error:
            raise ServerError(f"{self.url!r} or the token cannot be sent: {error}") from None
        finally:
            connection.close()
