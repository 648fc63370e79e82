"""Which of several ways is taken: by costs, by what was measured where they are close, and what is kept."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from runtime.backends import cpu
from runtime.backends.cost import Machine
from runtime.backends.cpu import CpuBackend
from runtime.backends.ways import CLOSE, Board, Kernels, Way, Ways
from runtime.compile import Model, read
from runtime.graph import Graph, Node
from runtime.machine import FILE, keep
from runtime.machine import read as read_machine
from tests.runtime.test_winograd import Net

GRAPH = Graph((), (), (), ())
MACHINE = Machine("here", {"k": {"a": 1.0}}, ((0, 0.0, 0.5),))


@dataclass
class Fake(Board):
    """A board on which the nodes take these times."""

    times: dict[str, float] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    kept: list[Machine] = field(default_factory=list)

    def machine(self, kernels: Kernels) -> Machine:  # noqa: ARG002
        return replace(MACHINE, times=self.known)

    def time(self, graph: Graph, node: Node, weights: int) -> float | None:  # noqa: ARG002
        self.asked.append(node.op)
        return self.times[node.op]

    def keep(self, machine: Machine) -> None:
        self.kept.append(machine)


def way(name: str, cost: float, weights: float = 0) -> Way:
    return Way(Node(name, (), ()), "k", {"a": cost, "weights": weights})


def best(board: Board, *ways: Way) -> str:
    chosen = Ways({}, 0, 1, lambda: board)
    name = chosen.best(GRAPH, ways).op
    chosen.keep()
    return name


def test_the_cheapest_is_taken_and_of_equals_the_first() -> None:
    assert best(Fake(), way("x", 100), way("y", 50), way("z", 200)) == "y"
    assert best(Board(), way("x", 100), way("y", 100)) == "x"


def test_what_is_alone_asks_nobody() -> None:
    alone = Way(Node("x", (), ()))
    ways = Ways({}, 0, 1, lambda: pytest.fail("looked for a board"))
    assert ways.best(GRAPH, [alone]) is alone.node
    ways.keep()


def test_the_two_cheapest_are_measured_where_they_are_close() -> None:
    board = Fake({"x": 9.0, "y": 8.0})
    assert best(board, way("x", 100), way("y", 100 * (1 + CLOSE) - 1), way("z", 101 * (1 + CLOSE))) == "y"
    assert board.asked == ["x", "y"] and list(board.kept[0].times.values()) == [9.0, 8.0]


def test_weights_that_come_from_afar_cost() -> None:
    assert best(Board(), way("x", 100), way("y", 99, weights=4)) == "y"  # on no board in particular
    assert best(Fake(), way("x", 100), way("y", 90, weights=100)) == "x"  # at half a nanosecond a byte


def test_far_from_each_other_nothing_is_measured_or_kept() -> None:
    board = Fake()
    assert best(board, way("x", 100), way("y", 101 * (1 + CLOSE))) == "x"
    assert board.asked == [] and board.kept == []


def test_what_was_kept_is_not_measured_again() -> None:
    board = Fake({"x": 9.0, "y": 8.0})
    best(board, way("x", 100), way("y", 101))
    again = Fake(known=dict(board.kept[0].times))
    assert best(again, way("x", 100), way("y", 101)) == "y" and not again.asked and not again.kept


# -------------------------------------------------------------------- on this machine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With ways that are all close to each other, on a machine that is not measured for that."""
    measured = Machine("here", {}, ())
    monkeypatch.setattr("runtime.machine.measure", lambda *_: replace(measured, fingerprint=_[1]))
    monkeypatch.setattr("runtime.backends.ways.CLOSE", 1e9)
    return tmp_path


def model_in(folder: Path | None) -> Model:
    return replace(Net(1, 14, 14, 16).conv(24).model(), cache_dir=folder)


def test_a_folder_keeps_what_was_measured_and_a_second_start_takes_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CpuBackend().compile(model_in(folder))
    machine = read_machine(folder / FILE)
    assert machine is not None and len(machine.times) == 2 and min(machine.times.values()) > 0
    monkeypatch.setattr("runtime.machine.time_of", lambda *_: pytest.fail("measured again"))
    second = CpuBackend().compile(model_in(folder))
    assert [step.row for step in first.steps] == [step.row for step in second.steps]


def test_whichever_way_is_taken_the_results_agree(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, rng = model_in(None), np.random.default_rng(0)
    image = rng.standard_normal((1, 14, 14, 16)).astype(np.float32)
    (expected,) = CpuBackend().compile(model).run([image])
    for taken in range(2):
        times = iter([2.0, 1.0] if taken else [1.0, 2.0])
        monkeypatch.setattr("runtime.machine.time_of", lambda *_, times=times: next(times))
        (folder / FILE).unlink(missing_ok=True)
        (got,) = CpuBackend().compile(model_in(folder)).run([image])
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_on_any_number_of_threads_the_ways_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a share of a cache that cores have in common, by which tiles are chosen."""
    monkeypatch.setattr(cpu, "cache_bytes", lambda threads=1: (1 << 20) // threads)
    monkeypatch.setattr(cpu, "usable", lambda threads: threads)
    caches = list[int]()
    monkeypatch.setattr(cpu, "winograd", lambda graph, ways: caches.append(ways.cache) or graph)
    for threads in (1, 4):
        CpuBackend().compile(replace(model_in(None), threads=threads))
    assert caches == [1 << 20] * 2


def test_keeping_adds_to_what_others_have_kept(tmp_path: Path) -> None:
    keep(tmp_path, replace(MACHINE, times={"a": 1.0}))
    keep(tmp_path, replace(MACHINE, times={"b": 2.0}, weights=9))
    assert read_machine(tmp_path / FILE) == replace(MACHINE, times={"a": 1.0, "b": 2.0})


def test_a_model_without_a_choice_measures_nothing(tmp_path: Path) -> None:
    small = Path(__file__).parents[2] / "specs" / "models" / "digits_int8.tflite"
    CpuBackend().compile(read(small, cache_dir=tmp_path))
    assert not (tmp_path / FILE).exists()
