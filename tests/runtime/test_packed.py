"""Packed weights in files: read as written, whole or not at all, by any number of processes, and never in the
way of a run.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from runtime import Interpreter, memory, packed
from runtime.backends.cpu import CpuBackend
from runtime.compile import read
from runtime.errors import RunError
from runtime.graph import Array
from runtime.packed import HEADER, STALE, Store

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "specs" / "models" / "digits_int8.tflite"
KEY = sha256(b"key").digest()


def counted(calls: list[int], value: int = 7) -> Any:
    def fill(out: Array) -> None:
        assert not out.any()
        calls.append(out.size)
        out[:] = value

    return fill


def never(out: Array) -> None:  # noqa: ARG001
    raise AssertionError("the file is there")


def weights(mapping: Any) -> bytes:
    return bytes(mapping[HEADER:])


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.fixture(autouse=True)
def nothing_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_verified", set())


# -------------------------------------------------------------------- one process


def test_packed_once_and_mapped_for_reading_from_then_on(tmp_path: Path) -> None:
    store, calls = Store(tmp_path / "new"), list[int]()
    first, second = store.open(KEY, 1000, counted(calls)), store.open(KEY, 1000, never)
    assert calls == [1000]
    assert first is not None and second is not None
    assert weights(first) == weights(second) == b"\7" * 1000
    assert [path.suffix for path in files(tmp_path / "new")] == [".packed"]
    with pytest.raises(TypeError):
        first[HEADER] = 1


def test_keys_and_sizes_do_not_mix(tmp_path: Path) -> None:
    store, calls = Store(tmp_path), list[int]()
    other = sha256(b"other").digest()
    a, b = store.open(KEY, 10, counted(calls, 1)), store.open(other, 10, counted(calls, 2))
    assert a is not None and b is not None and weights(a) != weights(b)
    assert store.open(KEY, 11, counted(calls, 3)) is not None  # cannot be the same weights: written anew
    assert calls == [10, 10, 11]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, -1),
        lambda path: flip(path, HEADER),
        lambda path: flip(path, 0),
        lambda path: flip(path, 8),
        lambda path: flip(path, 48),
        lambda path: os.truncate(path, 900),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"x" * 5000),
    ],
    ids=["last", "first", "magic", "key", "crc", "short", "empty", "another"],
)
def test_a_damaged_file_is_written_anew(tmp_path: Path, damage: Any) -> None:
    store, calls = Store(tmp_path), list[int]()
    store.open(KEY, 1000, counted(calls))
    damage(files(tmp_path)[0])
    packed._verified.clear()  # as in the next process
    again = store.open(KEY, 1000, counted(calls))
    assert again is not None and weights(again) == b"\7" * 1000
    assert calls == [1000, 1000]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    store, calls = Store(tmp_path / "cache"), list[int]()
    store.open(KEY, 10, counted(calls))
    path, elsewhere = files(tmp_path / "cache")[0], tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert store.open(KEY, 10, never) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("call", ["posix_fallocate", "fsync", "replace", "open"])
def test_a_disk_that_refuses_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(packed.os, call, refuse)
        assert Store(tmp_path).open(KEY, 1000, counted([])) is None
    assert files(tmp_path) == []


def test_a_full_disk_is_said_before_anything_is_packed(tmp_path: Path) -> None:
    """A file larger than this process may write, which the system refuses as it does on a full disk."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from runtime.packed import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "assert Store(Path(sys.argv[1])).open(bytes(32), 1_000_000, lambda out: sys.exit(3)) is None\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert (done.returncode, files(tmp_path)) == (0, [])


def test_what_packing_raises_goes_through(tmp_path: Path) -> None:
    def fail(out: Array) -> None:  # noqa: ARG001
        raise RuntimeError("packing")

    with pytest.raises(RuntimeError, match="packing"):
        Store(tmp_path).open(KEY, 10, fail)
    assert files(tmp_path) == []


def test_the_bound_holds_and_the_least_used_go_first(tmp_path: Path) -> None:
    store = Store(tmp_path, 3 * (1000 + HEADER))
    keys = [sha256(bytes([i])).digest() for i in range(5)]
    for age, key in enumerate(keys[:3]):
        store.open(key, 1000, counted([]))
        path = tmp_path / f"{key.hex()}.packed"
        long_ago = time.time() - 2 * STALE + age
        os.utime(path, (long_ago, long_ago))
    held = store.open(keys[0], 1000, never)  # used now: keys[1] is the oldest
    store.open(keys[3], 1000, counted([]))
    assert {path.stem for path in files(tmp_path)} == {keys[i].hex() for i in (0, 2, 3)}
    store.open(keys[4], 2 * 1000, counted([]))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= store.most
    assert held is not None and weights(held) == b"\7" * 1000  # whoever has it mapped keeps it


def test_weights_over_the_bound_stay_in_memory(tmp_path: Path) -> None:
    assert Store(tmp_path, 1000).open(KEY, 1000, never) is None
    assert files(tmp_path) == []


def test_what_killed_writers_left_is_removed_after_a_while(tmp_path: Path) -> None:
    old, new = tmp_path / "a.1.0.tmp", tmp_path / "b.2.0.tmp"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, 0))
    Store(tmp_path).open(KEY, 10, counted([]))
    assert not old.exists() and new.exists()


# -------------------------------------------------------------------- several

WRITER = """
import sys, time
from pathlib import Path
from runtime.packed import Store
def fill(out):
    half = out.size // 2
    out[:half] = 7
    print("half", flush=True)
    time.sleep(float(sys.argv[2]))
    out[half:] = 7
Store(Path(sys.argv[1])).open(bytes(range(32)), 1 << 20, fill)
print("done", flush=True)
"""


def writer(folder: Path, pause: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", WRITER, str(folder), str(pause)]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_writer_that_is_killed_leaves_no_entry(tmp_path: Path) -> None:
    process = writer(tmp_path, 60)
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert [path.suffix for path in files(tmp_path)] == [".tmp"]
    calls = list[int]()
    mapping = Store(tmp_path).open(bytes(range(32)), 1 << 20, counted(calls))
    assert mapping is not None and calls == [1 << 20]


def test_writers_at_the_same_time(tmp_path: Path) -> None:
    processes = [writer(tmp_path, 0.1) for _ in range(3)]
    for process in processes:
        assert process.communicate()[0].endswith("done\n")
    mapping = Store(tmp_path).open(bytes(range(32)), 1 << 20, never)
    assert mapping is not None and weights(mapping) == b"\7" * (1 << 20)
    assert len(files(tmp_path)) == 1


def test_threads_at_the_same_time(tmp_path: Path) -> None:
    store, seen = Store(tmp_path, 5 * (1000 + HEADER)), list[bool]()

    def work(start: int) -> None:
        for i in range(40):
            value = (start + i) % 9
            mapping = store.open(sha256(bytes([value])).digest(), 1000, counted([], value + 1))
            seen.append(mapping is None or weights(mapping) == bytes([value + 1]) * 1000)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 160 and all(seen)


# -------------------------------------------------------------------- models


def outputs(interpreter: Interpreter) -> list[bytes]:
    interpreter.allocate_tensors()
    rng = np.random.default_rng(3)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(
            detail["index"], rng.integers(-128, 128, detail["shape"]).astype(detail["dtype"])
        )
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]).tobytes() for detail in interpreter.get_output_details()]


def test_a_model_gives_the_same_from_files_and_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = outputs(Interpreter(MODEL))
    assert outputs(Interpreter(MODEL, cache_dir=tmp_path)) == plain
    (entry,) = files(tmp_path / packed.FOLDER)
    monkeypatch.setattr("runtime.backends.steps.Packed.write", never)
    assert outputs(Interpreter(MODEL, cache_dir=tmp_path)) == plain
    assert files(tmp_path / packed.FOLDER) == [entry]


def test_every_shared_model_gives_the_same_from_files(tmp_path: Path, shared_models: Path) -> None:
    for path in sorted(shared_models.glob("*int8.tflite")):
        plain = outputs(Interpreter(path))
        assert outputs(Interpreter(path, cache_dir=tmp_path)) == plain
        assert outputs(Interpreter(path, cache_dir=tmp_path)) == plain


def test_load_keeps_them_too(tmp_path: Path) -> None:
    runtime.load(MODEL, backend="cpu", cache_dir=tmp_path)
    assert len(files(tmp_path / packed.FOLDER)) == 1


def test_another_instruction_set_has_another_file(tmp_path: Path) -> None:
    model = read(MODEL, cache_dir=tmp_path)
    for features in (None, 0):
        CpuBackend(features).compile(model)
    found = len(files(tmp_path / packed.FOLDER))
    assert found == (1 if CpuBackend().version() == CpuBackend(0).version() else 2)


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert outputs(Interpreter(MODEL, cache_dir=tmp_path / "file")) == outputs(Interpreter(MODEL))


def test_the_limit_of_the_machine_holds_for_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(MODEL, cache_dir=tmp_path)
    arena = CpuBackend().compile(read(MODEL)).layout.size
    monkeypatch.setattr(memory, "limit", lambda: arena)
    with pytest.raises(RunError, match=r"weights of the model: \d+ bytes are needed"):
        CpuBackend().compile(model)
    assert files(tmp_path) == []
