"""Events as columnar micro-batches: event times beside named columns, and the way from rows and back.

A batch is uniform: every row has the same columns with the same kinds of values. `batches` cuts a run of
rows wherever that changes, so what an operator does to a row never depends on its neighbours, and neither
does a replay's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.spec.model import Item

Floats = NDArray[np.float64]
Column = NDArray[Any]


class ItemError(ValueError):
    """One item cannot be processed; it is counted with this text and the task goes on."""


class Row(NamedTuple):
    """One event: seconds since the epoch, and its fields."""

    time: float
    item: Item


@dataclass(frozen=True, slots=True)
class Batch:
    """`times` [n] and columns of length n: bool, int64 and float64 arrays, object arrays for anything
    else."""

    times: Floats
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.times)

    def rows(self) -> list[Row]:
        """The rows with plain Python values."""
        names = tuple(self.columns)
        values = [column.tolist() for column in self.columns.values()]
        if not names:
            return [Row(time, {}) for time in self.times.tolist()]
        return [
            Row(time, dict(zip(names, fields, strict=True)))
            for time, *fields in zip(self.times.tolist(), *values, strict=True)
        ]

    def where(self, mask: NDArray[np.bool_]) -> Batch:
        return Batch(self.times[mask], {name: column[mask] for name, column in self.columns.items()})

    def singles(self) -> Iterator[Batch]:
        """Each row as a batch of its own."""
        for i in range(len(self)):
            yield Batch(
                self.times[i : i + 1], {name: column[i : i + 1] for name, column in self.columns.items()}
            )


def batches(rows: Iterable[Row]) -> list[Batch]:
    """Uniform batches of consecutive rows, in order."""
    return [_batch(list(run)) for _, run in groupby(rows, key=_shape)]


def _shape(row: Row) -> tuple[tuple[str, type], ...]:
    return tuple((name, _kind(value)) for name, value in row.item.items())


def _kind(value: Any) -> type:
    """The column type a value needs."""
    if isinstance(value, bool | np.bool_):
        return bool
    if isinstance(value, int | np.integer) and -(2**63) <= value < 2**63:
        return int
    return float if isinstance(value, float | np.floating) else object


def _batch(rows: Sequence[Row]) -> Batch:
    times = np.array([row.time for row in rows], np.float64)
    return Batch(
        times, {name: column([row.item[name] for row in rows]) for name in rows[0].item} if rows else {}
    )


def column(values: Sequence[Any]) -> Column:
    """A column of values that are all of one kind (the first one's)."""
    kind = _kind(values[0])
    if kind is object:
        column = np.empty(len(values), object)
        for i, value in enumerate(values):  # one by one: a slice would unpack values that are sequences
            column[i] = value
        return column
    return np.array(values, {bool: np.bool_, int: np.int64, float: np.float64}[kind])


def full(value: Any, n: int) -> Column:
    """What an expression gave, as a column of length n; a scalar is repeated."""
    array = np.asarray(value)
    if array.shape == (n,):
        return array
    if array.ndim:
        raise ItemError(f"expected one value per event, got an array of shape {array.shape} for {n} events")
    return column([array.item()] * n) if n else np.empty(0, object)


def evaluate(names: Iterable[str], run: Callable[[Mapping[str, Column]], Any], batch: Batch) -> Column:
    """An expression's value per row. Raises ItemError for a column that the rows lack or a value of the
    wrong type."""
    missing = [name for name in names if name not in batch.columns]
    if missing:
        have = ", ".join(batch.columns) or "none"
        raise ItemError(f"no column `{missing[0]}` in this event; columns here: {have}")
    try:
        with np.errstate(all="ignore"):
            return full(run(batch.columns), len(batch))
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ItemError(str(error)) from None
