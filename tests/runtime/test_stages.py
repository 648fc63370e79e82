"""Programs in parts that threads run side by side: the same results, errors and states as on one thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import ckernels
from ckernels import ffi, lib
from runtime import Interpreter, load
from runtime.atoms import Clamp, Gather, Gemm, Instruction, Map, Raster, Reduce, Region, View
from runtime.backends import cpu, stages, strips
from runtime.backends.cost import unmeasured
from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import Call, FlatProgram, Step
from runtime.compile import Model, read
from runtime.errors import RunError
from runtime.graph import DType, Graph, Node, Value
from runtime.strides import dense
from tests.runtime.test_strips import Chain, drawn

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "models"
DIGITS = ROOT / "specs" / "models" / "digits_int8.tflite"
THREADS = 3


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever can be cut is cut, and there are workers even where there is one core."""
    for name in ("SMALLEST", "WORTH"):
        monkeypatch.setattr(stages, name, 1e-9)
    for name in ("ELEMENTS", "COLUMNS"):
        monkeypatch.setattr(stages, name, 1)
    monkeypatch.setattr(cpu, "usable", lambda threads: threads)
    lib.ck_team_cores(ffi.new("int32_t[]", sorted(os.sched_getaffinity(0))[:1] * THREADS), THREADS)
    yield
    stages.cores.cache_clear()
    stages.cores()


def program_of(model: Model, threads: int, cache: int | None = None) -> FlatProgram:
    return CpuBackend(cache=cache).compile(replace(model, threads=threads))


def assert_same(together: FlatProgram, alone: FlatProgram, runs: int) -> None:
    for seed in range(runs):
        feed = drawn(alone, seed)
        for got, want in zip(together.run(feed), alone.run(feed), strict=True):
            np.testing.assert_array_equal(got, want)


# -------------------------------------------------------------------- results


def product(m: int, n: int, k: int, batch: int = 1) -> Gemm:
    return Gemm(batch, m, n, k, dense((batch, m, k)), dense((batch, k, n)), dense((batch, m, n)), Clamp())


TURNED = Raster((Region(0, View(0, (1, 70)), View(0, (90, 1)), (70, 90)),))
JOINED = Raster(tuple(Region(i, View(0, (40, 1)), View(40 * i, (80, 1)), (50, 40)) for i in range(2)))
TWICE = Raster((Region(0, dense((20, 7)), View(0, (0, 1)), (20, 7)),))
PADDED = Raster((Region(0, dense((20, 7)), View(9, (9, 1)), (20, 7)),), 0)
SUMS = Instruction("load", (0,)), Instruction("load", (1,)), Instruction("add")
CASES: dict[str, tuple[Any, list[tuple[int, ...]], tuple[int, ...], bool]] = {
    "rows of a product": (product(200, 20, 9), [(200, 9), (9, 20)], (200, 20), True),
    "columns of a product": (product(3, 300, 9), [(3, 9), (9, 300)], (3, 300), True),
    "products of a batch": (product(30, 40, 9, 5), [(5, 30, 9), (5, 9, 40)], (5, 30, 40), True),
    "a transposed matrix": (TURNED, [(90, 70)], (70, 90), True),
    "two that are joined": (JOINED, [(50, 40), (50, 40)], (50, 80), True),
    "copies to one place": (TWICE, [(20, 7)], (7,), False),
    "a copy with a border": (PADDED, [(20, 7)], (22, 9), False),
    "the sums of an image": (Reduce("sum", 1, 49, 130), [(49, 130)], (130,), True),
    "the most of an image": (Reduce("max", 1, 49, 130), [(49, 130)], (130,), True),
    "sums of rows": (Reduce("sum", 90, 7, 1), [(90, 7)], (90,), True),
    "elements": (Map((90,), (dense((90,)),) * 2, dense((90,)), SUMS), [(90,)] * 2, (90,), True),
}
"""Atom, shapes of its inputs, of its output, and whether it can be cut."""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", CASES)
def test_a_step_gives_the_same_on_several_threads(name: str) -> None:
    atom, shapes, shape, cut = CASES[name]
    ids = tuple(range(len(shapes)))
    values = (*(Value(f"x{i}", shapes[i], DType.F32) for i in ids), Value("y", shape, DType.F32))
    graph = Graph(values, (Node(atom.NAME, ids, (len(ids),), atom),), ids, (len(ids),))
    alone, together = (CpuBackend().lower(graph, threads=threads) for threads in (1, THREADS))
    assert (len(together.calls) > len(alone.calls)) is cut
    assert_same(together, alone, 50)


NOTHING: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    "no rows of a product": (product(0, 3, 4), [(0, 4), (4, 3)]),
    "no columns of a product": (product(2, 0, 4), [(2, 4), (4, 0)]),
    "no elements": (Map((0,), (dense((0,)),), dense((0,)), SUMS[:1]), [(0,)]),
    "sums of no rows": (Reduce("sum", 0, 3, 3), [(0, 3, 3)]),
}
"""Atoms that write nothing of what they are a part of."""


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", NOTHING)
def test_a_step_that_does_nothing_is_no_different_on_several_threads(name: str) -> None:
    atom, shapes = NOTHING[name]
    ids = tuple(range(len(shapes)))
    values = (*(Value(f"x{i}", shapes[i], DType.F32) for i in ids), Value("y", (2, 3), DType.F32))
    graph = Graph(values, (Node(atom.NAME, ids, (len(ids),), atom),), ids, (len(ids),))
    assert_same(CpuBackend().lower(graph, threads=THREADS), CpuBackend().lower(graph), 1)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_chains_in_strips_give_the_same_on_several_threads(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEWEST_ROWS", "CALL_COST"):
        monkeypatch.setattr(strips, name, 1)
    turned = 0
    for seed in range(15):
        chain = Chain(Random(seed), dtype)
        for _ in range(6):
            chain.grow()
        model = Model(f"chain {seed}", chain.model())
        together = program_of(model, THREADS, 1 << 12)
        turned += any(step.row.operator == "TURN" for step in together.steps)
        assert_same(together, program_of(model, 1, 1 << 30), 5)
    assert turned > 5


@pytest.mark.parametrize("cut_all", [False, True])
@pytest.mark.parametrize("name", ["mobilenet_v2_quant", "vww_f32", "resnet8_f32", "resnet8_int8", "kws_int8"])
def test_a_shared_model_gives_the_same_on_several_threads(
    name: str, cut_all: bool, request: pytest.FixtureRequest
) -> None:
    if not (path := SHARED / f"{name}.tflite").exists():
        pytest.skip(f"{path} is not there")
    if cut_all:
        request.getfixturevalue("eager")
    assert_same(program_of(read(path), THREADS), program_of(read(path), 1), 3)


@pytest.mark.usefixtures("eager")
def test_programs_run_at_once_on_workers_that_they_share() -> None:
    alone = program_of(read(DIGITS), 1)
    feed = drawn(alone, 0)
    want = alone.run(feed)
    programs = [program_of(read(DIGITS), THREADS) for _ in range(4)]
    wrong: list[int] = []

    def run(i: int) -> None:
        for _ in range(300):
            got = programs[i].run(feed)
            wrong.extend(i for g, w in zip(got, want, strict=True) if not np.array_equal(g, w))

    callers = [threading.Thread(target=run, args=(i,)) for i in range(len(programs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.usefixtures("eager")
def test_of_the_parts_that_fail_the_step_is_named() -> None:
    values = (
        Value("rows", (5, 2), DType.F32),
        Value("index", (90,), DType.I64),
        Value("y", (90, 2), DType.F32),
    )
    graph = Graph(values, (Node("GATHER", (0, 1), (2,), Gather(5, 2, 90), "GATHER#7"),), (0, 1), (2,))
    program = CpuBackend().lower(graph, threads=THREADS)
    assert len(program.calls) > 1
    rows, index = np.ones((5, 2), np.float32), np.zeros(90, np.int64)
    for wrong in (1, 40, 89):
        with pytest.raises(RunError, match="GATHER#7: an index is outside"):
            program.run([rows, np.where(np.arange(90) == wrong, 5, index)])
        assert (program.run([rows, index])[0] == 1).all()


# -------------------------------------------------------------------- cuts


@pytest.mark.parametrize(
    ("threads", "m", "bounds"),
    [
        (2, 96, [0, 16, 32, 48, 64, 80, 96]),
        (2, 21, [0, 8, 21]),
        (4, 8 * 7, [0, 8, 24, 40, 56]),
        (4, 8 * 3, [0, 8, 16, 24]),
        (2, 15, [0, 15]),
    ],
)
def test_parts_are_whole_tiles_and_even_shares(threads: int, m: int, bounds: list[int]) -> None:
    row = replace(next(row for row in ckernels.rows() if row.operator == "GEMM"), mr=8)
    sizes = {"batch": 1, "m": m, "n": 8, "k": 1 << 30, "taps": 1, "nr": 8}
    step = Step(row, ffi.new("ck_gemm *", sizes), (), "it")
    (stage,) = stages.stages([Call(0, 0, m)], [step], threads, unmeasured([row]))
    assert [0, *(call.end for call in stage)] == bounds
    assert [call.begin for call in stage] == bounds[:-1]


def test_what_is_small_stays_on_one_thread_and_measures_nothing(tmp_path: Path) -> None:
    program_of(replace(read(DIGITS), cache_dir=tmp_path), 2)
    assert not (tmp_path / "machine.json").exists()
    assert len(program_of(read(DIGITS), 2).calls) == len(program_of(read(DIGITS), 1).calls)


# -------------------------------------------------------------------- what users say


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "cores", lambda: (0, 2, 3))
    assert [stages.usable(threads) for threads in (1, 2, 3, 9)] == [1, 2, 3, 3]


def test_the_largest_cores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    capacities = {0: 400, 1: 1024, 2: 1024, 5: 400}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(capacities))
    monkeypatch.setattr(stages, "_capacity", capacities.get)
    stages.cores.cache_clear()
    try:
        assert stages.cores() == (1, 2)
    finally:
        monkeypatch.undo()
        stages.cores.cache_clear()
        stages.cores()


def test_every_way_in_takes_threads() -> None:
    feed = drawn(program_of(read(DIGITS), 1), 0)
    interpreter = Interpreter(DIGITS, num_threads=2)
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(given["index"], feed[0])
    interpreter.invoke()
    for backend in ("cpu", "tflite"):
        (got,) = load(DIGITS, backend, num_threads=2).run(feed).values()
        np.testing.assert_allclose(got, interpreter.get_tensor(made["index"]), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="num_threads: expected an int of at least 1, got 0"):
        load(DIGITS, "cpu", num_threads=0)
