"""How a release spreads: steps, hold, when to advance, when to stop. From a spec's [deploy] or a rollout
spec's [rollout].

```toml
schema = 1
[rollout]
to = "all"                       # or names of boards: "dock-1, dock-2"
steps = ["1 board", "25%", "100%"]
hold = "10m"                     # how long a step stays all good before the next one opens
advance_if = "ok_rate >= 95%"    # of the boards that finished
abort_if = "failed >= 3 or failed_rate > 5% and finished >= 20"
on_abort = "rollback"            # or "pause": wait for a person
timeout = "10m"                  # per board, from its notice to its last word
reach = "90s"                    # a board silent for longer is not waited for
```
Every value is kept in the words it was written in, so a stored policy reads like its file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Any, Literal

import tomli
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError, field_validator

from cloud_broker.wire.topics import BOARD_ID

UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
FAILURES_FOR_RATE = 20
"""A failure rate counts from this many finished boards on, unless the rule names its own minimum."""


class PolicyError(ValueError):
    """All that is wrong with a policy, one line each."""


@dataclass(frozen=True, slots=True)
class Step:
    """The boards whose hash is below `share`, and at least `count` boards."""

    text: str
    share: float
    count: int

    @staticmethod
    def parse(text: object) -> Step:
        if isinstance(text, str):
            if match := re.fullmatch(r"(\d+) boards?", text.strip()):
                if count := int(match[1]):
                    return Step(text, 0.0, count)
            elif (share := _percent(text)) is not None and 0 < share <= 1:
                return Step(text, share, 1)
        raise ValueError(f'{text!r} is not a step: expected "3 boards" or a share such as "25%"')


@dataclass(frozen=True, slots=True)
class Duration:
    text: str
    seconds: float

    @staticmethod
    def parse(text: object) -> Duration:
        match = (
            re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", text.strip()) if isinstance(text, str) else None
        )
        if match:
            return Duration(match[0], float(match[1]) * UNITS[match[2]])
        if re.fullmatch(r"\d+(\.\d+)?", str(text)):
            raise ValueError(f'{text!r} has no unit of time; did you mean "{text}s"?')
        raise ValueError(f"{text!r} is not a duration: expected a number and one of {', '.join(UNITS)}")


@dataclass(frozen=True, slots=True)
class AdvanceRule:
    """Enough of the finished boards are good."""

    text: str
    ok_rate: float

    @staticmethod
    def parse(text: object) -> AdvanceRule:
        match = re.fullmatch(r"ok_rate\s*>=\s*([\d.]+%?)", text.strip()) if isinstance(text, str) else None
        rate = _rate(match[1]) if match else None
        if rate is None:
            raise ValueError(f'{text!r} is not a rule to advance by: expected "ok_rate >= 95%"')
        return AdvanceRule(str(text), rate)

    def holds(self, good: int, failed: int) -> bool:
        return good >= self.ok_rate * (good + failed)


@dataclass(frozen=True, slots=True)
class AbortRule:
    """Any of `clauses`: (failures at least, failure rate above, finished boards at least)."""

    text: str
    clauses: tuple[tuple[int, float, int], ...]

    @staticmethod
    def parse(text: object) -> AbortRule:
        parts = text.split(" or ") if isinstance(text, str) else []
        clauses = [_abort_clause(part.strip()) for part in parts]
        if not clauses or None in clauses:
            raise ValueError(
                f'{text!r} is not a rule to abort by: expected "failed >= 3", '
                '"failed_rate > 5% and finished >= 20", or both joined by "or"'
            )
        return AbortRule(str(text), tuple(clause for clause in clauses if clause is not None))

    def holds(self, good: int, failed: int) -> bool:
        finished = good + failed
        return any(
            failed >= failures and failed > rate * finished and finished >= least
            for failures, rate, least in self.clauses
        )


def _abort_clause(text: str) -> tuple[int, float, int] | None:
    if match := re.fullmatch(r"failed\s*>=\s*([1-9]\d*)", text):
        return int(match[1]), 0.0, 0
    if match := re.fullmatch(r"failed_rate\s*>\s*([\d.]+%?)(?:\s+and\s+finished\s*>=\s*(\d+))?", text):
        rate = _rate(match[1])
        return None if rate is None else (1, rate, int(match[2] or FAILURES_FOR_RATE))
    return None


def _percent(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", text.strip())
    return float(match[1]) / 100 if match else None


def _rate(text: str) -> float | None:
    """A share written as 95% or 0.95."""
    share = _percent(text)
    if share is None and re.fullmatch(r"\d(\.\d+)?", text):
        share = float(text)
    return share if share is not None and share <= 1 else None


def _in_words(value: Any) -> str:
    return str(value.text)


def _reads(kind: type[Any]) -> Any:
    return PlainValidator(lambda value: value if isinstance(value, kind) else kind.parse(value))


_words = PlainSerializer(_in_words)


class Policy(BaseModel):
    """A rollout's rules; frozen, and written back in the words it was read from."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    to: str = "all"
    steps: tuple[Annotated[Step, _reads(Step), _words], ...] = tuple(
        Step.parse(text) for text in ("1 board", "25%", "100%")
    )
    hold: Annotated[Duration, _reads(Duration), _words] = Duration.parse("5s")
    advance_if: Annotated[AdvanceRule, _reads(AdvanceRule), _words] = AdvanceRule.parse("ok_rate >= 95%")
    abort_if: Annotated[AbortRule, _reads(AbortRule), _words] = AbortRule.parse("failed >= 1")
    on_abort: Literal["rollback", "pause"] = "rollback"
    timeout: Annotated[Duration, _reads(Duration), _words] = Duration.parse("10m")
    reach: Annotated[Duration, _reads(Duration), _words] = Duration.parse("90s")

    @field_validator("to")
    @classmethod
    def _names_boards(cls, to: str) -> str:
        wrong = [name for name in _names(to) if not BOARD_ID.fullmatch(name)]
        if wrong or not _names(to):
            raise ValueError(f'{to!r}: expected "all" or names of boards such as "dock-1, dock-2"')
        return to

    @field_validator("steps")
    @classmethod
    def _reach_everyone(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not steps or steps[-1].share != 1:
            raise ValueError('the last step must be "100%", so that every board has its turn')
        grows = [(step.share, step.count if step.share == 0 else 0) for step in steps]
        if any(later <= earlier for earlier, later in pairwise(grows)):
            raise ValueError("each step must be larger than the one before, counts of boards before shares")
        return steps

    @cached_property
    def boards(self) -> frozenset[str] | None:
        """The only boards to reach, None for all."""
        return None if self.to == "all" else frozenset(_names(self.to))

    def covers(self, board: str) -> bool:
        return self.boards is None or board in self.boards


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def policy(values: Mapping[str, Any], name: str) -> Policy:
    """The policy in a table. Raises PolicyError naming every wrong value as `name.key`."""
    try:
        return Policy.model_validate(dict(values))
    except ValidationError as error:
        raise PolicyError("\n".join(_line(name, item) for item in error.errors())) from None


def from_spec(text: str, name: str) -> Policy:
    """The policy of a task spec, perhaps the default one. Raises PolicyError."""
    return from_deploy(_document(text, name).get("deploy", {}), name)


def from_deploy(values: Any, name: str) -> Policy:
    """The policy in a task spec's [deploy]; its `probation` is the board's affair. Raises PolicyError."""
    if not isinstance(values, dict):
        raise PolicyError(f"{name}: deploy: expected a table, got {str(values)[:80]}")
    return policy({key: value for key, value in values.items() if key != "probation"}, f"{name}: deploy")


def load(text: str, name: str) -> Policy:
    """The policy in a rollout spec; `name` is what errors call the file. Raises PolicyError."""
    document = _document(text, name)
    table = document.get("rollout")
    if document.get("schema") != 1 or not isinstance(table, dict) or set(document) != {"schema", "rollout"}:
        raise PolicyError(
            f"{name}: expected `schema = 1` and one table [rollout], got {', '.join(document) or 'nothing'}"
        )
    return policy(table, f"{name}: rollout")


def _document(text: str, name: str) -> dict[str, Any]:
    try:
        return tomli.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers too long and tables too deep
        raise PolicyError(f"{name}: not TOML: {error}") from None


def _line(name: str, item: Mapping[str, Any]) -> str:
    where = ".".join([name, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        return f"{where}: unknown key; keys here: {', '.join(Policy.model_fields)}"
    return f"{where}: {str(item['msg']).removeprefix('Value error, ')}"
