import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import runtime
from edge_agent.clock import ManualClock
from edge_agent.events import Row
from edge_agent.evidence import Ledger
from edge_agent.inbox import Entry
from edge_agent.replay import play, replay, run_tests
from edge_agent.sinks.base import Recorder
from edge_agent.spec.load import load
from edge_agent.spec.model import Spec
from edge_agent.topology import Context, assemble

ROOT = Path(__file__).parents[2]
WORKED = sorted((ROOT / "specs" / "tasks").glob("*/*.toml"))


def no_model(path: Path, backend: str, **_: Any) -> Any:
    raise AssertionError(f"{path} ({backend}) is not for this test")


def parse(text: str) -> Spec:
    return load(f"schema = 1\ntask = {{ name = 't' }}\n{text}", "t.toml")


@pytest.mark.parametrize("path", WORKED, ids=lambda path: path.stem)
def test_the_tests_of_every_worked_spec_pass(path: Path) -> None:
    spec = load(path.read_text(), path.name)
    results = run_tests(spec, path.parent, open_model=runtime.load)
    assert [result for result in results if not result.passed] == []
    assert len(results) == len(spec.test)


STREAMS = """
[sources]
s = { type = "mqtt", topic = "t", time = { field = "ts" } }
[streams.avg]
from = "s"
filter = "v >= 0"
key_by = "k"
window = { kind = "tumbling", size = "4s", out_of_order = "1s", lateness = "2s", idle = "5s" }
aggregate = { m = "mean(v)", s = "std(v)", l = "last(v)" }
[[trigger]]
on = "window"
id = "w"
stream = "avg"
when = "m > 1"
[sinks]
all = { type = "mqtt", topic = "a", from = "avg" }
fired = { type = "mqtt", topic = "b", from = "trigger" }
raw = { type = "mqtt", topic = "c", from = "s", when = "v > 5" }
"""
VALUES = st.one_of(st.integers(-2, 9), st.floats(-2, 9), st.just("bad"))
RECORDS = st.lists(
    st.fixed_dictionaries({"ts": st.integers(0, 60), "v": VALUES, "k": st.sampled_from("ab")}),
    min_size=1,
    max_size=25,
)


def live(spec: Spec, records: list[dict[str, Any]], cuts: set[int]) -> dict[str, list[Row]]:
    """The same stages behind a loop that takes arrivals in lumps, late for what was due between them."""
    clock = ManualClock(0.0)
    recorders = {name: Recorder() for name in spec.sinks}
    folder = Path("/nonexistent")
    context = Context("b", folder, folder, None, clock, no_model, recorders.__getitem__)
    pipeline = assemble(spec, folder, context, Ledger(0.0)).pipeline
    waiting: list[Entry] = []
    for i, record in enumerate(records):
        clock.set(record["ts"])
        waiting.append(Entry(i, "s", Row(float(record["ts"]), record), clock.now()))
        if i in cuts:
            pipeline.feed(waiting)
            waiting = []
    pipeline.feed(waiting)
    while (closing := pipeline.closing()) is not None:
        pipeline.tick(closing)
    return {name: recorder.rows for name, recorder in recorders.items()}


@example([{"ts": 0, "v": 0, "k": "a"}, {"ts": 35, "v": -1, "k": "a"}, {"ts": 29, "v": 0, "k": "b"}], {0})
@given(RECORDS, st.sets(st.integers(0, 25)))
def test_a_replay_gives_the_bytes_of_the_live_run(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], cuts: set[int]
) -> None:
    records.sort(key=lambda record: record["ts"] + (7 if record["k"] == "b" else 0))  # some come late
    file = tmp_path_factory.getbasetemp() / "in.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    spec = parse(STREAMS)
    assert repr(play(spec, file.parent, file, "s", no_model).sinks) == repr(live(spec, records, cuts))


def test_silence_closes_the_last_window_and_schedules_do_not_go_on_for_ever(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"ts": 1, "v": 2, "k": "a"}\n')
    schedule = STREAMS.replace("[sinks]", '[[trigger]]\non = "schedule"\nid = "clock"\nevery = "2s"\n[sinks]')
    items = replay(parse(schedule), tmp_path, tmp_path / "in.jsonl", open_model=no_model)
    assert [item["m"] for item in items["all"]] == [2.0]
    assert [item["trigger"] for item in items["fired"]] == ["clock", "clock", "w", "clock"]


def test_records_without_time_are_a_second_apart_or_say_when(tmp_path: Path) -> None:
    spec = parse(
        '[sources]\ns = { type = "mqtt", topic = "t" }\n[sinks]\no = { type = "file", path = "o" }\n'
    )
    (tmp_path / "in.jsonl").write_text('{"v": 1}\n{"v": 2, "time": 50.5}\n{"v": 3}\n')
    outcome = play(spec, tmp_path, tmp_path / "in.jsonl", "s", no_model)
    assert outcome.sinks["o"] == [Row(1.0, {"v": 1}), Row(50.5, {"v": 2}), Row(51.5, {"v": 3})]


EXPECT = """
[sources]
s = { type = "mqtt", topic = "t" }
[sinks]
o = { type = "file", path = "o" }
[[test]]
name = "n"
replay = "in.jsonl"
expect = [EXPECT]
"""


@pytest.mark.parametrize(
    ("expect", "passed", "got"),
    [
        ("{ sink = 'o', count = 3 }", True, "o: 3"),
        ("{ sink = 'o', count = 2 }", False, "o: 3"),
        ("{ sink = 'o', at_least = 4 }", False, "o: 3"),
        ("{ sink = 'o', at_least = 2, where = 'v > 1' }, { sink = 'o', count = 3 }", True, "o: 2; o: 3"),
        ("{ sink = 'o', count = 1, where = 'w > 1' }", False, "it could not run"),
    ],
)
def test_expectations(tmp_path: Path, expect: str, passed: bool, got: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"v": 1}\n{"v": 2}\n{"v": 3}\n')
    (result,) = run_tests(parse(EXPECT.replace("EXPECT", expect)), tmp_path, open_model=no_model)
    assert (result.passed, result.got) == (passed, got)


def test_a_missing_recording_fails_the_test_with_its_cause(tmp_path: Path) -> None:
    (result,) = run_tests(
        parse(EXPECT.replace("EXPECT", "{ sink = 'o', count = 3 }")), tmp_path, open_model=no_model
    )
    assert not result.passed and "No such file" in result.detail


def test_errors_on_the_way_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"v": 1}\nnot json\n{"time": "noon", "v": 2}\n')
    (result,) = run_tests(
        parse(EXPECT.replace("EXPECT", "{ sink = 'o', count = 1 }")), tmp_path, open_model=no_model
    )
    assert result.passed
    assert result.detail == "2 errors, the last: time field `time`: 'noon' is not a time in unit 's'"


def test_a_script_that_is_stopped_by_its_limits_fails_the_test(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import os\ndef on_result(item, state):\n    os._exit(3)\n")
    (tmp_path / "in.jsonl").write_text('{"v": 1}\n')
    text = 'limits = { on_breach = "stop" }\nscript = { file = "x.py" }\n' + EXPECT
    spec = parse(text.replace("EXPECT", "{ sink = 'o', count = 0 }"))
    (result,) = run_tests(spec, tmp_path, open_model=no_model)
    assert not result.passed and "exit code 3" in result.detail
