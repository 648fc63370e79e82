import logging
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_broker.wire.messages import Reason
from edge_agent import script_worker
from edge_agent.events import ItemError, Row, batches
from edge_agent.evidence import StartError
from edge_agent.pipeline import Breach
from edge_agent.script_host import Host, ScriptStage
from edge_agent.spec.model import Limits, Script

MIB = 1 << 20
LONG = 20.0
Start = Callable[..., Host]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    hosts: list[Host] = []

    def start(code: str, timeout: float = LONG, memory: int = 256 * MIB, on_print: Any = print) -> Host:
        (tmp_path / "task.py").write_text(code)
        host = Host(tmp_path / "task.py", "on_result", timeout=timeout, memory=memory, on_print=on_print)
        hosts.append(host)
        host.start()
        return host

    yield start
    for host in hosts:
        host.close()


def test_an_item_goes_in_a_result_comes_out_and_state_stays(start: Start) -> None:
    host = start(
        "def on_result(item, state):\n"
        "    state['n'] = state.get('n', 0) + 1\n"
        "    return {'double': item['v'] * 2, 'n': state['n']}\n"
    )
    assert [host.call({"v": v}) for v in (1, 2.5, "ab")] == [
        {"double": 2, "n": 1},
        {"double": 5.0, "n": 2},
        {"double": "abab", "n": 3},
    ]
    assert (host.stats.calls, host.stats.starts, host.stats.kills) == (3, 1, 0)


@pytest.mark.parametrize(
    "result", ["None", "{'a': [1, {'b': None}]}", "[{'a': 1}, {'a': 2}]", "{'u': 'ü\\n'}", "[]"]
)
def test_results_come_through_unchanged(start: Start, result: str) -> None:
    assert start(f"def on_result(item, state):\n    return {result}\n").call({}) == eval(result)


def test_arrays_reach_the_script_as_lists(start: Start) -> None:
    host = start("def on_result(item, state):\n    return {'x': item['image'][1][0]}\n")
    assert host.call({"image": np.arange(6).reshape(2, 3)}) == {"x": 3}


def test_what_is_printed_arrives_line_by_line(start: Start) -> None:
    lines: list[str] = []
    code = (
        "import sys\nprint('loading')\n"
        "def on_result(item, state):\n    print('a\\nb', end='')\n    sys.stderr.write('c')\n"
    )
    start(code, on_print=lines.append).call({})
    assert lines == ["loading", "a", "bc"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("return 1 / 0", "task.py:4 in on_result: ZeroDivisionError: division by zero"),
        ("return item['nope']", "task.py:4 in on_result: KeyError: 'nope'"),
        ("return helper()", "task.py:2 in helper: ValueError: from below"),
        ("raise SystemExit(3)", "task.py:4 in on_result: SystemExit: 3"),
        ("return on_result(item, state)", "task.py:4 in on_result: RecursionError: "),
        ("return [0] * 10**10", "task.py:4 in on_result: MemoryError"),
        ("import json; json.loads('{')", "task.py:4 in on_result: JSONDecodeError: "),
        ("return {'a': {1, 2}}", "task.py: TypeError: Object of type set is not JSON serializable"),
        ("return 5", "on_result gave int; expected a dict, a list of dicts or None"),
    ],
)
def test_an_error_names_the_users_line_and_the_script_lives_on(start: Start, body: str, error: str) -> None:
    host = start(
        f"def helper():\n    raise ValueError('from below')\ndef on_result(item, state):\n    {body}\n",
        memory=512 * MIB,
    )
    for _ in range(2):
        with pytest.raises(ItemError) as raised:
            host.call({})
        assert str(raised.value).startswith(error)
    assert host.stats.starts == 1


RUNAWAYS = {
    "loop": "while True: pass",
    "swallower": "while True:\n        try:\n            while 1: pass\n        except BaseException: pass",
    "C": "pow(3, 10**9)",
    "sleep": "import time; time.sleep(1000)",
    "deaf": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); signal.pause()",
    "prints": "while True: print('x' * 1000)",
}


@pytest.mark.parametrize("runaway", RUNAWAYS.values(), ids=RUNAWAYS)
def test_a_runaway_is_killed_and_the_next_call_starts_afresh(start: Start, runaway: str) -> None:
    host = start(
        "def on_result(item, state):\n"
        "    state['n'] = state.get('n', 0) + 1\n"
        "    if not item['bad']: return state\n"
        f"    {runaway}\n",
        timeout=0.3,
        on_print=lambda _: None,
    )
    host._timeout = LONG
    host.call({"bad": False})
    assert host.call({"bad": False}) == {"n": 2}
    host._timeout = 0.3
    with pytest.raises(Breach, match=r"task.py: still busy with one item after 0.3 s; it was killed"):
        host.call({"bad": True})
    host._timeout = LONG
    assert host.call({"bad": False}) == {"n": 1}
    assert (host.stats.kills, host.stats.starts) == (1, 2)


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os._exit(7)", "exit code 7"),
        ("os.kill(os.getpid(), 11)", "signal SIGSEGV"),
        ("os.abort()", "signal SIGABRT"),
    ],
)
def test_a_crash_is_one_bad_item(start: Start, death: str, how: str) -> None:
    host = start(f"import os\ndef on_result(item, state):\n    if item: {death}\n    return item\n")
    with pytest.raises(Breach, match=f"its process ended \\({how}\\); its state is lost"):
        host.call({"v": 1})
    assert host.call({}) == {}


def test_memory_is_limited(start: Start) -> None:
    host = start(
        "kept = []\ndef on_result(item, state):\n    kept.append(bytearray(item['bytes']))\n    return {}\n",
        memory=64 * MIB,
    )
    assert host.call({"bytes": 8 * MIB}) == {}
    with pytest.raises(ItemError, match="MemoryError"):
        host.call({"bytes": 500 * MIB})


def test_a_script_cannot_break_the_frames(start: Start) -> None:
    host = start(
        "import os\ndef on_result(item, state):\n    os.write(1, b'garbage')\n    return {'fine': True}\n"
    )
    assert host.call({}) == {"fine": True}
    huge = start("def on_result(item, state):\n    return {'x': 'y' * (20 << 20)}\n")
    with pytest.raises(Breach, match=r"it gave 2.* bytes, at most 16777216 are allowed"):
        huge.call({})


class Answers:
    """A process that has said `data` and ended."""

    stdin = None

    def __init__(self, data: bytes) -> None:
        reading, writing = os.pipe()
        os.write(writing, data[:60_000])
        os.close(writing)
        self.stdout = os.fdopen(reading, "rb", buffering=0)

    def kill(self) -> None: ...

    def wait(self) -> int:
        return 1


def frame(text: str) -> bytes:
    return struct.pack(">I", len(text)) + text.encode()


def seeds() -> list[bytes]:
    return [frame('{"log": "a"}') + frame('{"result": {"v": [1, null]}}'), frame('{"error": "x.py:1: no"}')]


def fuzz(data: bytes) -> None:
    """Whatever a hostile script writes into the pipe is a result or a told error."""
    host = Host(Path("x.py"), "f", timeout=LONG, memory=MIB, on_print=lambda _: None)
    host._process = Answers(data)  # type: ignore[assignment]
    with suppress(ItemError, Breach):
        host._answer(time.monotonic() + LONG, "one item")
    host.reset()


@given(st.binary(max_size=60) | st.sampled_from(seeds()), st.binary(max_size=4))
def test_any_answer_is_a_result_or_an_error(data: bytes, tail: bytes) -> None:
    fuzz(data + tail)
    fuzz(frame("[" * 50_000))


def test_a_large_item_to_a_script_that_does_not_read_is_a_timeout_not_a_hang(start: Start) -> None:
    host = start("import time\ndef on_result(item, state):\n    return {}\n")
    assert host._process is not None
    host._process.send_signal(signal.SIGSTOP)
    host._timeout = 0.3
    with pytest.raises(Breach, match="still busy"):
        host.call({"x": "y" * MIB})


def test_the_process_ends_when_its_agent_is_gone(start: Start) -> None:
    host = start("def on_result(item, state):\n    return {}\n")
    process = host._process
    assert process is not None and process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_a_runaway_whose_agent_is_gone_is_ended_by_the_kernel(start: Start) -> None:
    host = start("def on_result(item, state):\n    while True: pass\n", timeout=0.05)
    process = host._process
    assert process is not None and process.stdin is not None
    process.stdin.write(frame("{}"))
    process.stdin.close()  # nobody is left who could kill it
    assert process.wait(30) == -signal.SIGALRM


def test_kill_from_another_thread_is_final(start: Start) -> None:
    host = start("def on_result(item, state):\n    while True: pass\n")
    errors: list[Exception] = []

    def call() -> None:
        try:
            host.call({})
        except Breach as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    host.kill()
    thread.join(20)
    assert len(errors) == 1
    with pytest.raises(Breach, match="the script was ended"):
        host.call({})


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def on_result(item, state)\n    pass\n", "task.py:1: SyntaxError: expected ':'"),
        ("import nothing_like_this\n", "task.py:1 in <module>: ModuleNotFoundError"),
        ("x = 1\n", "task.py: NameError: no function `on_result\\(item, state\\)` in this file"),
        ("import os; os._exit(1)\n", "its process ended \\(exit code 1\\)"),
    ],
)
def test_a_script_that_does_not_load_is_refused_at_start(tmp_path: Path, code: str, error: str) -> None:
    (tmp_path / "task.py").write_text(code)
    with pytest.raises(StartError, match=f"script task.py: .*{error}") as raised:
        ScriptStage(Script(file="task.py"), Limits(), tmp_path, "t")
    assert raised.value.reason == Reason.START_FAILED


def test_the_stage_gives_one_row_per_dict_at_the_items_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "helper.py").write_text("def split(n): return [{'i': i} for i in range(n)]\n")
    (tmp_path / "task.py").write_text(
        "import helper\n"
        "def on_result(item, state):\n    print('got', item['n'])\n    return helper.split(item['n'])\n"
    )
    stage = ScriptStage(Script(file="task.py"), Limits(), tmp_path, "count")
    try:
        with caplog.at_level(logging.INFO, "walle.task.count"):
            (batch,) = batches([Row(3.0, {"n": 2})])
            rows = [row for out in stage.push("s", batch, 0.0) for row in out.rows()]
            (batch,) = batches([Row(4.0, {"n": 0})])
            assert stage.push("s", batch, 0.0) == []
    finally:
        stage.close()
    assert rows == [Row(3.0, {"i": 0}), Row(3.0, {"i": 1})]
    assert caplog.messages == ["got 2", "got 0"]


def test_the_worker_imports_nothing_of_ours() -> None:
    source = Path(script_worker.__file__).read_text()
    assert not any(
        f"import {name}" in source or f"from {name}" in source for name in ("edge_agent", "runtime")
    )
