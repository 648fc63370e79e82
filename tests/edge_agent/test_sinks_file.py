from pathlib import Path

import pytest

from edge_agent.events import Row
from edge_agent.sinks import file as file_module
from edge_agent.sinks.file import FileSink
from edge_agent.spec.model import FileSink as Spec


def sink(folder: Path, max: str = "16MiB") -> FileSink:
    sink = FileSink(Spec.model_validate({"type": "file", "path": "deep/out.jsonl", "max": max}), folder)
    sink.open()
    return sink


def rows(*values: int) -> list[Row]:
    return [Row(float(value), {"v": value}) for value in values]


def test_lines_are_appended_across_restarts(tmp_path: Path) -> None:
    for values in ((1, 2), (3,)):
        out = sink(tmp_path)
        out.write(rows(*values))
        out.close()
    assert (tmp_path / "deep/out.jsonl").read_text() == '{"v":1}\n{"v":2}\n{"v":3}\n'


def test_a_torn_line_is_ended_before_the_next(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/out.jsonl").write_text('{"v":1}\n{"v":')
    out = sink(tmp_path)
    out.write(rows(2))
    out.flush()
    assert (tmp_path / "deep/out.jsonl").read_text() == '{"v":1}\n{"v":\n{"v":2}\n'


def test_the_file_is_rotated_once_at_its_size(tmp_path: Path) -> None:
    out = sink(tmp_path, max="20B")
    for i in range(9):
        out.write(rows(i))
        out.flush()
    assert (tmp_path / "deep/out.jsonl.1").read_text() == '{"v":6}\n{"v":7}\n{"v":8}\n'
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out.jsonl.1"]


def test_a_disk_that_refuses_loses_nothing_until_the_buffer_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "MAX_BUFFER", 20)
    out = sink(tmp_path)
    (tmp_path / "deep/out.jsonl").unlink()
    (tmp_path / "deep").rmdir()
    out.write(rows(1, 2))
    with pytest.raises(FileNotFoundError):
        out.flush()
    with pytest.raises(BufferError, match=r"out\.jsonl: 20 bytes wait to be written; 1 items given up"):
        out.write(rows(3))
    (tmp_path / "deep").mkdir()
    out.close()
    assert (tmp_path / "deep/out.jsonl").read_text() == '{"v":1}\n{"v":2}\n'
