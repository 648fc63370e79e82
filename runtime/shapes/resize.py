"""Shapes of images in another size."""

from __future__ import annotations

from runtime.graph import Shape
from runtime.shapes.operands import MAX_MADE, Operands, Rule


def _resize(x: Operands) -> list[Shape]:
    (batch, _, _, depth), size = x.shape(0, rank=4), x.constant(1)
    if len(size) != 2 or any(not 1 <= n <= MAX_MADE for n in size):
        raise x.bad(f"size {size}, expected a height and a width of 1..{MAX_MADE}")
    if x.node.op == "RESIZE_BILINEAR" and x.attr("align_corners") and x.attr("half_pixel_centers"):
        raise x.bad("both align_corners and half_pixel_centers are set, expected at most one")
    return [(batch, *size, depth)]


RULES: dict[str, Rule] = dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), _resize)
