"""Steps in strips: the same results bit by bit, from less memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from runtime.backends import strips
from runtime.backends.cpu import CpuBackend
from runtime.backends.flat import FlatProgram
from runtime.backends.strips import Part, Stream, Windows
from runtime.compile import Model, read
from runtime.exporters import tflite as exporter
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from runtime.graph import Array

SHARED = Path(__file__).parents[3] / "shared" / "models"
WHOLE = 1 << 40
"""A cache in which no model is cut."""
QUANTISED: Mapping[str, Any] = {"dtype": "int8", "scale": (0.05,), "zero_point": (3,)}


class Chain:
    """A model made of operators that flow into each other, of floats or of bytes."""

    def __init__(self, rng: Random, dtype: str) -> None:
        self.rng, self.numbers, self.dtype = rng, np.random.default_rng(rng.randrange(1 << 30)), dtype
        self.kind: Mapping[str, Any] = QUANTISED if dtype == "int8" else {}
        side = rng.randrange(9, 20)
        self.shape = (1, side, side + rng.randrange(3), rng.choice((8, 17, 24)))
        self.tensors, self.operators = [TensorSpec("x0", self.shape, **self.kind)], list[OpSpec]()
        self.shapes = [self.shape]

    def weights(self, shape: tuple[int, ...], axis: int) -> tuple[str, str]:
        w, b, units = f"w{len(self.tensors)}", f"b{len(self.tensors)}", shape[axis]
        if self.dtype == "float32":
            data = self.numbers.standard_normal(shape).astype(np.float32)
            self.tensors.append(TensorSpec.constant(w, data / np.float32(np.prod(shape) / units) ** 0.5))
            self.tensors.append(
                TensorSpec.constant(b, self.numbers.standard_normal(units).astype(np.float32))
            )
            return w, b
        each = {"scale": (0.01,) * units, "zero_point": (0,) * units}
        data = self.numbers.integers(-127, 128, shape).astype(np.int8)
        bias = self.numbers.integers(-999, 999, units).astype(np.int32)
        self.tensors.append(TensorSpec(w, shape, "int8", data, **each, quantized_dimension=axis))
        scales = (0.01 * 0.05,) * units
        self.tensors.append(TensorSpec(b, (units,), "int32", bias, scales, (0,) * units))
        return w, b

    def last(self) -> str:
        return f"x{len(self.operators)}"

    def add(self, kind: str, others: Sequence[str], shape: tuple[int, ...], **options: Any) -> None:
        inputs, quantisation = (self.last(), *others), self.kind
        if kind == "LOGISTIC" and self.dtype == "int8":
            quantisation = {"dtype": "int8", "scale": (1 / 256,), "zero_point": (-128,)}
        self.operators.append(OpSpec(kind, inputs, (f"x{len(self.operators) + 1}",), options))
        self.tensors.append(TensorSpec(self.last(), shape, **quantisation))
        self.shapes.append(shape)
        self.shape = shape

    def grow(self) -> None:
        batch, height, width, channels = self.shape
        kind = self.rng.choice(("1x1", "3x3", "depthwise", "depthwise", "stride", "add", "same"))
        if kind in ("1x1", "3x3"):
            side, units = int(kind[0]), self.rng.choice((8, 17, 32))
            names = self.weights((units, side, side, channels), 0)
            self.add("CONV_2D", names, (batch, height, width, units), padding="SAME", stride_w=1, stride_h=1)
        elif kind in ("depthwise", "stride"):
            step = 2 if kind == "stride" and min(height, width) > 6 else 1
            names = self.weights((1, 3, 3, channels), 3)
            shape = (batch, -(-height // step), -(-width // step), channels)
            strides = {"stride_w": step, "stride_h": step}
            self.add("DEPTHWISE_CONV_2D", names, shape, padding="SAME", depth_multiplier=1, **strides)
        elif kind == "same" and self.dtype == "float32":
            self.add(self.rng.choice(("LOGISTIC", "TANH", "RELU6")), (), self.shape)
        else:
            earlier = [f"x{i}" for i, shape in enumerate(self.shapes) if shape == self.shape]
            self.add("ADD", (self.rng.choice(earlier),), self.shape)

    def model(self) -> bytes:
        end = (self.last(),)
        return exporter.write(ModelSpec(tuple(self.tensors), tuple(self.operators), ("x0",), end))


def compiled(model: Model, cache: int) -> FlatProgram:
    return CpuBackend(cache=cache).compile(model)


def drawn(program: FlatProgram, seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    made = []
    for tensor in program.inputs:
        if tensor.dtype.numpy == np.float32:
            made.append(rng.standard_normal(tensor.shape).astype(np.float32))
        else:
            made.append(rng.integers(-128, 128, tensor.shape).astype(tensor.dtype.numpy))
    return made


def assert_same(whole: FlatProgram, cut: FlatProgram) -> None:
    for seed in (0, 1):  # the second run finds what the first left in the rings
        feed = drawn(whole, seed)
        for got, want in zip(cut.run(feed), whole.run(feed), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can be cut is cut."""
    monkeypatch.setattr(strips, "FEWEST_ROWS", 1)
    monkeypatch.setattr(strips, "CALL_COST", 0)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_chains_give_the_same_in_strips_of_any_size(dtype: str) -> None:
    cut = turned = 0
    for seed in range(40):
        chain = Chain(Random(seed), dtype)
        for _ in range(chain.rng.randrange(3, 9)):
            chain.grow()
        model = Model(f"chain {seed}", chain.model())
        whole = compiled(model, WHOLE)
        assert len(whole.calls) == len(whole.steps)
        for cache in (1 << 12, 1 << 13, 1 << 14, 1 << 15):
            program = compiled(model, cache)
            cut += len(program.calls) > len(program.steps)
            turned += sum(step.row.operator == "TURN" for step in program.steps)
            assert_same(whole, program)
    assert cut > 40 and turned > 100


def test_an_inverted_residual_needs_a_fraction_of_its_memory() -> None:
    chain = Chain(Random(0), "float32")
    chain.shape = chain.shapes[0] = (1, 56, 56, 16)
    chain.tensors[0] = TensorSpec("x0", chain.shape)
    chain.add(
        "CONV_2D", chain.weights((96, 1, 1, 16), 0), (1, 56, 56, 96), padding="SAME", stride_w=1, stride_h=1
    )
    names, options = chain.weights((1, 3, 3, 96), 3), {"depth_multiplier": 1, "stride_w": 1, "stride_h": 1}
    chain.add("DEPTHWISE_CONV_2D", names, (1, 56, 56, 96), padding="SAME", **options)
    chain.add("LOGISTIC", (), chain.shape)
    chain.add(
        "CONV_2D", chain.weights((16, 1, 1, 96), 0), (1, 56, 56, 16), padding="SAME", stride_w=1, stride_h=1
    )
    model = Model("inverted residual", chain.model())
    whole, cut = compiled(model, WHOLE), compiled(model, 1 << 19)
    assert len(cut.calls) > len(cut.steps) and cut.layout.size < whole.layout.size / 3
    assert_same(whole, cut)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("name", ["mobilenet_v2_quant", "vww_f32", "vww_int8", "resnet8_f32", "resnet8_int8"])
def test_a_shared_model_gives_the_same_in_strips(name: str) -> None:
    if not (path := SHARED / f"{name}.tflite").exists():
        pytest.skip(f"{path} is not there")
    model = read(path)
    whole = compiled(model, WHOLE)
    cuts = [compiled(model, cache) for cache in (1 << 15, 1 << 17, 1 << 19)]
    assert any(len(cut.calls) > len(cut.steps) for cut in cuts)
    for cut in cuts:
        rng = np.random.default_rng(0)
        for _ in range(2):
            feed = [rng.integers(0, 100, t.shape).astype(t.dtype.numpy) for t in whole.inputs]
            for got, want in zip(cut.run(feed), whole.run(feed), strict=True):
                np.testing.assert_array_equal(got, want)


# -------------------------------------------------------------------- the parts of it

WINDOWS = np.array([[-1, 0, 4], [0, 4, 8], [4, 8, 12], [8, 12, -1]], np.int32)


def test_what_windows_need_moves_from_front_to_back() -> None:
    windows = Windows(WINDOWS, 4)
    assert [windows.end(units) for units in range(5)] == [0, 8, 12, 16, 16]
    assert [windows.begin(unit) for unit in range(4)] == [0, 0, 4, 8]
    assert windows.reach == 12


def test_what_a_stream_needs_is_a_multiple() -> None:
    stream = Stream(6)
    assert (stream.begin(2), stream.end(2), stream.reach) == (12, 12, 6)


@pytest.mark.parametrize(
    ("rows", "chunk", "aligned", "least", "quantum", "length"),
    [
        (WINDOWS, 4, True, 9, 4, 12),
        (WINDOWS, 4, False, 9, 4, 12),
        (np.array([[0, 2], [4, 6]], np.int32), 4, False, 6, 2, 10),  # 6 and 8 would tear the last chunks
        (np.array([[0], [1], [2], [3]], np.int32), 4, False, 5, 1, 7),
        (np.arange(64, dtype=np.int32)[:, None], 4, False, 8, 1, None),
    ],
)
def test_a_ring_tears_no_chunk(
    rows: Array, chunk: int, aligned: bool, least: int, quantum: int, length: int | None
) -> None:
    assert Windows(rows, chunk, aligned).ring(least, quantum) == length


def test_a_table_of_places_in_a_ring_keeps_the_padding() -> None:
    assert Windows(WINDOWS, 4).within(8).tolist() == [[-1, 0, 4], [0, 4, 0], [4, 0, 4], [0, 4, -1]]


def test_a_part_ends_where_a_ring_begins_again() -> None:
    parts = list(strips._parts(3, 2, 9, {7: (8, 2), 8: (30, 5)}))
    assert parts == [
        Part(3, 2, 4, {7: 0, 8: 0}),
        Part(3, 4, 6, {7: 8, 8: 0}),
        Part(3, 6, 8, {7: 8, 8: 30}),
        Part(3, 8, 9, {7: 16, 8: 30}),
    ]
    assert all(a.end == b.begin for a, b in pairwise(parts))


def test_the_cache_of_a_machine_that_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: Path) -> str:
        raise PermissionError(str(self))

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert strips.cache_bytes() == strips.DEFAULT_CACHE
