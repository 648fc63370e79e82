"""The process in which one task's script runs: frames in on stdin, frames out on stdout, nothing of ours
imported.

Started by `edge_agent.script_host` as `python -I script_worker.py CODE ENTRY MEMORY TIMEOUT`. A frame is a
length in 4 bytes, big-endian, and that much JSON. In: an item. Out: {"log": line} any number of times, then
{"result": ...} or {"error": text}; the first answer, before any item, tells how loading went. The kernel
ends a process that is left alone with a runaway script: an alarm is set before loading and before each call.
"""

import json
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

LOAD = 60.0
"""Seconds that loading may take when nobody is left to end it; the agent itself does so sooner."""
LINE = 2000
"""Characters of a printed line that are passed on."""


class Log:
    """Stands in for sys.stdout and sys.stderr: whole lines become log frames."""

    encoding = "utf-8"

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._send({"log": line[:LINE]})
        if len(self._line) > LINE:
            self._send({"log": self._line[:LINE]})
            self._line = ""
        return len(text)

    def flush(self) -> None:
        if self._line:
            self.write("\n")

    def isatty(self) -> bool:
        return False


def main(code: str, entry: str, memory: int, timeout: float) -> None:
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # C code that prints must not break the frames

    def send(message: dict[str, Any]) -> None:
        payload = json.dumps(message).encode()
        answers.write(struct.pack(">I", len(payload)) + payload)
        answers.flush()

    sys.stdout = sys.stderr = Log(send)
    limit_memory(memory)
    namespace: dict[str, Any] = {"__name__": "walle_script", "__file__": code}
    signal.setitimer(signal.ITIMER_REAL, LOAD)
    function = answer(send, code, lambda: load(code, entry, namespace))
    signal.setitimer(signal.ITIMER_REAL, 0)
    if function is None:
        return
    state: dict[str, Any] = {}
    while (item := read(requests)) is not None:
        signal.setitimer(signal.ITIMER_REAL, 2 * timeout + 1)
        answer(send, code, lambda item=item: function(item, state))  # type: ignore[misc]
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory(memory: int) -> None:
    """`memory` bytes of address space above what the interpreter has now."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def load(code: str, entry: str, namespace: dict[str, Any]) -> Callable[..., Any]:
    sys.path.insert(0, os.path.dirname(code))
    with open(code, encoding="utf-8") as file:
        exec(compile(file.read(), code, "exec"), namespace)
    function = namespace.get(entry)
    if not callable(function):
        raise NameError(f"no function `{entry}(item, state)` in this file")
    return function  # type: ignore[no-any-return]


def answer(send: Callable[[dict[str, Any]], None], code: str, act: Callable[[], Any]) -> Any:
    """Do it, send what came of it, return it (None after an error)."""
    try:
        result = act()
        sys.stdout.flush()
        send({"result": None if callable(result) else result})
    except BaseException as error:  # a script may raise SystemExit too
        sys.stdout.flush()
        send({"error": explain(error, code)})
        return None
    return result


def explain(error: BaseException, code: str) -> str:
    """`alarm.py:12 in on_result: ZeroDivisionError: division by zero`: the last place in the user's own
    file."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    name = os.path.basename(code)
    if isinstance(error, SyntaxError) and error.filename == code:
        return f"{name}:{error.lineno}: SyntaxError: {error.msg}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == code:
            return f"{name}:{frame.lineno} in {frame.name}: {what}"
    return f"{name}: {what}"


def read(requests: BinaryIO) -> Any:
    """The next item, or None at the end."""
    head = requests.read(4)
    if len(head) < 4:
        return None
    return json.loads(requests.read(struct.unpack(">I", head)[0]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
