"""Runs a task's script in a process of its own: the thread VM's kind `process`, in its thin form.

The process may crash, hang or fill its memory; the agent does not notice, but for a counted error. After a
kill the next call starts a fresh process with an empty `state`. The other end is `edge_agent.script_worker`.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cloud_broker.wire.messages import Reason
from edge_agent import script_worker
from edge_agent.events import Batch, ItemError, Row, batches
from edge_agent.evidence import StartError
from edge_agent.pipeline import Breach, StageBase
from edge_agent.results import plain
from edge_agent.spec.model import Item, Limits, Script

log = logging.getLogger(__name__)

START = 30.0
"""Seconds for the interpreter to start and the script to load."""
MAX_FRAME = 16 << 20
LOG_LINES = 1000
"""Printed lines of one call that are passed on; the rest is only counted."""


@dataclass(slots=True)
class Stats:
    calls: int = 0
    errors: int = 0
    kills: int = 0
    starts: int = 0


class Host:
    """One script, at most one process; used by one thread, except `kill`. `timeout`: seconds for a call;
    `memory`: bytes of address space above what the interpreter starts with; `on_print`: gets each line that
    the script prints."""

    def __init__(
        self, code: Path, entry: str, *, timeout: float, memory: int, on_print: Callable[[str], None]
    ) -> None:
        self.stats = Stats()
        self._code = code.absolute()
        self._entry = entry
        self._timeout = timeout
        self._memory = memory
        self._on_print = on_print
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start the process and load the script. Raises ItemError with the script's own error, Breach when
        it hangs or dies."""
        if self._ended.is_set():
            raise Breach("the script was ended")
        arguments = [str(self._code), self._entry, str(self._memory), str(self._timeout)]
        self._buffer.clear()
        self._process = subprocess.Popen(
            [sys.executable, "-I", script_worker.__file__, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self._code.parent,
            bufsize=0,
        )
        self.stats.starts += 1
        try:
            self._answer(time.monotonic() + START, "loading it")
        except ItemError:
            self.reset()
            raise

    def call(self, item: Item) -> dict[str, Any] | list[Any] | None:
        """entry(item, state), with the item as plain JSON values (`results.plain`). Raises ItemError with the
        script's own error, Breach when it had to be killed or died."""
        if self._process is None:
            self.start()
        self.stats.calls += 1
        payload = json.dumps(plain(item)).encode()
        deadline = time.monotonic() + self._timeout
        self._send(struct.pack(">I", len(payload)) + payload, deadline)
        result = self._answer(deadline, "one item")
        if result is None or isinstance(result, dict | list):
            return result
        kind = type(result).__name__
        raise ItemError(f"{self._entry} gave {kind}; expected a dict, a list of dicts or None")

    def kill(self) -> None:
        """End it for good, from any thread, whatever it is doing."""
        self._ended.set()
        process = self._process
        if process is not None:
            process.kill()

    def reset(self) -> None:
        """End the process; the next call starts a fresh one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def close(self) -> None:
        self._ended.set()
        self.reset()

    # --- frames ---------------------------------------------------------------------------------------------

    def _send(self, frame: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        view = memoryview(frame)
        while view:
            if not select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))[1]:
                self._overdue("one item")
            try:
                view = view[os.write(pipe, view) :]
            except BrokenPipeError:
                self._died()

    def _answer(self, deadline: float, doing: str) -> Any:
        printed = 0
        for message in self._messages(deadline, doing):
            if "log" in message:
                printed += 1
                if printed <= LOG_LINES:
                    self._on_print(str(message["log"]))
            elif "error" in message:
                self.stats.errors += 1
                raise ItemError(str(message["error"]))
            else:
                return message.get("result")
        return None

    def _messages(self, deadline: float, doing: str) -> Iterator[dict[str, Any]]:
        while True:
            frame = self._read(4, deadline, doing)
            (length,) = struct.unpack(">I", frame)
            if length > MAX_FRAME:
                self._end(f"it gave {length} bytes, at most {MAX_FRAME} are allowed")
            try:
                message = json.loads(self._read(length, deadline, doing))
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict):
                self._end("it wrote into the agent's pipe")
            yield message

    def _read(self, count: int, deadline: float, doing: str) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while len(self._buffer) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:  # a flood of prints ends in time too
                self._overdue(doing)
            data = os.read(pipe, 1 << 16)
            if not data:
                self._died()
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    # --- ends -----------------------------------------------------------------------------------------------

    def _overdue(self, doing: str) -> NoReturn:
        limit = START if doing != "one item" else self._timeout
        self._end(f"still busy with {doing} after {limit:g} s; it was killed and its state is lost")

    def _died(self) -> NoReturn:
        assert self._process is not None
        code = self._process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._end(f"its process ended ({how}); its state is lost")

    def _end(self, why: str) -> NoReturn:
        self.stats.kills += 1
        self.reset()
        raise Breach(f"{self._code.name}: {why}")


class ScriptStage(StageBase):
    """Raises StartError (START_FAILED) when the script does not load."""

    def __init__(self, spec: Script, limits: Limits, directory: Path, task: str) -> None:
        printed = logging.getLogger(f"walle.task.{task}")
        self.host = Host(
            directory / spec.file,
            spec.entry,
            timeout=min(spec.timeout, limits.deadline),
            memory=limits.memory,
            on_print=printed.info,
        )
        try:
            self.host.start()
        except (ItemError, Breach, OSError) as error:
            raise StartError(Reason.START_FAILED, f"script {spec.file}: {error}") from error

    def push(self, origin: str, batch: Batch, now: float) -> list[Batch]:  # noqa: ARG002
        rows: list[Row] = []
        for row in batch.rows():
            result = self.host.call(row.item)
            for item in result if isinstance(result, list) else [result]:
                if isinstance(item, dict):
                    rows.append(Row(row.time, item))
                elif item is not None:
                    raise ItemError(f"the script's list holds {item!r}; expected dicts")
        return batches(rows)

    def reset(self) -> None:
        self.host.reset()

    def close(self) -> None:
        self.host.close()
