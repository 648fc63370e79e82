"""A `[streams.x]` section as a chain of pure operators over batches: filter, map, key_by, window, aggregate.

Expressions are `edge_agent.spec.expressions`'; the windows themselves live in `edge_agent.windows`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from edge_agent.events import Batch, Column, ItemError, evaluate
from edge_agent.evidence import Counts
from edge_agent.pipeline import StageBase
from edge_agent.spec.expressions import Expression, compile_aggregate, compile_expression
from edge_agent.spec.model import Stream
from edge_agent.windows import Tumbling


class Formula:
    """An expression over batches."""

    def __init__(self, text: str) -> None:
        self._expression: Expression = compile_expression(text)

    def column(self, batch: Batch) -> Column:
        """One value per row. Raises ItemError."""
        return evaluate(self._expression.names, self._expression.evaluate, batch)

    def holds(self, batch: Batch) -> Batch:
        """The rows for which the value is true. Raises ItemError."""
        mask = self.column(batch).astype(np.bool_)
        return batch if mask.all() else batch.where(mask)


class StreamStage(StageBase):
    def __init__(self, spec: Stream) -> None:
        self._spec = spec
        self._filter = Formula(spec.filter) if spec.filter else None
        self._map = {name: Formula(text) for name, text in spec.map.items()}
        aggregates = {name: compile_aggregate(text) for name, text in spec.aggregate.items()}
        self._kinds = {name: aggregate.kind for name, aggregate in aggregates.items()}
        self._values = {
            name: aggregate.expression for name, aggregate in aggregates.items() if aggregate.expression
        }
        self._window = Tumbling(spec.window, self._kinds) if spec.window else None
        if spec.window:
            self.silence = spec.window.idle

    def counts(self) -> Counts:
        return Counts(late=self._window.late if self._window else 0)

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        if self._filter:
            batch = self._filter.holds(batch)
        for name, formula in self._map.items():
            if len(batch):
                batch = Batch(batch.times, {**batch.columns, name: formula.column(batch)})
        if not len(batch):
            return []
        if self._window is None:
            return [batch]
        values = {name: evaluate(x.names, x.evaluate, batch) for name, x in self._values.items()}
        self._check_numbers(values)
        return self._window.push(batch.times, self._keys(batch), values, now)

    def _keys(self, batch: Batch) -> Sequence[Hashable]:
        name = self._spec.key_by
        if name is None:
            return [None] * len(batch)
        if name not in batch.columns:
            raise ItemError(f"no column `{name}` to group by; columns here: {', '.join(batch.columns)}")
        keys: list[Hashable] = batch.columns[name].tolist()
        return keys

    def _check_numbers(self, values: dict[str, Column]) -> None:
        for name, column in values.items():
            if column.dtype == np.object_ and self._kinds[name] not in ("first", "last"):
                raise ItemError(f"{self._kinds[name]} for `{name}` needs numbers, got {column[0]!r}")

    def tick(self, now: float) -> list[Batch]:
        return self._window.tick(now) if self._window else []

    def due(self) -> float | None:
        return self._window.due() if self._window else None
