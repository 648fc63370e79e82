"""What steps are counted to do: tables of parameters and counts, and what must hold for any size."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import ckernels
from ckernels import ffi, lib
from runtime.backends.cost import (
    COUNTS,
    FAR,
    HALF,
    KEPT,
    MOVED,
    Machine,
    counts,
    key,
    nanoseconds,
    of_counts,
    panels_of,
    rows_of,
)
from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import ARENA, CONSTANTS, Step
from runtime.graph import DType
from runtime.probes import Probes, gemm_of, probes

ROW = SimpleNamespace(name="row", operator="GEMM", dtype="F32", isa=0, mr=4, nr=8, kr=1)


def params(**fields: Any) -> Any:
    return SimpleNamespace(**fields)


def product(m: int, n: int, k: int, **others: Any) -> Any:
    view = params(strides=[0, k, 1])
    plain = {
        "batch": 1,
        "taps": 1,
        "rows": None,
        "packed": params(base=CONSTANTS),
        "a_view": view,
        "c_view": view,
    }
    return params(m=m, n=n, k=k, **(plain | others))


def nonzero(found: Mapping[str, float]) -> dict[str, float]:
    return {name: times for name, times in found.items() if times}


@pytest.mark.parametrize(("n", "panels"), [(8, 1), (16, 2), (9, 1.5), (12, 1.5), (13, 2), (1, 0.5)])
def test_a_last_panel_that_is_half_full_is_half_the_work(n: int, panels: float) -> None:
    assert panels_of(n, 8) == panels


@pytest.mark.parametrize(
    ("m", "tiles"), [(1, (1, 1, 1)), (4, (1, 4, 4)), (5, (2, 3, 2)), (9, (3, 3, 3)), (10, (3, 4, 2))]
)
def test_tiles_share_the_rows_evenly(m: int, tiles: tuple[int, int, int]) -> None:
    assert rows_of(m, 4) == tiles


PRODUCTS: list[tuple[Any, dict[str, float]]] = [
    (product(8, 16, 10), {"step": 1, "products": 160, "tiles": 4, "ends": 16, "read": 80, FAR: 640}),
    (product(8, 12, 10), {"step": 1, "products": 120, "tiles": 4, "ends": 12, "read": 80, FAR: 640}),
    (product(1, 32, 10), {"step": 1, "single": 40, "tiles": 4, "ends": 4, "read": 10, FAR: 1280}),
    (product(1, 8, 10), {"step": 1, "single": 40, "tiles": 1, "ends": 1, "read": 10, FAR: 320}),
    (product(2, 8, 10), {"step": 1, "products": 40, "tiles": 1, "ends": 2, "read": 20, FAR: 320}),
    (
        product(4, 8, 18, taps=9, rows=[0]),
        {"step": 1, "products": 72, "tiles": 1, "ends": 4, "pointers": 36, FAR: 576},
    ),
    (
        product(4, 8, 10, packed=params(base=ARENA), batch=2),
        {"step": 1, "products": 80, "tiles": 2, "ends": 8, "read": 80},
    ),
    (
        product(4, 8, 10, a_view=params(strides=[0, 1, 4]), c_view=params(strides=[0, 1, 4])),
        {"step": 1, "products": 40, "tiles": 1, "ends": 4, "gathered": 40, "spread": 32, FAR: 320},
    ),
]


@pytest.mark.parametrize(("gemm", "expected"), PRODUCTS)
def test_products(gemm: Any, expected: dict[str, float]) -> None:
    assert nonzero(COUNTS["GEMM"](ROW, gemm)) == expected  # type: ignore[arg-type]


REDUCTIONS: list[tuple[str, tuple[int, int, int], dict[str, float]]] = [
    ("SUM", (3, 10, 1), {"step": 1, "sums in rows": 30, "rows": 3}),
    ("SUM", (3, 10, 70), {"step": 1, "sum slices": 30, "sum rests": 30, "sum columns": 180, "sums": 210}),
    ("MAX", (3, 10, 70), {"step": 1, "extreme slices": 150, "extremes": 15}),
    ("ARGMAX", (3, 10, 64), {"step": 1, "index slices": 30, "indexs": 192}),
]


@pytest.mark.parametrize(("op", "sizes", "expected"), REDUCTIONS)
def test_reductions(op: str, sizes: tuple[int, int, int], expected: dict[str, float]) -> None:
    reduce = params(op=getattr(lib, f"CK_{op}"), outer=sizes[0], axis=sizes[1], inner=sizes[2])
    assert nonzero(COUNTS["REDUCE"](ROW, reduce)) == expected  # type: ignore[arg-type]


def map_of(sizes: tuple[int, int], strides: tuple[int, int], dtype: int) -> Any:
    """Of one input, that is squared and stored as f32."""
    four, ops = [0, 0, 0, 0], ckernels.primitives()
    program = [params(op=lib.CK_MAP_LOAD, input=0), params(op=ops["square"])]
    dense = params(strides=[*four, sizes[1] if sizes[0] > 1 else 0, 1])
    views = {"views": [params(strides=[*four, *strides])], "dtypes": [dtype], "output": dense}
    shape = {"sizes": [1, 1, 1, 1, *sizes], "out_dtype": lib.CK_F32}
    return params(program=program, n_instructions=2, **views, **shape)


MAPS: list[tuple[Any, dict[str, float]]] = [
    (map_of((1, 2048), (0, 1), lib.CK_F32), {"step": 1, "blocks": 4, "square": 2048}),
    (
        map_of((1, 2048), (0, 1), lib.CK_I8),
        {"step": 1, "blocks": 4, "square": 2048, "converted": 2048, "runs": 4},
    ),
    (map_of((4, 100), (0, 1), lib.CK_F32), {"step": 1, "blocks": 1, "square": 400}),
    (map_of((8, 100), (1, 0), lib.CK_F32), {"step": 1, "blocks": 2, "square": 800, "copied": 800, "runs": 8}),
    (
        map_of((8, 100), (1, 8), lib.CK_F32),
        {"step": 1, "blocks": 2, "square": 800, "strided": 800, "runs": 8},
    ),
    (map_of((8, 100), (0, 1), lib.CK_I8), {"step": 1, "blocks": 2, "square": 800}),
]


@pytest.mark.parametrize(("atom", "expected"), MAPS)
def test_maps_load_what_does_not_stand_as_it_is_wanted(atom: Any, expected: dict[str, float]) -> None:
    row = SimpleNamespace(name="row", operator="MAP", dtype="F32")
    assert nonzero(COUNTS["MAP"](row, atom)) == expected  # type: ignore[arg-type]


def steps_of(sizes: Sequence[tuple[int, int, int]], dtype: DType) -> list[Step]:
    found = Probes()
    for m, n, k in sizes:
        b = found.constant(k * n, dtype)
        found.add(gemm_of(m, n, k, dtype), (found.inputs[dtype], b), m * n, dtype)
    return list(CpuBackend().lower(found.graph()).steps)


@pytest.mark.parametrize("dtype", [DType.F32, DType.I8])
def test_more_rows_columns_or_depth_are_never_cheaper(dtype: DType) -> None:
    tile = CpuBackend().kernels["GEMM", "F32" if dtype is DType.F32 else "Q8"].mr
    sizes = list(itertools.product([2, tile, 2 * tile, 4 * tile], [8, 40, 64, 200], [16, 64, 100]))
    machine = Machine("", {row.name: {} for row in ckernels.rows()})
    cost = dict(zip(sizes, (nanoseconds(s, machine) for s in steps_of(sizes, dtype)), strict=True))
    for a, b in itertools.product(sizes, sizes):
        if all(x <= y for x, y in zip(a, b, strict=True)):
            assert cost[a] <= cost[b], (a, b)


def test_every_kernel_that_the_probes_run_has_a_cost_above_nothing() -> None:
    program = CpuBackend().lower(probes())
    assert all(nanoseconds(step, Machine("", {})) >= 1 for step in program.steps)
    assert all(min(counts(step.row, step.params).values()) >= 0 for step in program.steps)


@pytest.mark.parametrize("dtype", [DType.F32, DType.I8])
def test_what_a_product_moves_is_what_it_reads_and_writes(dtype: DType) -> None:
    (step,) = steps_of([(10, 20, 30)], dtype)
    assert counts(step.row, step.params)[MOVED] == 10 * (20 + 30) * dtype.size


def test_every_operator_of_the_registry_has_its_row() -> None:
    assert {row.operator for row in ckernels.rows()} | {"PACK"} == COUNTS.keys()


FARTHER = Machine("", {"row": {"step": 10, "products": 1, "single": 2}}, ((100, 5, 0.5), (1000, 7, 3)))


def test_a_loop_costs_what_is_inside_as_often_as_it_goes_round() -> None:
    inner = steps_of([(8, 16, 4)], DType.F32)[0]
    block = ffi.new("ck_step *", (inner.row.kernel, inner.params, 0, 8))
    loop = ffi.new("ck_loop *", {"body": {"steps": block, "n_steps": 1}, "trips": 7})
    row = next(row for row in ckernels.rows() if row.operator == "LOOP")
    machine = Machine("", {})
    once = nanoseconds(Step(row, ffi.new("ck_loop *"), (), "", 0), machine)
    assert nanoseconds(Step(row, loop, (), "", 0), machine) == once + 7 * nanoseconds(inner, machine)


@pytest.mark.parametrize(
    ("weights", "found", "expected"),
    [
        (0, {"step": 1, "products": 4}, 14),
        (99, {"step": 1, "products": 4, FAR: 80}, 14),
        (100, {"step": 1, "products": 4, FAR: 80}, 5 + 14 + 40),
        (100, {"step": 1, "single": 4, FAR: 80}, 5 + 10 + 40),
        (100, {"step": 1, "single": 40, FAR: 80}, 5 + 10 + 80),
        (1000, {"step": 1, "products": 4, FAR: 80}, 7 + 14 + 240),
        (0, {"step": 1, "unheard": 4}, 14),
        (0, {"step": 1, MOVED: KEPT + 80}, 10),
        (1000, {"step": 1, MOVED: KEPT}, 7 + 10),
        (1000, {"step": 1, MOVED: KEPT + 80}, 7 + 10 + HALF * 0.5 * 80),
    ],
)
def test_weights_and_large_values_cost_what_the_size_of_the_program_says(
    weights: int, found: dict[str, float], expected: float
) -> None:
    machine = replace(FARTHER, weights=weights)
    assert of_counts("row", found, machine) == expected


def test_a_step_that_was_measured_costs_what_it_took_as_far_away() -> None:
    found: dict[str, float] = {"step": 1, "products": 4, FAR: 80}
    machine = replace(FARTHER, weights=100)
    machine = replace(machine, times={key("row", found, machine): 3.0})
    assert of_counts("row", found, machine) == of_counts("row", found, replace(machine, weights=999)) == 3
    assert of_counts("row", found, replace(machine, weights=99)) == 14
    assert of_counts("other", found, machine) == 5 + 5 + 40
