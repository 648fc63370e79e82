from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter

from edge_agent import preprocess
from edge_agent.events import ItemError
from edge_agent.spec.model import Post, Pre

IMAGE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def steps(*rows: dict[str, Any]) -> list[Any]:
    return TypeAdapter(list[Pre]).validate_python(list(rows))


def posts(*rows: dict[str, Any]) -> list[Any]:
    return TypeAdapter(list[Post]).validate_python(list(rows))


def test_columns_become_a_row_in_their_order() -> None:
    item = {"a": 1, "b": 2.5, "c": True}
    x = preprocess.apply(steps({"op": "columns", "names": ["b", "a", "c"]}, {"op": "scale", "by": 2}), item)
    assert x.dtype == np.float32 and x.tolist() == [[5.0, 2.0, 2.0]]


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"b": 1}, "no column `a` in this item; columns here: b"),
        ({"a": "x"}, "column `a` is 'x'; the model needs a number"),
        ({"a": None}, "column `a` is None; the model needs a number"),
    ],
)
def test_columns_need_numbers(item: dict[str, Any], error: str) -> None:
    with pytest.raises(ItemError, match=error):
        preprocess.apply(steps({"op": "columns", "names": ["a"]}), item)


def test_gray_weighs_colours_as_pillow_does() -> None:
    gray = preprocess.apply(steps({"op": "gray"}), {"image": IMAGE})
    pillow = np.asarray(Image.fromarray(IMAGE).convert("L"), np.float32)
    assert gray.shape == (4, 6, 1)
    assert np.abs(gray[:, :, 0] - pillow).max() <= 1.0  # Pillow rounds


@pytest.mark.parametrize("size", [(3, 2), (2, 2), (6, 4), (5, 3), (12, 8)])
def test_resize_averages_areas(size: tuple[int, int]) -> None:
    x = preprocess.apply(steps({"op": "resize", "size": size}), {"image": IMAGE})
    assert x.shape == (size[1], size[0], 3)
    assert x.mean() == pytest.approx(IMAGE.mean(), rel=1e-5)
    if size == (3, 2):
        assert np.allclose(x, IMAGE.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3)))


@given(st.integers(1, 40), st.integers(1, 40))
def test_resize_keeps_a_flat_image_flat(source: int, target: int) -> None:
    flat = np.full((source, source, 3), 77, np.uint8)
    x = preprocess.apply(steps({"op": "resize", "size": [target, target]}), {"image": flat})
    assert np.allclose(x, 77.0, atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], (None, None, 3)),
        ([{"op": "gray"}], (None, None, 1)),
        ([{"op": "gray"}, {"op": "resize", "size": [8, 16]}, {"op": "scale"}], (16, 8, 1)),
        ([{"op": "columns", "names": ["a", "b"]}], (1, 2)),
    ],
)
def test_shapes_are_known_before_any_item(rows: list[dict[str, Any]], expected: tuple[Any, ...]) -> None:
    assert preprocess.shape(steps(*rows)) == expected


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([{"op": "columns", "names": ["a"]}, {"op": "gray"}], "`gray` works on an image"),
        ([{"op": "gray"}, {"op": "columns", "names": ["a"]}], "can only be the first step"),
    ],
)
def test_steps_that_do_not_fit_are_refused(rows: list[dict[str, Any]], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        preprocess.shape(steps(*rows))


def test_an_item_without_an_image_is_refused() -> None:
    with pytest.raises(ItemError, match="no column `image` in this item; columns here: v"):
        preprocess.apply(steps({"op": "gray"}), {"v": 1})


FED = np.array([[0.0, 1.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("row", "output", "expected"),
    [
        ({"op": "argmax"}, [0.1, 0.7, 0.2], {"label": 1, "score": pytest.approx(0.7)}),
        (
            {"op": "argmax", "labels": ["cat", "dog", "cow"]},
            [0.1, 0.2, 0.7],
            {"label": "cow", "score": pytest.approx(0.7)},
        ),
        ({"op": "error"}, [0.0, 1.0, 5.0], {"error": 3.0}),
        ({"op": "output", "name": "y"}, [1.0, 2.0, 3.0], {"y": [1.0, 2.0, 3.0]}),
    ],
)
def test_post_steps_add_columns(row: dict[str, Any], output: list[float], expected: dict[str, Any]) -> None:
    assert preprocess.outcome(posts(row), FED, np.array([output], np.float32)) == expected


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"op": "argmax", "labels": ["cat"]}, "class 1 has no name: 1 labels"),
        ({"op": "error"}, "shapes are \\(1, 3\\) and \\(1, 2\\)"),
    ],
)
def test_post_steps_that_do_not_fit_are_refused(row: dict[str, Any], error: str) -> None:
    with pytest.raises(ItemError, match=error):
        preprocess.outcome(posts(row), FED, np.array([[0.0, 1.0]], np.float32))
