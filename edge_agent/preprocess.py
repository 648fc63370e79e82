"""What happens to an item before and after its model: steps as rows of two tables, in NumPy.

Before: item -> float32 tensor. Images are height x width x channels. After: the model's first input and
output, both in real units -> columns added to the item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.events import ItemError
from edge_agent.spec.model import (
    ArgmaxStep,
    ColumnsStep,
    ErrorStep,
    GrayStep,
    Item,
    OutputStep,
    Post,
    Pre,
    ResizeStep,
    ScaleStep,
)

Tensor = NDArray[np.float32]
Shape = tuple[int | None, ...]
"""None: known only when an item is there."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601, as Pillow and OpenCV weigh red, green and blue."""


def apply(steps: Sequence[Pre], item: Item) -> Tensor:
    """The tensor an item becomes. Raises ItemError."""
    x = _image(item) if not steps or steps[0].op != "columns" else np.empty(0, np.float32)
    for step in steps:
        x = _PRE[type(step)][0](step, x, item)
    return x


def shape(steps: Sequence[Pre]) -> Shape:
    """The shape that `apply` gives. Raises ValueError when steps do not fit together."""
    known: Shape = (None, None, 3)
    for i, step in enumerate(steps):
        if isinstance(step, ColumnsStep) and i > 0:
            raise ValueError("`columns` starts a row of numbers: it can only be the first step")
        if isinstance(step, GrayStep | ResizeStep) and len(known) != 3:
            raise ValueError(f"`{step.op}` works on an image, not on columns")
        known = _PRE[type(step)][1](step, known)
    return known


def outcome(steps: Sequence[Post], fed: Tensor, output: Tensor) -> Item:
    """The columns that the steps add. Raises ItemError."""
    added: Item = {}
    for step in steps:
        added |= _POST[type(step)](step, fed, output)
    return added


# --- before -------------------------------------------------------------------------------------------------


def _image(item: Item) -> Tensor:
    image = item.get("image")
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        have = ", ".join(item) or "none"
        raise ItemError(f"no column `image` in this item; columns here: {have}")
    return image.astype(np.float32)


def _columns(step: ColumnsStep, _x: Tensor, item: Item) -> Tensor:
    row = np.empty((1, len(step.names)), np.float32)
    for i, name in enumerate(step.names):
        value = item.get(name)
        if isinstance(value, bool | int | float):
            row[0, i] = value
        else:
            raise ItemError(
                f"column `{name}` is {value!r}; the model needs a number"
                if name in item
                else f"no column `{name}` in this item; columns here: {', '.join(item) or 'none'}"
            )
    return row


def _gray(_step: GrayStep, x: Tensor, _item: Item) -> Tensor:
    return x if x.shape[2] == 1 else (x[:, :, :3] @ LUMA)[:, :, None]


def _resize(step: ResizeStep, x: Tensor, _item: Item) -> Tensor:
    width, height = step.size
    resized: Tensor = np.einsum(
        "ij,jkc,lk->ilc", _area(x.shape[0], height), x, _area(x.shape[1], width), optimize=True
    )
    return resized


def _area(source: int, target: int) -> Tensor:
    """[target, source]: the share of each source pixel in each target pixel, whose rows sum to 1."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0)
    shares: Tensor = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


def _scale(step: ScaleStep, x: Tensor, _item: Item) -> Tensor:
    return x * np.float32(step.by) + np.float32(step.offset)


_PRE: dict[type, tuple[Callable[[Any, Tensor, Item], Tensor], Callable[[Any, Shape], Shape]]] = {
    ColumnsStep: (_columns, lambda step, _: (1, len(step.names))),
    GrayStep: (_gray, lambda _, known: (*known[:2], 1)),
    ResizeStep: (_resize, lambda step, known: (step.size[1], step.size[0], known[2])),
    ScaleStep: (_scale, lambda _, known: known),
}


# --- after --------------------------------------------------------------------------------------------------


def _argmax(step: ArgmaxStep, _fed: Tensor, output: Tensor) -> Item:
    scores = output.ravel()
    best = int(scores.argmax())
    if step.labels and best >= len(step.labels):
        raise ItemError(f"the model's class {best} has no name: {len(step.labels)} labels are given")
    return {"label": step.labels[best] if step.labels else best, "score": float(scores[best])}


def _error(_step: ErrorStep, fed: Tensor, output: Tensor) -> Item:
    if fed.size != output.size:
        raise ItemError(
            f"`error` compares input and output, but their shapes are {fed.shape} and {output.shape}"
        )
    return {"error": float(np.mean((fed.ravel() - output.ravel()) ** 2, dtype=np.float64))}


def _output(step: OutputStep, _fed: Tensor, output: Tensor) -> Item:
    return {step.name: output.ravel().tolist()}


_POST: dict[type, Callable[[Any, Tensor, Tensor], Item]] = {
    ArgmaxStep: _argmax,
    ErrorStep: _error,
    OutputStep: _output,
}
