"""Shapes of transforms to frequencies, and of the parts of complex numbers."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import Operands, Rule, checked


def lengths(x: Operands) -> tuple[int, int]:
    """(height, width) that RFFT2D brings the last two axes to: powers of two, as in TFLite."""
    sizes = x.constant(1)
    if len(sizes) != 2 or any(size < 1 or size & (size - 1) for size in sizes):
        raise x.bad(f"fft_length {sizes}: expected two powers of two")
    return sizes[0], sizes[1]


def _rfft2d(x: Operands) -> list[Shape]:
    shape, (height, width) = x.shape(0), lengths(x)
    if len(shape) < 2:
        raise x.bad(f"shape {shape}, expected at least 2 axes")
    checked((*shape[:-2], height, width), f"the padded operand of {x.node.source}")
    return [(*shape[:-2], height, width // 2 + 1)]


def _same(x: Operands) -> list[Shape]:
    return [x.shape(0)]


RULES: dict[str, Rule] = {"RFFT2D": _rfft2d, "REAL": _same, "IMAG": _same, "COMPLEX_ABS": _same}
