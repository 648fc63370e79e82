from collections.abc import Callable
from typing import Any

import pytest

from edge_agent.clock import ManualClock
from edge_agent.events import Batch, ItemError, Row, batches
from edge_agent.evidence import Ledger
from edge_agent.inbox import Entry
from edge_agent.pipeline import Breach, Pipeline, Plan, StageBase, Stop
from edge_agent.spec.model import Item, Limits, Run

Function = Callable[[Item], Item]


class Each(StageBase):
    """Applies a function to every item, and remembers what it saw."""

    def __init__(self, function: Function = lambda item: item) -> None:
        self.function = function
        self.seen: list[Item] = []
        self.resets = 0

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        rows = [Row(row.time, self.function(row.item)) for row in batch.rows()]
        self.seen += [row.item for row in rows]
        return batches(rows)

    def reset(self) -> None:
        self.resets += 1


class World:
    """A pipeline "s" -> work -> "out", fed and worked by hand."""

    def __init__(self, work: Function, run: Any = None, limits: Any = None) -> None:
        self.clock, self.ledger = ManualClock(100.0), Ledger(0.0)
        self.work, self.out = Each(work), Each()
        plan = Plan(
            {"work": self.work, "out": self.out},
            {"s": ["work"], "work": ["out"]},
            ("work",),
            frozenset({"work"}),
            Run.model_validate(run or {}),
            Limits.model_validate(limits or {}),
        )
        self.pipeline = Pipeline(plan, self.clock, self.ledger)

    def feed(self, *values: Any, time: float | None = None) -> None:
        now = self.clock.now()
        rows = [Row(now if time is None else time, {"v": value}) for value in values]
        self.pipeline.feed(Entry(i, "s", row, now) for i, row in enumerate(rows))

    def finish(self) -> list[Any]:
        while self.pipeline.work():
            pass
        return [item["v"] for item in self.out.seen]


def invert(item: Item) -> Item:
    if item["v"] == 0:
        raise ItemError("zero has no inverse")
    return {"v": 1 / item["v"]}


def test_a_bad_item_is_counted_with_its_text_and_takes_nobody_with_it() -> None:
    world = World(invert)
    world.feed(1, 0, 2, 0, 4)
    assert world.finish() == [1.0, 0.5, 0.25]
    evidence = world.ledger.evidence()
    assert (evidence.events, evidence.results, evidence.errors) == (5, 3, 2)
    assert evidence.last_error == "work: zero has no inverse"


def test_errors_we_did_not_write_are_told_with_their_type_and_cut() -> None:
    world = World(lambda item: item["x" * 5000])
    world.feed(1)
    world.finish()
    error = world.ledger.evidence().last_error or ""
    assert error.startswith("work: KeyError: 'xxx") and len(error) < 2100


def test_queued_work_is_bounded_and_the_oldest_goes() -> None:
    world = World(dict, run={"mode": "queued", "max": 3})
    world.feed(1, 2, 3, 4, 5)
    assert world.finish() == [3, 4, 5]
    assert world.ledger.evidence().dropped == 2


def test_single_drops_what_fires_meanwhile() -> None:
    world = World(dict, run={"mode": "single"})

    def slow(item: Item) -> Item:
        world.clock.advance(2.0)
        return item

    world.work.function = slow
    world.feed(1, 2, 3)
    world.clock.advance(1.0)
    assert world.finish() == [1]
    world.clock.advance(1.0)
    world.feed(4)
    assert world.finish() == [1, 4]
    assert world.ledger.evidence().dropped == 2


def test_debounce_is_in_event_time() -> None:
    world = World(dict, run={"debounce": "5s"})
    for time in (0.0, 3.0, 5.0, 9.9, 10.0):
        world.feed(time, time=time)
    assert world.finish() == [0.0, 5.0, 10.0]
    assert world.ledger.evidence().dropped == 2


@pytest.mark.parametrize(("on_breach", "resets"), [("skip", 0), ("restart", 1)])
def test_an_item_past_the_deadline_is_counted(on_breach: str, resets: int) -> None:
    world = World(dict, limits={"deadline": "1s", "on_breach": on_breach})

    def slow(item: Item) -> Item:
        world.clock.advance(1.5)
        return item

    world.work.function = slow
    world.feed(1)
    assert world.finish() == [1]
    assert world.ledger.evidence().last_error == "an item took 1.5 s, limits.deadline is 1 s"
    assert world.work.resets == resets


def breach(_: Item) -> Item:
    raise Breach("killed after 1 s")


def test_on_breach_stop_ends_the_task_with_the_cause() -> None:
    world = World(breach, limits={"on_breach": "stop"})
    world.feed(1)
    with pytest.raises(Stop, match="killed after 1 s"):
        world.finish()
    assert world.ledger.evidence().errors == 1


def test_on_breach_restart_resets_the_stage() -> None:
    world = World(breach, limits={"on_breach": "restart"})
    world.feed(1, 2)
    assert world.finish() == []
    assert (world.work.resets, world.ledger.evidence().errors) == (2, 2)


def test_rows_of_one_source_travel_together() -> None:
    sizes: list[int] = []

    class Sizes(Each):
        def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:
            sizes.append(len(batch))
            return super().push(origin, batch, now)

    plan = Plan({"x": Sizes()}, {"a": ["x"], "b": ["x"]})
    pipeline = Pipeline(plan, ManualClock(), Ledger(0.0))
    pipeline.feed(Entry(i, name, Row(0.0, {"v": i}), i / 100) for i, name in enumerate("aaabba"))
    assert sizes == [3, 2, 1]
