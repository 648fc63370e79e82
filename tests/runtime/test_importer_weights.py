"""Packed weights: what they are, and that a file which contradicts itself is refused, never followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.backends import reference
from runtime.decompose import decompose
from runtime.errors import ModelError, UnsupportedError
from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec, write
from runtime.importers.tflite import load
from runtime.importers.weights import Level, Sparsity, blockwise, densified, unpacked
from runtime.infer import infer
from runtime.verify import check
from tests.conformance.conv import REFINED
from tests.conformance.judge import oracle
from tests.conformance.packed import Blocked, Sparse, Writer

CSR = Sparsity((0, 1), (), (Level(3), Level(0, np.array([0, 1, 1, 3]), np.array([2, 0, 3]))))
VALUES = np.array([5, 6, 7], np.int8)


def test_four_and_two_bits_come_low_first_and_signed() -> None:
    np.testing.assert_array_equal(unpacked(np.array([0x8F, 0x07], np.uint8), (3,), 4), [-1, -8, 7])
    np.testing.assert_array_equal(unpacked(np.array([0b11100100], np.uint8), (2, 2), 2), [[0, 1], [-2, -1]])
    with pytest.raises(ValueError, match="2 bytes hold 5 numbers"):
        unpacked(np.zeros(2, np.uint8), (5,), 4)


def test_compressed_rows() -> None:
    np.testing.assert_array_equal(densified(VALUES, (3, 4), CSR), [[0, 0, 5, 0], [0, 0, 0, 0], [6, 0, 0, 7]])


def compressed(segments: list[int], indices: list[int]) -> Sparsity:
    return replace(CSR, levels=(Level(3), Level(0, np.array(segments), np.array(indices))))


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [
        (replace(CSR, order=(0, 0)), "traversal order"),
        (replace(CSR, order=(0, 1, 2)), "traversal order"),
        (replace(CSR, levels=CSR.levels[:1]), "1 levels, expected 2"),
        (replace(CSR, levels=(Level(2), CSR.levels[1])), "a dense level of 2 indices, expected 3"),
        (replace(CSR, levels=(Level(3), Level(4))), "are more than it stores"),
        (compressed([0, 1, 3], [2, 0, 3]), "3 segments"),
        (compressed([1, 1, 1, 3], [2, 0, 3]), "4 segments of 3 indices"),
        (compressed([0, 3, 1, 3], [2, 0, 3]), "4 segments of 3 indices"),
        (compressed([0, 1, 1, 4], [2, 0, 3]), "4 segments of 3 indices"),
        (compressed([0, 1, 1, 3], [2, 0, 4]), "do not ascend within 0..3"),
        (compressed([0, 1, 1, 3], [-1, 0, 3]), "do not ascend within 0..3"),
        (compressed([0, 1, 1, 3], [2, 3, 3]), "do not ascend within 0..3"),
        (compressed([0, 1, 1, 2], [2, 0]), "3 values for 2 places"),
        (Sparsity((0, 1, 2), (2,), (*CSR.levels, Level(2))), "block map"),
        (Sparsity((0, 1, 2), (1,), (*CSR.levels, Level(3))), "blocks of 3 along dimension 1"),
        (Sparsity((0, 1, 2), (1,), (*CSR.levels, Level(0))), "blocks of 0 along dimension 1"),
    ],
)
def test_what_contradicts_itself_is_refused(sparsity: Sparsity, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        densified(VALUES, (3, 4), sparsity)


NUMBERS = st.lists(st.integers(-2, 6), max_size=6)
LEVELS = st.builds(Level, st.integers(-2, 6)) | st.builds(
    lambda segments, indices: Level(0, np.array(segments, np.int64), np.array(indices, np.int64)),
    NUMBERS,
    NUMBERS,
)


@settings(max_examples=300, deadline=None)
@given(st.permutations(range(3)), st.lists(st.integers(-1, 3), max_size=2), st.lists(LEVELS, max_size=4))
def test_nothing_but_a_value_error_escapes(order: list[int], blocks: list[int], levels: list[Level]) -> None:
    try:
        dense = densified(VALUES, (3, 4), Sparsity(tuple(order), tuple(blocks), tuple(levels)))
    except ValueError:
        return
    assert sorted(dense[dense != 0]) == [5, 6, 7]


def model(weights: TensorSpec) -> ModelSpec:
    x, y = TensorSpec("x", (2, 4)), TensorSpec("y", (2, 3))
    return ModelSpec((x, weights, y), (OpSpec("FULLY_CONNECTED", ("x", "w"), ("y",)),), ("x",), ("y",))


def test_a_file_with_packed_weights_has_dense_ones() -> None:
    data = np.array([[0, 0, 5, 0], [0, 0, 0, 0], [6, 0, 0, 7]], np.int8)
    sparse = Sparse("w", (3, 4), "int8", data, (0.5,), (0,), order=(0, 1), compressed=frozenset({1}))
    int4 = TensorSpec("w", (3, 4), "int4", data, (0.5,), (0,))
    for written in (Writer(model(sparse)).model(), write(model(int4))):
        stored = load(written, "packed").values[1].data
        assert stored is not None and stored.dtype == np.int8
        np.testing.assert_array_equal(stored, data)


def test_a_file_whose_packed_weights_do_not_fit_is_named() -> None:
    sparse = Sparse("w", (3, 4), "int8", np.eye(3, 4, dtype=np.int8), order=(0, 1), compressed=frozenset({1}))
    sound = Writer(model(sparse)).model()
    segments = np.array([4, 0, 1, 2, 3], np.int32).tobytes()
    assert sound.count(segments) == 1
    with pytest.raises(ModelError, match=r"bad: tensor 1 'w' cannot be read \(4 segments of 3 indices"):
        load(sound.replace(segments, np.array([4, 0, 1, 2, 4], np.int32).tobytes()), "bad")
    with pytest.raises(UnsupportedError, match="computed at run time"):
        load(write(model(TensorSpec("w", (3, 4), "int4"))), "late")


def test_blocks_of_weights_have_scales_of_their_own(tflite_interpreter: Callable[..., Any]) -> None:
    """TFLite 2.14 does not know them; of LiteRT 2 the builtin kernels do, the reference answers zeros."""
    rng = np.random.default_rng(3)
    data, scales = (
        rng.integers(-7, 8, (5, 64)).astype(np.int8),
        rng.uniform(0.01, 0.1, (5, 2)).astype(np.float16),
    )
    tensors = (
        TensorSpec("x", (3, 64)),
        Blocked("w", (5, 64), "int4", data, scales=2, block=32),
        TensorSpec.constant("s", scales),
        TensorSpec("y", (3, 5)),
    )
    op = OpSpec("FULLY_CONNECTED", ("x", "w"), ("y",))
    written = Writer(ModelSpec(tensors, (op,), ("x",), ("y",))).model()
    x = rng.normal(1.0, size=(3, 64)).astype(np.float32)
    atoms = decompose(infer(load(written, "blocks")), "reference")
    check(atoms, "ATOMIC")
    got = reference.run(atoms, [x])[0]
    real = data * scales.astype(np.float32).repeat(32, axis=1)
    step = (x.max(axis=1) - x.min(axis=1)).max() / 255
    assert np.abs(got - x @ real.T).max() <= step / 2 * np.abs(real).sum(axis=1).max()
    if REFINED:
        want = oracle(tflite_interpreter(written, "BUILTIN_WITHOUT_DEFAULT_DELEGATES"), [x])[0]
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * float(np.abs(want).max()))


@pytest.mark.parametrize(("count", "block"), [(10, 0), (10, -32), (10, 31), (9, 32), (0, 128)])
def test_blocks_that_do_not_fit_are_refused(count: int, block: int) -> None:
    with pytest.raises(ValueError, match=f"{count} scales for blocks of {block}"):
        blockwise((5, 64), np.ones(count, np.float16), block)
    with pytest.raises(ValueError, match="expected finite numbers"):
        blockwise((5, 64), np.full(10, np.nan, np.float16), 32)
