"""Shapes of operators that put something around elements, or between them."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import MAX_ELEMENTS, Operands, Rule


def paddings(x: Operands) -> list[tuple[int, int]]:
    """(before, after) per axis of PAD, PADV2 and MIRROR_PAD."""
    shape, numbers = x.shape(0), x.constant(1)
    if len(numbers) != 2 * len(shape) or any(not 0 <= number <= MAX_ELEMENTS for number in numbers):
        raise x.bad(f"paddings {numbers}: expected two numbers >= 0 for each axis of {shape}")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _pad(x: Operands) -> list[Shape]:
    return [tuple(size + sum(p) for size, p in zip(x.shape(0), paddings(x), strict=True))]


def border(x: Operands) -> int:
    """How many elements at each edge MIRROR_PAD leaves out of the mirror image."""
    return 1 if x.attr("mode") == "REFLECT" else 0


def _mirror_pad(x: Operands) -> list[Shape]:
    pads, shape = paddings(x), x.shape(0)
    if any(max(pad) > size - border(x) for size, pad in zip(shape, pads, strict=True)):
        raise x.bad(f"paddings {pads} are wider than what {x.attr('mode')} mirrors of {shape}")
    return _pad(x)


def dilations(x: Operands) -> tuple[int, ...]:
    """From one element to the next, per axis of DILATE."""
    shape, numbers = x.shape(0), x.constant(1)
    if len(numbers) != len(shape) or any(not 1 <= number <= MAX_ELEMENTS for number in numbers):
        raise x.bad(f"dilations {numbers}: expected one number >= 1 for each axis of {shape}")
    return numbers


def _dilate(x: Operands) -> list[Shape]:
    return [tuple((size - 1) * step + 1 for size, step in zip(x.shape(0), dilations(x), strict=True))]


def _matrix_diag(x: Operands) -> list[Shape]:
    if not (shape := x.shape(0)):
        raise x.bad("a scalar has no diagonal, expected rank 1 or more")
    return [(*shape, shape[-1])]


def _matrix_set_diag(x: Operands) -> list[Shape]:
    shape, diagonal = x.shape(0), x.shape(1)
    if len(shape) < 2 or diagonal != (*shape[:-2], min(shape[-2:])):
        raise x.bad(f"a diagonal of shape {diagonal} does not fit matrices of {shape}")
    return [shape]


RULES: dict[str, Rule] = {
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "DILATE": _dilate,
    "MATRIX_DIAG": _matrix_diag,
    "MATRIX_SET_DIAG": _matrix_set_diag,
}
