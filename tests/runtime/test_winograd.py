"""Which convolutions run in tiles: those that are proven to be of one image, where the costs say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from runtime.backends.cpu import CpuBackend
from runtime.backends.fuse import fuse
from runtime.backends.numpy_reference import ReferenceExecutor
from runtime.backends.place import place
from runtime.backends.strips import DEFAULT_CACHE
from runtime.backends.ways import Board, Ways
from runtime.backends.winograd import Image, image_of, winograd
from runtime.compile import Model
from runtime.errors import VerifyError
from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.fused import IndirectGemm, Table, Winograd
from runtime.graph import Graph, Node
from runtime.verify import check

NAIVE = CpuBackend(cache=1 << 40)
"""With a cache in which nothing is cut."""


class Net:
    """Convolutions of floats that follow each other."""

    def __init__(self, *shape: int) -> None:
        self.tensors, self.operators, self.rng = (
            [TensorSpec("x0", shape)],
            list[OpSpec](),
            np.random.default_rng(5),
        )
        self.shape = shape

    def add(self, kind: str, others: tuple[str, ...], shape: tuple[int, ...], **options: Any) -> Net:
        number = len(self.operators)
        self.operators.append(OpSpec(kind, (f"x{number}", *others), (f"x{number + 1}",), options))
        self.tensors.append(TensorSpec(f"x{number + 1}", shape))
        self.shape = shape
        return self

    def conv(
        self, units: int, side: int = 3, padding: str = "SAME", stride: int = 1, dilation: int = 1
    ) -> Net:
        batch, height, width, channels = self.shape
        number, fan = len(self.operators), side * side * channels
        for name, shape in ((f"w{number}", (units, side, side, channels)), (f"b{number}", (units,))):
            data = self.rng.standard_normal(shape).astype(np.float32) / np.float32(fan) ** 0.5
            self.tensors.append(TensorSpec.constant(name, data))
        lost = dilation * (side - 1) if padding == "VALID" else 0
        shape = batch, -(-(height - lost) // stride), -(-(width - lost) // stride), units
        options = {"stride_w": stride, "stride_h": stride, "padding": padding}
        dilated = {"dilation_w_factor": dilation, "dilation_h_factor": dilation}
        return self.add("CONV_2D", (f"w{number}", f"b{number}"), shape, **options, **dilated)

    def model(self) -> Model:
        end = (f"x{len(self.operators)}",)
        return Model(
            "net", exporter.write(ModelSpec(tuple(self.tensors), tuple(self.operators), ("x0",), end))
        )


KERNELS = CpuBackend().kernels


def lowered(net: Net) -> Graph:
    graph = winograd(place(fuse(net.model().atoms)), Ways(KERNELS, DEFAULT_CACHE, 0, Board))
    check(graph, "PROGRAM")
    return graph


def last(net: Net) -> Node:
    return lowered(net).nodes[-1]


@pytest.mark.parametrize(
    ("net", "tile"),
    [
        (Net(1, 56, 56, 64).conv(64), 4),
        (Net(1, 55, 53, 32).conv(48), 4),
        (Net(1, 30, 29, 64).conv(40, padding="VALID"), 4),
        (Net(1, 14, 14, 256).conv(256), 2),
        (Net(1, 7, 7, 512).conv(512), 2),
    ],
)
def test_the_costs_choose_the_tiles(net: Net, tile: int) -> None:
    node = last(net)
    assert isinstance(node.attrs, Winograd)
    if KERNELS["WINOGRAD", "F32"].nr == 32:  # what memory costs, in products, depends on the kernel
        assert node.attrs.tile == tile


@pytest.mark.parametrize(
    "net",
    [
        Net(1, 4, 4, 8).conv(8),
        Net(1, 56, 56, 3).conv(2),
        Net(2, 28, 28, 64).conv(64),
        Net(1, 56, 56, 64).conv(64, stride=2),
        Net(1, 56, 56, 64).conv(64, dilation=2),
        Net(1, 28, 28, 64).conv(64, side=5),
        Net(1, 28, 28, 64).conv(64, side=1),
        Net(1, 3, 3, 64).conv(64, padding="VALID"),
    ],
    ids=["small", "few channels", "batch", "stride", "dilation", "5x5", "1x1", "one pixel"],
)
def test_others_stay_direct(net: Net) -> None:
    assert not isinstance(last(net).attrs, Winograd)


@pytest.mark.parametrize("cache", [1 << 40, 1 << 21, 1 << 16, 1 << 12])
def test_a_model_gives_the_same_in_any_cache(cache: int) -> None:
    """Of which it depends how many tiles are done at a time; the first and the last end inside of a tile."""
    net = Net(1, 45, 38, 16).conv(32).conv(48, side=1).conv(24).conv(40, padding="VALID")
    model = net.model()
    assert [node.op for node in lowered(net).nodes].count("WINOGRAD") == 3
    feed = [np.random.default_rng(3).standard_normal((1, 45, 38, 16)).astype(np.float32)]
    (got,), (whole,) = CpuBackend(cache=cache).compile(model).run(feed), NAIVE.compile(model).run(feed)
    np.testing.assert_array_equal(got, whole)
    (want,) = ReferenceExecutor(model.atoms).run(feed)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_an_image_is_proven_place_by_place() -> None:
    node = fuse(Net(1, 12, 9, 16).conv(16).model().atoms).nodes[-1]
    assert isinstance(node.attrs, IndirectGemm)
    gemm, table = node.attrs.gemm, node.attrs.table
    assert image_of(gemm, table) == Image(-10 * 16, 9 * 16, 16, 14, 11, True, True, True, True)
    for at in ((0, 0), (0, 4), (1, 4), (9, 4), (9, 1), (40, 8), (107, 4), (107, 8)):
        rows = table.rows.copy()
        rows[at] += 16
        assert image_of(gemm, replace(table, rows=rows)) is None
    assert image_of(gemm, Table(table.rows, 16, 1.0)) is None
    assert image_of(replace(gemm, k=9 * 15), table) is None


def test_without_a_kernel_all_stay_direct() -> None:
    graph = fuse(Net(1, 56, 56, 64).conv(64).model().atoms)
    assert winograd(graph, Ways({}, DEFAULT_CACHE, 0, Board)) is graph


SOUND = lowered(Net(1, 56, 56, 16).conv(32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tile": 3}, "tiles of 3"),
        ({"columns": 55}, "no 3x3 of an image"),
        ({"width": 57}, r"rows of -1\.\.\d+"),
        ({"step": 17}, r"rows of -1\.\.\d+"),
        ({"left": -1}, "-1 on the left"),
        ({"rows": np.zeros((14, 4), np.int32)}, r"rows of \(14, 4\)"),
        ({"rows": np.full((14, 6), -2, np.int32)}, r"rows of -2\.\."),
    ],
)
def test_a_convolution_that_breaks_a_promise_is_refused(changes: dict[str, Any], message: str) -> None:
    (node,) = SOUND.nodes
    broken = replace(node, attrs=replace(node.attrs, **changes))
    with pytest.raises(VerifyError, match=message):
        check(SOUND.with_nodes((broken,)), "PROGRAM")


def test_weights_are_constants() -> None:
    values = tuple(replace(value, data=None) for value in SOUND.values)
    with pytest.raises(VerifyError, match="weights that are no constants"):
        check(replace(SOUND, values=values, inputs=SOUND.nodes[0].inputs), "PROGRAM")
