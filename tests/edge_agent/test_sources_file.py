import json
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.clock import ManualClock
from edge_agent.evidence import Ledger
from edge_agent.inbox import Inbox, Outlet
from edge_agent.sources import file as file_module
from edge_agent.sources.file import FileSource, records
from edge_agent.spec.model import FileSource as Spec


def read(path: Path, format: Any) -> tuple[list[dict[str, Any]], list[str]]:
    errors: list[str] = []
    return list(records(path, format, errors.append)), errors


def test_json_lines_bad_ones_reported_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 1}\n\nnot json\n[1]\n{"b": "\xc3\xbc"}\n\xff\xfe\n{"c": NaN}')
    items, errors = read(path, "jsonl")
    assert items[:2] == [{"a": 1}, {"b": "ü"}] and len(items) == 3
    assert [error.split(": ", 1)[0] for error in errors] == ["in.jsonl:3", "in.jsonl:4", "in.jsonl:6"]
    assert errors[1] == "in.jsonl:4: expected a JSON object, got list"


def test_csv_has_numbers_where_they_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("# measured here\nts,v,name\n1,2.5,x\n2,-3,7up\n3\n# between\n4,1e3,\n")
    items, errors = read(path, "csv")
    assert items == [
        {"ts": 1, "v": 2.5, "name": "x"},
        {"ts": 2, "v": -3, "name": "7up"},
        {"ts": 4, "v": 1000.0, "name": ""},
    ]
    assert errors == ["in.csv: expected 3 fields, got 1: ['3']"]


def test_a_line_without_end_stops_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_module, "MAX_LINE", 100)
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n' + "x" * 1000)
    items, errors = read(path, "jsonl")
    assert items == [{"a": 1}]
    assert errors == ["in.jsonl:2: longer than 100 bytes; the rest of the file is not read"]


def seeds() -> list[bytes]:
    return [b'{"a": 1}\n{"b": [2, {"c": null}]}\n', b'ts,v\n1,2.5\n"3\n",x\n# note\n']


def fuzz(data: bytes) -> None:
    """Any bytes give records or told errors, in both formats."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        for format in ("jsonl", "csv"):
            items, errors = read(Path(file.name), format)
            assert all(isinstance(item, dict) for item in items)
            assert all(isinstance(error, str) for error in errors)


@given(st.binary(max_size=200) | st.sampled_from(seeds()))
def test_any_bytes_give_records_or_errors(data: bytes) -> None:
    fuzz(data)


def test_a_missing_file_is_an_error_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nope", "jsonl")


def test_the_source_emits_at_its_rate_until_stopped(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"i": i}) + "\n" for i in range(3)))
    ledger, clock, stop = Ledger(0.0), ManualClock(), threading.Event()
    inbox = Inbox(ledger)
    source = FileSource(Spec(type="file", path="in.jsonl", rate=2.0), tmp_path)
    thread = threading.Thread(
        target=source.run, args=(Outlet("s", inbox, ledger, clock, None, 10, "block"), stop, clock)
    )
    thread.start()
    arrived: list[float] = []
    while len(arrived) < 2:
        clock.advance(0.25)
        arrived += [entry.arrived for entry in inbox.take(0.1)]
    stop.set()
    thread.join(20)
    assert 0.5 <= arrived[0] <= arrived[1] - 0.5 and not thread.is_alive()
