"""Weights and their bytes: what goes in comes out, equal weights are equal bytes, the rest is refused."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fl import weights
from fl.weights import WeightsError

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
)
TEXT = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)
NAMED = st.dictionaries(TEXT, ARRAYS, min_size=1, max_size=5)
GOOD = {"b": np.arange(3, dtype=np.float32), "w": np.ones((2, 3), np.float64)}


def seeds() -> list[bytes]:
    return [weights.encode(GOOD), weights.encode({"x": np.float32(1.0).reshape(())})]


def fuzz(data: bytes) -> None:
    """Whatever is read is written back as the same bytes."""
    try:
        read = weights.decode(data)
    except WeightsError:
        return
    assert weights.encode(read) == data


@given(NAMED)
@settings(max_examples=50, deadline=None)
def test_round_trip(named: dict[str, Any]) -> None:
    read = weights.decode(weights.encode(named))
    assert weights.layout(read) == weights.layout(named)
    for name, array in named.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].flags.writeable and read[name].flags.aligned


def test_equal_weights_are_equal_bytes_whatever_their_order_in_memory() -> None:
    swapped = {"w": np.asfortranarray(GOOD["w"]), "b": GOOD["b"].astype(">f4")}
    assert weights.encode(dict(reversed(GOOD.items()))) == weights.encode(GOOD)
    assert weights.encode({"w": swapped["w"], "b": GOOD["b"]}) == weights.encode(GOOD)


def test_the_bytes_are_those_of_schema_1() -> None:
    header = b'[["b","f4",[2]]]'
    expected = b"WLWT\x01\x00" + struct.pack("<I", len(header)) + header + struct.pack("<2f", 1.0, -2.0)
    assert weights.encode({"b": np.array([1.0, -2.0], np.float32)}) == expected


def framed(header: Any, body: bytes = b"", magic: bytes = b"WLWT", schema: int = 1) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<4sHI", magic, schema, len(text)) + text + body


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "too few"),
        (framed([["b", "f4", [1]]], bytes(4), magic=b"PK\3\4"), "expected weights"),
        (framed([["b", "f4", [1]]], bytes(4), schema=2), "schema 2"),
        (framed([["b", "f4", [1]]], bytes(3)), "got 29"),
        (framed([["b", "f4", [1]]], bytes(5)), "got 31"),
        (struct.pack("<4sHI", b"WLWT", 1, 1 << 31), "does not fit"),
        (framed([]), "0 tensors"),
        (framed({}), "0 tensors"),
        (framed(7), "not a list"),
        (framed(b"[" * 100_000), "not a list"),
        (framed(b"\xff\xfe"), "not a list"),
        (framed([["b", "f4"]]), "not a list"),
        (framed([["b", "f4", 3]]), "not a list"),
        (framed([["b", "O", [1]]], bytes(8)), "dtype"),
        (framed([["b", ["f4"], [1]]], bytes(4)), "dtype"),
        (framed([["", "f4", [1]]], bytes(4)), "name"),
        (framed([["b", "f4", [-1]]]), "shape"),
        (framed([["b", "f4", [True]]], bytes(4)), "shape"),
        (framed([["b", "f4", [1.0]]], bytes(4)), "shape"),
        (framed([["b", "f4", [1] * 7]], bytes(4)), "shape"),
        (framed([["b", "f8", [1 << 28]]]), "at most"),
        (framed([["b", "f8", [1 << 28, 2]]]), "multiply"),
        (framed([["b", "f8", [0, 1 << 28, 1 << 28, 1 << 28]]]), "multiply"),
        (framed([["a\n", "f4", [1]]], bytes(4)), "printable"),
        (framed(b'[["\\ud800","f4",[1]]]', bytes(4)), "printable"),
        (framed([["b", "f4", [1]], ["a", "f4", [1]]], bytes(8)), "sorted"),
        (framed([["b", "f4", [1]], ["b", "f4", [1]]], bytes(8)), "twice"),
        (framed(b'[["b", "f4", [1]]]', bytes(4)), "canonical"),
        (framed([["b", "f4", [0]]] * 5000), "5000 tensors"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(WeightsError, match=said):
        weights.decode(data)


@pytest.mark.parametrize("array", [np.zeros(2, np.int64), np.zeros(2, np.float16), np.zeros((1,) * 7)])
def test_what_cannot_be_written(array: Any) -> None:
    with pytest.raises(WeightsError, match="'b' has"):
        weights.encode({"b": array})


def test_finite() -> None:
    assert weights.finite(GOOD)
    for bad in (np.nan, np.inf, -np.inf):
        assert not weights.finite({**GOOD, "c": np.array([0.0, bad])})


def test_fuzz_target_takes_its_own_seeds_and_their_truncations() -> None:
    for seed in seeds():
        for end in range(len(seed) + 1):
            fuzz(seed[:end])
