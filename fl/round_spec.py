"""A plan of rounds: one TOML file -> `Plan`, or every problem in it with its place.

```toml
schema = 1
[plan]
name = "digits"
rounds = 20
boards = "50%"       # of the boards that are there, or how many
min = 3              # updates without which a round does not count
extra = "30%"        # further boards invited, so that slow ones need not be waited for
deadline = "30s"
[train]
steps = 20           # minibatches on the board, per round
batch = 16
lr = 0.5
seed = 7
[data]
features = 64
classes = 10
```
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tomli
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from cloud_broker.wire.messages import Name
from fl.client import MAX_LABEL, Train

UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class PlanError(ValueError):
    """All that is wrong with a plan, one line each: file, path of the key, what was expected."""


def _share(value: Any) -> float:
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a share: expected a percentage such as "20%"')
    return float(match[1]) / 100


def _boards(value: Any) -> int | float:
    """A count as int, a share as float."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    share = _share(value)
    if not 0 < share <= 1:
        raise ValueError(f'{value!r} of the boards: expected more than "0%" and at most "100%"')
    return share


def _seconds(value: Any) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]+)", value.strip()) if isinstance(value, str) else None
    if match and match[2] in UNITS:
        return float(match[1]) * UNITS[match[2]]
    if re.fullmatch(r"\d+(\.\d+)?", str(value)):
        raise ValueError(f'{value!r} has no unit of time; did you mean "{value}s"?')
    raise ValueError(f"{value!r} is not a duration: expected a number and one of {', '.join(UNITS)}")


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Rounds(Table):
    """[plan]"""

    name: Name
    rounds: Annotated[int, Field(ge=1, le=100_000)]
    boards: Annotated[int | float, BeforeValidator(_boards), Field(gt=0)] = 1.0
    min: Annotated[int, Field(ge=1)] = 1
    extra: Annotated[float, BeforeValidator(_share), Field(le=10)] = 0.0
    deadline: Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=30 * 86400)] = 60.0
    max_examples: Annotated[int, Field(ge=1, le=1 << 40)] = 1_000_000
    """What one board may claim; the weight of a lie is bounded by it."""

    def wanted(self, boards: int) -> int:
        """Updates to wait for when `boards` are there."""
        share = isinstance(self.boards, float)
        return min(boards, max(self.min, math.ceil(self.boards * boards) if share else int(self.boards)))

    def invited(self, boards: int) -> int:
        """Boards to invite, so that slow ones need not be waited for."""
        return min(boards, math.ceil(self.wanted(boards) * (1 + self.extra)))

    @model_validator(mode="after")
    def _can_reach_quorum(self) -> Rounds:
        if isinstance(self.boards, int) and self.boards < self.min:
            raise ValueError(f"min = {self.min} updates cannot come from boards = {self.boards}")
        return self


class Shape(Table):
    """[data]"""

    features: Annotated[int, Field(ge=1, le=1_000_000)]
    classes: Annotated[int, Field(ge=2, le=MAX_LABEL + 1)]


class Plan(Table):
    schema_: Annotated[Literal[1], Field(alias="schema")]
    plan: Rounds
    train: Train = Train()
    data: Shape


def load(text: str, name: str) -> Plan:
    """The plan in `text`; `name` is what errors call the file. Raises PlanError with every problem."""
    try:
        document = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers too long and tables too deep
        raise PlanError(f"{name}: not TOML: {error}") from None
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        raise PlanError("\n".join(_line(name, problem) for problem in error.errors())) from None


KEYS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): Plan,
    ("plan",): Rounds,
    ("train",): Train,
    ("data",): Shape,
}


def _line(name: str, problem: Any) -> str:
    path = tuple(str(part) for part in problem["loc"])
    where = f"{name}: {'.'.join(path)}: "
    if problem["type"] == "missing":
        return where + "this key is missing"
    if problem["type"] != "extra_forbidden":
        return where + str(problem["msg"]).removeprefix("Value error, ")
    keys = [field.alias or key for key, field in KEYS[path[:-1]].model_fields.items()]
    near = difflib.get_close_matches(path[-1], keys, 1)
    return f"{where}unknown key{f'; did you mean `{near[0]}`?' if near else ''} keys here: {', '.join(keys)}"
