"""Durations and sizes: what is accepted, what is refused, and the fix that is shown."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from edge_agent.spec.units import duration, size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10),
        ("500ms", 0.5),
        ("2 h", 7200),
        ("1.5m", 90),
        ("20us", 2e-5),
        ("30d", 2592000),
        (" 1s ", 1),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "number"), [("96MiB", 96 << 20), ("1GB", 10**9), ("1.5KiB", 1536), ("7B", 7), ("4 GiB", 4 << 30)]
)
def test_sizes(text: str, number: int) -> None:
    assert size(text) == number


@pytest.mark.parametrize(
    ("convert", "got", "message", "hint"),
    [
        (duration, 10, "10 has no unit, expected a duration", 'did you mean "10s"?'),
        (duration, 0.5, "0.5 has no unit", 'did you mean "0.5s"?'),
        (duration, "10", "10 has no unit", 'did you mean "10s"?'),
        (duration, "5 min", '"5 min" is not a duration, expected a number', 'did you mean "5m"?'),
        (duration, "3 hours", "is not a duration", 'did you mean "3h"?'),
        (duration, "10S", "is not a duration", 'did you mean "10s"?'),
        (duration, "2 weeks", "is not a duration", 'such as "10s"'),
        (duration, "-1s", '"-1s" is not a duration', 'such as "10s"'),
        (duration, "", '"" is not a duration', 'such as "10s"'),
        (duration, True, "True is not a duration", 'such as "10s"'),
        (duration, None, "is not a duration", 'such as "10s"'),
        (duration, "1e3s", "is not a duration", 'such as "10s"'),
        (duration, "9" * 400 + "s", "is not a duration", 'such as "10s"'),
        (duration, "٣s", "is not a duration", 'such as "10s"'),
        (size, 96, "96 has no unit, expected a size", 'did you mean "96MiB"?'),
        (size, "96mb", "is not a size, expected a number and one of B, KB", 'did you mean "96MB"?'),
        (size, "10 bytes", "is not a size", 'did you mean "10B"?'),
    ],
)  # fmt: skip
def test_refusals(convert: Any, got: Any, message: str, hint: str) -> None:
    with pytest.raises(ValueError) as caught:
        convert(got)
    error = caught.value
    assert isinstance(error, PydanticCustomError)
    assert message in error.message()
    assert error.context is not None and error.context["hint"] == hint
