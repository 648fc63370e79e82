"""The choice of a backend: measured with a clock that is passed in, remembered under a key that holds what
matters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.backends.base import Executor, TensorInfo
from runtime.compile import Model
from runtime.errors import ModelError, RunError, UnsupportedError
from runtime.graph import Array, DType
from runtime.search import FILE, RUNS, WARM_UP, Choice, Trial, cache_key, choose, read_cache, write_cache

MODEL = Model("toy", b"bytes")


class Clock:
    """Time that passes only when a backend says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fake(Executor):
    """A backend whose runs take the given times, one after the other and the last for ever, or that fails."""

    name: str
    clock: Clock
    times: Sequence[float] = (1.0,)
    fails: Exception | None = None
    fails_to_run: Exception | None = None
    number: str = "1"
    compiled: int = 0
    runs: int = 0
    inputs: tuple[TensorInfo, ...] = (TensorInfo("x", (2,), DType.I8),)
    outputs: tuple[TensorInfo, ...] = ()
    given: Sequence[Array] = field(default_factory=lambda: [np.ones(2, np.int8)])
    made: Sequence[Array] = ()
    seen: list[Any] = field(default_factory=list)

    def version(self) -> str:
        return self.number

    def compile(self, model: Model) -> Fake:  # noqa: ARG002
        if self.fails:
            raise self.fails
        self.compiled += 1
        return self

    def execute(self) -> None:
        if self.fails_to_run:
            raise self.fails_to_run
        self.seen.append([array.copy() for array in self.given])
        self.clock.now += self.times[min(self.runs, len(self.times) - 1)]
        self.runs += 1

    def reset(self) -> None:
        raise AssertionError("nothing here keeps a state")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pick(
    clock: Clock, *backends: Fake, cache: Path | None = None, model: Model = MODEL
) -> tuple[Choice, Any]:
    return choose(model, {backend.name: backend for backend in backends}, cache, clock)


def test_the_fastest_by_median_wins(clock: Clock) -> None:
    slow_start = Fake("a", clock, [9.0] * WARM_UP + [1.0, 1.0, 7.0, 1.0, 8.0])  # median 1
    steady = Fake("b", clock, [2.0])
    choice, executor = pick(clock, steady, slow_start)
    assert executor is slow_start
    assert choice == Choice("a", (Trial("b", 2.0), Trial("a", 1.0)))
    assert slow_start.runs == steady.runs == WARM_UP + RUNS
    assert np.array_equal(steady.seen[0][0], np.zeros(2, np.int8))


def test_of_equals_the_first(clock: Clock) -> None:
    assert pick(clock, Fake("a", clock), Fake("b", clock))[0].backend == "a"


@pytest.mark.parametrize("moment", ["fails", "fails_to_run"])
@pytest.mark.parametrize("error", [UnsupportedError("no LSTM"), RunError("no memory")])
def test_a_backend_that_cannot_is_left_out_with_its_reason(
    clock: Clock, moment: str, error: Exception
) -> None:
    choice, executor = pick(clock, Fake("a", clock, **{moment: error}), good := Fake("b", clock, [3.0]))  # type: ignore[arg-type]
    assert executor is good and choice.trials == (Trial("a", None, str(error)), Trial("b", 3.0))


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((UnsupportedError("no LSTM"), UnsupportedError("absent")), UnsupportedError),
        ((ModelError("cut off at byte 12"), UnsupportedError("refused")), ModelError),
    ],
)
def test_when_none_can_every_reason_is_told(
    clock: Clock, errors: tuple[Exception, ...], kind: type[Exception]
) -> None:
    backends = [Fake(name, clock, fails=error) for name, error in zip("ab", errors, strict=True)]
    with pytest.raises(kind, match=f"toy: no backend runs it: a: {errors[0]}; b: {errors[1]}"):
        pick(clock, *backends)


def test_a_reason_that_all_share_is_told_once(clock: Clock) -> None:
    backends = [Fake(name, clock, fails=ModelError("cut off at byte 12")) for name in "ab"]
    with pytest.raises(ModelError, match=r"^toy: no backend runs it: a, b: cut off at byte 12$"):
        pick(clock, *backends)


def test_a_second_start_measures_nothing(clock: Clock, tmp_path: Path) -> None:
    first = [Fake("a", clock, [2.0]), Fake("b", clock, [1.0])]
    second = [Fake("a", clock, [1.0]), Fake("b", clock, [2.0])]
    choice, _ = pick(clock, *first, cache=tmp_path)
    again, executor = pick(clock, *second, cache=tmp_path)
    assert again == choice and executor is second[1]
    assert second[0].compiled == 0 and second[1].runs == 0


def test_a_remembered_backend_that_fails_now_is_measured_again(clock: Clock, tmp_path: Path) -> None:
    pick(clock, Fake("a", clock, [1.0]), Fake("b", clock, [2.0]), cache=tmp_path)
    choice, _ = pick(
        clock, Fake("a", clock, fails=RunError("no memory")), Fake("b", clock, [2.0]), cache=tmp_path
    )
    assert choice.backend == "b"
    assert list(read_cache(tmp_path / FILE).values()) == [choice]


CHANGES: list[Callable[[Clock], tuple[Model, Fake]]] = [
    lambda clock: (Model("toy", b"other bytes"), Fake("a", clock)),
    lambda clock: (Model("toy", b"bytes", {0: (4,)}), Fake("a", clock)),
    lambda clock: (MODEL, Fake("a", clock, number="2")),
    lambda clock: (MODEL, Fake("c", clock)),
]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_the_answer_changes_the_key(
    clock: Clock, change: Callable[[Clock], tuple[Model, Fake]]
) -> None:
    model, backend = change(clock)
    assert cache_key(MODEL, {"a": Fake("a", clock)}) != cache_key(model, {backend.name: backend})
    assert cache_key(MODEL, {"a": Fake("a", clock)}) == cache_key(
        Model("renamed", b"bytes"), {"a": Fake("a", clock)}
    )


def test_another_cpu_is_another_key(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    here = cache_key(MODEL, {"a": Fake("a", clock)})
    monkeypatch.setattr("runtime.search.cpu_model", lambda: "aarch64 4 ['Model : Raspberry Pi 5']")
    assert cache_key(MODEL, {"a": Fake("a", clock)}) != here


GOOD = {"backend": "b", "trials": [{"backend": "b", "seconds": 1.0, "reason": ""}]}
DAMAGED = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[]",
    b"null",
    json.dumps({"schema": 99, "choices": {"k": GOOD}}).encode(),
    json.dumps({"schema": 1}).encode(),
    json.dumps({"schema": 1, "choices": {"k": {"backend": "b"}}}).encode(),
    json.dumps({"schema": 1, "choices": {"k": {"backend": "b", "trials": [{"who": 1}]}}}).encode(),
    json.dumps({"schema": 1, "choices": 7}).encode(),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_or_foreign_cache_is_empty_and_rewritten(
    clock: Clock, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / FILE
    path.write_bytes(content)
    assert read_cache(path) == {}
    choice, _ = pick(clock, Fake("a", clock), cache=tmp_path)
    assert list(read_cache(path).values()) == [choice]
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]


def test_a_cache_that_names_an_unknown_backend_is_measured_again(clock: Clock, tmp_path: Path) -> None:
    key = cache_key(MODEL, {"a": Fake("a", clock)})
    write_cache(tmp_path / FILE, {key: Choice("vanished", ())})
    assert pick(clock, Fake("a", clock), cache=tmp_path)[0].backend == "a"


def test_a_folder_that_cannot_be_written_costs_only_the_memory(clock: Clock, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert pick(clock, Fake("a", clock), cache=blocked)[0].backend == "a"


def test_a_crash_while_writing_leaves_the_old_cache(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, _ = pick(clock, Fake("a", clock), cache=tmp_path)

    def no_space(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    pick(clock, Fake("a", clock, number="2"), cache=tmp_path)
    assert list(read_cache(tmp_path / FILE).values()) == [old]
    assert [entry.name for entry in tmp_path.iterdir()] == [FILE]
