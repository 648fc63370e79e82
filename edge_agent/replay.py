"""A task over a recording, on a virtual clock: what `[[test]]` and `walle run --replay` do.

Same stages, same order, same bytes as live: the clock stands at each record's time, and everything that
falls due in between (idle windows, schedules) happens at its own time. Sinks only record. Without a `time`
field in its source, a record's own column `time` (seconds) says when it arrived; without that, a second
after the one before.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_agent.clock import ManualClock
from edge_agent.events import ItemError, Row, batches
from edge_agent.evidence import Evidence, Ledger, StartError
from edge_agent.inbox import Entry, event_time
from edge_agent.model_step import OpenModel
from edge_agent.pipeline import Pipeline, Stop
from edge_agent.sinks.base import Recorder
from edge_agent.sources.file import Format, records
from edge_agent.sources.folder import decode
from edge_agent.spec.model import Expect, FileSource, FolderSource, Item, Source, Spec, Test, TimeField
from edge_agent.streams import Formula
from edge_agent.topology import Context, assemble

TIME = TimeField(field="time")
STEP = 1.0
"""Seconds between records that do not tell their time."""
MAX_TICKS = 100_000
"""Things that may fall due between two records."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """One `[[test]]`: what was expected of each sink and what came; `detail` tells of errors on the way."""

    __test__ = False
    name: str
    passed: bool
    expected: str
    got: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What reached each sink, and the task's evidence at the end."""

    sinks: Mapping[str, list[Row]]
    evidence: Evidence


def run_tests(spec: Spec, directory: Path, *, open_model: OpenModel) -> list[TestResult]:
    """Every `[[test]]` of the spec, in order; what cannot even run is a failure with its cause."""
    return [_run_test(test, spec, directory, open_model) for test in spec.test]


def replay(spec: Spec, directory: Path, file: Path, *, open_model: OpenModel) -> dict[str, list[Item]]:
    """What the task makes of a recording of its first source: sink -> items. Raises StartError or OSError."""
    outcome = play(spec, directory, file, next(iter(spec.sources)), open_model)
    return {name: [row.item for row in rows] for name, rows in outcome.sinks.items()}


def play(spec: Spec, directory: Path, file: Path, source: str, open_model: OpenModel) -> Outcome:
    """Let the records of `file` come in through `source`. Raises StartError, or OSError for the file."""
    section = spec.sources[source]
    first = next(iter(_arrivals(section, file, Ledger(0.0))), None)
    clock = ManualClock(first.time if first else 0.0)
    ledger = Ledger(clock.now())
    recorders: dict[str, Recorder] = {name: Recorder() for name in spec.sinks}
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        context = Context("replay", state, state, None, clock, open_model, recorders.__getitem__)
        pipeline = assemble(spec, directory, context, ledger).pipeline
        try:
            _drive(pipeline, clock, _arrivals(section, file, ledger), source)
        except Stop as stop:
            ledger.failed(str(stop))
        finally:
            pipeline.close()
    return Outcome({name: recorder.rows for name, recorder in recorders.items()}, ledger.evidence())


def _drive(pipeline: Pipeline, clock: ManualClock, rows: Iterator[Row], source: str) -> None:
    for order, row in enumerate(rows):
        _pass(pipeline, clock, row.time)
        pipeline.feed([Entry(order, source, row, clock.now())])
        _work(pipeline)
    while (closing := pipeline.closing()) is not None:  # silence closes the windows that are open
        _pass(pipeline, clock, closing)


def _pass(pipeline: Pipeline, clock: ManualClock, until: float) -> None:
    """Let time pass; whatever falls due happens at its time."""
    for _ in range(MAX_TICKS):
        due = pipeline.due()
        if due is None or due > until:
            break
        clock.set(due)
        pipeline.tick(clock.now())
        _work(pipeline)
    clock.set(until)


def _work(pipeline: Pipeline) -> None:
    while pipeline.work():
        pass


def _arrivals(source: Source, file: Path, ledger: Ledger) -> Iterator[Row]:
    """The recording as rows of the source; what is wrong with a record is counted as it is live."""
    format: Format = "csv" if file.suffix == ".csv" else "jsonl"
    if isinstance(source, FileSource):
        format = source.format
    now = 0.0
    for item in records(file, format, ledger.error):
        try:
            if source.time is not None:
                now = event_time(item, source.time, now)
            elif TIME.field in item:
                now = event_time(item, TIME, now)
                del item[TIME.field]
            else:
                now += STEP
            yield Row(now, _with_image(item, file.parent) if isinstance(source, FolderSource) else item)
        except ItemError as error:
            ledger.error(str(error))


def _with_image(item: Item, folder: Path) -> Item:
    """A record of a folder source names its image: `path`, relative to the recording."""
    path = folder / str(item.get("path", ""))
    return {"path": str(path), "name": path.name, "image": decode(path)}


# --- expectations -------------------------------------------------------------------------------------------


def _run_test(test: Test, spec: Spec, directory: Path, open_model: OpenModel) -> TestResult:
    expected = "; ".join(map(_wanted, test.expect))
    source = test.source or next(iter(spec.sources))
    try:
        outcome = play(spec, directory, directory / test.replay, source, open_model)
        counts = [_count(expect, outcome.sinks[expect.sink]) for expect in test.expect]
    except (StartError, OSError, ItemError) as error:
        return TestResult(test.name, False, expected, "it could not run", str(error))
    passed = all(_holds(expect, count) for expect, count in zip(test.expect, counts, strict=True))
    got = "; ".join(f"{expect.sink}: {count}" for expect, count in zip(test.expect, counts, strict=True))
    return TestResult(test.name, passed and not outcome.evidence.failed, expected, got, _detail(outcome))


def _wanted(expect: Expect) -> str:
    count = str(expect.count) if expect.count is not None else f"at least {expect.at_least}"
    return f"{expect.sink}: {count}" + (f" where {expect.where}" if expect.where else "")


def _count(expect: Expect, rows: list[Row]) -> int:
    if expect.where is None:
        return len(rows)
    condition = Formula(expect.where)
    return sum(len(condition.holds(batch)) for batch in batches(rows))


def _holds(expect: Expect, count: int) -> bool:
    return count == expect.count if expect.count is not None else count >= (expect.at_least or 0)


def _detail(outcome: Outcome) -> str:
    evidence = outcome.evidence
    if evidence.failed:
        return evidence.failed
    return f"{evidence.errors} errors, the last: {evidence.last_error}" if evidence.errors else ""
