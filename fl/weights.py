"""Named weights and their bytes: what a base model and a delta look like on the wire and on disk.

```
"WLWT" | schema u16 | header length u32 | header | tensors, in the header's order, back to back
```
Integers and numbers are little-endian. The header is canonical JSON, `[[name, dtype, shape], ...]` sorted by
name, so equal weights are equal bytes and have one digest. Whether numbers are finite is a question apart.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Weights = Mapping[str, Array]
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""(name, dtype, shape) of every tensor, sorted by name: two weights add up when their layouts are equal."""

MAGIC = b"WLWT"
SCHEMA = 1
PREFIX = struct.Struct("<4sHI")
DTYPES: Mapping[str, np.dtype[np.floating[Any]]] = {"f4": np.dtype("<f4"), "f8": np.dtype("<f8")}
MAX_BYTES = 256 << 20
MAX_HEADER = 1 << 20
MAX_TENSORS = 4096
MAX_NAME = 255
MAX_RANK = 6


class WeightsError(ValueError):
    """Bytes that are not weights, or arrays that cannot be written as weights."""


def layout(weights: Weights) -> Layout:
    return tuple((name, weights[name].dtype.str[1:], weights[name].shape) for name in sorted(weights))


def finite(weights: Weights) -> bool:
    return all(bool(np.isfinite(array).all()) for array in weights.values())


def subtract(left: Weights, right: Weights) -> dict[str, Array]:
    """left - right, tensor by tensor; both of one layout."""
    return {name: left[name] - right[name] for name in sorted(left)}


def encode(weights: Weights) -> bytes:
    """Raises WeightsError when the weights are past a limit or of another dtype than float32 and float64."""
    tensors = layout(weights)
    _check(tensors)
    header = _canonical(tensors)
    if len(header) > MAX_HEADER:
        raise WeightsError(f"the header has {len(header)} bytes, at most {MAX_HEADER} allowed")
    parts = [PREFIX.pack(MAGIC, SCHEMA, len(header)), header]
    parts += [
        np.ascontiguousarray(weights[name], dtype=DTYPES[dtype]).tobytes() for name, dtype, _ in tensors
    ]
    return b"".join(parts)


def decode(data: bytes) -> dict[str, Array]:
    """The weights, in arrays of their own. Raises WeightsError for what `encode` would not have written."""
    tensors, at = _header(data)
    weights: dict[str, Array] = {}
    for name, dtype, shape in tensors:
        count = math.prod(shape)
        weights[name] = np.frombuffer(data, DTYPES[dtype], count, at).reshape(shape).copy()
        at += count * DTYPES[dtype].itemsize
    return weights


def _header(data: bytes) -> tuple[Layout, int]:
    """The layout, and where the first tensor starts; the data is exactly as long as they say."""
    if len(data) < PREFIX.size:
        raise WeightsError(f"{len(data)} bytes are too few for weights")
    magic, schema, length = PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise WeightsError(f"expected weights (they begin with {MAGIC!r}), got {magic!r}")
    if schema != SCHEMA:
        raise WeightsError(f"weights of schema {schema}, this side speaks {SCHEMA}")
    start = PREFIX.size + length
    if length > MAX_HEADER or start > len(data):
        raise WeightsError(f"a header of {length} bytes does not fit into {len(data)} bytes of weights")
    tensors = _read_layout(data[PREFIX.size : start])
    expected = start + _size(tensors)
    if len(data) != expected:
        raise WeightsError(f"the header stands for {expected} bytes of weights, got {len(data)}")
    return tensors, start


def _read_layout(header: bytes) -> Layout:
    try:
        rows = json.loads(header)
        tensors = tuple((name, dtype, tuple(shape)) for name, dtype, shape in rows)
        _check(tensors)
        canonical = _canonical(tensors)
    except WeightsError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise WeightsError(f"the header is not a list of [name, dtype, shape]: {error}") from None
    if canonical != header:
        raise WeightsError("the header is not in its canonical form")
    return tensors


def _check(tensors: Layout) -> None:
    """Every limit, also against a header that somebody made up."""
    if not 0 < len(tensors) <= MAX_TENSORS:
        raise WeightsError(f"{len(tensors)} tensors, expected 1 to {MAX_TENSORS}")
    for name, dtype, shape in tensors:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise WeightsError(
                f"{name!r:.80} is no tensor's name: expected 1 to {MAX_NAME} printable characters"
            )
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise WeightsError(f"{name!r:.80} has dtype {dtype!r:.20}, expected one of {', '.join(DTYPES)}")
        if len(shape) > MAX_RANK or not all(type(size) is int and 0 <= size <= MAX_BYTES for size in shape):
            raise WeightsError(f"{name!r:.80} has shape {shape!r:.80}, expected up to {MAX_RANK} sizes")
    names = [name for name, _, _ in tensors]
    if sorted(set(names)) != names:
        raise WeightsError("the tensors are not sorted by name, or a name comes twice")
    if any(math.prod(max(size, 1) for size in shape) > MAX_BYTES for _, _, shape in tensors):
        raise WeightsError(f"a tensor's sizes multiply to more than the {MAX_BYTES} allowed")
    if _size(tensors) > MAX_BYTES:
        raise WeightsError(f"{_size(tensors)} bytes of weights, at most {MAX_BYTES} allowed")


def _size(tensors: Layout) -> int:
    return sum(math.prod(shape) * DTYPES[dtype].itemsize for _, dtype, shape in tensors)


def _canonical(tensors: Layout) -> bytes:
    return json.dumps(tensors, separators=(",", ":"), ensure_ascii=False).encode()
