from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud_broker.wire.link import Link, MemoryHub
from cloud_broker.wire.messages import Reason
from edge_agent.clock import ManualClock
from edge_agent.evidence import Ledger, StartError
from edge_agent.sinks.base import Recorder
from edge_agent.spec.load import load
from edge_agent.spec.model import Spec
from edge_agent.topology import Context, assemble, build


def no_model(path: Path, backend: str, **_: Any) -> Any:
    raise OSError(f"{path.name} is not here for {backend}")


def parse(text: str) -> Spec:
    return load(f"schema = 1\ntask = {{ name = 't' }}\n{text}", "t.toml")


def context(folder: Path, link: Link | None = None, **more: Any) -> Context:
    return Context("dock-1", folder, folder, link, ManualClock(), no_model, **more)


def wiring(tmp_path: Path, text: str) -> dict[str, list[str]]:
    dry: Callable[[str], Recorder] = lambda _: Recorder()  # noqa: E731
    pipeline = assemble(parse(text), tmp_path, context(tmp_path, dry=dry), Ledger(0.0)).pipeline
    pipeline.close()
    return {origin: list(readers) for origin, readers in pipeline.plan.readers.items()}


SOURCE = '[sources]\na = { type = "mqtt", topic = "t" }\n'
SINK = '[sinks]\no = { type = "file", path = "o" }\n'
SCRIPT = 'script = { file = "x.py" }\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SOURCE + SINK, {"a": ["sinks.o"]}),
        (
            SOURCE
            + '[streams.y]\nfrom = "x"\n[streams.x]\nfrom = "a"\n'
            + SINK.replace("}", ', from = "y" }'),
            {"a": ["x"], "x": ["y"], "y": ["sinks.o"]},
        ),
        (SCRIPT + SOURCE + SINK, {"a": ["script"], "script": ["sinks.o"]}),
        (
            SCRIPT + SOURCE + '[[trigger]]\non = "schedule"\nevery = "1s"\n' + SINK,
            {"a": ["trigger"], "trigger": ["script"], "script": ["sinks.o"]},
        ),
        (
            SOURCE + '[[trigger]]\non = "mqtt"\nid = "ask"\ntopic = "q"\n' + SINK,
            {"a": ["trigger"], "trigger.ask": ["trigger"], "trigger": ["sinks.o"]},
        ),
        (
            SCRIPT + SOURCE + SINK + 'p = { type = "file", path = "p", from = "a" }\n',
            {"a": ["script", "sinks.p"], "script": ["sinks.o"]},
        ),
    ],
)
def test_stages_read_what_they_name_or_the_stage_before(
    tmp_path: Path, text: str, expected: dict[str, list[str]]
) -> None:
    (tmp_path / "x.py").write_text("def on_result(item, state): return item\n")
    assert wiring(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "reason", "error"),
    [
        (SOURCE + SINK, Reason.START_FAILED, "source a: kind mqtt needs a broker"),
        (
            SOURCE + '[sinks]\no = { type = "mqtt", topic = "x" }\n',
            Reason.BAD_SPEC,
            "kind mqtt needs a broker",
        ),
        (
            SOURCE + '[sinks]\no = { type = "http", url = "@{board:hook}" }\n',
            Reason.BAD_SPEC,
            "no secret @{board:hook} on this board",
        ),
        ('model = { file = "m.tflite" }\n' + SOURCE + SINK, Reason.BAD_MODEL, "m.tflite is not here"),
        (SCRIPT + SOURCE + SINK, Reason.START_FAILED, "script x.py: .*FileNotFoundError"),
    ],
)
def test_what_cannot_start_says_why(tmp_path: Path, text: str, reason: Reason, error: str) -> None:
    with pytest.raises(StartError, match=error) as raised:
        build(parse(text), tmp_path, context(tmp_path))
    assert raised.value.reason == reason


def test_names_of_the_board_are_filled_in(tmp_path: Path) -> None:
    filled = context(tmp_path, secrets={"board": {"hook": "s3"}}).fill("{board}/{task}/@{board:hook}", "t")
    assert filled == "dock-1/t/s3"


def test_a_dry_run_opens_no_real_sink(tmp_path: Path) -> None:
    recorders: dict[str, Recorder] = {}
    dry: Callable[[str], Recorder] = lambda name: recorders.setdefault(name, Recorder())  # noqa: E731
    hub = MemoryHub()
    task = build(parse(SOURCE + SINK), tmp_path, context(tmp_path, hub.link("b"), dry=dry))
    assert list(recorders) == ["o"]
    assert task.stop()
