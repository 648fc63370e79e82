"""The cpu backend on whole graphs: every operator's decomposition, every primitive, every half float, memory,
dispatch.

Single kernels are tested in tests/ckernels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckernels
from runtime.atoms import Clamp, Gemm, Instruction, Map, Raster, Region, View
from runtime.backends import flat, reference
from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.numpy_reference import ReferenceExecutor
from runtime.compile import read
from runtime.errors import RunError, UnsupportedError
from runtime.graph import Array, DType, Graph, Node, Value
from runtime.primitives import COMPUTE_TYPES, FLOAT, PRIMITIVES
from runtime.strides import dense
from tests.conformance import CASES
from tests.conformance.case import Case, Maker
from tests.conformance.judge import as_defined

MODELS = Path(__file__).parents[2] / "specs" / "models"


def every_isa() -> list[int]:
    """The instruction sets to test: none, and all of this CPU for which there are kernels."""
    used = [row.isa for row in ckernels.rows()]
    return sorted({0, int(ckernels.lib.ck_cpu_features()) & int(np.bitwise_or.reduce(used))})


# -------------------------------------------------------------------- every operator


MOST = 4
"""Cases of an operator on an element type: tests/conformance runs all, on the best kernels of the CPU."""


def sample() -> list[tuple[Case, str]]:
    """The first and others all along the table of each operator and element type."""
    table: dict[tuple[str, str], list[Case]] = {}
    for case in CASES:
        for dtype in case.types:
            table.setdefault((case.op, dtype), []).append(case)
    return [(case, dtype) for (_, dtype), cases in table.items() for case in cases[:: -(-len(cases) // MOST)]]


def test_every_operator_equals_the_reference_on_every_instruction_set() -> None:
    backends, fused = (
        [CpuBackend(features, cache) for features in every_isa() for cache in (None, 2048)],
        set(),
    )
    for case, dtype in sample():
        maker = Maker(case, dtype)
        atoms, inputs = read(maker.model()).atoms, maker.inputs()
        graph, wanted = fuse(atoms), ReferenceExecutor(atoms).run(inputs)
        fused |= {node.op for node in graph.nodes}
        for backend in backends:
            for got, want in zip(backend.lower(graph).run(inputs), wanted, strict=True):
                as_defined(got, want, f"{case} {dtype}")
    assert {"INDIRECT_GEMM", "DEPTHWISE"} <= fused


# -------------------------------------------------------------------- every primitive

EDGES: dict[str, list[float]] = {
    "f32": [0.0, -0.0, 0.5, -0.5, 1.5, -2.5, 1e-30, 3e38, -3e38, np.inf, -np.inf, np.nan, 7.0, -7.0],
    "f64": [0.0, -0.0, 0.5, -1.5, 1e-300, 1e300, -1e300, np.inf, -np.inf, np.nan, 7.0, -7.0],
    "i32": [0, 1, -1, 2, -7, 7, 2**31 - 1, -(2**31), 2**30, 3],
    "i64": [0, 1, -1, 2, -7, 7, 2**63 - 1, -(2**63), 2**31, 3],
}
ULPS = {
    "exp": 4,
    "log": 4,
    "pow": 8,
    "sin": 4,
    "cos": 4,
    "tanh": 8,
    "logistic": 8,
    "rsqrt": 2,
    "erf": 4,
    "silu": 8,
    "hard_swish": 2,
    "gelu": 8,
    "gelu_tanh": 8,
    "atan2": 2,
}


def operands(name: str, compute: str) -> list[Array]:
    """All pairs of edges and a few hundred random numbers: kernels meet whatever a model has them compute."""
    rng, kind = np.random.default_rng(len(name)), COMPUTE_TYPES[compute]
    edges = np.array(EDGES[compute], kind)
    pairs = np.stack(np.meshgrid(edges, edges)).reshape(2, -1)
    spread = rng.standard_normal((2, 300)) * 10 if compute in FLOAT else rng.integers(-999, 999, (2, 300))
    a, b = np.concatenate([pairs, spread.astype(kind)], axis=1)
    c = np.roll(a, 1)
    return [a, b, c][: PRIMITIVES[name].arity]


@pytest.mark.parametrize(
    ("name", "compute"), [(row.name, compute) for row in PRIMITIVES.values() for compute in row.computes]
)
def test_every_primitive_equals_its_definition(name: str, compute: str) -> None:
    row, arrays = PRIMITIVES[name], operands(name, compute)
    args: dict[str, tuple[float, ...]] = {"clamp": (-3, 5), "mulq": (1717986918, -3)}
    loads = tuple(Instruction("load", (i,)) for i in range(row.arity))
    program = (*loads, Instruction(name, args.get(name, ())))
    count, dtype = arrays[0].size, DType(compute)
    atom = Map((count,), (dense((count,)),) * row.arity, dense((count,)), program, compute)  # type: ignore[arg-type]
    values = [Value(f"v{i}", (count,), dtype) for i in range(row.arity + 1)]
    node = Node("MAP", tuple(range(row.arity)), (row.arity,), atom, "MAP#0")
    graph = Graph(tuple(values), (node,), node.inputs, node.outputs)
    (got,), (want,) = CpuBackend().lower(graph).run(arrays), reference.run(graph, arrays)
    if name in ULPS:
        with np.errstate(all="ignore"):
            lost = 1e-6 if name.startswith("gelu") else 1e-37  # 1 - erf loses what is far below 1
            np.testing.assert_allclose(got, want, rtol=ULPS[name] * 2**-23, atol=lost)
    else:
        np.testing.assert_array_equal(got, want)


def test_the_kernels_and_the_definitions_list_the_same_primitives() -> None:
    count = ckernels.ffi.new("int32_t *")
    first = ckernels.lib.ck_primitives(count)
    types = {"f32": 1, "i32": 2, "i64": 4, "f64": 8}
    rows = [first[i] for i in range(count[0])]
    in_c = {ckernels.ffi.string(row.name).decode(): (row.arity, row.types) for row in rows}
    in_python = {row.name: (row.arity, sum(types[c] for c in row.computes)) for row in PRIMITIVES.values()}
    assert in_c == in_python


def convert(array: Array, target: DType) -> Array:
    values = Value("a", array.shape, DType.of(array)), Value("b", array.shape, target)
    atom = Map(array.shape, (dense(array.shape),), dense(array.shape), (Instruction("load", (0,)),))
    graph = Graph(values, (Node("MAP", (0,), (1,), atom),), (0,), (1,))
    return CpuBackend().lower(graph).run([array])[0]


def test_every_half_float_is_converted_as_numpy_does() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    singles = convert(halves, DType.F32)
    np.testing.assert_array_equal(singles, halves.astype(np.float32))
    numbers = ~np.isnan(halves)
    np.testing.assert_array_equal(
        convert(singles, DType.F16).view(np.uint16)[numbers], halves.view(np.uint16)[numbers]
    )
    with np.errstate(over="ignore"):
        between = np.nextafter(singles[numbers], np.float32(1)) * np.float32(1.0003)
    many = np.concatenate(
        [between, np.random.default_rng(0).standard_normal(10_000).astype(np.float32) * 1e-5]
    )
    with np.errstate(over="ignore"):
        want = many.astype(np.float16)
    np.testing.assert_array_equal(convert(many, DType.F16).view(np.uint16), want.view(np.uint16))


# -------------------------------------------------------------------- memory, ends, dispatch


def chain(length: int, size: int = 1000) -> Graph:
    """y = x + 1 + 1 + ..."""
    program = (Instruction("load", (0,)), Instruction("const", (1.0,)), Instruction("add"))
    values = tuple(Value(f"v{i}", (size,), DType.F32) for i in range(length + 1))
    atom = Map((size,), (dense((size,)),), dense((size,)), program)
    nodes = tuple(Node("MAP", (i,), (i + 1,), atom, f"ADD#{i}") for i in range(length))
    return Graph(values, nodes, (0,), (length,))


def test_a_long_chain_runs_in_one_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int] = {}

    class Counted(flat.Memory):
        def __init__(self, size: int, what: str) -> None:
            sizes[what] = size
            super().__init__(size, what)

    monkeypatch.setattr("runtime.backends.emitter.Memory", Counted)
    program = CpuBackend().lower(chain(20))
    assert sizes == {"arena": 4032, "weights": 0, "inputs": 4032, "scratch": 0}
    np.testing.assert_array_equal(program.run([np.zeros(1000, np.float32)])[0], np.full(1000, 20, np.float32))


def test_a_run_is_one_crossing(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            real = getattr(ckernels.lib, name)
            if not callable(real):
                return real

            def counted(*arguments: Any) -> Any:
                calls.append(1)
                return real(*arguments)

            return counted

    program = CpuBackend().lower(chain(5))
    monkeypatch.setattr(flat, "lib", Spy())
    program.run([np.zeros(1000, np.float32)])
    assert len(calls) == 1


def test_ends_that_no_step_touches() -> None:
    """An output that is an input, one that is a constant, and one that is a reshape of an input."""
    constant = np.arange(4, dtype=np.int32)
    values = (
        Value("x", (2, 3), DType.F32),
        Value("c", (4,), DType.I32, data=constant),
        Value("r", (6,), DType.F32),
    )
    copy = Raster((Region(0, dense((6,)), dense((6,)), (6,)),))
    graph = Graph(values, (Node("RASTER", (0,), (2,), copy),), (0,), (0, 1, 2))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    first, second, third = CpuBackend().lower(graph).run([x])
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, constant)
    np.testing.assert_array_equal(third, x.reshape(-1))


def test_elements_that_an_atom_does_not_write_are_zero() -> None:
    values = Value("x", (3,), DType.F32), Value("y", (3, 2), DType.F32)
    atom = Map((3,), (dense((3,)),), View(1, (2,)), (Instruction("load", (0,)),))
    graph = Graph(values, (Node("MAP", (0,), (1,), atom),), (0,), (1,))
    program = CpuBackend().lower(graph)
    for x in (np.ones(3, np.float32), np.zeros(3, np.float32)):
        np.testing.assert_array_equal(program.run([x])[0], np.stack([0 * x, x], axis=1))


def test_what_the_backend_cannot_run_is_named() -> None:
    deep = tuple(Instruction("load", (0,)) for _ in range(40)) + (Instruction("add"),) * 39
    program = Map((2,), (dense((2,)),), dense((2,)), deep)
    halves = Gemm(1, 1, 1, 1, dense((1, 1, 1)), dense((1, 1, 1)), dense((1, 1, 1)), Clamp())
    for atom, dtype, count, message in (
        (program, DType.F32, 1, "ADD#3: a MAP program is deeper than 32 operands"),
        (halves, DType.F16, 2, "ADD#3: the cpu backend has no GEMM for f16"),
        ({}, DType.F32, 1, "ADD#3: the cpu backend has no kernel for"),
    ):
        values = tuple(Value(f"v{i}", (2,), dtype) for i in range(count + 1))
        node = Node(getattr(atom, "NAME", "CUSTOM"), tuple(range(count)), (count,), atom, "ADD#3")
        with pytest.raises(UnsupportedError, match=message):
            CpuBackend().lower(Graph(values, (node,), node.inputs, node.outputs))


@pytest.mark.parametrize(("names", "features"), [("scalar", 0), ("scalar,avx2", 1), ("neon", 2), ("", 255)])
def test_walle_isa_limits_the_instruction_sets(
    names: str, features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLE_ISA", names)
    assert ckernels.cpu_features() == int(ckernels.lib.ck_cpu_features()) & features


def test_walle_isa_refuses_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WALLE_ISA", "avx9")
    with pytest.raises(ValueError, match="WALLE_ISA=avx9: unknown 'avx9', expected scalar, avx2, neon"):
        ckernels.cpu_features()


def test_instruction_sets_give_another_version() -> None:
    assert CpuBackend(0).version() != CpuBackend(1).version()
    assert ckernels.build_digest() in CpuBackend(0).version()


@pytest.mark.parametrize("name", ["digits_int8", "telemetry_ae_f32"])
def test_instruction_sets_agree(name: str) -> None:
    model = read(MODELS / f"{name}.tflite")
    programs = [CpuBackend(features).compile(model) for features in every_isa()]
    tensor = programs[0].inputs[0]
    x = (np.random.default_rng(2).standard_normal(tensor.shape) * 50).astype(tensor.dtype.numpy)
    for program in programs[1:]:
        np.testing.assert_allclose(program.run([x])[0], programs[0].run([x])[0], rtol=1e-4, atol=1e-4)


def test_no_memory_is_an_error_that_names_what() -> None:
    ckernels.lib.ck_fail_alloc(1)
    try:
        with pytest.raises(RunError, match="no memory for the arena of the model: 4032 bytes"):
            CpuBackend().lower(chain(3))
    finally:
        ckernels.lib.ck_fail_alloc(0)
