"""Resize: one axis after the other, each output element a weighted sum of one, two or four input elements.

Places and weights depend on sizes alone, so they are constants. Source: the specification of Resize and,
where it leaves the arithmetic open, onnxruntime: places in float32, linear places held within the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.graph import Array, DType
from runtime.importers.onnx.reader import Kind
from runtime.importers.onnx.translation import Row, Translation
from runtime.shapes.operands import MAX_ELEMENTS

Places = Callable[[Array, float, int, int], Array]
"""(output positions, scale, input size, output size) -> positions in the input; all float32."""


def _half_pixel(x: Array, scale: float, *_: int) -> Array:
    return (x + np.float32(0.5)) / np.float32(scale) - np.float32(0.5)


def _pytorch(x: Array, scale: float, _: int, out: int) -> Array:
    return _half_pixel(x, scale) if out > 1 else np.zeros_like(x)


def _symmetric(x: Array, scale: float, size: int, out: int) -> Array:
    adjustment = np.float32(out) / (np.float32(scale) * np.float32(size))
    return np.float32(size / 2) * (np.float32(1) - adjustment) + _half_pixel(x, scale)


def _corners(x: Array, _: float, size: int, out: int) -> Array:
    return np.zeros_like(x) if out == 1 else x * np.float32(size - 1) / np.float32(out - 1)


def _asymmetric(x: Array, scale: float, *_: int) -> Array:
    return x / np.float32(scale)


PLACES: dict[str, Places] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch,
    "half_pixel_symmetric": _symmetric,
    "align_corners": _corners,
    "asymmetric": _asymmetric,
}
NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
}

Taps = list[tuple[Array, Array]]
"""For each tap: the index of the input element and its weight, by output element."""


def _nearest(t: Translation, x: Array, size: int) -> Taps:
    chosen = NEAREST[t.choice("nearest_mode", list(NEAREST))](x)
    return [(np.clip(chosen, 0, size - 1), np.ones_like(x))]


def _linear(_: Translation, x: Array, size: int) -> Taps:
    x = np.clip(x, 0, np.float32(size - 1))
    low = np.floor(x)
    part = x - low
    return [(low, 1 - part), (np.minimum(low + 1, size - 1), part)]


def _cubic(t: Translation, x: Array, size: int) -> Taps:
    """Keys's kernel; outside the input its last elements count, or nothing (exclude_outside)."""
    a, low = np.float32(t.attr("cubic_coeff_a")), np.floor(x)
    part = x - low
    taps = []
    for offset in range(-1, 3):
        d = np.abs(part - np.float32(offset))
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        weight = np.where(d <= 1, near, far)
        place = low + offset
        if t.attr("exclude_outside"):
            weight = np.where((place < 0) | (place >= size), 0, weight)
        taps.append((np.clip(place, 0, size - 1), weight))
    total = sum(weight for _, weight in taps) if t.attr("exclude_outside") else np.ones_like(x)
    return [(place, weight / total) for place, weight in taps]


MODES = {"nearest": _nearest, "linear": _linear, "cubic": _cubic}


def resize(t: Translation) -> int:
    x = t.input(0)
    mode = t.choice("mode", list(MODES))
    place = PLACES[t.choice("coordinate_transformation_mode", list(PLACES))]
    t.choice("keep_aspect_ratio_policy", ("stretch",))
    if t.attr("antialias"):
        raise t.lacking("antialias")
    if mode != "nearest" and t.dtype(x) is not DType.F32:
        raise t.lacking(f"mode {mode} on {t.dtype(x).value}, expected f32")
    for axis, (out, scale) in _targets(t, x).items():
        size = t.shape(x)[axis]
        if out == size and scale == 1:
            continue
        places = place(np.arange(out, dtype=np.float32), scale, size, out)
        x = _weighted(t, x, axis, MODES[mode](t, places, size))
    return x


def _targets(t: Translation, x: int) -> dict[int, tuple[int, float]]:
    """Axis -> (output size, scale), from the scales or from the sizes."""
    shape = t.shape(x)
    axes = t.axes(range(len(shape)) if t.attr("axes") is None else t.attr("axes"), len(shape))
    by_scale = t.has(2) and t.value(t.input(2)).elements > 0
    given = t.data(2 if by_scale else 3).reshape(-1)
    if given.size != len(axes) or given.dtype.kind not in ("f" if by_scale else "i"):
        raise t.bad(
            f"scales or sizes: {given.size} of {given.dtype}, expected one for each of the axes {axes}"
        )
    targets = {}
    for axis, number in zip(axes, given.tolist(), strict=True):
        if not 0 < number < MAX_ELEMENTS:
            raise t.bad(f"scale or size {number} of axis {axis}")
        out = math.floor(np.float32(number) * np.float32(shape[axis])) if by_scale else int(number)
        if not 1 <= out <= MAX_ELEMENTS >> 4:
            raise t.bad(f"axis {axis} of {shape} would have {out} elements")
        targets[axis] = out, float(number) if by_scale else out / shape[axis]
    return targets


def _weighted(t: Translation, x: int, axis: int, taps: Taps) -> int:
    """The sum of the taps' elements times their weights."""
    parts = []
    rest = (1,) * (len(t.shape(x)) - axis - 1)
    for places, weights in taps:
        part = t.take(x, t.constant(places.astype(np.int32)), axis)
        if len(taps) > 1:
            part = t.emit("MUL", part, t.constant(weights.astype(np.float32).reshape(-1, *rest)))
        parts.append(part)
    return t.folded("ADD", parts)


ROWS: dict[str, Row] = {
    "Resize": Row(
        resize,
        (1, 4),
        {
            "antialias": 0,
            "axes": Kind.INTS,
            "coordinate_transformation_mode": "half_pixel",
            "cubic_coeff_a": -0.75,
            "exclude_outside": 0,
            "extrapolation_value": 0.0,
            "keep_aspect_ratio_policy": "stretch",
            "mode": "nearest",
            "nearest_mode": "round_prefer_floor",
        },
    )
}
