"""The account of the copies adds up, on whole models and on small ones, and names each cause."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import explain
from runtime.atoms import Raster, Reduce, Region, View
from runtime.backends.fuse import fuse
from runtime.backends.place import place
from runtime.compile import Model
from runtime.copies import Account, Copied, Removed, account, copied, total
from runtime.graph import DType, Graph, Node, Value
from runtime.importers import load
from runtime.strides import dense
from tests.conformance import control, lstm, pads, slices, views
from tests.conformance.case import Maker
from tests.runtime.test_place import columns, f32, negated, node, product

TURNED = Raster((Region(0, View(0, (1, 3)), dense((3, 2)), (3, 2)),))
"""The transpose of (2, 3)."""
SAME = Raster((Region(0, dense((6,)), dense((6,)), (6,)),))
SUM, MOST = (Reduce(op, 1, 6, 1) for op in ("sum", "max"))


def accounted(data: bytes) -> Account:
    """The account of a model, which is that of what the cpu backend compiles."""
    found = explain.copies_of(explain.passes(load(data, "model")))
    adds_up(found)
    assert sum(row.nbytes for row in found.kept) == total(copied(place(fuse(Model("model", data).atoms))))
    return found


def adds_up(found: Account) -> None:
    assert found.nbytes == sum(row.nbytes for row in (*found.removed, *found.kept))
    assert found.nodes == sum(row.nodes for row in found.removed) + sum(len(r.sources) for r in found.kept)


def test_shared_models_add_up(shared_models: Path):
    for path in sorted(shared_models.glob("*.tflite")):
        assert all(row.nbytes > 0 for row in accounted(path.read_bytes()).removed)


@pytest.mark.parametrize("family", [control, lstm, pads, slices, views], ids=lambda family: family.__name__)
def test_small_models_add_up(family):
    for case in family.CASES[::7]:
        accounted(Maker(case, case.types[0]).model())


def of(values: list[Value], nodes: list[Node], outputs: tuple[int, ...]) -> Account:
    """The account of a graph of atoms whose first value is its input."""
    graphs = [("decompose", Graph(tuple(values), tuple(nodes), (0,), outputs))]
    for name, step in explain.STEPS[2:]:
        graphs.append((name, step(graphs[-1][1])))
    found = account(graphs)
    adds_up(found)
    return found


CONSTANT = Value("c", (2, 3), DType.F32, data=np.ones((2, 3), np.float32))
CAUSES = {
    "folded into constants": [node(TURNED, 1, 2), node(columns(6, 1, 1), 0, 2, 3)],
    "one value with what they copied": [node(SAME, 0, 2), node(SUM, 2, 3)],
    "composed into MAP": [node(TURNED, 0, 2), node(negated((6,)), 2, 3)],
    "composed into GEMM": [node(TURNED, 0, 2), node(product(2, 2, 3), 0, 2, 3)],
    "composed into GEMM and MAP": [
        *(node(TURNED, 0, 2), node(negated((6,)), 2, 3), node(product(2, 2, 3), 0, 2, 4)),
    ],
    "composed into REDUCE": [
        *(node(TURNED, 0, 2), node(Reduce("max", 3, 2, 1), 2, 3)),
    ],
    "composed into RASTER": [node(TURNED, 0, 2), node(columns(6, 1, 1), 2, 1, 3)],
}


@pytest.mark.parametrize("cause", CAUSES)
def test_causes(cause):
    nodes = CAUSES[cause]
    values = [f32(2, 3), CONSTANT, f32(3, 2), f32(12), f32(4)]
    found = of(values, nodes, tuple(i for n in nodes for i in n.outputs if i > 2))
    assert Removed(cause, 1, 24) in found.removed


def test_computed_once_and_kept():
    nodes = [node(TURNED, 0, 1), node(TURNED, 0, 2), node(SUM, 1, 3), node(SUM, 2, 4), node(MOST, 2, 5)]
    found = of([f32(2, 3), f32(3, 2), f32(3, 2), f32(1), f32(1), f32(1)], nodes, (3, 4, 5))
    assert found.removed == (Removed("computed once", 1, 24),)
    assert found.kept == (Copied(24, ("RASTER#0",), ("REDUCE",)),)


def test_written_in_place():
    nodes = [node(negated((2, 3)), 0, 1), node(columns(2, 3, 3), 0, 1, 2)]
    found = of([f32(2, 3), f32(2, 3), f32(2, 6)], nodes, (2,))
    assert found.removed == (Removed("written in place", 0, 24),)
    assert found.kept == (Copied(24, ("RASTER#0",), ("the caller",)),)
