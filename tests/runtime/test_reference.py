"""The eight atoms: the reference backend against plain NumPy sentences, and its refusals."""

import numpy as np
import pytest

from runtime.atoms import (
    Clamp,
    Gather,
    Gemm,
    Instruction,
    Map,
    Raster,
    Reduce,
    Region,
    Requantize,
    Rng,
    Scatter,
    Sort,
    View,
)
from runtime.backends import reference
from runtime.errors import RunError
from runtime.graph import DType, Graph, Node, Value


def run(attrs, inputs, *outputs):
    values = [Value(f"out{i}", shape, dtype) for i, (shape, dtype) in enumerate(outputs)]
    arrays = reference.run_atom(attrs, inputs, values)
    assert [(a.shape, a.dtype) for a in arrays] == [(v.shape, v.dtype.numpy) for v in values]
    return arrays[0] if len(arrays) == 1 else arrays


X = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_raster_copies_with_negative_and_zero_strides_and_fills():
    mirrored = Region(0, View(3, (4, -1)), View(0, (6, 1)), (3, 4))
    first_column = Region(0, View(0, (4, 0)), View(4, (6, 1)), (3, 1))
    out = run(Raster((mirrored, first_column), fill=9.0), [X], ((3, 6), DType.F32))
    np.testing.assert_array_equal(out, np.c_[X[:, ::-1], X[:, :1], [[9]] * 3])


def test_raster_adds_where_destinations_meet():
    out = run(
        Raster((Region(0, View(0, (4, 1)), View(0, (0, 1)), (3, 4)),), mode="add"), [X], ((4,), DType.F32)
    )
    np.testing.assert_array_equal(out, X.sum(axis=0))


def test_raster_refuses_to_leave_a_buffer():
    outside = Region(0, View(1, (4, 1)), View(0, (4, 1)), (3, 4))
    with pytest.raises((ValueError, TypeError)):
        run(Raster((outside,)), [X], ((3, 4), DType.F32))


def test_gemm_reads_transposed_views_and_clamps():
    b = np.arange(20, dtype=np.float32).reshape(5, 4) - 9
    gemm = Gemm(1, 3, 5, 4, View(0, (0, 4, 1)), View(0, (0, 1, 4)), View(0, (0, 5, 1)), Clamp(0, 50))
    bias = np.ones(5, np.float32)
    np.testing.assert_allclose(run(gemm, [X, b, bias], ((3, 5), DType.F32)), np.clip(X @ b.T + 1, 0, 50))


def test_gemm_of_bytes_requantizes_per_column():
    a, b = np.array([[100, -128]], np.int8), np.array([[1, 2], [3, 4]], np.int8)
    views = View(0, (0, 2, 1)), View(0, (0, 2, 1)), View(0, (0, 2, 1))
    plain = Gemm(1, 1, 2, 2, *views, None, a_zero=-1)
    np.testing.assert_array_equal(run(plain, [a, b], ((1, 2), DType.I32)), [[101 - 381, 202 - 508]])
    half_and_quarter = Requantize((2**30, 2**30), (0, -1), zero_point=3, low=-100, high=127)
    scaled = Gemm(1, 1, 2, 2, *views, half_and_quarter, a_zero=-1)
    np.testing.assert_array_equal(run(scaled, [a, b], ((1, 2), DType.I8)), [[-100, -74]])


def program(*steps):
    return tuple(Instruction(s, ()) if isinstance(s, str) else Instruction(s[0], tuple(s[1:])) for s in steps)


def test_map_broadcasts_and_saturates():
    dense, row = View(0, (4, 1)), View(0, (0, 1))
    code = program(("load", 0), ("load", 1), "sub", ("const", 100.0), "mul", "round_away")
    out = run(Map((3, 4), (dense, row), dense, code), [X, X[1].copy()], ((3, 4), DType.I8))
    np.testing.assert_array_equal(out, np.clip((X - X[1]) * 100, -128, 127))


@pytest.mark.parametrize(
    ("compute", "source", "target", "expected"),
    [
        ("f32", np.array([np.nan, np.inf, -np.inf, 200], np.float32), DType.I8, [0, 127, -128, 127]),
        ("f32", np.array([3e9, -3e9, 7], np.float32), DType.I32, [2**31 - 1, -(2**31), 7]),
        ("f32", np.array([1e19, -1e19], np.float32), DType.I64, [2**63 - 1, -(2**63)]),
        ("i32", np.array([2.9, -2.9, 1e10], np.float32), DType.I32, [2, -2, 2**31 - 1]),
        ("i32", np.array([2**32 + 5], np.int64), DType.I32, [5]),
        ("i64", np.array([2**40, -3], np.int64), DType.U8, [255, 0]),
        ("i32", np.array([0, 7], np.int32), DType.BOOL, [False, True]),
    ],
)
def test_map_converts_on_load_and_store(compute, source, target, expected):
    n = len(source)
    attrs = Map((n,), (View(0, (1,)),), View(0, (1,)), program(("load", 0)), compute)
    np.testing.assert_array_equal(run(attrs, [source], ((n,), target)), np.array(expected, target.numpy))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("sum", [12, 15]),
        ("max", [8, 9]),
        ("min", [0, 1]),
        ("prod", [0, 45]),
        ("argmax", [2, 2]),
        ("argmin", [0, 0]),
    ],
)
def test_reduce(op, expected):
    x = np.array([[0, 1], [4, 5], [8, 9]], np.float32)
    dtype = DType.I32 if op.startswith("arg") else DType.F32
    expected = [0, 45] if op == "prod" else expected
    np.testing.assert_array_equal(run(Reduce(op, 1, 3, 2), [x], ((1, 2), dtype)), [expected])


def test_reduce_of_bytes_is_wide():
    x = np.full((1, 300, 1), -128, np.int8)
    assert run(Reduce("sum", 1, 300, 1), [x], ((1,), DType.I32)) == -38400


def test_gather_and_scatter():
    index = np.array([2, 0, 2], np.int32)
    np.testing.assert_array_equal(run(Gather(3, 4, 3), [X, index], ((3, 4), DType.F32)), X[[2, 0, 2]])
    update = np.ones((3, 4), np.float32)
    for mode, row in [("set", 1 + 0 * X[2]), ("add", X[2] + 2), ("max", X[2])]:
        out = run(Scatter(mode, 3, 4, 3), [X, index, update], ((3, 4), DType.F32))
        np.testing.assert_array_equal(out[1:], [X[1], row])


@pytest.mark.parametrize("bad", [-1, 3])
def test_an_index_outside_its_rows_is_an_error(bad):
    with pytest.raises(RunError, match=rf"index {bad} is outside 0\.\.2"):
        run(Gather(3, 4, 1), [X, np.array([bad], np.int32)], ((1, 4), DType.F32))


def test_sort_keeps_equals_in_order():
    rows = np.array([[3, 1, 3, 2], [0, 0, 0, 1]], np.float32)
    values, index = run(Sort(2, 4, 3), [rows], ((2, 3), DType.F32), ((2, 3), DType.I32))
    np.testing.assert_array_equal(values, [[3, 3, 2], [1, 0, 0]])
    np.testing.assert_array_equal(index, [[0, 2, 3], [3, 0, 1]])


def test_philox_known_answers():
    """Vectors of Random123's kat_vectors: counter 0, key 0."""
    words = reference.philox(np.array([0], np.uint64), 0, 0)
    assert [int(w[0]) for w in words] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


def test_rng_depends_on_seed_stream_and_element_only():
    whole = run(Rng(7, 1), [], ((1001,), DType.I32))
    np.testing.assert_array_equal(run(Rng(7, 1), [], ((6,), DType.I32)), whole[:6])
    assert abs(whole.astype(np.float64).mean()) < 2**28
    for other in (Rng(8, 1), Rng(7, 2)):
        assert (run(other, [], ((1001,), DType.I32)) != whole).mean() > 0.99


def test_run_checks_its_inputs_and_names_the_node_of_an_error():
    rows, index = Value("rows", (3, 4), DType.F32), Value("index", (1,), DType.I32)
    out = Value("out", (1, 4), DType.F32)
    graph = Graph(
        (rows, index, out), (Node("GATHER", (0, 1), (2,), Gather(3, 4, 1), "GATHER#0"),), (0, 1), (2,)
    )
    np.testing.assert_array_equal(reference.run(graph, [X, np.array([1], np.int32)])[0], X[1:2])
    with pytest.raises(RunError, match="GATHER#0: index 9"):
        reference.run(graph, [X, np.array([9], np.int32)])
    with pytest.raises(RunError, match=r"'rows': expected f32 \(3, 4\), got float64"):
        reference.run(graph, [X.astype(np.float64), np.array([1], np.int32)])
    with pytest.raises(RunError, match="2 inputs, got 1"):
        reference.run(graph, [X])
