"""From a spec's folder to a release in the registry, and everything that must not become one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_broker import bundle, keys
from cloud_broker.bundle import BundleError
from cloud_broker.database import Database
from cloud_broker.registry import Registry, RegistryError
from cloud_broker.store import BlobStore
from cloud_broker.wire import digest
from cloud_broker.wire.messages import FileEntry, Manifest, Reason, Signed, decode, encode
from cloud_broker.wire.signing import public_text, sign, trust

KEY, STRANGER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
SPEC = """
schema = 1
[task]
name = "ring"
version = "1.2"
needs = { agent = "0.1", arch = ["aarch64"] }
resources = ["data/extra.txt"]
[sources.log]
type = "file"
path = "data/night.jsonl"
[sources.cam]
type = "folder"
path = "{state}/images"
[model]
file = "person.tflite"
post = [{ op = "labels", file = "coco.txt" }]
[script]
file = "alarm.py"
[[test]]
replay = "data/night.jsonl"
[[test]]
replay = "data/day.jsonl"
"""
FILES = [
    "alarm.py",
    "coco.txt",
    "data/day.jsonl",
    "data/extra.txt",
    "data/night.jsonl",
    "person.tflite",
    "ring.toml",
]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "spec" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    path = tmp_path / "spec" / "ring.toml"
    path.write_text(SPEC)
    return path


# --- bundles ----------------------------------------------------------------------------------------------


def test_a_bundle_holds_every_file_that_the_spec_names(spec: Path) -> None:
    manifest, files = bundle.build(spec, 5.0)
    assert (manifest.task, manifest.version, manifest.spec, manifest.created) == (
        "ring",
        "1.2",
        "ring.toml",
        5.0,
    )
    assert (manifest.needs_agent, manifest.needs_arch) == ("0.1", ("aarch64",))
    assert [entry.path for entry in manifest.files] == list(files) == FILES
    assert all(entry.digest == digest.of_bytes(files[entry.path]) for entry in manifest.files)


def test_a_bundle_is_reproducible_wherever_it_lies(spec: Path) -> None:
    moved = spec.parent.rename(spec.parent.with_name("elsewhere"))
    again = encode(bundle.build(moved / "ring.toml", 5.0)[0])
    moved.rename(spec.parent)
    assert encode(bundle.build(spec, 5.0)[0]) == again


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alarm.py", "../alarm.py", r"ring.toml: '../alarm.py' leads outside the spec's folder"),
        ("alarm.py", "/etc/passwd", r"'/etc/passwd' leads outside the spec's folder"),
        ("alarm.py", "data/link", r"'data/link' leads outside the spec's folder"),
        ("alarm.py", "data", r"names 'data', but there is no file"),
        ("alarm.py", "missing.py", r"names 'missing.py', but there is no file .*missing.py"),
        ("alarm.py", "data//day.jsonl", r"'data//day.jsonl': .*not a plain relative path"),
        ('"ring"', '"Ring!"', r"\[task\] task = 'Ring!'"),
        ('"1.2"', '"1.2-beta"', r"\[task\] version = '1.2-beta'"),
        ('"1.2"', "12", r"\[task\] version = 12"),
        ("[task]", "[task", r"not TOML: .*walle check"),
        ("schema = 1", "\u0000", "not TOML"),
    ],
)
def test_specs_that_make_no_bundle(spec: Path, old: str, new: str, message: str) -> None:
    (spec.parent / "data" / "link").symlink_to("/etc/hostname")
    spec.write_text(SPEC.replace(old, new))
    with pytest.raises(BundleError, match=message):
        bundle.build(spec, 5.0)


def test_a_missing_and_a_huge_spec(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"none.toml: No such file or directory; expected a task spec"):
        bundle.build(tmp_path / "none.toml", 5.0)
    (tmp_path / "huge.toml").write_bytes(b"#" * (bundle.MAX_SPEC + 1))
    with pytest.raises(BundleError, match="a spec has at most"):
        bundle.build(tmp_path / "huge.toml", 5.0)


# --- the registry -----------------------------------------------------------------------------------------


class Shelf:
    """A registry and what a publisher does to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = BlobStore(folder / "blobs")
        self.registry = Registry(Database(folder / "db"), self.store, trust([KEY.public_key()]))

    def manifest(self, version: str = "1.0", **changes: Any) -> Manifest:
        data = f"spec of {version}".encode()
        entry = FileEntry(path="ring.toml", digest=self.store.put(data), size=len(data))
        fields = {"task": "ring", "version": version, "spec": "ring.toml", "files": (entry,), "created": 1.0}
        return Manifest.model_validate({**fields, **changes})

    def add(self, manifest: Manifest, key: Ed25519PrivateKey = KEY) -> str:
        return self.registry.add_release(encode(sign(manifest, [key])), 7.0).release


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_a_release_is_named_by_its_envelope_and_fetched_like_a_file(shelf: Shelf) -> None:
    release = shelf.add(shelf.manifest())
    envelope = shelf.store.get(release)
    assert digest.of_bytes(envelope) == release
    newest = shelf.registry.newest("ring")
    assert newest is not None
    assert (newest.size, newest.added, newest.version) == (len(envelope), 7.0, "1.0")
    assert decode(decode(envelope, Signed).payload.encode(), Manifest) == newest.manifest


def test_the_same_again_is_the_same_release(shelf: Shelf) -> None:
    first = shelf.add(shelf.manifest())
    assert shelf.add(shelf.manifest(created=99.0)) == first
    assert len(shelf.registry.all()) == 1


def test_releases_survive_a_restart(shelf: Shelf) -> None:
    added = [shelf.add(shelf.manifest(version)) for version in ("1.9", "1.10")]
    again = Shelf(shelf.folder)
    assert [release.release for release in again.registry.all()] == added
    newest = again.registry.newest("ring")
    assert newest is not None and newest.version == "1.10"
    assert again.registry.newest("other") is None


@pytest.mark.parametrize("version", ["1.10", "1.9", "1", "1.10.0"])
def test_other_content_needs_a_newer_version(shelf: Shelf, version: str) -> None:
    shelf.add(shelf.manifest("1.10"))
    with pytest.raises(RegistryError) as error:
        shelf.add(shelf.manifest(version, needs_agent="9"))
    assert error.value.reason is Reason.TOO_OLD
    assert error.value.advice == "set a version above 1.10 in [task]"


def test_files_must_be_in_the_store_as_announced(shelf: Shelf) -> None:
    present = shelf.manifest().files[0]
    missing = FileEntry(path="model.tflite", digest="0" * 64, size=5)
    longer = present.model_copy(update={"path": "x", "size": present.size + 1})
    for entry, message in ((missing, "is not in the store"), (longer, "has 11 bytes in the store")):
        with pytest.raises(RegistryError, match=message) as error:
            shelf.add(shelf.manifest(files=(present, entry)))
        assert error.value.reason is Reason.FETCH_FAILED
    assert "PUT it to /blobs/sha256/" in error.value.advice


def test_the_spec_must_be_among_the_files_and_paths_only_once(shelf: Shelf) -> None:
    entry = shelf.manifest().files[0]
    for changes in ({"spec": "other.toml"}, {"files": (entry, entry)}):
        with pytest.raises(RegistryError) as error:
            shelf.add(shelf.manifest(**changes))
        assert error.value.reason is Reason.BAD_SPEC


def tampered(envelope: Signed, old: str, new: str) -> bytes:
    return encode(envelope.model_copy(update={"payload": envelope.payload.replace(old, new)}))


def test_only_what_a_trusted_key_signed(shelf: Shelf) -> None:
    manifest = shelf.manifest()
    good = sign(manifest, [KEY])
    rows = [
        (encode(sign(manifest, [STRANGER])), Reason.UNKNOWN_KEY),
        (encode(sign(manifest, [])), Reason.UNKNOWN_KEY),
        (tampered(good, '"1.0"', '"9.0"'), Reason.BAD_SIGNATURE),
        (encode(manifest), Reason.NOT_OURS),
        (encode(sign(good, [KEY])), Reason.NOT_OURS),
        (b"", Reason.NOT_OURS),
        (b"\xff" * 100, Reason.NOT_OURS),
        (b"[" * 50_000, Reason.NOT_OURS),
        (b" " * (1 << 20), Reason.TOO_LARGE),
        (encode(good).replace(b'"schema":1', b'"schema":2'), Reason.BAD_SCHEMA),
    ]
    for envelope, reason in rows:
        with pytest.raises(RegistryError) as error:
            shelf.registry.add_release(envelope, 7.0)
        assert error.value.reason is reason
    assert shelf.registry.all() == []
    assert shelf.add(manifest)


# --- keys -------------------------------------------------------------------------------------------------


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    token = keys.load_or_create_token(tmp_path / "state")
    assert len(token) >= 32 and keys.load_or_create_token(tmp_path / "state") == token
    assert (tmp_path / "state" / "token").stat().st_mode & 0o777 == 0o600
    (tmp_path / "state" / "token").write_text("\n")
    with pytest.raises(ValueError, match="is empty; remove it"):
        keys.load_or_create_token(tmp_path / "state")


def test_trusted_keys_are_this_machines_and_those_listed(tmp_path: Path) -> None:
    more = public_text(STRANGER.public_key())
    (tmp_path / "trusted_keys").write_text(f"# the build machine\n{public_text(KEY.public_key())}\n\n")
    assert len(keys.trusted_keys(tmp_path, [more])) == 3
    assert len(keys.trusted_keys(tmp_path)) == 2
    (tmp_path / "trusted_keys").write_text("# fine\nnot a key\n")
    with pytest.raises(ValueError, match="trusted_keys:2: 'not a key' is not a public key"):
        keys.trusted_keys(tmp_path)
