"""Our reader of FlexBuffers against that of `flatbuffers`: the same values, and ModelError for all else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from flatbuffers import flexbuffers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runtime.errors import ModelError
from runtime.importers import flexbuffer
from runtime.importers.custom import options
from runtime.importers.flexbuffer import read

KEYS = st.text(st.characters(min_codepoint=1, max_codepoint=127), min_size=1, max_size=9)
LARGEST = 3.4028234663852886e38
"""Of float32: beyond it the writer fails."""
FLOATS = st.floats(-LARGEST, LARGEST) | st.sampled_from((float("inf"), float("-inf")))
NUMBERS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS
SCALARS = st.none() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"])) | st.binary()
ITEMS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5)
)
DETECTION = {
    "max_detections": 10,
    "max_classes_per_detection": 1,
    "use_regular_nms": True,
    "nms_score_threshold": 0.3,
    "_output_quantized": [True, False],
}


def tuples(item: Any) -> Any:
    """A value as we give it: sequences cannot be changed."""
    if isinstance(item, list):
        return tuple(map(tuples, item))
    return {key: tuples(entry) for key, entry in item.items()} if isinstance(item, dict) else item


def written(write: Callable[[Any], None]) -> bytes:
    builder = flexbuffers.Builder()
    write(builder)
    return bytes(builder.Finish())


def depth(item: Any) -> int:
    if not isinstance(item, list | dict):
        return 0
    return 1 + max(map(depth, item.values() if isinstance(item, dict) else item), default=0)


@settings(max_examples=500, deadline=None)
@given(ITEMS.filter(lambda item: depth(item) <= flexbuffer.MAX_DEPTH))
@example([])
@example({})
def test_reads_what_the_writer_wrote(item: Any) -> None:
    assert read(bytes(flexbuffers.Dumps(item))) == tuples(item)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(("Int", "UInt", "Float")), st.sampled_from((2, 4, 8)),
    st.lists(st.integers(0, 30_000), min_size=2, max_size=9),
)  # fmt: skip
def test_typed_vectors_and_indirect_numbers(kind: str, width: int, numbers: list[int]) -> None:
    wanted = [float(n % 2048) for n in numbers] if kind == "Float" else numbers

    byte_width = max(width, 4) if kind == "Float" else width  # the writer has no half floats

    def write(builder: Any) -> None:
        with builder.Vector():
            builder.TypedVectorFromElements(wanted)
            if len(wanted) <= 4:
                builder.FixedTypedVectorFromElements(wanted)
            getattr(builder, f"Indirect{kind}")(wanted[0], byte_width)
            getattr(builder, kind)(wanted[1], byte_width)
            builder.Key("key")

    data = written(write)
    read_by_them = flexbuffers.Loads(data)
    assert read(data) == tuples(read_by_them)
    assert read(data)[0] == tuple(wanted)  # type: ignore[index]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes, expected at least 3"),
        (b"\0\4\3", "width 3, expected 1, 2, 4 or 8"),
        (b"\0\4\4", r"at byte -3: 4 bytes of 3"),
        (b"\0\x0c\1", "a float of one byte"),
        (b"\5\x14\1", "offset 5 back, before the start"),
        (b"\2ab\3\x14\1", "at byte -1: 1 bytes of 6"),
        (b"\2\xff\xff\2\x14\1", "a text that is not UTF-8"),
        (b"\x09ab\2\x14\1", "9 bytes of 6"),
        (b"abc\3\x10\1", "a key without an end"),
        (b"\0\0\x6c\1", "type 27 is not known"),
        (b"\0\0\xfc\1", "type 63 is not known"),
        (b"\1\0\x28\2\x28\1", "more than 8 values inside each other"),
        (b"\xff\0\0\2\x28\1", "1 bytes of 6"),
    ],
)  # fmt: skip
def test_bytes_that_contradict_themselves_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=f"flexbuffer: .*({message})"):
        read(data)


def test_keys_have_to_be_in_order_and_as_many_as_values() -> None:
    data = bytes(flexbuffers.Dumps({"a": 1, "b": 2}))
    with pytest.raises(ModelError, match="keys that are not in order"):
        read(data.replace(b"a\0b\0", b"b\0a\0"))
    with pytest.raises(ModelError, match="keys that are not in order"):
        read(data.replace(b"a\0b\0", b"b\0b\0"))
    with pytest.raises(ModelError, match="2 keys for 1 values"):
        read(data[:9] + b"\1" + data[10:])


def test_values_that_share_what_they_point_to_are_bounded() -> None:
    """Vectors of eight values that are all the same vector, ten deep, are few bytes and a billion values."""
    data = b"\0"
    width, types = 8, bytes([flexbuffer.VECTOR << 2]) * 8
    previous = 1
    for _ in range(7):
        start = len(data) + 1
        data += bytes([width]) + bytes(start + i - previous for i in range(width)) + types
        previous = start
    data += bytes([len(data) - previous, flexbuffer.VECTOR << 2, 1])
    with pytest.raises(ModelError, match="all values together may have 65536"):
        read(data)


def test_options_are_of_the_type_of_their_default() -> None:
    data = bytes(flexbuffers.Dumps({**DETECTION, "scale": 10, "whole": 3.0, "one": True, "flag": 2}))
    defaults = {"scale": 0.0, "whole": 0, "one": 0, "flag": False, "nms_score_threshold": 0.0, "missing": 7}
    got = options(data, defaults)
    rounded = got.pop("nms_score_threshold")
    assert rounded == pytest.approx(0.3, rel=1e-7) and rounded != 0.3
    assert got == {"scale": 10.0, "whole": 3, "one": 1, "flag": True, "missing": 7}
    assert all(type(value) is type(defaults[name]) for name, value in got.items())
    assert options(b"", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1, 2], r"options are \(1, 2\), expected a map"),
        ({"n": "ten"}, "n = 'ten', expected a finite number"),
        ({"n": [1]}, r"n = \(1,\), expected a finite number"),
        ({"n": 1.5}, "n = 1.5, expected an integer of 32 bits"),
        ({"n": 2**40}, "n = 1099511627776, expected an integer"),
        ({"x": float("nan")}, "x = nan, expected a finite number"),
        ({"x": float("inf")}, "x = inf, expected a finite number"),
    ],
)
def test_options_that_are_no_such_numbers_are_refused(given: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        options(bytes(flexbuffers.Dumps(given)), {"n": 0, "x": 0.0})


# ---------------------------------------------------------------- fuzzing


def seeds() -> list[bytes]:
    nested = {"a": [1, 2.5, None, "text", {"b": True}], "c": b"blob", "d": [1, 2, 3], "e": 2**40}
    return [bytes(flexbuffers.Dumps(item)) for item in (DETECTION, nested, list(range(300)), "text", [])]


def fuzz(data: bytes) -> None:
    """Whatever the bytes are, they are refused in the engine's own words or are a value."""
    with contextlib.suppress(ModelError):
        read(data)
    with contextlib.suppress(ModelError):
        options(data, {"max_detections": 0, "use_regular_nms": False, "nms_score_threshold": 0.0})


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60))
def test_noise(noise: bytes) -> None:
    fuzz(noise)
