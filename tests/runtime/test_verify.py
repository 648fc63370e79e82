"""The legality tables: one sound node per atom, and for each promise a node that breaks it."""

from __future__ import annotations

from dataclasses import replace

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
from runtime.errors import VerifyError
from runtime.fused import Depthwise, IndirectGemm, Lookup, Table
from runtime.graph import DType, Graph, Node, Value
from runtime.verify import check

F32, I8, I32 = DType.F32, DType.I8, DType.I32
COPY = Raster((Region(0, View(0, (4, 1)), View(0, (4, 1)), (3, 4)),))
GEMM = Gemm(1, 3, 5, 4, View(0, (0, 4, 1)), View(0, (0, 1, 4)), View(0, (0, 5, 1)), Clamp())
QGEMM = replace(GEMM, epilogue=Requantize((2**30,), (-3,), 0, -128, 127), a_zero=-5)
WIDE_GEMM = replace(GEMM, epilogue=None)
LOADS = Instruction("load", (0,)), Instruction("load", (1,))
MAP = Map((12,), (View(0, (1,)), View(0, (0,))), View(0, (1,)), (*LOADS, Instruction("add")))
INT_MAP = replace(MAP, compute="i32")
F12, Q12, F1 = ((12,), F32), ((12,), I8), ((1,), F32)

SOUND = {
    "raster": (COPY, [F12], [F12]),
    "gemm": (GEMM, [F12, ((20,), F32), ((5,), F32)], [((15,), F32)]),
    "qgemm": (QGEMM, [Q12, ((20,), I8), ((5,), I32)], [((15,), I8)]),
    "wide gemm": (WIDE_GEMM, [((12,), DType.I16), ((20,), I8)], [((15,), DType.I64)]),
    "map": (MAP, [F12, F1], [Q12]),
    "reduce": (Reduce("sum", 3, 4, 1), [Q12], [((3,), I32)]),
    "gather": (Gather(3, 4, 2), [F12, ((2,), I32)], [((8,), F32)]),
    "scatter": (Scatter("add", 3, 4, 2), [F12, ((2,), DType.I64), ((8,), F32)], [F12]),
    "sort": (Sort(3, 4, 2), [F12], [((6,), F32), ((6,), I32)]),
    "rng": (Rng(1, 2), [], [((12,), I32)]),
}


def graph_of(atom, inputs, outputs):
    values = tuple(Value(f"v{i}", shape, dtype) for i, (shape, dtype) in enumerate([*inputs, *outputs]))
    ids = tuple(range(len(values)))
    node = Node(atom.NAME, ids[: len(inputs)], ids[len(inputs) :], atom, "TEST#0")
    return Graph(values, (node,), node.inputs, node.outputs)


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_atom_passes(name):
    graph = graph_of(*SOUND[name])
    check(graph, "ATOMIC")
    with pytest.raises(VerifyError, match="not an operator of level GRAPH"):
        check(graph, "GRAPH")


def region(**changes):
    return replace(COPY, regions=(replace(COPY.regions[0], **changes),))


BROKEN = [
    ("raster", region(source=View(1, (4, 1))), r"addresses 1\.\.12 of 12"),
    ("raster", region(destination=View(0, (4, -1))), r"addresses -3\.\.8 of 12"),
    ("raster", region(source=View(0, (1,))), r"ranks \(2, 1\)"),
    ("raster", region(sizes=(3, -4)), r"sizes \(3, -4\)"),
    ("raster", region(sizes=(3, 3)), "leaves gaps without a fill"),
    ("raster", region(input=1), "region of input 1"),
    ("gemm", replace(GEMM, k=5), r"addresses 0\.\.20 of 20"),
    ("gemm", replace(GEMM, a=View(1, (0, 4, 1))), r"addresses 1\.\.12 of 12"),
    ("gemm", replace(GEMM, epilogue=None), "floats take a Clamp"),
    ("gemm", replace(GEMM, n=4), "5 elements, not 4"),
    ("gemm", replace(GEMM, m=0), "sizes"),
    ("qgemm", replace(QGEMM, epilogue=Clamp()), "bytes take a Requantize"),
    ("qgemm", replace(QGEMM, epilogue=None), "sums i32"),
    ("qgemm", replace(QGEMM, a_zero=300), "zero point 300 of i8"),
    ("qgemm", replace(QGEMM, epilogue=Requantize((1, 1), (0, 0), 0, -1, 1)), "for 5 columns"),
    ("qgemm", replace(QGEMM, epilogue=Requantize((1,), (31,), 0, -1, 1)), "shift 31"),
    ("qgemm", replace(QGEMM, epilogue=Requantize((1,), (0,), 0, 5, 1)), r"range 5\.\.1"),
    ("wide gemm", replace(WIDE_GEMM, epilogue=QGEMM.epilogue), "neither epilogue nor zeros"),
    ("wide gemm", replace(WIDE_GEMM, a_zero=1), "neither epilogue nor zeros"),
    ("wide gemm", replace(WIDE_GEMM, b_zero=1), "neither epilogue nor zeros"),
    ("map", replace(MAP, views=(View(1, (1,)), View(0, (0,)))), r"addresses 1\.\.12"),
    ("map", replace(MAP, output=View(0, (2,))), r"addresses 0\.\.22"),
    ("map", replace(MAP, program=LOADS), "leaves 2 scalars"),
    ("map", replace(MAP, program=(Instruction("add"),)), "operands of add"),
    ("map", replace(MAP, program=(Instruction("load", (2,)),)), r"load \(2,\)"),
    ("map", replace(MAP, program=(*LOADS, Instruction("shout"))), "shout in f32"),
    ("map", replace(INT_MAP, program=(LOADS[0], Instruction("exp"))), "exp in i32"),
    ("map", replace(INT_MAP, program=(Instruction("const", (0.5,)),)), r"const \(0\.5,\)"),
    ("map", replace(INT_MAP, program=(LOADS[0], Instruction("mulq", (1, 40)))), r"mulq \(1, 40\)"),
    ("map", replace(MAP, program=LOADS * 20), "holds 33 scalars"),
    ("reduce", Reduce("sum", 3, 5, 1), "12 elements, not 15"),
    ("reduce", Reduce("max", 3, 4, 1), "max of i8 into i32"),
    ("gather", Gather(4, 4, 2), "12 elements, not 16"),
    ("gather", Gather(3, 4, 3), "2 elements, not 3"),
    ("scatter", Scatter("set", 3, 4, 1), "2 elements, not 1"),
    ("sort", Sort(3, 4, 5), "top 5 of 4"),
    ("rng", Rng(-1, 0), "seed and stream"),
]


@pytest.mark.parametrize(
    ("name", "atom", "message"), BROKEN, ids=[f"{name}-{text}" for name, _, text in BROKEN]
)
def test_an_atom_that_breaks_a_promise_is_refused(name, atom, message):
    with pytest.raises(VerifyError, match=f"node 0 .* from TEST#0: .*{message}"):
        check(graph_of(atom, *SOUND[name][1:]), "ATOMIC")


@pytest.mark.parametrize("name", [name for name in SOUND if name != "rng"])
def test_types_are_checked(name):
    atom, inputs, outputs = SOUND[name]
    wrong = [(shape, DType.F16) for shape, _ in inputs]
    if name == "map":
        check(graph_of(atom, wrong, outputs), "ATOMIC")  # MAP converts every type on load
    else:
        with pytest.raises(VerifyError):
            check(graph_of(atom, wrong, outputs), "ATOMIC")


# -------------------------------------------------------------------- level PROGRAM

ROWS = np.array([[0, 4], [4, -1], [8, 0]], np.int32)
TABLE = Table(ROWS, 4, 0.0)
INDIRECT = IndirectGemm(replace(GEMM, k=8, b=View(0, (0, 1, 8))), TABLE)
PER_CHANNEL = Depthwise(TABLE, np.ones((2, 4), np.float32), np.zeros(4, np.float32), 0, Clamp())
REQUANTIZED = replace(
    PER_CHANNEL,
    weights=np.ones((2, 4), np.int32),
    bias=np.zeros(4, np.int32),
    epilogue=Requantize((2**30,) * 4, (-3,) * 4, 0, -128, 127),
)
LOOKUP = Lookup(np.zeros(256, np.int8), 2)
FUSED = {
    "indirect": (INDIRECT, [F12, ((40,), F32)], [((15,), F32)]),
    "depthwise": (PER_CHANNEL, [F12], [F12]),
    "integer depthwise": (REQUANTIZED, [Q12], [Q12]),
    "lookup": (LOOKUP, [((14,), DType.I8)], [Q12]),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_kernel_is_of_the_program_only(name):
    graph = graph_of(*FUSED[name])
    check(graph, "PROGRAM")
    with pytest.raises(VerifyError, match="not an operator of level ATOMIC"):
        check(graph, "ATOMIC")


def table(entry, chunk=4):
    return Table(np.where(ROWS == 8, np.int32(entry), ROWS), chunk, 0.0)


BROKEN_FUSED = [
    ("lookup", replace(LOOKUP, offset=3), r"reads 3\.\.15 of 14"),
    ("lookup", replace(LOOKUP, offset=-1), r"reads -1\.\.11 of 14"),
    ("lookup", replace(LOOKUP, table=np.zeros(255, np.int8)), "a table of int8"),
    ("lookup", replace(LOOKUP, table=np.zeros(256, np.uint8)), "a table of uint8"),
    ("indirect", replace(INDIRECT, table=table(9)), r"a table of -1\.\.12 of 12"),
    ("indirect", replace(INDIRECT, table=table(-2)), r"a table of -2\.\.7 of 12"),
    ("indirect", replace(INDIRECT, table=table(0, 5)), r"a table for \(3, 10\), expected \(3, 8\)"),
    ("indirect", replace(INDIRECT, table=replace(TABLE, rows=ROWS.astype(np.int64))), "a table for"),
    ("indirect", replace(INDIRECT, gemm=replace(INDIRECT.gemm, batch=2)), "a batch of 2"),
    ("depthwise", replace(PER_CHANNEL, table=table(9)), r"a table of -1\.\.12 of 12"),
    ("depthwise", replace(PER_CHANNEL, table=Table(ROWS[:2], 4, 0.0)), "12 elements, not 8"),
    ("depthwise", replace(PER_CHANNEL, bias=np.zeros(3, np.float32)), "weights and bias"),
    ("depthwise", replace(PER_CHANNEL, weights=np.ones((2, 4))), "weights and bias of"),
    ("depthwise", replace(REQUANTIZED), "f32 to f32, expected bytes"),
    ("integer depthwise", replace(PER_CHANNEL), "types i8 i8, expected f32 f32"),
    ("integer depthwise", replace(REQUANTIZED, in_zero=200), "zero point 200 of i8"),
]


@pytest.mark.parametrize(
    ("name", "kernel", "message"), BROKEN_FUSED, ids=[f"{name}-{text}" for name, _, text in BROKEN_FUSED]
)
def test_a_fused_kernel_that_breaks_a_promise_is_refused(name, kernel, message):
    with pytest.raises(VerifyError, match=f"node 0 .* from TEST#0: .*{message}"):
        check(graph_of(kernel, *FUSED[name][1:]), "PROGRAM")


def halves(*atoms):
    """A value that these nodes write, each a part, from the first."""
    values = tuple(Value(f"v{i}", (12,), F32) for i in range(2))
    nodes = tuple(Node(atom.NAME, (0,), (1,), atom, "TEST#0") for atom in atoms)
    return Graph(values, nodes, (0,), (1,))


def half(first, **changes):
    return Raster((Region(0, View(first, (1,)), View(first, (1,)), (6,)),), **changes)


def test_parts_of_a_value_are_of_the_program_only():
    check(halves(half(0), half(6)), "PROGRAM")
    with pytest.raises(VerifyError, match="leaves gaps without a fill"):
        check(halves(half(0), half(6)), "ATOMIC")


@pytest.mark.parametrize(
    ("atoms", "written"),
    [
        ([half(0), half(6), half(0)], 18),
        ([half(0), half(6, fill=0.0)], 6),
        ([Reduce("max", 12, 1, 1), half(0)], 6),
    ],
    ids=["written twice", "a fill of the whole", "a kernel that writes the whole"],
)
def test_parts_are_all_of_a_value_once(atoms, written):
    with pytest.raises(VerifyError, match=f"value 'v1': {written} of 12 are written"):
        check(halves(*atoms), "PROGRAM")


# -------------------------------------------------------------------- graphs


def test_order_and_sources():
    copy = Node("RASTER", (0,), (1,), COPY, "A#0")
    values = tuple(Value("v", (12,), F32) for _ in range(3))
    with pytest.raises(VerifyError, match=r"values \[0\] are read before they are written"):
        check(Graph(values, (copy,), (), (1,)), "ATOMIC")
    with pytest.raises(VerifyError, match=r"values \[1\] are written twice"):
        check(Graph(values, (copy, copy), (0,), (1,)), "ATOMIC")
    with pytest.raises(VerifyError, match=r"graph outputs: values \[2\] are never written"):
        check(Graph(values, (copy,), (0,), (2,)), "ATOMIC")
    with pytest.raises(VerifyError, match=r"values \[9\] do not exist"):
        check(Graph(values, (replace(copy, inputs=(9,)),), (0,), (1,)), "ATOMIC")


def test_an_operator_has_the_shapes_that_its_rule_gives():
    node = Node("ABS", (0,), (1,), {}, "ABS#0")
    good = Graph((Value("x", (2, 3), F32), Value("y", (2, 3), F32)), (node,), (0,), (1,))
    check(good, "GRAPH")
    with pytest.raises(VerifyError, match=r"output shapes \[\(6,\)\], expected \[\(2, 3\)\]"):
        check(replace(good, values=(good.values[0], Value("y", (6,), F32))), "GRAPH")
    with pytest.raises(VerifyError, match="not an operator of level ATOMIC"):
        check(good, "ATOMIC")


def test_constants_have_the_shape_and_type_that_they_declare():
    value = Value("c", (2,), F32, data=np.zeros(3, np.float32))
    with pytest.raises(VerifyError, match="value 'c'"):
        check(Graph((value,), (), (), (0,)), "ATOMIC")
