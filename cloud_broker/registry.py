"""Releases: who may add one, what makes it whole, which is the newest. A release is named by its
envelope's digest.

The envelope itself lies in the blob store like every file of the release, so a board pulls both the same way.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from cloud_broker.database import Database
from cloud_broker.store import BlobStore, StoreError
from cloud_broker.wire.messages import Manifest, Reason, Signed, WireError, decode, version_key
from cloud_broker.wire.signing import Trusted, open_signed


class RegistryError(Exception):
    """A release that was not taken: a code for machines, what is wrong, and what to do next."""

    def __init__(self, reason: Reason, text: str, advice: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Release:
    release: str
    size: int
    """Bytes of the envelope."""
    added: float
    manifest: Manifest

    @property
    def task(self) -> str:
        return self.manifest.task

    @property
    def version(self) -> str:
        return self.manifest.version


class Registry:
    """Releases that were signed by one of `trusted`, in the order in which they came.

    Only `add_release` takes the lock, and it takes the database's inside. Readers, who may hold that one
    already, need none: `_releases` is replaced, never changed.
    """

    def __init__(self, database: Database, store: BlobStore, trusted: Trusted) -> None:
        self._database = database
        self._store = store
        self._trusted = trusted
        self._lock = threading.Lock()
        self._releases: dict[str, Release] = {}
        for digest, added, envelope in database.releases():
            manifest = decode(decode(envelope, Signed).payload.encode(), Manifest)
            self._releases[digest] = Release(digest, len(envelope), added, manifest)

    def add_release(self, envelope: bytes, now: float) -> Release:
        """Take a signed manifest whose files are all in the store; the same one again changes nothing.

        Raises RegistryError: not signed by a trusted key, a file missing, or a version that is not newer.
        """
        with self._lock:
            try:
                manifest = open_signed(decode(envelope, Signed), Manifest, self._trusted)
            except WireError as error:
                advice = "sign it with a key whose public half this server trusts"
                raise RegistryError(error.reason, str(error), advice) from None
            newest = self.newest(manifest.task)
            if newest is not None and _same(newest.manifest, manifest):
                return newest
            self._check_files(manifest)
            if newest is not None and version_key(manifest.version) <= version_key(newest.version):
                text = f"{manifest.task} {manifest.version} is other content than {newest.version}, not newer"
                raise RegistryError(Reason.TOO_OLD, text, f"set a version above {newest.version} in [task]")
            return self._keep(envelope, manifest, now)

    def get(self, release: str) -> Release | None:
        return self._releases.get(release)

    def newest(self, task: str) -> Release | None:
        """Versions only grow, so the last one added."""
        of_task = [release for release in self._releases.values() if release.task == task]
        return of_task[-1] if of_task else None

    def all(self) -> list[Release]:
        """Oldest first."""
        return list(self._releases.values())

    def spec(self, release: Release) -> bytes:
        """The task spec of a release. Raises StoreError."""
        entry = next(entry for entry in release.manifest.files if entry.path == release.manifest.spec)
        return self._store.get(entry.digest)

    def _check_files(self, manifest: Manifest) -> None:
        paths = [entry.path for entry in manifest.files]
        if manifest.spec not in paths or len(set(paths)) != len(paths):
            text = (
                f"{manifest.task} {manifest.version}: expected the spec {manifest.spec!r} and no path twice"
            )
            raise RegistryError(Reason.BAD_SPEC, text, "build the bundle again")
        for entry in manifest.files:
            size = self._store.size(entry.digest)
            if size != entry.size:
                got = "is not in the store" if size is None else f"has {size} bytes in the store"
                raise RegistryError(
                    Reason.FETCH_FAILED,
                    f"{entry.path} ({entry.digest[:16]}…, {entry.size} bytes) {got}",
                    f"PUT it to /blobs/sha256/{entry.digest} first",
                )

    def _keep(self, envelope: bytes, manifest: Manifest, now: float) -> Release:
        try:
            digest = self._store.put(envelope)
        except StoreError as error:
            raise RegistryError(error.reason, str(error), "make room on the server's disk") from None
        with self._database.transaction():
            self._database.put_release(digest, manifest.task, now, envelope)
            self._database.add_event(now, "released", manifest.task, f"{manifest.version} as {digest[:16]}…")
        release = Release(digest, len(envelope), now, manifest)
        self._releases = {**self._releases, digest: release}
        return release


def _same(one: Manifest, other: Manifest) -> bool:
    """Equal but for the time of building."""
    return one == other.model_copy(update={"created": one.created})
